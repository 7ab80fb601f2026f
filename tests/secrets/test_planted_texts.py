"""No credential of the corpus is left in a text or value that may be shown."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture.preview import (
    MIN_BYTES,
    dumps,
    preview,
    redacted_head,
)
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from support.places import FORMS, NAMED_FORMS, named_values, values_with
from support.planted import PIECE, SENTENCES, SHAPED, Planted, made, named, seen

REDACTOR = Redactor()
WHOLE = 1_000_000


def shown(value: Any, budget: int = WHOLE) -> bytes:
    """What a span says of a value."""
    return dumps(preview(value, REDACTOR, budget)).encode()


@pytest.mark.parametrize("form", FORMS)
def test_a_credential_is_hidden_in_any_text(form: str) -> None:
    """Nothing of it is left, however the text was encoded on its way."""
    texts = {planted: FORMS[form](planted.text) for planted in (*SHAPED, *SENTENCES)}

    left = [planted.name for planted in texts if planted.seen_in(_redacted(texts[planted]))]
    assert left == []


def _redacted(text: str) -> bytes:
    return REDACTOR.text(text).encode()


@pytest.mark.parametrize("form", NAMED_FORMS)
def test_what_a_name_makes_secret_is_hidden_in_any_text(form: str) -> None:
    """The value goes, with whatever stands between it and its name."""
    texts = {
        planted: NAMED_FORMS[form].format(name=planted.name, value=planted.secret)
        for planted in named()
    }

    left = [planted.name for planted, text in texts.items() if planted.seen_in(_redacted(text))]
    assert left == []


def test_a_credential_is_hidden_in_any_value() -> None:
    """In containers, fields, keys, bytes and exceptions."""
    for planted in (*SHAPED, *SENTENCES):
        left = [
            value for value in values_with(planted.text) if planted.seen_in(shown([value, "more"]))
        ]
        assert left == [], planted.name


def test_what_a_name_makes_secret_is_hidden_in_any_value() -> None:
    """As the value of a key or field, and beside its name in a pair or record."""
    for planted in named():
        values = named_values(planted.name, planted.secret)
        assert [value for value in values if planted.seen_in(shown([value]))] == [], planted.name


def test_beside_a_name_only_its_value_is_hidden() -> None:
    """Headers, variables and tags stay readable; and how often a word occurs is no secret."""
    values = [
        [("Authorization", "x"), ("Accept", "*/*")],
        [{"name": "API_TOKEN", "value": "x"}, {"name": "HOME", "value": "/root"}],
        [("token", 5), ("password", None), ["token", "of", "affection"]],
        {"value": "x", "unit": "token"},
    ]

    assert json.loads(shown(values)) == [
        [["Authorization", REDACTED], ["Accept", "*/*"]],
        [{"name": "API_TOKEN", "value": REDACTED}, {"name": "HOME", "value": "/root"}],
        [["token", 5], ["password", None], ["token", "of", "affection"]],
        {"value": "x", "unit": "token"},
    ]


def test_what_a_flag_makes_secret_is_hidden_in_a_list() -> None:
    """Its value goes, whatever word it is; other flags, counts and texts stay."""
    values = [
        ["mysql", "--password", "x", "db"],
        ("--auth", "--port", "80"),
        ["--tokens", "x", "-v", "y", "--token", 5],
    ]

    assert json.loads(shown(values)) == [
        ["mysql", "--password", REDACTED, "db"],
        ["--auth", "--port", "80"],
        ["--tokens", "x", "-v", "y", "--token", 5],
    ]


class Login(NamedTuple):
    """A named tuple with a secret."""

    user: str
    password: str
    pin_token: int = 0


class LongerLogin(Login):
    """A class made of it."""


def test_a_named_tuple_hides_what_its_names_make_secret() -> None:
    """As a dataclass does; also one of a class that inherits the names."""
    values = [Login("bob", "x"), {"login": LongerLogin("ada", "y", 7)}]

    assert json.loads(shown(values)) == [
        ["bob", REDACTED, REDACTED],
        {"login": ["ada", REDACTED, REDACTED]},
    ]


def test_names_that_do_not_fit_a_tuple_hide_nothing() -> None:
    """Whatever a class keeps under the name that named tuples have for theirs."""
    for names in (("password",), ["user", "password"], ("user", 1), "password"):
        cls: Any = type("Odd", (tuple,), {"_fields": names})

        assert json.loads(shown(cls(("a", "b")))) == ["a", "b"], names


@pytest.mark.parametrize("planted", SHAPED + SENTENCES, ids=lambda planted: planted.name)
def test_no_cut_leaves_a_part_of_a_credential(planted: Planted) -> None:
    """Wherever a budget ends, before, in or behind it."""
    text = f"{'word ' * 12}{planted.text}{' word' * 200}"

    for cut in range(MIN_BYTES, min(len(text), 700), 7):
        assert not planted.seen_in(shown(text, cut) + shown({"a": text}, cut)), cut


def test_no_cut_leaves_a_part_behind_what_was_hidden() -> None:
    """What is hidden makes a text shorter: then more of it has room than was looked at."""
    hidden = f"{'word ' * 3}password={'x7' * 400} and "
    key = SHAPED[0]
    for limit in range(600, 900, 3):
        shown_head = redacted_head(f"{hidden}{'more ' * 45}{key.text}", limit, REDACTOR)
        assert not key.seen_in(shown_head.encode()), limit


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_credentials_side_by_side_are_all_hidden(data: st.DataObject) -> None:
    """One find does not end the search, and does not spoil another."""
    planted = data.draw(st.lists(st.sampled_from(SHAPED + SENTENCES), min_size=1, max_size=6))
    between = data.draw(st.sampled_from([" ", "\n", "; ", " and ", '", "', "\t"]))

    assert seen(planted, _redacted(between.join(each.text for each in planted))) == []


def test_the_corpus_can_be_found() -> None:
    """Without redaction, every search finds what it looks for: all of it, or a part."""
    for planted in (*SHAPED, *SENTENCES, *named()):
        assert planted.seen_in(planted.text.encode()), planted.name
        half = planted.secret[len(planted.secret) // 2 :][: PIECE + 1]
        assert len(half) < PIECE or planted.seen_in(half.encode()), planted.name


# --- limits: what cannot be told from other text --------------------------------------------

RANDOM = Planted("random", (value := made("random", "0123456789abcdef", 40)), value)
"""Forty hexadecimal digits: a key of some service, or the hash of a commit."""

LIMITS = {
    "random text under a harmless name": {"note": RANDOM.text},
    "base64 of a key": base64.b64encode(f"sk-proj-{RANDOM.text}".encode()).decode(),
    "a key in two parts": [SHAPED[0].text[:20], SHAPED[0].text[20:]],
    "a key backwards": SHAPED[0].text[::-1],
    "a word as a password": "log in with correct-horse",
    "the name far from its value": f"token: see the next paragraph.\n\nIt is {RANDOM.text}.",
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_looks_like_any_other_text_is_shown(limit: str) -> None:
    """The documented limits; what must not leave at all calls for the level `keys`."""
    assert REDACTED not in shown(LIMITS[limit]).decode()

"""Pictures of values: true, bounded, and without secrets."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import gc
import json
import math
import threading
import tracemalloc
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.preview import (
    MAX_DEPTH,
    MIN_BYTES,
    cut_middle,
    cut_text,
    dumps,
    key_text,
    preview,
    preview_text,
    shape_text,
    size_in_bytes,
)
from opentelemetry.instrumentation.pocketflow.capture.reading import Kind, kind_of
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from support.stores import STORES, VALUES, Data, List, Model

if TYPE_CHECKING:
    from collections.abc import Callable

REDACTOR = Redactor()
PLENTY = 1_000_000
KEY = "sk-ant-" + "api03-" + "aB3dE5gH7j" * 9
"""A credential by its shape; put together here, so that scanners find none."""


class Color(enum.Enum):
    """An enumeration."""

    RED = "#f00"


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    LOW = 1


class Word(str):  # noqa: SLOT000 - as programs write it
    """A subclass of str."""

    def __str__(self) -> str:
        raise AssertionError


def show(value: object, budget: int = PLENTY) -> Any:
    """The picture as a reader of the span gets it."""
    return json.loads(dumps(preview(value, REDACTOR, budget)))


def bytes_of(value: object, budget: int) -> int:
    """What the picture takes when it is sent."""
    return len(dumps(preview(value, REDACTOR, budget)).encode())


# --- What is shown -----------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    """A plain object."""

    x: int
    y: int


SHOWN: list[tuple[Any, Any]] = [
    *((atom, atom) for atom in (None, True, 0, -1, 1.5, "", "text")),
    ([], []),
    ({}, {}),
    ({"a": [1, {"b": (2, 3)}]}, {"a": [1, {"b": [2, 3]}]}),
    (collections.deque([1]), [1]),
    (frozenset(["a"]), ["a"]),
    (Point(1, 2), {"x": 1, "y": 2}),
    (types.SimpleNamespace(a=1), {"a": 1}),
    (dt.date(2024, 1, 2), "2024-01-02"),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
    (1j, "1j"),
    (2**255, 2**255),
    (2**5000, {"$cut": "int", "bits": 5001}),
    (b"\x00\x01", {"$opaque": "bytes", "length": 2}),
    (threading.Lock(), {"$opaque": "_thread.lock"}),
    (int, {"$opaque": "type"}),
    (Color.RED, "Color.RED"),
    (Level.LOW, "Level.LOW"),
    (Word("w"), "w"),
    (type("Count", (int,), {"__int__": None})(7), 7),
    (type("Ratio", (float,), {"__float__": None})(0.5), 0.5),
    ({"$cut": 1, "$opaque": 2, "$$cycle": 3}, {"$$cut": 1, "$$opaque": 2, "$$$cycle": 3}),
]


@pytest.mark.parametrize(("value", "shown"), SHOWN)
def test_what_is_shown(value: object, shown: object) -> None:
    """JSON as everybody would write it, where JSON has it."""
    assert json.dumps(show(value)) == json.dumps(shown)


@settings(deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**255), 2**255)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text('abcé\U0001f600"\\\n', max_size=20),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("xyzé~/"), inner),
    )
)
def test_plain_json_is_shown_as_it_is(value: object) -> None:
    """Where there is room, nothing is lost or altered."""
    assert show(value) == value


def test_a_container_inside_itself() -> None:
    """The second time, its type is named."""
    items: list[Any] = [1]
    items.append({"self": items})
    assert show(items) == [1, {"self": {"$cycle": "list"}}]


def test_a_container_in_two_places_is_no_cycle() -> None:
    """It is shown in both."""
    twice = [1]
    assert show({"a": twice, "b": twice}) == {"a": [1], "b": [1]}


def test_deep_containers_are_cut() -> None:
    """Also if they are deeper than the interpreter's stack."""
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    shown = show(value)
    for _ in range(MAX_DEPTH):
        (shown,) = shown
    assert shown == {"$cut": "list", "length": 1}
    while value:  # take it apart from outside, since the interpreter would recurse
        value = value.pop()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("plain", "plain"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        (10**100, "<int>"),
        (("a", 1), "(a, 1)"),
        (("a", ("b",), None), "(a, (…), null)"),
        (tuple(range(9)), "(0, 1, 2, 3, …)"),
        (b"x", "b'x'"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (Color.RED, "Color.RED"),
        (Word("w"), "w"),
        (frozenset([1]), "<frozenset>"),
        (int, "<type>"),
        ("\ud800x", "\\ud800x"),
        ("k" * 500, "k" * 79 + "…"),
        (KEY, REDACTED),
        ("$cut", "$$cut"),
    ],
)
def test_names_of_keys(key: object, text: str) -> None:
    """As JSON would name it, or else by its type; never longer than a line."""
    assert key_text(key, REDACTOR) == text
    assert show({key: 1}) == {text: 1}


def test_keys_that_look_the_same_leave_a_mark() -> None:
    """One of them is shown, and the true number of items."""
    assert show({1: "a", "1": "b"}) == {"1": "b", "$cut": {"length": 2}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("abc", {"type": "str", "size": 3}),
        ([1, 2], {"type": "list", "size": 2}),
        (Point(1, 2), {"type": f"{__name__}.Point", "size": 2}),
        (5, {"type": "int"}),
        (threading.Lock(), {"type": "_thread.lock"}),
    ],
)
def test_shapes(value: object, shown: object) -> None:
    """Type and size; nothing of the value."""
    assert json.loads(shape_text(value)) == shown


def test_the_name_of_a_type_is_bounded() -> None:
    """A class may have any name."""
    cls = type("N" * 10_000, (), {})
    assert len(json.loads(shape_text(cls()))["type"]) <= 80
    assert len(dumps(preview(cls(), REDACTOR, 200))) <= 200
    assert bytes_of(types.new_class("L" * 10_000, (list,))([1]), 0) <= MIN_BYTES


# --- Within its budget -------------------------------------------------------------------------

TROUBLE = st.sampled_from(
    [
        *("\x00" * 99, "é" * 99, "\U0001f600" * 99, "\ud800" * 99, '"' * 99, "x" * 4_000),
        *(2**255, -(2**255), 2**9999, -1.7976931348623157e308, b"b" * 999, 1e22, math.inf),
        *(Color.RED, threading.Lock(), KEY, f"see {KEY} there", {"token": 1}),
        *(types.new_class("N" * 300)(), types.new_class("É" * 90, (list,))([1, 2])),
    ]
)
ANYTHING = st.recursive(
    TROUBLE | VALUES | st.text(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=40),
        st.dictionaries(st.text() | st.text(min_size=200) | st.integers(), inner, max_size=20),
        st.lists(inner).map(tuple),
        st.builds(Data, inner, inner),
        st.builds(Model, a=inner),
    ),
    max_leaves=60,
)


@settings(max_examples=400, deadline=None)
@given(ANYTHING | STORES, st.integers(0, 400) | st.integers(0, 10_000))
def test_the_budget_is_kept(value: object, budget: int) -> None:
    """To the byte, and what is left is valid JSON that tells where it was cut."""
    assert bytes_of(value, budget) <= max(budget, MIN_BYTES)
    shown = show(value, budget)
    assert_sizes_are_true(shown, value)


def assert_sizes_are_true(shown: Any, value: Any) -> None:
    """Markers must tell the true sizes, and what has no marker must be all there."""
    length = reading.size_of(value)
    is_object, is_list = (kind_of(shown) is kind for kind in (Kind.DICT, Kind.LIST))
    if is_object and kind_of(shown.get("$cut")) is Kind.ATOM and "$cut" in shown:
        assert shown["$cut"] == "int" or shown["length"] == length
    elif is_object and kind_of(value) in {Kind.DICT, Kind.FIELDS}:
        assert shown.get("$cut", {"length": len(shown)}) == {"length": length}
    elif is_list:
        is_cut = bool(shown) and kind_of(shown[-1]) is Kind.DICT and [*shown[-1]] == ["$cut"]
        assert (shown[-1]["$cut"]["length"] if is_cut else len(shown)) == length
        for inner, item in zip(shown[:-1] if is_cut else shown, list(value), strict=False):
            assert_sizes_are_true(inner, item)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.sampled_from(["é" * 4000, "\x00" * 4000, "ab" * 4000]), st.integers(48, 4000))
def test_a_text_fills_its_budget(text: str, budget: int) -> None:
    """As much of the beginning as fits, to the last character."""
    shown = show(text, budget)
    if type(shown) is str:
        assert shown == text
        return
    cut: dict[str, Any] = shown
    assert (cut["$cut"], cut["length"]) == ("str", len(text))
    assert text.startswith(cut["head"])
    assert budget - bytes_of(text, budget) < 6
    assert len(json.dumps(text, ensure_ascii=False).encode()) > budget


@pytest.mark.parametrize("make", [list, dict.fromkeys], ids=["list", "dict"])
@pytest.mark.parametrize("budget", [60, 100, 500, 5_000])
def test_many_small_items_fill_the_budget(make: Callable[[range], Any], budget: int) -> None:
    """No more than a marker and one item is wasted."""
    assert budget - bytes_of(make(range(100_000)), budget) < MIN_BYTES


def test_a_large_item_leaves_room_for_others() -> None:
    """Of a dict with a long text, the other keys are still seen."""
    shown = show({"page": "x" * 100_000, "title": "T", "tags": ["a", "b"]}, 400)
    assert shown.keys() == {"page", "title", "tags"}
    assert shown["page"].keys() == {"$cut", "length", "head"}
    assert (shown["title"], shown["tags"]) == ("T", ["a", "b"])


def test_what_fits_is_shown_whole() -> None:
    """No item is cut because it is larger than its share, where there is room for all."""
    value = {"page": "x" * 300, "notes": [{"text": "y" * 200}, "z"], "title": "T"}
    size = bytes_of(value, PLENTY)
    assert show(value, size) == value
    assert show(value, size - 1) != value
    assert show([value, "x" * 5_000], 3 * size)[0] == value


def test_few_items_that_say_something() -> None:
    """Of many messages, the first are shown with a part of their text, and not only their names."""
    messages = [{"role": "user", "content": "hello there " * 20} for _ in range(9)]
    shown = show({"messages": messages, "n": 1}, 600)
    *first, marker = shown["messages"]
    assert marker == {"$cut": {"length": 9}}
    assert first
    assert all(one["content"]["head"].startswith("hello there ") for one in first)


def test_cut_containers_tell_their_size() -> None:
    """Lists at their end, objects by a member, and small budgets in place of the whole."""
    assert show(list(range(1_000)), 60) == [*range(14), {"$cut": {"length": 1_000}}]
    assert show(dict.fromkeys("abcdefgh" * 1, 0) | {"i" * 60: 1}, 60)["$cut"] == {"length": 9}
    assert show([["x" * 30] * 9] * 9, 10) == {"$cut": "list", "length": 9}
    assert show(List(["x" * 40] * 99), 0) == {"$cut": "List", "length": 99}
    assert show([1, 2], 0) == [1, 2]


# --- Whatever its size -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        list(range(1_000_000)),
        dict.fromkeys(range(1_000_000)),
        set(range(1_000_000)),
        collections.deque(range(1_000_000)),
        "x" * 10_000_000,
        [["y" * 1_000] * 1_000] * 1_000,
        types.SimpleNamespace(**{f"f{number}": number for number in range(200_000)}),
        10**50_000,
    ],
    ids=["list", "dict", "set", "deque", "str", "nested", "fields", "int"],
)
def test_a_large_value_costs_what_its_preview_costs(value: object) -> None:
    """No copy of it is made, not even of its references."""
    preview(value, REDACTOR, 1_000)
    gc.collect()
    tracemalloc.start()
    try:
        shown = preview(value, REDACTOR, 1_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000
    assert len(dumps(shown)) <= 1_000


# --- Secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": "s3cret"},
        {"nested": [{"password": {"s3cret": "s3cret"}}]},
        {"x" * 500 + "_password": "s3cret"},
        {b"authorization": "s3cret"},
        {("prod", "token"): "s3cret"},
        {Word("password"): "s3cret"},
        types.SimpleNamespace(client_secret="s3cret"),  # noqa: S106 - a planted one
        collections.OrderedDict[str, str](cookie="s3cret"),
    ],
)
def test_values_of_secret_keys_are_hidden(value: object) -> None:
    """Whatever kind of key it is, and however long."""
    shown = dumps(preview(value, REDACTOR, PLENTY))
    assert "s3cret" not in shown
    assert REDACTED in shown


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.integers(0, 700), st.sampled_from(["", "é", '"', "\n"]))
@example(0, 300, "")
def test_a_secret_at_the_border_of_a_cut_does_not_show(
    before: int, budget: int, filler: str
) -> None:
    """Neither its beginning, which has no shape by itself."""
    text = f"{(filler or 'w ') * before} {KEY} " + "tail " * 400
    for value in (text, [text], {"k": text}, {text: 1}):
        assert KEY[:16] not in dumps(preview(value, REDACTOR, budget))


def test_what_was_hidden_does_not_draw_in_what_follows() -> None:
    """A long secret that is hidden leaves room; the first half of another must not fill it."""
    text = f"{KEY * 9} {'w ' * 150} {KEY * 9}"
    for budget in range(100, 1_500, 7):
        assert KEY[:16] not in dumps(preview(text, REDACTOR, budget))


def test_a_hidden_text_is_not_called_cut() -> None:
    """Hiding is no cut: what is left is the whole text."""
    assert show(f"use {KEY} here", 60) == f"use {REDACTED} here"


# --- Texts -------------------------------------------------------------------------------------


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_exporter_can_encode_what_is_dumped(value: Any) -> None:
    """Lone surrogates stand as escapes, which mean the same."""
    text = dumps(value)
    assert len(text.encode()) == size_in_bytes(text)
    assert json.loads(text) == json.loads(json.dumps(value))


@settings(max_examples=200)
@given(st.text() | st.text(min_size=300), st.integers(-5, 400))
def test_the_middle_is_cut_out(text: str, budget: int) -> None:
    """Beginning and end stay, with the true size between them, within the budget."""
    cut = cut_middle(text, budget)
    assert len(cut.encode()) <= max(budget, 0)
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= budget:
        assert cut == raw.decode()
    elif "bytes in all" in cut:
        head, _, tail = cut.partition(f"\n… ({len(raw)} bytes in all) …\n")
        assert raw.startswith(head.encode())
        assert raw.endswith(tail.encode())


def test_both_ends_of_a_traceback_stay() -> None:
    """More of its end, where the exception is."""
    text = "first line\n" + "middle\n" * 1_000 + "ValueError: no"
    cut = cut_middle(text, 200)
    assert cut.startswith("first line\nmiddle")
    assert cut.endswith("middle\nValueError: no")
    assert f"({len(text)} bytes in all)" in cut


@given(st.text(), st.integers(1, 50))
def test_long_texts_end_in_an_ellipsis(text: str, limit: int) -> None:
    """Texts that fit are not touched."""
    cut = cut_text(text, limit)
    cut.encode()
    if len(text) > limit:
        assert cut.endswith("…")
    elif text.isascii():
        assert cut == text


TEXTS = st.text(max_size=60) | st.sampled_from(
    ["", KEY, f"password={KEY}", "token: hunter22", '"' * 50, "\ud800" * 9, "é" * 40, "x" * 500]
)
NUMBERS = st.integers(-(2**130), 2**130) | st.sampled_from([True, False, None, 0.5, math.nan])


@settings(max_examples=300, deadline=None)
@given(TEXTS | NUMBERS | VALUES, st.integers(0, 120))
def test_a_preview_as_text(value: Any, budget: int) -> None:
    """What needs no walk is shown as if there had been one."""
    assert preview_text(value, REDACTOR, budget) == dumps(preview(value, REDACTOR, budget))

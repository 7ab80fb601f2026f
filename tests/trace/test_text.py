"""Short text that is safe to print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketflow_trace.text import brief_json, duration, encodable, plural, printable, shorten

anything = st.text(st.characters())
"""Any text, lone surrogates included."""


@given(anything)
def test_printable(text: str) -> None:
    """Nothing but printable characters is left, and printable text is left as it is."""
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\u202egnirts", "\\u202egnirts"),
        ("\ud800", "\\ud800"),
        ("Zoë 猫 [bold]", "Zoë 猫 [bold]"),
    ],
)
def test_printable_examples(text: str, expected: str) -> None:
    """Escapes look like Python's."""
    assert printable(text) == expected


@given(anything.map(printable), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "no-such"]))
def test_encodable(text: str, encoding: str) -> None:
    """The result can be encoded; an encoding that Python does not know counts as ASCII."""
    encodable(text, encoding).encode("ascii" if encoding == "no-such" else encoding)


@given(anything, st.integers(1, 50))
def test_shorten(text: str, limit: int) -> None:
    """A text is cut to the limit, and only then has an ellipsis added."""
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text if len(text) <= limit else short == text[: limit - 1] + "…"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ("Zoë\x1b", '"Zoë\\u001b"'),
        ("x" * 100, '"' + "x" * 18 + "…"),
    ],
)
def test_brief_json(value: object, expected: str) -> None:
    """Values look like JSON, cut at the limit."""
    assert brief_json(value, 20) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0.0 ms"),
        (0, "0.0 ms"),
        (0.00012, "0.1 ms"),
        (0.0099, "9.9 ms"),
        (0.00999, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (59.99, "59.99 s"),
        (59.999, "1 min 00 s"),
        (123.4, "2 min 03 s"),
        (3599.9, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    """Durations have the digits that matter, and units carry over."""
    assert duration(round(seconds * 1e9)) == expected


def test_plural() -> None:
    """Nouns agree with their number."""
    assert [plural(n, "error") for n in (0, 1, 2)] == ["0 errors", "1 error", "2 errors"]
    assert plural(2, "retry", "retries") == "2 retries"

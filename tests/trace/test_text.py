"""Short text that is safe to print."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketflow_trace.text import brief_json, duration, encodable, money, plural, printable, shorten

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


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "a -> b... EUR 5 GBP 5"),
        ("latin-1", "a -> b... EUR 5 £5"),
        ("cp1252", "a -> b… €5 £5"),
        ("no-such", "a -> b... EUR 5 GBP 5"),
        ("utf-8", "a → b… €5 £5"),
    ],
)
def test_own_signs(encoding: str, expected: str) -> None:
    """Our own signs get an ASCII form only where the encoding lacks them."""
    assert encodable("a → b… €5 £5", encoding) == expected


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
    """Nouns agree with their number, and thousands are set apart."""
    assert [plural(n, "error") for n in (0, 1, 2)] == ["0 errors", "1 error", "2 errors"]
    assert plural(2, "retry", "retries") == "2 retries"
    assert plural(1521, "token") == "1,521 tokens"


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", "$0"),
        ("0.0", "$0"),
        ("0.0042", "$0.0042"),
        ("0.00421", "$0.0042"),
        ("0.0040", "$0.004"),
        ("0.00996", "$0.01"),
        ("0.000013", "$0.000013"),
        ("0.05", "$0.05"),
        ("0.5", "$0.50"),
        ("1.25", "$1.25"),
        ("12.4", "$12.40"),
        ("1234567.891", "$1,234,567.89"),
        ("1e-30", "$1.0e-30"),
        ("1.26e+30", "$1.3e+30"),
    ],
)
def test_money(amount: str, expected: str) -> None:
    """Amounts have two decimals, small ones two significant digits."""
    assert money(Decimal(amount), "USD") == expected


@pytest.mark.parametrize(
    ("currency", "expected"),
    [
        ("EUR", "€1.50"),
        ("GBP", "£1.50"),
        ("CHF", "1.50 CHF"),
        ("", "1.50"),
        ("\x1b[31mgold pieces", "1.50 \\x1b[31…"),
    ],
)
def test_currencies(currency: str, expected: str) -> None:
    """A currency without a sign goes by its code, which cannot draw and is short."""
    assert money(Decimal("1.5"), currency) == expected


@given(st.decimals(min_value=0, allow_nan=False, allow_infinity=False))
def test_money_never_vanishes(amount: Decimal) -> None:
    """An amount looks like nothing only where it is nothing, and is never long."""
    text = money(amount, "USD")
    assert (Decimal(text[1:].replace(",", "")) == 0) == (amount == 0)
    assert len(text) <= 24

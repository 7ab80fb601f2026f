"""Turns values into short text that is safe to print."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from decimal import Decimal

_PLAIN: Final = {"→": "->", "…": "...", "€": "EUR ", "£": "GBP "}
"""Our own signs that some encodings lack, and what stands for them there."""

_CURRENCY_SIGNS: Final = {"USD": "$", "EUR": "€", "GBP": "£"}

_MAX_CURRENCY: Final = 8
"""Characters of a currency that has no sign."""

_MAX_MAGNITUDE: Final = 12
"""Power of ten beyond which an amount is written with an exponent."""

_NANOS: Final = 1_000_000_000


def printable(text: str) -> str:
    """Return the text with everything escaped that is not printable.

    Whatever a program stores can be printed this way: it stays on its line, hides nothing, and
    changes neither colours nor cursor nor the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def encodable(text: str, encoding: str) -> str:
    """Return the text as far as the encoding can hold it; signs that it lacks get ASCII forms."""
    if encoding.lower().replace("_", "-").startswith("utf"):
        return text
    try:
        return _encodable(text, encoding)
    except LookupError:
        return _encodable(text, "ascii")


def _encodable(text: str, encoding: str) -> str:
    lacking = {sign: plain for sign, plain in _PLAIN.items() if not sign.encode(encoding, "ignore")}
    plain = text.translate(str.maketrans(lacking))
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def shorten(text: str, limit: int) -> str:
    """Return the text, cut to `limit` characters with an ellipsis at its end."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def brief_json(value: object, limit: int) -> str:
    """Return a JSON value in compact form, safe to print and at most `limit` characters long."""
    return shorten(printable(json.dumps(value, ensure_ascii=False, default=str)), limit)


def plural(count: int, one: str, many: str = "") -> str:
    """Return the count with its noun: `1 error`, `1,521 tokens`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def money(amount: Decimal, currency: str) -> str:
    """Return an amount of 0 or more with the digits that matter: `$0.0042`, `€12.40`, `3.10 CHF`.

    Args:
        amount: The amount.
        currency: Its ISO 4217 code; empty where unknown.
    """
    if sign := _CURRENCY_SIGNS.get(currency):
        return sign + _amount(amount)
    return f"{_amount(amount)} {shorten(printable(currency), _MAX_CURRENCY)}".rstrip()


def _amount(amount: Decimal) -> str:
    """Return two decimals, or as many as two significant digits need; `0` is nothing at all."""
    if not amount:
        return "0"
    magnitude = amount.adjusted()
    if not -_MAX_MAGNITUDE <= magnitude <= _MAX_MAGNITUDE:
        return f"{amount:.1e}"
    whole, _, decimals = f"{amount:,.{max(2, 1 - magnitude)}f}".partition(".")
    return f"{whole}.{decimals[:2]}{decimals[2:].rstrip('0')}"


def duration(nanos: int) -> str:
    """Return a time span with the digits that matter: `0.4 ms`, `31 ms`, `1.24 s`, `2 min 03 s`."""
    seconds = max(nanos, 0) / _NANOS
    if seconds < 0.00995:  # noqa: PLR2004 - the border where one decimal would round up to 10.0 ms
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:  # noqa: PLR2004 - the border where milliseconds would round up to 1000
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:  # noqa: PLR2004 - the border where seconds would round up to 60.00
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def percent(part: float, whole: float) -> str:
    """Return a share as `0.8%`; one that is too small for the digits as `<0.1%`."""
    share = part / whole if whole > 0 else 0.0
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"  # noqa: PLR2004 - half of the last digit


def width(text: str) -> int:
    """Return how many columns of a terminal printable text takes."""
    # The text of most programs is ASCII, which has a fast way to say so.
    return len(text) if text.isascii() else sum(map(_char_width, text))


def crop(text: str, columns: int) -> str:
    """Return as much of the beginning of printable text as fits into so many columns."""
    if width(text) <= columns:
        return text
    taken = 0
    for position, char in enumerate(text):
        taken += _char_width(char)
        if taken > columns:
            return text[:position]
    return text


def _char_width(char: str) -> int:
    if unicodedata.east_asian_width(char) in {"W", "F"}:
        return 2
    return 0 if unicodedata.category(char) in {"Mn", "Me"} else 1

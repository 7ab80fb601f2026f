"""Sets JSON so that a person can read it: on one line what fits on one, safe to print.

Pure. The text is still JSON: what is not printable can stand only inside strings, where an escape
means the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH: Final = 88
"""Characters of a line, as far as there is a place to break it."""

_INDENT: Final = 2
_MAX_DEPTH: Final = 60
"""Deeper containers are set on one line."""


def pretty(value: object) -> str:
    """Return JSON data as text of one or several lines."""
    return _pretty(value, 0, 0)


def safe(text: str) -> str:
    """Return JSON text with everything escaped that is not printable."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _pretty(value: Any, depth: int, used: int) -> str:
    """Return a value that stands behind `used` characters of its line."""
    line = safe(json.dumps(value, ensure_ascii=False))
    if depth * _INDENT + used + len(line) <= WIDTH or depth >= _MAX_DEPTH:
        return line
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        names = [(safe(json.dumps(name, ensure_ascii=False)), item) for name, item in members]
        rows = [f"{name}: {_pretty(item, depth + 1, len(name) + 2)}" for name, item in names]
        return _block("{}", rows, depth) if rows else line
    if isinstance(value, list):
        rows = [_pretty(item, depth + 1, 0) for item in cast("list[Any]", value)]
        return _block("[]", list(_filled(rows, depth + 1)), depth) if rows else line
    return line


def _block(brackets: str, rows: Sequence[str], depth: int) -> str:
    indent = " " * _INDENT * (depth + 1)
    inner = ",\n".join(indent + row for row in rows)
    return f"{brackets[0]}\n{inner}\n{indent[:-_INDENT]}{brackets[1]}"


def _filled(items: Sequence[str], depth: int) -> Iterator[str]:
    """Yield rows of as many items as fit on a line."""
    row = ""
    for item in items:
        longer = f"{row}, {item}" if row else item
        if row and ("\n" in longer or depth * _INDENT + len(longer) >= WIDTH):
            yield row
            longer = item
        row = longer
    yield row

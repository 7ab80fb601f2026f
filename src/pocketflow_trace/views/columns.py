"""Sets rows of text in columns.

Pure. The first column is as wide as is left, and what does not fit there is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pocketflow_trace.text import crop
from pocketflow_trace.text import width as display_width

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
_MIN_FIRST: Final = 12
"""Columns of the first column, however narrow the page."""


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return header and rows as lines: the first column to the left, numbers to the right.

    Args:
        header: Names of the columns.
        rows: As many texts each, safe to print.
        width: Columns of a line; more only where the other columns take them.
    """
    table = [header, *rows]
    widths = [max(display_width(row[column]) for row in table) for column in range(len(header))]
    others = sum(each + len(_GAP) for each in widths[1:])
    first = max(min(widths[0], width - others), min(widths[0], _MIN_FIRST))
    return [_line(row, [first, *widths[1:]]) for row in table]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = _cut(row[0], widths[0])
    first += " " * (widths[0] - display_width(first))
    others = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
    return _GAP.join((first, *others)).rstrip()


def _cut(text: str, width: int) -> str:
    return text if display_width(text) <= width else crop(text, width - 1) + "…"

"""Puts text from a program into Markdown so that it stays what it is.

Pure. A fence is longer than any run of backticks inside it, and code spans hold one line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pocketflow_trace.text import plural, printable, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKTICKS: Final = re.compile("`+")
_SHORTEST_FENCE: Final = 3

MAX_LINE: Final = 200
"""Characters of a line inside a fence."""


def code(text: str, limit: int = 120) -> str:
    """Return text as a code span on one line, at most `limit` characters of it."""
    shown = shorten(printable(text), limit)
    ticks = "`" * (_longest_ticks(shown) + 1)
    pad = " " if "`" in shown or not shown.strip() else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def fence(lines: Sequence[str], language: str = "", limit: int = 20) -> list[str]:
    """Return lines as a fenced block; of more than `limit` lines those in the middle are left out.

    Args:
        lines: The lines. What is not printable in them is escaped.
        language: How they are to be coloured.
        limit: Lines between the fences, from 3.
    """
    shown = [shorten(printable(line), MAX_LINE) for line in _middle_cut(lines, limit)]
    ticks = "`" * max(_longest_ticks("\n".join(shown)) + 1, _SHORTEST_FENCE)
    return [f"{ticks}{language}", *shown, ticks]


def _middle_cut(lines: Sequence[str], limit: int) -> list[str]:
    if len(lines) <= limit:
        return list(lines)
    head = (limit - 1) // 2
    tail = limit - 1 - head
    left_out = plural(len(lines) - head - tail, "line")
    return [*lines[:head], f"… {left_out} left out", *lines[-tail:]]


def _longest_ticks(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)

"""Prints a run as a tree in the terminal."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.text import duration, encodable, plural
from pocketflow_trace.views.lines import STYLES, Line, details, number, title, usage_lines
from pocketflow_trace.views.outline import DEFAULT_LIMITS, WIDE_LIMITS, Gap, Part, outline
from pocketflow_trace.views.summary import summary
from pocketflow_trace.views.totals import totals, tracing_took
from pocketflow_trace.views.verbosity import Look, detail_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from pocketflow_trace.record.model import Run
    from pocketflow_trace.views.totals import Totals
    from pocketflow_trace.views.verbosity import Verbosity

MIN_WIDTH: Final = 20
"""Columns that are used even where the terminal claims to have fewer."""

_MAX_WIDTH: Final = 1_000
"""Columns where there is no terminal; the pieces of a line are bounded, so few lines have more."""

_COLUMNS_A_LEVEL: Final = 4
"""What one level of rich's tree indents."""


_DEFAULT_LOOK: Final = Look()


def print_run(
    run: Run, file: TextIO, *, width: int | None = None, look: Look | None = None
) -> None:
    """Write a run to a file or terminal, in one piece.

    Colours are used only on a terminal, and never where NO_COLOR is set. What the file's encoding
    lacks is replaced or escaped.

    Args:
        run: What to print.
        file: Where to.
        width: Columns; None for the terminal's, or those in the variable COLUMNS, else for what
            the longest line needs: what goes into a file or a pipe may be searched there.
        look: How much is told, and whether in ASCII; None for what is usual.

    Raises:
        OSError: The file cannot be written.
        ValueError: The file is closed.
    """
    target = Console(file=file)
    look = look or _DEFAULT_LOOK
    encoding = "ascii" if look.ascii else getattr(file, "encoding", None) or "utf-8"
    page = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", newline="")
    painter = Console(
        file=page,
        width=max(width or _width_of(target), MIN_WIDTH),
        color_system="auto" if _may_colour(target) else None,
        force_terminal=target.is_terminal,
        legacy_windows=False,
    )
    _Painting(painter, look.verbosity).paint(run)
    page.seek(0)
    file.write(page.read())
    file.flush()


def _width_of(console: Console) -> int:
    fixed = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return console.width if fixed else _MAX_WIDTH


def _may_colour(console: Console) -> bool:
    return console.is_terminal and not console.legacy_windows and not os.environ.get("NO_COLOR")


class _Painting:
    """One run on its way to a rich console."""

    def __init__(self, console: Console, verbosity: Verbosity) -> None:
        self._console = console
        self._verbosity: Verbosity = verbosity
        self._detail = detail_of(verbosity)
        limits = WIDE_LIMITS if verbosity == "verbose" else DEFAULT_LIMITS
        # Half of the width is left for text, however deep the tree.
        depth = min(limits.depth, console.width // (2 * _COLUMNS_A_LEVEL))
        self._limits = replace(limits, depth=depth)

    def paint(self, run: Run) -> None:
        if self._verbosity != "minimal":
            tree = Tree("", hide_root=True, guide_style=STYLES["quiet"])
            self._add(tree, outline(run, self._limits), 0)
            self._print(tree)
        lines = summary(run, self._verbosity, self._console.width)
        self._print(self._text([*lines, *_closing_lines(run)], indent=""))

    def _print(self, item: Tree | Text) -> None:
        self._console.print(item, markup=False, emoji=False, highlight=False, soft_wrap=False)

    def _add(self, tree: Tree, parts: Sequence[Part], attempts_allowed: int) -> None:
        for part in parts:
            if isinstance(part, Gap):
                tree.add(self._text([_gap_line(part)]))
                continue
            allowed = number(part.entry, semconv.NODE_MAX_RETRIES) or attempts_allowed
            lines = [title(part.entry, allowed), *details(part.entry, self._detail)]
            self._add(tree.add(self._text(lines)), part.inside, allowed)

    def _text(self, lines: Sequence[Line], indent: str = "  ") -> Text:
        """Join lines to one text; lines under the first are indented."""
        text = Text(overflow="fold")
        for position, line in enumerate(lines):
            text.append(f"\n{indent}" if position else "")
            for piece, style in line:
                text.append(encodable(piece, self._console.encoding), STYLES.get(style))
        return text


def _gap_line(gap: Gap) -> Line:
    failed = f", {gap.failed:,} of them failed" if gap.failed else ""
    return [(f"… {gap.count:,} more", "quiet"), (failed, "bad")]


def _closing_lines(run: Run) -> list[Line]:
    """Return what the run adds up to: first the node runs, then what their model calls used."""
    sums = totals(run)
    used = usage_lines(sums.usage) if sums.usage else []
    return [_counts_line(sums, run.dropped), *used]


def _counts_line(sums: Totals, dropped: int) -> Line:
    """Return `4 node runs in 1.24 s, 1 error, 2 retries, tracing took 0.5 ms (<0.1%)`."""
    line: Line = [(f"{plural(sums.nodes, 'node run')} in {duration(sums.nanos)}", "name")]
    if sums.errors:
        line.append((f", {plural(sums.errors, 'error')}", "bad"))
    if sums.retries:
        line.append((f", {plural(sums.retries, 'retry', 'retries')}", "warn"))
    if sums.tracing is not None:
        line.append((f", {tracing_took(sums.tracing, sums.nanos)}", "quiet"))
    if dropped:
        line.append((f"; {plural(dropped, 'later span')} not kept, not counted here", "warn"))
    return line

"""`pocketflow-trace list`: the kept runs, newest first."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, shelf_of
from pocketflow_trace.keeping.life import state_of
from pocketflow_trace.keeping.shelf import ShelfError, read
from pocketflow_trace.record import facts
from pocketflow_trace.text import crop, duration, encodable, money, plural, printable, width
from pocketflow_trace.views.totals import totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pocketflow_trace.keeping.shelf import Kept, Shelf
    from pocketflow_trace.record.model import About, Run
    from pocketflow_trace.views.totals import Totals

VERSION: Final = 1
"""Of the JSON form."""

DEFAULT_LIMIT: Final = 20
"""Runs shown. Each is read as a whole, and a file can have many megabytes."""

_NANOS: Final = 1_000_000_000
_COMMIT: Final = 7
"""Digits of a commit, as git shows it."""
_MAX_ID: Final = 60
_MAX_NAMES: Final = 28
_MAX_BRANCH: Final = 20

_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
"""What can be given to a shell: bash runs commands that stand in words to be completed."""

_SUMMARY: Final = """\
Lists the kept runs, newest first: what ran, how it went, what it used, and which commit it was.

STATE is `complete`, `running`, `killed`, or `unfinished` where it cannot be told which. A `+`
behind tokens or cost says that some model calls did not tell theirs; `*` behind a commit, that
files were changed after it. Where the terminal is too narrow, the last columns are left out.

With --json, one document: {"version": 1, "directory", "runs": [{"id", "path", "started" (Unix time
in nanoseconds), "program", "flows", "nodes", "errors", "retries", "seconds", "tracing_seconds"
(of these, tracing's own), "calls", "tokens", "costs" ({currency: amount}), "is_partial" (some calls
did not tell theirs), "state", "branch", "commit", "dirty", "damaged" (lines that could not be
read)}], "more" (older runs, not in it)}. What is not known is null.

exit code: 0 also where no run is kept, 2 wrong usage"""

_EXAMPLES: Final = (
    ("list", "the newest 20"),
    ("list --limit 3", "the newest three"),
    ("list --json | jq -r '.runs[].id'", "for other programs"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One kept run, with what its file adds up to."""

    kept: Kept
    about: About
    flows: tuple[str, ...]
    sums: Totals
    damaged: int


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace list` with these arguments.

    Raises:
        CliError: Wrong usage.
    """
    options = _parser().parse_args(args)
    shelf = shelf_of(options)
    kept = shelf.kept()
    if options.ids:
        ids = (run.about.id for run in kept)
        sys.stdout.writelines(f"{run}\n" for run in ids if _PLAIN_ID.fullmatch(run))
        return 0
    chosen = kept[: _limit(options.limit)]
    rows = [row for run in chosen if (row := _row(run)) is not None]
    more = len(kept) - len(chosen)
    if options.json:
        sys.stdout.write(json.dumps(_data(shelf, rows, more), indent=2) + "\n")
    else:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.writelines(f"{encodable(x, encoding)}\n" for x in _page(shelf, rows, more))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("list", _SUMMARY, _EXAMPLES)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--limit", metavar="N", default=str(DEFAULT_LIMIT), help="runs to list (default: 20)"
    )
    # For shell completion: only the ids, without reading the runs.
    parser.add_argument("--ids", action="store_true", help=argparse.SUPPRESS)
    parser.add_shelf()
    return parser


def _limit(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise CliError(
        f"--limit is {text!r}; it is a number above 0; see: pocketflow-trace list --help"
    )


def _row(kept: Kept) -> Row | None:
    """Return what a run's file says; nothing, but a complaint, where it cannot be read any more."""
    try:
        reading = read(kept.path)
    except ShelfError as exc:
        sys.stderr.write(f"pocketflow-trace: {printable(str(exc))}\n")
        return None
    run = reading.run
    return Row(kept, run.about, _flows(run), totals(run), reading.damaged)


def _flows(run: Run) -> tuple[str, ...]:
    """Return the outermost flows, each name once; nodes that were run alone are in brackets."""
    roots = (root for root in run.roots if root.kind in {"flow", "node"})
    names = (
        facts.workflow(root) if root.kind == "flow" else f"({facts.class_name(root)})"
        for root in roots
    )
    return tuple(dict.fromkeys(names))


# --- JSON -----------------------------------------------------------------------------------


def _data(shelf: Shelf, rows: Sequence[Row], more: int) -> dict[str, Any]:
    runs = [_run_data(row) for row in rows]
    return {"version": VERSION, "directory": str(shelf.directory), "runs": runs, "more": more}


def _run_data(row: Row) -> dict[str, Any]:
    usage, tracing = row.sums.usage, row.sums.tracing
    total = None if usage is None else usage.total
    resource = row.about.resource
    return {
        "id": row.about.id,
        "path": str(row.kept.path),
        "started": row.about.started,
        "program": row.about.program,
        "flows": list(row.flows),
        "nodes": row.sums.nodes,
        "errors": row.sums.errors,
        "retries": row.sums.retries,
        "seconds": row.sums.nanos / _NANOS,
        "tracing_seconds": None if tracing is None else tracing / _NANOS,
        "calls": None if total is None else total.calls,
        "tokens": None if total is None else total.tokens,
        "costs": {} if total is None else {name: float(cost) for name, cost in total.costs},
        "is_partial": usage is not None and bool(usage.unmetered or usage.unpriced),
        "state": state_of(row.about),
        "branch": resource.get(semconv.VCS_REF_HEAD_NAME),
        "commit": resource.get(semconv.VCS_REF_HEAD_REVISION),
        "dirty": resource.get(semconv.VCS_DIRTY),
        "damaged": row.damaged,
    }


# --- For people -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        name: Its heading.
        text: Its text for a run, safe to print.
        is_number: Does it stand to the right?
    """

    name: str
    text: Callable[[Row], str]
    is_number: bool = False


def _page(shelf: Shelf, rows: Sequence[Row], more: int) -> list[str]:
    if not rows:
        place = printable(str(shelf.directory))
        return [f"no run is kept in {place}; see: pocketflow-trace run --help"]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = _table(rows, columns)
    if more:
        lines.append(f"… {plural(more, 'older run')}; see them with --limit {len(rows) + more}")
    return lines


def _table(rows: Sequence[Row], columns: int | None) -> list[str]:
    """Return heading and rows; columns that do not fit into so many characters are left out."""
    texts = [
        [column.name for column in _COLUMNS],
        *([c.text(row) for c in _COLUMNS] for row in rows),
    ]
    widths = [max(map(width, cells)) for cells in zip(*texts, strict=True)]
    shown = len(widths)
    while columns is not None and shown > 1 and sum(widths[:shown]) + 2 * (shown - 1) > columns:
        shown -= 1
    return [_line(cells[:shown], widths) for cells in texts]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded: list[str] = []
    for column, cell, columns in zip(_COLUMNS, cells, widths, strict=False):
        space = " " * (columns - width(cell))
        padded.append(space + cell if column.is_number else cell + space)
    return "  ".join(padded).rstrip()


def _short(text: str, columns: int) -> str:
    safe = printable(text)
    return safe if width(safe) <= columns else crop(safe, columns - 1) + "…"


def _when(row: Row) -> str:
    """Return the local time at which a run began."""
    try:
        began = datetime.fromtimestamp(row.about.started / _NANOS, tz=timezone.utc).astimezone()
    except (OverflowError, ValueError, OSError):  # in a damaged file
        return "?"
    return began.strftime("%Y-%m-%d %H:%M:%S")


def _tokens(row: Row) -> str:
    usage = row.sums.usage
    if usage is None or usage.total.tokens is None:
        return "" if usage is None else "?"
    return f"{usage.total.tokens:,}{'+' if usage.unmetered else ''}"


def _cost(row: Row) -> str:
    usage = row.sums.usage
    if usage is None:
        return ""
    mark = "+" if usage.unpriced else ""
    return " ".join(f"{money(cost, currency)}{mark}" for currency, cost in usage.total.costs)


def _state(row: Row) -> str:
    return f"{state_of(row.about)}, damaged" if row.damaged else state_of(row.about)


def _commit(row: Row) -> str:
    resource = row.about.resource
    branch, commit = (
        str(resource.get(name, ""))
        for name in (semconv.VCS_REF_HEAD_NAME, semconv.VCS_REF_HEAD_REVISION)
    )
    if not branch and not commit:
        return ""
    dirty = "*" if resource.get(semconv.VCS_DIRTY) is True else ""
    return f"{_short(branch, _MAX_BRANCH)}@{printable(commit[:_COMMIT])}{dirty}"


_COLUMNS: Final[tuple[Column, ...]] = (
    Column("ID", lambda row: _short(row.about.id, _MAX_ID)),
    Column("WHEN", _when),
    Column("STATE", _state),
    Column("PROGRAM", lambda row: _short(row.about.program, _MAX_NAMES)),
    Column("FLOWS", lambda row: _short(", ".join(row.flows), _MAX_NAMES)),
    Column("NODES", lambda row: f"{row.sums.nodes:,}", is_number=True),
    Column("ERRORS", lambda row: f"{row.sums.errors:,}", is_number=True),
    Column("TIME", lambda row: duration(row.sums.nanos), is_number=True),
    Column("TOKENS", _tokens, is_number=True),
    Column("COST", _cost, is_number=True),
    Column("COMMIT", _commit),
)

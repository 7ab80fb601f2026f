"""What stands between the tree of a run and its totals: where the time went, and what went wrong.

Pure functions from a `Run` to lines. A short run needs no table, since its tree says it all; an
error is worth its lines in any run, unless there is nothing to add to what the tree says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.model import walk
from pocketflow_trace.record.usage import add_up, figures, rolled_up
from pocketflow_trace.text import crop, duration, plural, printable, shorten, width
from pocketflow_trace.views.lines import changes, failure_text, heading
from pocketflow_trace.views.totals import failures, retries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketflow_trace.record.model import Entry, Run
    from pocketflow_trace.record.usage import Usage
    from pocketflow_trace.views.lines import Line
    from pocketflow_trace.views.verbosity import Verbosity

TABLE_FROM: Final = 12
"""Node runs from which a table is worth its lines."""

MAX_ROWS: Final = 15
MAX_ERRORS: Final = 3
MAX_FRAMES: Final = 5
MAX_STATE: Final = 4
"""Changes of the store that are told of before an error: the last ones."""

_MAX_SHOWN: Final = 200
_NAME_WIDTH: Final = 32
_MIN_TABLE_WIDTH: Final = 40
_GAP: Final = "  "
_RUNS: Final = frozenset({"flow", "node"})

_FRAME: Final = re.compile(r'\s*(?:\| *)*File "(?P<file>.*)", line (?P<line>\d+), in (?P<name>.*)')
_NOT_THE_USERS: Final = re.compile(
    r"[\\/](site-packages|dist-packages|lib[\\/]python3[^\\/]*|pocketflow)[\\/]|^<frozen |"
    r"[\\/]pocketflow\.py$"
)


def summary(run: Run, verbosity: Verbosity, columns: int) -> list[Line]:
    """Return the lines between tree and totals, blank ones around them; none if there are none.

    Args:
        run: The run.
        verbosity: `minimal` leaves the table out; `verbose` asks for it in any run.
        columns: How wide a table may be.
    """
    parts: list[list[Line]] = [errors(run, verbosity)]
    if verbosity == "verbose" or (verbosity == "normal" and _is_long(run)):
        parts = [table(run, columns), slowest_path(run), *parts]
    shown = [part for part in parts if part]
    # A blank line before each part, and before the totals after them.
    return [line for part in [*shown, []] for line in ([], *part)] if shown else []


def _is_long(run: Run) -> bool:
    return sum(1 for entry in walk(run.roots) if entry.kind == "node") >= TABLE_FROM


# --- The table ------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """All runs of one node or flow; times in nanoseconds.

    Attributes:
        name: What the tree calls it.
        is_flow: Is it a flow? Its tokens are those of the nodes in it.
        runs: How often it ran.
        total: From start to end, added up.
        own: The same without the nodes and flows inside.
        retries: Attempts beyond the first.
        used: What its model calls used.
    """

    name: str
    is_flow: bool
    runs: int = 0
    total: int = 0
    own: int = 0
    retries: int = 0
    used: Usage | None = None

    def add(self, entry: Entry, own: int) -> None:
        """Add a run of it."""
        used = None if self.is_flow else rolled_up(entry.attributes)
        self.runs += 1
        self.total += _took(entry)
        self.own += own
        self.retries += 0 if self.is_flow else retries(entry)
        self.used = add_up([one for one in (self.used, used) if one is not None])


def rows(run: Run) -> list[Row]:
    """Return a row for each node and flow, those first that took the most time by themselves."""
    found: dict[str, Row] = {}
    for entry in walk(run.roots):
        if entry.kind in _RUNS:
            name = _name(entry)
            row = found.setdefault(name, Row(name, entry.kind == "flow"))
            row.add(entry, own_time(entry))
    return sorted(found.values(), key=lambda row: row.own, reverse=True)


def own_time(entry: Entry) -> int:
    """Return the nanoseconds of a node or flow in which none of those inside of it ran."""
    if entry.end is None:
        return 0
    covered, reached = 0, entry.start
    inner = sorted(_runs_inside(entry), key=lambda child: child.start)
    for child in inner:
        end = min(entry.end if child.end is None else child.end, entry.end)
        covered += max(end - max(child.start, reached), 0)
        reached = max(reached, end)
    return max(_took(entry) - covered, 0)


def _runs_inside(entry: Entry) -> Iterator[Entry]:
    """Yield the outermost nodes and flows inside, through items and attempts."""
    pending = list(entry.children)
    while pending:
        child = pending.pop()
        if child.kind in _RUNS:
            yield child
        else:
            pending.extend(child.children)


def table(run: Run, columns: int) -> list[Line]:
    """Return a table of all nodes and flows; nothing where the window is too narrow for one."""
    found = rows(run)
    if columns < _MIN_TABLE_WIDTH or not found:
        return []
    header, *cells = _cells(found)
    kept = _fitting([header, *cells], columns)
    lines = [_joined(header, kept, "quiet")]
    lines += [_joined(row, kept, "") for row in cells[:MAX_ROWS]]
    rest = len(cells) - MAX_ROWS
    return [*lines, [(f"… {plural(rest, 'more node')}", "quiet")]] if rest > 0 else lines


def _cells(found: Sequence[Row]) -> list[list[str]]:
    """Return the table's cells, its head first; a column in which nothing stands is empty."""
    own = sum(row.own for row in found) or 1
    head = ["node", "runs", "self", "share", "total", "retries", "tokens", "cost"]
    return [
        head,
        *(
            [
                crop(row.name, _NAME_WIDTH),
                f"{row.runs:,}",
                duration(row.own),
                f"{100 * row.own / own:.0f}%",
                duration(row.total),
                f"{row.retries:,}" if row.retries else "",
                _tokens(row.used),
                _cost(row.used),
            ]
            for row in found
        ),
    ]


def _tokens(used: Usage | None) -> str:
    if used is None or used.total.tokens is None:
        return ""
    return f"{used.total.tokens:,}{'+' if used.unmetered else ''}"


def _cost(used: Usage | None) -> str:
    return "" if used is None else " ".join(figures(used)[1:])


def _fitting(cells: Sequence[Sequence[str]], columns: int) -> list[tuple[int, int]]:
    """Return position and width of the columns that say something and fit, from the left."""
    kept: list[tuple[int, int]] = []
    used = 0
    for position in range(len(cells[0])):
        size = max(width(row[position]) for row in cells)
        is_empty = all(not row[position] for row in cells[1:])
        if is_empty or used + size + len(_GAP) > columns:
            continue
        used += size + len(_GAP)
        kept.append((position, size))
    return kept


def _joined(row: Sequence[str], kept: Sequence[tuple[int, int]], style: str) -> Line:
    """Return a row as a line: the name to the left, numbers to the right."""
    first, *rest = [(row[position], size) for position, size in kept]
    name = first[0] + " " * (first[1] - width(first[0]))
    numbers = "".join(_GAP + " " * (size - width(cell)) + cell for cell, size in rest)
    return [(name, style or "name"), (numbers.rstrip(), style)]


# --- The slowest path -----------------------------------------------------------------------


def slowest_path(run: Run) -> list[Line]:
    """Return the chain of what took the longest, each inside the one before; a line, or nothing."""
    chain = list(_slowest(run.roots))
    if len(chain) < 2:  # noqa: PLR2004 - a chain has two ends
        return []
    steps = [f"{_name(entry)} {duration(_took(entry))}" for entry in chain]
    return [[("slowest path: ", "quiet"), (" > ".join(steps), "")]]


def _slowest(entries: Sequence[Entry]) -> Iterator[Entry]:
    while entries:
        slowest = max(entries, key=_took)
        if slowest.kind not in {"attempt", "phase"}:
            yield slowest
        entries = slowest.children


# --- Errors ---------------------------------------------------------------------------------


def errors(run: Run, verbosity: Verbosity) -> list[Line]:
    """Return what is known of each error beyond its line in the tree."""
    found = failures(run)
    parents = {id(child): entry for entry in walk(run.roots) for child in entry.children}
    first = found[:MAX_ERRORS]
    lines = [line for entry in first for line in _error(entry, run, parents, verbosity)]
    rest = len(found) - MAX_ERRORS
    return [*lines, [(f"… {plural(rest, 'more error')}", "bad")]] if rest > 0 and lines else lines


def _error(entry: Entry, run: Run, parents: dict[int, Entry], verbosity: Verbosity) -> list[Line]:
    """Return the block of one error; nothing where the tree has said all of it."""
    holder = _holder(entry)
    body = [*_frames(holder), *_state(entry, run)]
    if not body and verbosity != "minimal":
        return []
    place = " / ".join(_name(each) for each in reversed(list(_way_up(entry, parents))))
    cause = failure_text(holder) or shorten(printable(entry.message), _MAX_SHOWN)
    return [[("error in ", "bad"), (place, "name"), (f": {cause}" if cause else "", "bad")], *body]


def _holder(entry: Entry) -> Entry:
    """Return where the exception is recorded: on the last attempt inside, or the entry itself."""
    inside = [each for each in walk([entry]) if each.failures and each.kind != "other"]
    return inside[-1] if inside else entry


def _way_up(entry: Entry, parents: dict[int, Entry]) -> Iterator[Entry]:
    current: Entry | None = entry
    while current is not None:
        if current.kind != "attempt":
            yield current
        current = parents.get(id(current))


def _frames(entry: Entry) -> list[Line]:
    """Return the user's frames of the traceback, the last ones, each with its line of source."""
    text = (entry.failures[-1].stacktrace if entry.failures else None) or ""
    found = list(_user_frames(text.rpartition("Traceback (most recent call last)")[2]))
    return [line for frame in found[-MAX_FRAMES:] for line in frame]


def _user_frames(text: str) -> Iterator[list[Line]]:
    lines = text.splitlines()
    for position, line in enumerate(lines):
        match = _FRAME.match(line)
        if match is None or _NOT_THE_USERS.search(match["file"]):
            continue
        where = f"  {match['file']}:{match['line']} in {match['name']}"
        source = lines[position + 1].strip(" |") if position + 1 < len(lines) else ""
        code: list[Line] = [[("    " + _shown(source), "")]] if _is_source(source) else []
        yield [[(_shown(where), "quiet")], *code]


def _is_source(line: str) -> bool:
    return bool(line) and _FRAME.match(line) is None


def _state(entry: Entry, run: Run) -> Iterator[Line]:
    """Yield what led there: what the node read, and the last changes of its store before."""
    given = entry.attributes.get(semconv.INPUT_VALUE)
    if isinstance(given, str):
        yield [("  prep had returned: ", "quiet"), (_shown(given), "")]
    for holder, line in _last_changes(entry, run):
        yield [(f"  {_name(holder)} had left: ", "quiet"), *line]


def _last_changes(entry: Entry, run: Run) -> list[tuple[Entry, Line]]:
    """Return the last changes of the store that stood when the entry ended, the last one last."""
    end = entry.start if entry.end is None else entry.end
    before = [each for each in walk(run.roots) if each.end is not None and each.end <= end]
    # What it changed itself stands under it in the tree.
    told = [each for each in before if each is not entry]
    holders = [each for each in told if semconv.SHARED_DIFF in each.attributes]
    last = sorted(holders, key=lambda each: each.end or 0)[-MAX_STATE:]
    found = [(holder, line) for holder in last for line in changes(holder)]
    return found[-MAX_STATE:]


# --- Words ----------------------------------------------------------------------------------


def _name(entry: Entry) -> str:
    return "".join(text for text, _ in heading(entry))


def _took(entry: Entry) -> int:
    return 0 if entry.end is None else entry.end - entry.start


def _shown(text: str) -> str:
    return shorten(printable(text), _MAX_SHOWN)

"""What a live view shows of a run that is growing: a bounded number of lines, the tree in small.

Pure. What runs comes first, the latest first, then what ended last, then what those changed. Each
stands under what it is in, so that parallel branches are side by side; all else is in the counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.usage import figures
from pocketflow_trace.text import duration, plural
from pocketflow_trace.views.growth import is_folded, shown_parent
from pocketflow_trace.views.lines import (
    changes,
    failure_text,
    heading,
    number,
    title,
    usage_pieces,
)
from pocketflow_trace.views.verbosity import Detail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketflow_trace.views.growth import Batch, Branch, Growth
    from pocketflow_trace.views.lines import Line

SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINNER_ASCII: Final = "|/-\\"

_A_SECOND: Final = 1_000_000_000
_TURNS: Final = 10
"""Steps of the spinner a second."""

_CHANGES: Final = Detail(changes=3)

_Levels: TypeAlias = "dict[int, list[Branch]]"


class Guides(NamedTuple):
    """The signs that draw a tree, all of one width."""

    branch: str
    last: str
    beside: str
    below: str = "   "


GUIDES: Final = Guides("├─ ", "└─ ", "│  ")
GUIDES_ASCII: Final = Guides("+- ", "`- ", "|  ")


def frame(growth: Growth, now: int, rows: int, *, ascii_only: bool = False) -> list[Line]:
    """Return the lines to show.

    Args:
        growth: What is known of the run.
        now: Unix time in nanoseconds.
        rows: How many lines there may be, at least one.
        ascii_only: Whether spinner and guides are ASCII.
    """
    chosen = _chosen(growth, rows - 1)
    under = _by_parent(chosen)
    room = rows - 1 - len(chosen)
    details = _details(chosen, room)
    sketch = _Sketch(under, details, now, ascii_only=ascii_only)
    return [*sketch.lines(), _footer(growth, now)]


def _chosen(growth: Growth, rows: int) -> dict[int, Branch]:
    """Return the branches to show, by identity, each with all that it is in."""
    chosen: dict[int, Branch] = {}
    for branch in _candidates(growth, rows):
        needed = [up for up in _way_up(branch) if id(up) not in chosen]
        if len(chosen) + len(needed) <= rows:
            chosen.update((id(each), each) for each in needed)
    return chosen


def _candidates(growth: Growth, rows: int) -> Iterator[Branch]:
    """Yield what may be shown, the most important first; no more than a view could hold."""
    # What runs may be attempts, which need no row.
    running = [branch for branch in growth.running(4 * rows) if not is_folded(branch)]
    yield from running
    # Something that has ended in an outer branch that has ended is told by that one.
    yield from (branch for branch in growth.recent() if _is_open(shown_parent(branch)))


def _is_open(branch: Branch | None) -> bool:
    return branch is not None and not branch.has_ended


def _way_up(branch: Branch) -> Iterator[Branch]:
    current: Branch | None = branch
    while current is not None:
        yield current
        current = shown_parent(current)


def _by_parent(chosen: dict[int, Branch]) -> _Levels:
    """Return the branches by the identity of what they stand under, as they began; 0 for none."""
    under: _Levels = {}
    for branch in sorted(chosen.values(), key=lambda branch: branch.order):
        parent = shown_parent(branch)
        under.setdefault(0 if parent is None else id(parent), []).append(branch)
    return under


def _details(chosen: dict[int, Branch], room: int) -> dict[int, list[Line]]:
    """Return the changes of what has ended, as far as there is room, the latest first."""
    ended = [branch for branch in chosen.values() if branch.has_ended]
    details: dict[int, list[Line]] = {}
    for branch in sorted(ended, key=lambda branch: branch.span.end_time or 0, reverse=True):
        lines = changes(branch.entry(), _CHANGES)
        if lines and len(lines) <= room:
            details[id(branch)] = lines
            room -= len(lines)
    return details


class _Sketch:
    """The tree of what was chosen, on its way to lines."""

    def __init__(
        self, under: _Levels, details: dict[int, list[Line]], now: int, *, ascii_only: bool
    ) -> None:
        self._under = under
        self._details = details
        self._now = now
        self._guides = GUIDES_ASCII if ascii_only else GUIDES
        signs = SPINNER_ASCII if ascii_only else SPINNER
        self._spinner = signs[now * _TURNS // _A_SECOND % len(signs)]

    def lines(self) -> list[Line]:
        """Return the lines, by way of a list and not of calls: flows may nest deeply."""
        lines: list[Line] = []
        pending = [(root, "", "") for root in reversed(self._under.get(0, []))]
        while pending:
            branch, first, rest = pending.pop()
            inner = self._under.get(id(branch), [])
            lines.append([(first, "quiet"), *self._title(branch, is_leaf=not inner)])
            below = rest + (self._guides.beside if inner else self._guides.below)
            lines += [[(below, "quiet"), *line] for line in self._details.get(id(branch), [])]
            pending += reversed(list(self._placed(inner, rest)))
        return lines

    def _placed(self, inner: Sequence[Branch], rest: str) -> Iterator[tuple[Branch, str, str]]:
        for branch in inner:
            is_last = branch is inner[-1]
            first = self._guides.last if is_last else self._guides.branch
            below = self._guides.below if is_last else self._guides.beside
            yield branch, rest + first, rest + below

    def _title(self, branch: Branch, *, is_leaf: bool) -> Line:
        if branch.has_ended:
            return title(branch.entry())
        spinner = [(f"{self._spinner} ", "route")] if is_leaf else []
        return [*spinner, *running_title(branch, self._now)]


def running_title(branch: Branch, now: int) -> Line:
    """Return what there is to say of something that runs: how long, how far, what of it failed."""
    entry = branch.entry()
    iteration = number(entry, semconv.NODE_ITERATION)
    line: Line = [
        *heading(entry),
        (f"  {elapsed(now - entry.start)}", "quiet"),
        (f", iteration {iteration}" if iteration > 1 else "", "quiet"),
        *_attempt(branch, number(entry, semconv.NODE_MAX_RETRIES), now),
        *(_progress(branch.batch, now) if branch.batch else []),
        (f", {branch.runs:,} done" if branch.runs else "", "quiet"),
        *(usage_pieces(branch.used) if branch.used else []),
    ]
    return [(text, style) for text, style in line if text]


def _attempt(branch: Branch, allowed: int, now: int) -> Line:
    """Return `attempt 2/3 failed: RateLimitError, next in 60 s`, or just that it is the second."""
    if branch.attempt is None:
        return []
    entry = branch.attempt.entry()
    words = "".join(text for text, _ in heading(entry, allowed))
    if not entry.failures:
        later = number(entry, semconv.ATTEMPT_NUMBER) > 1
        return [(f", {words}", "warn")] if later else []
    return [(f", {words} failed: {failure_text(entry)}", "bad"), (_wait(branch.attempt, now), "")]


def _wait(attempt: Branch, now: int) -> str:
    """Return how long it will be until the next attempt."""
    wait = (attempt.span.attributes or {}).get(semconv.ATTEMPT_WAIT)
    if attempt.has_ended or not isinstance(wait, int | float) or not attempt.span.events:
        return ""
    left = attempt.span.events[-1].timestamp + int(wait * _A_SECOND) - now
    return f", next in {max(left, 0) / _A_SECOND:.0f} s"


def _progress(batch: Batch, now: int) -> Line:
    """Return `34/200, 2 failed, 1 retried, 2.7/s, 1 min 02 s left`."""
    size = f"/{batch.size:,}" if batch.size else ""
    parts = [f"{batch.done:,}{size}"]
    for count, what in ((batch.failed, "failed"), (batch.retried, "retried")):
        parts += [f"{count:,} {what}"] if count else []
    return [(f", {', '.join([*parts, *_pace(batch, now)])}", "bad" if batch.failed else "")]


def _pace(batch: Batch, now: int) -> list[str]:
    seconds = (now - batch.since) / _A_SECOND
    if not batch.done or seconds <= 0:
        return []
    rate = batch.done / seconds
    left = max(batch.size - batch.done, 0) / rate
    return [_rate(rate), *([f"{elapsed(int(left * _A_SECOND))} left"] if left else [])]


def _rate(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def elapsed(nanos: int) -> str:
    """Return a time that still grows: tenths of a second, not digits that flicker."""
    seconds = max(nanos, 0) / _A_SECOND
    return f"{seconds:.1f} s" if seconds < 59.95 else duration(nanos)  # noqa: PLR2004 - a minute


def _footer(growth: Growth, now: int) -> Line:
    """Return `5 node runs in 12.4 s, 1 error, 2 retries - 3 calls, 1,521 tokens - $0.0042`."""
    counts, used = growth.counts, growth.used()
    took = elapsed(now - (growth.started or 0))
    line: Line = [(f"{plural(counts.nodes, 'node run')} in {took}", "name")]
    if counts.errors:
        line.append((f", {plural(counts.errors, 'error')}", "bad"))
    if counts.retries:
        line.append((f", {plural(counts.retries, 'retry', 'retries')}", "warn"))
    return line if used is None else [*line, (f" - {' - '.join(figures(used))}", "quiet")]

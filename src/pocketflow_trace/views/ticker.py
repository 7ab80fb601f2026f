"""Plain lines as things happen, for where nothing can be drawn: a pipe, a file, a CI log.

Each line is whole, is written by one `write`, and has no control codes: the time since the start,
what the thing is inside of, and what the tree will say of it. What ended well in a batch is only
counted; what takes long is told of while it runs, after 10 seconds, 20, 40 and so on.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.text import encodable, shorten
from pocketflow_trace.views.feed import Feed
from pocketflow_trace.views.frame import running_title
from pocketflow_trace.views.growth import Growth, shown_parent
from pocketflow_trace.views.lines import details, heading, is_cancelled, is_failed, number, title
from pocketflow_trace.views.verbosity import VERBOSE
from pocketflow_trace.views.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pocketflow_trace.record.model import Entry
    from pocketflow_trace.views.growth import Branch
    from pocketflow_trace.views.lines import Line
    from pocketflow_trace.views.verbosity import Verbosity

MAX_LINE: Final = 500
"""Characters of a line; verbose lines may be twice as long."""

MAX_LEVELS: Final = 8
"""Names in front of a line that say what it is inside of."""

PATIENCE: Final = 10
"""Seconds after which something that runs is told of for the first time."""

_WATCHED: Final = 1_000
"""Entries that are told of while they run, at most."""

_A_SECOND: Final = 1_000_000_000


class Ticker:
    """Writes lines to a file descriptor as a feed tells of spans."""

    def __init__(self, file: int, verbosity: Verbosity, encoding: str) -> None:
        """Writes nothing before the first span.

        Args:
            file: File descriptor to write to.
            verbosity: `minimal` tells of errors alone; `verbose` of starts, items and model calls.
            encoding: That of the file.
        """
        self._file = file
        self._script = Script(verbosity)
        self._encoding = encoding
        self._thread = Worker(self._step, self._step)
        # A traceback that comes next must not be interrupted by what there is to tell.
        self.feed = Feed(self._thread.start, on_failure=self._thread.hurry)

    def close(self) -> None:
        """Write what is left."""
        self._thread.close()

    def _step(self) -> None:
        for text in self._script.lines(self.feed, time.time_ns()):
            line = encodable(text, self._encoding) + "\n"
            os.write(self._file, line.encode(self._encoding, "backslashreplace"))


class Script:
    """What there is to write, without the writing."""

    def __init__(self, verbosity: Verbosity) -> None:
        self._verbosity = verbosity
        self._growth = Growth()
        self._told: dict[Branch, int] = {}

    def lines(self, feed: Feed, now: int) -> Iterator[str]:
        """Yield the lines for what a feed has to tell.

        Args:
            feed: It is emptied.
            now: Unix time in nanoseconds.
        """
        for branch, has_ended in self._growth.take(feed.take()):
            yield from self._end(branch) if has_ended else self._start(branch)
        if self._verbosity != "minimal":
            yield from self._patience(now)

    def _start(self, branch: Branch) -> Iterator[str]:
        if len(self._told) < _WATCHED and branch.kind in {"flow", "node"}:
            self._told[branch] = PATIENCE
        if self._verbosity == "verbose" and branch.kind in {"flow", "node"}:
            line: Line = [*heading(branch.entry()), (" started", "")]
            yield self._line(branch, branch.start, line)

    def _end(self, branch: Branch) -> Iterator[str]:
        entry = branch.entry()
        self._told.pop(branch, None)
        if not self._is_told(entry):
            return
        allowed = _attempts_allowed(branch) if entry.kind == "attempt" else 0
        yield self._line(branch, entry.end or 0, title(entry, allowed))
        if self._verbosity == "verbose":
            for detail in details(entry, VERBOSE):
                yield self._line(branch, entry.end or 0, [("    ", ""), *detail])

    def _is_told(self, entry: Entry) -> bool:
        bad = is_failed(entry) or is_cancelled(entry)
        match self._verbosity:
            case "verbose":
                return entry.kind != "attempt" or bad
            case "minimal":
                return bad and bool(entry.failures) and entry.kind != "other"
            case _:
                many = entry.kind == "item" and number(entry, semconv.NODE_ATTEMPTS) <= 1
                return bad or (entry.kind in {"flow", "node", "item"} and not many)

    def _patience(self, now: int) -> Iterator[str]:
        for branch, seconds in list(self._told.items()):
            if now - branch.start >= seconds * _A_SECOND:
                self._told[branch] = 2 * seconds
                line = running_title(branch, now)
                yield self._line(branch, now, [("still running: ", ""), *line])

    def _line(self, branch: Branch, moment: int, line: Line) -> str:
        """Return `  1.24 s  Agent / Search / attempt 1/3  90 ms failed: ...`."""
        since = max(moment - (self._growth.started or 0), 0) / _A_SECOND
        text = "".join(text for text, _ in line)
        limit = MAX_LINE * (2 if self._verbosity == "verbose" else 1)
        return shorten(f"{since:7.2f} s  {_place(branch)}{text}", limit)


def _attempts_allowed(attempt: Branch) -> int:
    return 0 if attempt.parent is None else attempt.parent.number(semconv.NODE_MAX_RETRIES)


def _place(branch: Branch) -> str:
    """Return the names of what a branch is in, the outermost first: `Agent / Search / `."""
    names: list[str] = []
    parent = shown_parent(branch)
    while parent is not None and len(names) < MAX_LEVELS:
        names.append("".join(text for text, _ in heading(parent.entry())).removeprefix("flow "))
        parent = shown_parent(parent)
    if parent is not None:
        names.append("…")
    return "".join(f"{name} / " for name in reversed(names))

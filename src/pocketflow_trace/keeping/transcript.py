"""Decides which of a run's events become lines of its file, so that the file stays small enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pocketflow_trace.keeping.runfile import end_line, key_of, start_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from pocketflow_trace.record.model import Entry

    _Write: TypeAlias = Callable[[Entry, str | None], str]

MAX_BYTES: Final = 64_000_000
"""Of one file by default, about 20,000 spans with all their content; later spans are counted."""

MAX_LATE_BYTES: Final = 16_000_000
"""Beyond the limit by default, for the ends of spans that have a start there, and for errors."""


@dataclass(frozen=True, slots=True)
class Event:
    """A span's start or end.

    Attributes:
        entry: The span as it was then; one that has ended has an end.
        parent: Its parent's key, or None for a root.
    """

    entry: Entry
    parent: str | None


class Transcript:
    """The lines of one file; used by one thread.

    A span that was counted as dropped and then fails is written after all, under its parent or what
    else of its trace is running, as long as there is room for such.
    """

    def __init__(self, limit: int = MAX_BYTES, late_limit: int = MAX_LATE_BYTES) -> None:
        """Starts empty.

        Args:
            limit: Bytes after which no further span is begun.
            late_limit: Bytes beyond that for ends and errors.
        """
        self._limit = limit
        self._late_limit = limit + late_limit
        self._size = 0
        self._running: dict[str, None] = {}
        self._left_out: set[str] = set()
        self.dropped = 0
        """Spans that are not in the file."""

    def lines(self, events: Iterable[Event]) -> bytes:
        """Return the lines of these events, in order, without those that are left out."""
        return b"".join(map(self._line, events))

    def _line(self, event: Event) -> bytes:
        key = key_of(event.entry)
        if event.entry.end is None:
            if key in self._running:  # more is known of it by now
                return self._written(start_line, event, self._late_limit)
            return self._start(key, event)
        if key in self._running:
            del self._running[key]
            return self._written(end_line, event, self._late_limit)
        return self._end_alone(key, event)

    def _start(self, key: str, event: Event) -> bytes:
        line = self._written(start_line, event, self._limit)
        if line:
            self._running[key] = None
        else:
            self._left_out.add(key)
            self.dropped += 1
        return line

    def _end_alone(self, key: str, event: Event) -> bytes:
        """Return the line of a span that has no start in the file."""
        failed = event.entry.status == "error"
        placed = Event(event.entry, self._above(event))
        line = self._written(end_line, placed, self._late_limit if failed else self._limit)
        was_counted = key in self._left_out
        self._left_out.discard(key)
        self.dropped += (not line) - was_counted
        return line

    def _above(self, event: Event) -> str | None:
        """Return the parent, or what else of the trace is in the file if the parent is not."""
        if event.parent is None or event.parent in self._running:
            return event.parent
        trace = f"{event.entry.trace_id}-"
        return next((key for key in self._running if key.startswith(trace)), event.parent)

    def _written(self, write: _Write, event: Event, limit: int) -> bytes:
        """Return a line; empty where it has no room, or JSON cannot express it."""
        if self._size >= limit:
            return b""
        try:
            line = write(event.entry, event.parent).encode("ascii")
        except (TypeError, ValueError):
            # A number of thousands of digits, or a name that is no text: the SDK lets them pass.
            return b""
        self._size += len(line)
        return line

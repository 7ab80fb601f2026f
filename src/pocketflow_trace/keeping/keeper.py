"""Keeps a run as a file that is written while the program runs."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from opentelemetry.instrumentation.pocketflow.guard import guarded
from pocketflow_trace.keeping.draft import Draft
from pocketflow_trace.keeping.pruning import LIMITS, prune
from pocketflow_trace.keeping.shelf import Shelf
from pocketflow_trace.keeping.spool import Spool
from pocketflow_trace.keeping.transcript import Event, Transcript
from pocketflow_trace.record.belonging import Inside, SpanKey, key_text, span_key
from pocketflow_trace.record.entries import entry_of, is_ours, plain_attributes
from pocketflow_trace.record.model import About
from pocketflow_trace.resource import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from pocketflow_trace.keeping.draft import Destination


_MADE_UP: Final = "unknown_service"
"""What the SDK calls a program that has not said its name."""


def destination_of(file: str, environ: Mapping[str, str]) -> Destination:
    """Return where a run goes, whatever the program does to its working directory later.

    Args:
        file: The path of a file; empty for the folder of kept runs.
        environ: Environment variables.

    Raises:
        ShelfError: There is no place for the folder.
        OSError: There is no working directory, and the path is relative.
    """
    return Path(file).absolute() if file else Shelf(Shelf.of(environ).directory.absolute())


class RunKeeper(SpanProcessor):
    """Writes PocketFlow's spans, and whatever runs inside them, to a file; safe in any thread.

    The file appears with the first such span. In the program's thread nothing happens but that a
    span is put into a queue. A forked process inherits the keeper and leaves it alone.
    """

    def __init__(self, destination: Destination, transcript: Transcript | None = None) -> None:
        """Touches no disk yet.

        Args:
            destination: The shelf for a new file, or the very file.
            transcript: What makes lines of events; None for one with the usual limits.
        """
        self._destination = destination
        self._transcript = transcript or Transcript()
        self._inside = Inside()
        self._spool: Spool | None = None
        self._begun: dict[SpanKey, Span] = {}
        """Outermost spans that nothing has started in yet."""
        self._is_closed = False
        self._started = time.time_ns()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @guarded(None)
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note a span that began."""
        del parent_context
        if self._is_mine() and self._inside.belongs(span):
            spool = self._spool or self._open(span.resource)
            if spool is not None:
                self._tell_again(spool, span)
                if spool.put(event_of(span)):
                    self._inside.begin(span)
                else:
                    spool.miss(1)

    def _tell_again(self, spool: Spool, span: Span) -> None:
        """Write the start of an outermost span anew when something starts in it.

        Only then does it have the shared store at its beginning and the graph of its flow, which a
        program that is killed would not get to tell.
        """
        above = span_key(span.parent)
        if above is None:
            if key := span_key(span.get_span_context()):
                self._begun[key] = span
        elif (begun := self._begun.pop(above, None)) is not None:
            spool.put(event_of(begun))

    @guarded(None)
    def on_end(self, span: ReadableSpan) -> None:
        """Note a span that ended; one that was not noted before only if it failed."""
        spool = self._spool
        if spool is None or not self._is_mine():
            return
        if key := span_key(span.get_span_context()):
            self._begun.pop(key, None)
        if self._inside.end(span):
            spool.put(event_of(span))
        elif is_ours(span) and span.status.status_code is StatusCode.ERROR:
            spool.miss(-spool.put(event_of(span)))

    def shutdown(self) -> None:
        """Go on: a provider may shut down before the program ends, and another take its place."""

    def end(self) -> None:
        """Begin to finish the file, without waiting; later spans are ignored."""
        if self._is_mine():
            self._is_closed = True
            if self._spool is not None:
                self._spool.end()

    def close(self) -> None:
        """Finish the file; takes two seconds at most, counted from `end`."""
        self.end()
        if self._spool is not None and os.getpid() == self._pid:
            self._spool.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all spans so far are in the file.

        Returns:
            False if that took longer than `timeout_millis`.
        """
        spool = self._spool
        return spool is None or not self._is_mine() or spool.flush(timeout_millis / 1000)

    def kept_as(self) -> str:
        """Return the run's id, once it is kept in a shelf; empty where it is not."""
        path = None if self._spool is None or self._spool.complaint() else self._spool.path
        is_shelved = isinstance(self._destination, Shelf) and path is not None
        return path.stem if is_shelved and path is not None else ""

    def complaint(self) -> str:
        """Return one line about a run that could not be kept; empty where it was."""
        return "" if self._spool is None else self._spool.complaint()

    def _is_mine(self) -> bool:
        return not self._is_closed and os.getpid() == self._pid

    def _open(self, resource: Resource) -> Spool | None:
        with self._lock:
            if self._spool is None and not self._is_closed:
                self._spool = open_spool(
                    self._destination, resource, self._started, self._transcript
                )
                self._is_closed = self._spool is None
            return self._spool


def open_spool(
    destination: Destination, resource: Resource, started: int, transcript: Transcript
) -> Spool | None:
    """Start to write a run; None where the interpreter is about to end.

    Args:
        destination: The shelf, which is pruned, or the very file.
        resource: Resource of the spans.
        started: Unix time in nanoseconds at which tracing began.
        transcript: What makes lines of events.
    """
    facts = plain_attributes(redacted(resource).attributes)
    about = About(program=_program(facts), started=started, resource=facts)
    on_idle = partial(prune, destination, LIMITS) if isinstance(destination, Shelf) else None
    try:
        return Spool(Draft(destination, about), transcript, on_idle)
    except RuntimeError:
        return None


def _program(facts: Mapping[str, object]) -> str:
    """Return the service's name; where the SDK made it up, that of the script."""
    name = str(facts.get(SERVICE_NAME, ""))
    script = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return script if script and name.startswith(_MADE_UP) else name


def event_of(span: ReadableSpan) -> Event:
    """Return a span as it is now as an event of its run."""
    return Event(entry_of(span), key_text(span_key(span.parent)))

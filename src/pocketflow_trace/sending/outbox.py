"""Sends ended spans to an OTLP collector, without ever holding up the program for long.

The SDK's `BatchSpanProcessor` cannot be used here: its shutdown waits up to 30 seconds for an
export that hangs, it drops spans when its queue is full, and it does not tell which spans were
lost. Here the wait has an end, and what no collector took goes to a local file: also what comes
faster than the collector takes it, so that memory has an end, too.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

from opentelemetry.instrumentation.pocketflow.guard import guarded
from pocketflow_trace.sending.weight import MOST_BYTES, count_that_fits, weight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from pocketflow_trace.sending.undelivered import UndeliveredFile
    from pocketflow_trace.sending.witness import Witness

BATCH: Final = 512
"""Spans in one export at most."""

MOST_WAITING: Final = 16_384
"""Spans that wait at most, in about 100 MB; then they go to the file."""

INTERVAL: Final = 5.0
"""Seconds that a span waits for others at most."""

PAUSE: Final = 30.0
"""Seconds without an attempt after a failed one; spans go to the file meanwhile."""

EXIT_WAIT: Final = 1.8
"""Seconds that the program's exit waits for exports at most; with what is written then, about 2."""

_NO_ANSWER: Final = "no answer in time"
_TOO_SLOW: Final = "it takes them too slowly"


class Outbox(SpanProcessor):
    """Collects ended spans and exports them from a thread of its own.

    The thread starts with the first span: a program that runs no flow stays without it. A forked
    process inherits no thread and sends nothing; its spans are not its parent's to report.
    """

    def __init__(
        self, exporter: SpanExporter, undelivered: UndeliveredFile, witness: Witness
    ) -> None:
        """Starts empty, without a thread.

        Args:
            exporter: What sends the spans.
            undelivered: Where they go if it fails.
            witness: What finds out why it failed.
        """
        self._exporter = exporter
        self._send = guarded(default=False)(self._export)
        self._undelivered = undelivered
        self._witness = witness
        # What follows is shared with the thread and changes under the condition's lock.
        self._changed = threading.Condition()
        self._pending: list[ReadableSpan] = []
        self._in_flight: Sequence[ReadableSpan] = ()
        self._writing = 0
        self._relief: threading.Thread | None = None
        self._hurry = False
        self._closing = False
        self._abandoned = False
        self._thread: threading.Thread | None = None
        self._silent_until = 0.0
        self._pid = os.getpid()
        self.reason = ""
        """Why spans were not delivered; of several reasons the last."""
        self.rejected = 0
        """Spans that were delivered, and that the collector says it did not accept."""

    @guarded(None)
    def on_end(self, span: ReadableSpan) -> None:
        """Take a span for the next export."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled or os.getpid() != self._pid:
            return
        with self._changed:
            if self._closing:
                return
            self._pending.append(span)
            self._thread = self._thread or _start(self._work)
            if len(self._pending) >= BATCH:
                self._changed.notify_all()
            if len(self._pending) >= MOST_WAITING and self._relief is None:
                self._relief = _start(self._relieve)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all spans so far are sent or in the file.

        Returns:
            False if that took longer than `timeout_millis`.
        """
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(self._is_empty, timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what is left, for `EXIT_WAIT` seconds at most, and write the rest to the file."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            self._closing = self._hurry = True
            self._changed.notify_all()
        try:
            if self._thread is not None:
                self._thread.join(EXIT_WAIT)
        finally:
            # Also when Ctrl-C ends the wait.
            self._abandon()

    def _abandon(self) -> None:
        """Write to the file what the thread has not finished.

        An export that still runs may succeed later, so that its spans exist twice; better than
        not at all.
        """
        with self._changed:
            if self._abandoned:
                return
            self._abandoned = True
            left = [*self._in_flight, *self._pending]
            self._in_flight = ()
            self._pending.clear()
            # A thread that is about to write is not to be cut off by the end of the process.
            self._changed.wait_for(lambda: not self._writing, EXIT_WAIT)
        if left:
            self._undelivered.write(left)
        if left and not self._is_silent():
            self._witness.note(_NO_ANSWER)
            self.reason = _NO_ANSWER
        self._exporter.shutdown()

    def _is_empty(self) -> bool:
        return not self._pending and not self._in_flight and not self._writing

    # --- In the threads -------------------------------------------------------------------

    def _work(self) -> None:
        self._witness.listen()
        try:
            # Instrumented HTTP libraries must not trace the exporter's own requests.
            with suppress_instrumentation():
                while batch := self._next_batch():
                    self._finish(batch, delivered=self._deliver(batch))
        finally:
            self._witness.stop()

    def _finish(self, batch: Sequence[ReadableSpan], *, delivered: bool) -> None:
        """Let go of a batch, unless that was done meanwhile because the program has ended."""
        with self._changed:
            if self._abandoned:
                return
            self._in_flight = ()
            self._writing += not delivered
            self._changed.notify_all()
        if not delivered:
            self._put_aside(batch)

    def _relieve(self) -> None:
        """Write what waits to the file: the program makes spans faster than they are taken."""
        with self._changed:
            waiting = self._pending[:]
            self._pending.clear()
            self._writing += 1
        self.reason = _TOO_SLOW
        self._put_aside(waiting)
        with self._changed:
            self._relief = None

    def _put_aside(self, spans: Sequence[ReadableSpan]) -> None:
        """Write spans to the file; `_writing` counts this already."""
        try:
            self._undelivered.write(spans)
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    def _next_batch(self) -> Sequence[ReadableSpan]:
        """Wait for spans and take them; nothing once the outbox is closed and empty."""
        with self._changed:
            while not self._pending and not self._closing:
                self._changed.wait()
            self._changed.wait_for(self._is_due, INTERVAL)
            self._in_flight = self._pending[:BATCH]
            del self._pending[:BATCH]
            self._hurry = self._closing or (self._hurry and bool(self._pending))
        return self._trimmed(self._in_flight)

    def _trimmed(self, batch: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        """Put back what would make the request too large."""
        # Not under the lock, for which a program that ends a span would have to wait.
        count = count_that_fits(batch)
        with self._changed:
            if count < len(batch) and not self._abandoned:
                self._in_flight, self._pending[:0] = batch[:count], batch[count:]
            return self._in_flight

    def _is_silent(self) -> bool:
        return time.monotonic() < self._silent_until

    def _is_due(self) -> bool:
        return self._hurry or len(self._pending) >= BATCH

    def _deliver(self, batch: Sequence[ReadableSpan]) -> bool:
        if self._is_silent():
            return False
        self._witness.forget()
        if self._send(batch):
            self.rejected += min(max(self._witness.rejected, 0), len(batch))
            return True
        self.reason = self._witness.reason or _NO_ANSWER
        # What is too large says nothing of what follows.
        if sum(map(weight, batch)) <= MOST_BYTES:
            self._silent_until = time.monotonic() + PAUSE
        return False

    def _export(self, batch: Sequence[ReadableSpan]) -> bool:
        try:
            return self._exporter.export(batch) is SpanExportResult.SUCCESS
        except OSError as exc:
            # The errors of `requests` are of this kind, and older exporters let them pass.
            self._witness.note(exc)
            return False


def _start(work: Callable[[], None]) -> threading.Thread | None:
    """Start the thread; None where the interpreter is about to end and allows no new one."""
    # Without the thread, all spans are written to the file in the end.
    safe = guarded(None)(work)
    thread = threading.Thread(target=safe, name="pocketflow-trace-export", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread

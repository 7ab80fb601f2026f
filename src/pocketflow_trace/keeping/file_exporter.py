"""The exporter that the SDK loads by the name `pocketflow_file`."""

from __future__ import annotations

import collections
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pocketflow_trace.keeping.keeper import event_of, open_spool
from pocketflow_trace.keeping.shelf import Shelf
from pocketflow_trace.keeping.transcript import Transcript
from pocketflow_trace.record.belonging import span_key
from pocketflow_trace.record.entries import is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

    from pocketflow_trace.keeping.spool import Spool
    from pocketflow_trace.record.belonging import SpanKey

MAX_WAITING: Final = 10_000
"""Spans of other instrumentations that are held back until it is known what they ran in."""

_logger = logging.getLogger(__name__)


class PocketFlowFileExporter(SpanExporter):
    """Keeps runs of programs that are traced without code.

    Use it with ``OTEL_TRACES_EXPORTER=pocketflow_file``. An exporter gets spans when they have
    ended, in batches: what a killed program was doing, and its last seconds, are not in the file.
    `pocketflow-trace run` and `attach` keep these, too.
    """

    def __init__(self) -> None:
        """Touches no disk yet.

        Raises:
            ShelfError: There is no place for the file.
        """
        self._shelf = Shelf(Shelf.of(os.environ).directory.absolute())
        self._sieve = _Sieve()
        self._spool: Spool | None = None
        self._started = time.time_ns()
        self._is_closed = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write PocketFlow's spans, and those inside them."""
        if os.getpid() != self._pid:
            return SpanExportResult.SUCCESS
        with self._lock:
            for span in spans:
                for each in self._sieve.take(span):
                    self._write(each)
        failed = self._is_closed or (self._spool is not None and self._spool.complaint())
        return SpanExportResult.FAILURE if failed else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all is written; False if that took longer than `timeout_millis`."""
        return (
            self._spool is None
            or os.getpid() != self._pid
            or self._spool.flush(timeout_millis / 1000)
        )

    def shutdown(self) -> None:
        """Finish the file; takes two seconds at most."""
        if self._is_closed or os.getpid() != self._pid:
            return
        self._is_closed = True
        if self._spool is not None:
            self._spool.close()
            if complaint := self._spool.complaint():
                _logger.warning("pocketflow-trace: %s", complaint)

    def _write(self, span: ReadableSpan) -> None:
        if self._spool is None and not self._is_closed:
            self._spool = self._open(span.resource)
        if self._spool is not None and not self._spool.put(event_of(span)):
            self._spool.miss(1)

    def _open(self, resource: Resource) -> Spool | None:
        return open_spool(self._shelf, resource, self._started, Transcript())


class _Sieve:
    """Lets PocketFlow's spans through, and those inside them.

    Spans end before what they are inside of, so others wait until that is known.
    """

    def __init__(self) -> None:
        self._known: collections.OrderedDict[SpanKey, None] = collections.OrderedDict()
        self._waiting: collections.OrderedDict[SpanKey, list[ReadableSpan]] = (
            collections.OrderedDict()
        )
        self._count = 0

    def take(self, span: ReadableSpan) -> Iterator[ReadableSpan]:
        """Yield what is known to belong, now that this span has ended."""
        parent = span_key(span.parent)
        if is_ours(span) or parent in self._known:
            yield from self._release(span)
        elif parent is not None:
            self._waiting.setdefault(parent, []).append(span)
            self._count += 1
            self._forget()

    def _release(self, span: ReadableSpan) -> Iterator[ReadableSpan]:
        pending = [span]
        while pending:
            each = pending.pop()
            yield each
            if key := span_key(each.get_span_context()):
                self._known[key] = None
                freed = self._waiting.pop(key, [])
                self._count -= len(freed)
                pending += freed
        while len(self._known) > MAX_WAITING:
            self._known.popitem(last=False)

    def _forget(self) -> None:
        while self._count > MAX_WAITING:
            _, spans = self._waiting.popitem(last=False)
            self._count -= len(spans)

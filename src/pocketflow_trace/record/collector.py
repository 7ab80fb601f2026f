"""Collects spans, as they start and end, into a `Run`."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from opentelemetry.instrumentation.pocketflow.guard import guarded
from pocketflow_trace.record.entries import entry_of, is_ours
from pocketflow_trace.record.model import Run, grow

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import SpanContext

MAX_SPANS: Final = 10_000
"""Spans kept by default. A span with all its content has about 6 KB."""

MAX_LATE_ERRORS: Final = 1_000
"""Failed spans kept beyond the limit by default, so that errors do not vanish with the rest."""

_Key: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class _Kept:
    span: ReadableSpan
    parent: _Key | None


class RunCollector(SpanProcessor):
    """Keeps PocketFlow's spans and whatever runs inside them; safe to call from any thread.

    Spans outside of every flow and node are ignored: they are the program's own business. A forked
    process inherits the collector and leaves it alone, since only the first process reports.
    """

    def __init__(self, limit: int = MAX_SPANS, error_limit: int = MAX_LATE_ERRORS) -> None:
        """Starts empty.

        Args:
            limit: Spans to keep at most. The first ones are kept, later ones counted.
            error_limit: Failed spans to keep at most beyond the limit.
        """
        self._limit = limit
        self._error_limit = error_limit
        self._kept: dict[_Key, _Kept] = {}
        self._first_of_trace: dict[int, _Key] = {}
        self._dropped = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @guarded(None)
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note a span that began."""
        del parent_context
        key, parent = _key(span.get_span_context()), _key(span.parent)
        if key is None or os.getpid() != self._pid:
            return
        with self._lock:
            if not (is_ours(span) or parent in self._kept):
                return
            if len(self._kept) < self._limit:
                self._kept[key] = _Kept(span, parent)
                self._first_of_trace.setdefault(key[0], key)
            else:
                self._dropped += 1

    @guarded(None)
    def on_end(self, span: ReadableSpan) -> None:
        """Note a span that ended."""
        key = _key(span.get_span_context())
        if key is None or os.getpid() != self._pid:
            return
        with self._lock:
            if key in self._kept:
                self._kept[key].span = span
            elif self._is_late_error(span):
                self._dropped = max(self._dropped - 1, 0)
                self._kept[key] = _Kept(span, _key(span.parent))

    def shutdown(self) -> None:
        """Keep everything: a provider may shut down before the run is shown."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: there is nothing to wait for."""
        del timeout_millis
        return True

    def snapshot(self) -> Run:
        """Return what is known now; spans that still run have no end."""
        with self._lock:
            kept = dict(self._kept)
            dropped = self._dropped
            parents = {key: self._parent(key, item) for key, item in kept.items()}
        entries = {_text(key): entry_of(item.span) for key, item in kept.items()}
        up = {_text(key): None if to is None else _text(to) for key, to in parents.items()}
        return Run(roots=grow(entries, up), dropped=dropped)

    def _is_late_error(self, span: ReadableSpan) -> bool:
        """Tell whether the span failed, was counted as dropped, and still fits."""
        return (
            is_ours(span)
            and span.status.status_code is StatusCode.ERROR
            and self._limit <= len(self._kept) < self._limit + self._error_limit
        )

    def _parent(self, key: _Key, item: _Kept) -> _Key | None:
        """Return the kept parent; for a late error whose parent was dropped, its trace's root."""
        if item.parent is None or item.parent in self._kept:
            return item.parent
        root = self._first_of_trace.get(key[0], key)
        return None if root == key or self._kept[root].parent in self._kept else root


def _key(context: SpanContext | None) -> _Key | None:
    return None if context is None else (context.trace_id, context.span_id)


def _text(key: _Key) -> str:
    return f"{format_trace_id(key[0])}-{format_span_id(key[1])}"

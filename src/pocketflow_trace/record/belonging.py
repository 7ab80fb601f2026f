"""Tells PocketFlow's spans, and those that run inside them, from the program's others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry.trace import format_span_id, format_trace_id

from pocketflow_trace.record.entries import is_ours

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

REMEMBERED: Final = 10_000
"""Ended spans that are remembered at least, for those that start inside them later."""

SpanKey: TypeAlias = tuple[int, int]
"""Trace id and span id."""


class Inside:
    """Follows spans from their starts to their ends, in bounded memory however long that goes on.

    Without a lock, because a signal's handler may run a flow anywhere in here: each step is one
    operation on a set.
    """

    def __init__(self) -> None:
        self._running: set[SpanKey] = set()
        self._ended: set[SpanKey] = set()
        self._ended_before: set[SpanKey] = set()

    def belongs(self, span: ReadableSpan) -> bool:
        """Tell whether the span is one of PocketFlow's, or began inside one that belongs."""
        if is_ours(span):
            return True
        parent = span_key(span.parent)
        known = (self._running, self._ended, self._ended_before)
        return parent is not None and any(parent in keys for keys in known)

    def begin(self, span: ReadableSpan) -> None:
        """Note a span that belongs."""
        if key := span_key(span.get_span_context()):
            self._running.add(key)

    def end(self, span: ReadableSpan) -> bool:
        """Note that a span ended; False where its beginning was not noted."""
        key = span_key(span.get_span_context())
        if key is None or key not in self._running:
            return False
        self._ended.add(key)
        self._running.discard(key)
        if len(self._ended) > REMEMBERED:
            self._ended_before, self._ended = self._ended, set()
        return True


def span_key(context: SpanContext | None) -> SpanKey | None:
    """Return what tells a span from others, or None for no span."""
    return None if context is None else (context.trace_id, context.span_id)


def key_text(key: SpanKey | None) -> str | None:
    """Return a key as files have it."""
    return None if key is None else f"{format_trace_id(key[0])}-{format_span_id(key[1])}"

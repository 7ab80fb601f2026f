"""Collects spans, as they start and end, into a `Run`."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.model import Entry, Failure, Kind, Run, Scalar, Status, Value, assemble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Event, ReadableSpan, Span
    from opentelemetry.trace import SpanContext

MAX_SPANS: Final = 10_000
"""Spans kept by default. A span with all its content has about 6 KB."""

MAX_LATE_ERRORS: Final = 1_000
"""Failed spans kept beyond the limit by default, so that errors do not vanish with the rest."""

_Key: TypeAlias = tuple[int, int]

_STATUS: Final[dict[StatusCode, Status]] = {
    StatusCode.UNSET: "unset",
    StatusCode.OK: "ok",
    StatusCode.ERROR: "error",
}


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

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note a span that began."""
        del parent_context
        key, parent = _key(span.get_span_context()), _key(span.parent)
        if key is None or os.getpid() != self._pid:
            return
        with self._lock:
            if not (_is_ours(span) or parent in self._kept):
                return
            if len(self._kept) < self._limit:
                self._kept[key] = _Kept(span, parent)
                self._first_of_trace.setdefault(key[0], key)
            else:
                self._dropped += 1

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
            kept = dict(sorted(self._kept.items(), key=_by_start))
            dropped = self._dropped
            parents = {key: self._parent(key, item) for key, item in kept.items()}
        order = _parents_first(parents)
        position = {key: index for index, key in enumerate(order)}
        return Run(
            roots=assemble(
                [_entry(kept[key].span) for key in order],
                [None if (up := parents[key]) is None else position[up] for key in order],
            ),
            dropped=dropped,
        )

    def _is_late_error(self, span: ReadableSpan) -> bool:
        """Tell whether the span failed, was counted as dropped, and still fits."""
        return (
            _is_ours(span)
            and span.status.status_code is StatusCode.ERROR
            and self._limit <= len(self._kept) < self._limit + self._error_limit
        )

    def _parent(self, key: _Key, item: _Kept) -> _Key | None:
        """Return the kept parent; for a late error whose parent was dropped, its trace's root."""
        if item.parent is None or item.parent in self._kept:
            return item.parent
        root = self._first_of_trace.get(key[0], key)
        return None if root == key or self._kept[root].parent in self._kept else root


def _by_start(item: tuple[_Key, _Kept]) -> int:
    return item[1].span.start_time or 0


def _parents_first(parents: Mapping[_Key, _Key | None]) -> list[_Key]:
    """Return the keys in their order, but each after its parent: clocks can jump back."""
    order: dict[_Key, None] = {}
    for key in parents:
        chain: list[_Key] = []
        current: _Key | None = key
        while current is not None and current not in order:
            chain.append(current)
            current = parents[current]
        order.update(dict.fromkeys(reversed(chain)))
    return list(order)


def _key(context: SpanContext | None) -> _Key | None:
    return None if context is None else (context.trace_id, context.span_id)


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == semconv.SCOPE_NAME


def _entry(span: ReadableSpan) -> Entry:
    attributes = {name: _plain(value) for name, value in dict(span.attributes or {}).items()}
    context = span.get_span_context()
    return Entry(
        kind=_kind(attributes),
        name=span.name,
        start=span.start_time or 0,
        end=span.end_time,
        status=_STATUS[span.status.status_code],
        message=span.status.description or "",
        attributes=attributes,
        failures=_failures(span.events),
        trace_id=format_trace_id(context.trace_id) if context else "",
        span_id=format_span_id(context.span_id) if context else "",
    )


def _kind(attributes: Mapping[str, Value]) -> Kind:
    value = attributes.get(semconv.SPAN_KIND)
    return next((kind for kind in get_args(Kind) if kind == value), "other")


def _failures(events: Sequence[Event]) -> tuple[Failure, ...]:
    return tuple(_failure(event) for event in events if event.name == semconv.EXCEPTION_EVENT)


def _failure(event: Event) -> Failure:
    attributes = event.attributes or {}
    message = attributes.get(semconv.EXCEPTION_MESSAGE)
    stacktrace = attributes.get(semconv.EXCEPTION_STACKTRACE)
    return Failure(
        type=str(attributes.get(semconv.EXCEPTION_TYPE, "Exception")),
        message=None if message is None else str(message),
        stacktrace=None if stacktrace is None else str(stacktrace),
    )


def _plain(value: object) -> Value:
    """Return an attribute's value as the model has it: nothing that JSON could not hold."""
    if isinstance(value, list | tuple):
        return tuple(_scalar(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - elements are checked one by one
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | bool | int | float) else repr(value)

"""Turns a kept run back into spans of the SDK, so that they can be sent to a collector later.

What a kept run does not hold cannot come back: links, events other than exceptions, and of spans of
other instrumentations their scope and kind. The time of an exception is taken to be its span's end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.model import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pocketflow_trace.record.model import Entry, Failure, Run, Value

UNFINISHED: Final = "pocketflow.unfinished"
"""all: bool. True on a span that had not ended when the program was killed, or that still ran; its
end is then the last time of which the trace tells."""

OTHER_SCOPE: Final = "unknown"
"""Scope of the spans of other instrumentations, whose own is not kept."""

_TRACE_ID: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID: Final = re.compile(r"(?!0{16})[0-9a-f]{16}")
_STATUS: Final = {"unset": StatusCode.UNSET, "ok": StatusCode.OK, "error": StatusCode.ERROR}


def spans(run: Run) -> list[ReadableSpan]:
    """Return the spans of a run, parents first; entries without valid ids are left out."""
    resource = Resource(run.about.resource)
    last = _last_time(run)
    return [_span(entry, parent, resource, last) for entry, parent in _with_parents(run)]


def _with_parents(run: Run) -> Iterator[tuple[Entry, Entry | None]]:
    pending: list[tuple[Entry, Entry | None]] = [(root, None) for root in reversed(run.roots)]
    while pending:
        entry, parent = pending.pop()
        if has_ids(entry):
            yield entry, parent
            parent = entry
        pending.extend((child, parent) for child in reversed(entry.children))


def has_ids(entry: Entry) -> bool:
    """Tell whether an entry has the ids of a span."""
    return bool(_TRACE_ID.fullmatch(entry.trace_id) and _SPAN_ID.fullmatch(entry.span_id))


def _last_time(run: Run) -> int:
    """Return the last time that a run tells of, in nanoseconds."""
    times = [time for entry in walk(run.roots) for time in (entry.start, entry.end or 0)]
    return max([run.about.ended or 0, *times])


def _span(entry: Entry, parent: Entry | None, resource: Resource, last: int) -> ReadableSpan:
    end = last if entry.end is None else entry.end
    unfinished: Mapping[str, Value] = {UNFINISHED: True} if entry.end is None else {}
    return ReadableSpan(
        name=entry.name,
        context=_context(entry),
        parent=None if parent is None else _context(parent),
        resource=resource,
        attributes={**entry.attributes, **unfinished},
        events=[_event(failure, end) for failure in entry.failures],
        kind=SpanKind.INTERNAL,
        instrumentation_scope=_scope(entry, resource),
        status=_status(entry),
        start_time=entry.start,
        end_time=end,
    )


def _context(entry: Entry) -> SpanContext:
    return SpanContext(
        trace_id=int(entry.trace_id, 16),
        span_id=int(entry.span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _scope(entry: Entry, resource: Resource) -> InstrumentationScope:
    if entry.kind == "other":
        return InstrumentationScope(OTHER_SCOPE)
    version = resource.attributes.get(semconv.INSTRUMENTATION_VERSION)
    return InstrumentationScope(
        semconv.SCOPE_NAME,
        version if isinstance(version, str) else None,
        semconv.SCHEMA_URL,
    )


def _status(entry: Entry) -> Status:
    # The SDK takes a description for a mistake where the status is no error.
    code = _STATUS[entry.status]
    return Status(code, entry.message or None if code is StatusCode.ERROR else None)


def _event(failure: Failure, time: int) -> Event:
    told = {
        semconv.EXCEPTION_TYPE: failure.type,
        semconv.EXCEPTION_MESSAGE: failure.message,
        semconv.EXCEPTION_STACKTRACE: failure.stacktrace,
    }
    attributes = {name: value for name, value in told.items() if value is not None}
    return Event(semconv.EXCEPTION_EVENT, attributes, time)

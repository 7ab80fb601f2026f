"""What a collector received, as plain frozen values that a test can compare."""

from __future__ import annotations

import typing
from dataclasses import dataclass

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

Value: typing.TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
"""An attribute's value as Python sees it; OTLP arrays are lists."""

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True)
class ReceivedEvent:
    """One event of a span; `time` in nanoseconds since the epoch."""

    name: str
    time: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class ReceivedSpan:
    """One span with the resource and scope that it came under.

    Ids are lower-case hex; `parent_span_id` is None for a root. `start` and `end` are nanoseconds
    since the epoch. `kind` and `status` are the names of OTLP's enumerations without their prefix.
    """

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    kind: str
    start: int
    end: int
    attributes: Mapping[str, Value]
    events: tuple[ReceivedEvent, ...]
    status: str
    status_message: str
    resource: Mapping[str, Value]
    scope_name: str
    scope_version: str
    schema_url: str

    def text(self, key: str) -> str:
        """Return the string attribute `key`; AssertionError where it is absent or no string."""
        value = self.attributes.get(key)
        assert isinstance(value, str), f"{key} of {self.name!r} is {value!r}, not a string"
        return value

    def strings(self, key: str) -> list[str]:
        """Return the string-array attribute `key`; AssertionError where it is something else."""
        value = self.attributes.get(key)
        assert isinstance(value, list), f"{key} of {self.name!r} is {value!r}, not an array"
        assert all(isinstance(item, str) for item in value), f"{key} holds {value!r}"
        return [str(item) for item in value]

    def events_named(self, name: str) -> list[ReceivedEvent]:
        """Return the events called `name`, in order."""
        return [event for event in self.events if event.name == name]


def decode(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    """Flatten an OTLP request into its spans, in the order in which it holds them."""
    return [
        span
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in _scope_spans(scope_spans, _attributes(resource_spans.resource.attributes))
    ]


def one(spans: Iterable[ReceivedSpan], name: str) -> ReceivedSpan:
    """Return the only span called `name`; AssertionError where there is none or more than one."""
    spans = list(spans)
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, f"{len(found)} spans called {name!r} among {sorted_names(spans)}"
    return found[0]


def in_order(spans: Iterable[ReceivedSpan], name: str) -> list[ReceivedSpan]:
    """Return the spans called `name` by their start time."""
    return sorted((span for span in spans if span.name == name), key=lambda span: span.start)


def values(spans: Iterable[ReceivedSpan], key: str) -> list[Value]:
    """Return the attribute `key` of each span, None where it is absent."""
    return [span.attributes.get(key) for span in spans]


def common(spans: Iterable[ReceivedSpan], key: str) -> Value:
    """Return the attribute `key` that all spans share; AssertionError where they differ."""
    found = values(spans, key)
    assert found, "there are no spans"
    assert all(value == found[0] for value in found), f"{key} differs: {found}"
    return found[0]


def sorted_names(spans: Iterable[ReceivedSpan]) -> list[str]:
    """Return the names of `spans`, sorted, each as often as it occurs."""
    return sorted(span.name for span in spans)


def outline(spans: Sequence[ReceivedSpan]) -> list[str]:
    """Draw the spans as a tree: one line a span, two blanks a level, siblings by start time.

    Raises:
        AssertionError: A span's parent did not arrive, or is in another trace.
    """
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_span_id or "")
        assert span.parent_span_id is None or parent, f"the parent of {span.name!r} is missing"
        assert parent is None or parent.trace_id == span.trace_id, f"{span.name!r} changed trace"
    return list(_branch(spans, None, ""))


def _branch(spans: Sequence[ReceivedSpan], parent: str | None, indent: str) -> Iterator[str]:
    children = [span for span in spans if span.parent_span_id == parent]
    for child in sorted(children, key=lambda span: (span.start, span.end)):
        yield indent + child.name
        yield from _branch(spans, child.span_id, indent + "  ")


def _scope_spans(group: ScopeSpans, resource: Mapping[str, Value]) -> Iterator[ReceivedSpan]:
    for span in group.spans:
        yield _span(span, group.scope, group.schema_url, resource)


def _span(
    span: Span, scope: InstrumentationScope, schema_url: str, resource: Mapping[str, Value]
) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() or None,
        kind=KINDS[span.kind],
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(_event(event) for event in span.events),
        status=STATUSES[span.status.code],
        status_message=span.status.message,
        resource=resource,
        scope_name=scope.name,
        scope_version=scope.version,
        schema_url=schema_url,
    )


def _event(event: Span.Event) -> ReceivedEvent:
    return ReceivedEvent(event.name, event.time_unix_nano, _attributes(event.attributes))


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    """Turn OTLP's tagged union into the Python value that its tag names."""
    tag = value.WhichOneof("value")
    if tag is None:
        return None
    if tag == "array_value":
        return [_value(item) for item in value.array_value.values]
    if tag == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    scalar: str | bool | int | float | bytes = getattr(value, tag)
    return scalar

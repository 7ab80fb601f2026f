"""What a collector received, as plain frozen values that a test can compare."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import (
        Exemplar,
        Metric,
        NumberDataPoint,
        ScopeMetrics,
    )
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

Value: typing.TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
"""An attribute's value as Python sees it; OTLP arrays are lists."""

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")
TEMPORALITIES = ("UNSPECIFIED", "DELTA", "CUMULATIVE")


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


@dataclass(frozen=True)
class ReceivedExemplar:
    """One measurement behind a point, and the span that it was made in; ids as of a span."""

    value: int | float
    trace_id: str
    span_id: str


@dataclass(frozen=True)
class ReceivedPoint:
    """One data point with the metric, resource and scope that it came under.

    `instrument` is `counter`, `updowncounter`, `gauge` or `histogram`. Of a histogram `value` is
    the sum, `count` the number of measurements and `buckets` how many fell below each of `bounds`
    and beyond the last; of others, these are None and empty.
    """

    name: str
    description: str
    unit: str
    instrument: str
    temporality: str | None
    attributes: Mapping[str, Value]
    value: int | float
    count: int | None
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    exemplars: tuple[ReceivedExemplar, ...]
    resource: Mapping[str, Value]
    scope_name: str
    scope_version: str
    schema_url: str


def decode(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    """Flatten an OTLP request into its spans, in the order in which it holds them."""
    return [
        span
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in _scope_spans(scope_spans, _attributes(resource_spans.resource.attributes))
    ]


def decode_metrics(request: ExportMetricsServiceRequest) -> list[ReceivedPoint]:
    """Flatten an OTLP request into its data points, in the order in which it holds them."""
    return [
        point
        for resource_metrics in request.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for point in _scope_metrics(
            scope_metrics, _attributes(resource_metrics.resource.attributes)
        )
    ]


def points(received: Iterable[ReceivedPoint], name: str) -> list[ReceivedPoint]:
    """Return the points of the metric called `name`, in order."""
    return [point for point in received if point.name == name]


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


def _scope_metrics(group: ScopeMetrics, resource: Mapping[str, Value]) -> Iterator[ReceivedPoint]:
    for metric in group.metrics:
        for point in _data_points(metric):
            yield _point(metric, point, group, resource)


def _data_points(metric: Metric) -> Iterable[NumberDataPoint | HistogramDataPoint]:
    if metric.HasField("histogram"):
        return metric.histogram.data_points
    if metric.HasField("sum"):
        return metric.sum.data_points
    return metric.gauge.data_points


def _point(
    metric: Metric,
    point: NumberDataPoint | HistogramDataPoint,
    group: ScopeMetrics,
    resource: Mapping[str, Value],
) -> ReceivedPoint:
    histogram = point if isinstance(point, HistogramDataPoint) else None
    return ReceivedPoint(
        name=metric.name,
        description=metric.description,
        unit=metric.unit,
        instrument=_instrument(metric),
        temporality=_temporality(metric),
        attributes=_attributes(point.attributes),
        value=point.sum if isinstance(point, HistogramDataPoint) else _number(point),
        count=histogram.count if histogram else None,
        bounds=tuple(histogram.explicit_bounds) if histogram else (),
        buckets=tuple(histogram.bucket_counts) if histogram else (),
        exemplars=tuple(_exemplar(exemplar) for exemplar in point.exemplars),
        resource=resource,
        scope_name=group.scope.name,
        scope_version=group.scope.version,
        schema_url=group.schema_url,
    )


def _instrument(metric: Metric) -> str:
    if metric.HasField("sum"):
        return "counter" if metric.sum.is_monotonic else "updowncounter"
    return "histogram" if metric.HasField("histogram") else "gauge"


def _temporality(metric: Metric) -> str | None:
    if metric.HasField("gauge"):
        return None
    data = metric.histogram if metric.HasField("histogram") else metric.sum
    return TEMPORALITIES[data.aggregation_temporality]


def _exemplar(exemplar: Exemplar) -> ReceivedExemplar:
    return ReceivedExemplar(_number(exemplar), exemplar.trace_id.hex(), exemplar.span_id.hex())


def _number(value: NumberDataPoint | Exemplar) -> int | float:
    return value.as_int if value.WhichOneof("value") == "as_int" else value.as_double


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

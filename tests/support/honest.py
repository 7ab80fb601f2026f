"""What must hold of every trace, whatever the program's values are."""

from __future__ import annotations

import json
import typing
from typing import Any, cast

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.received import decode

if typing.TYPE_CHECKING:
    from collections.abc import Sequence

    from support.received import ReceivedSpan
    from support.tracing import SpanView, Trace

SPAN_BYTES = 6144
"""The default of `max_span_bytes`."""

_JSON = (
    *("input.value", "output.value", "metadata", "node.params"),
    *("shared.initial", "shared.diff", "graph", "usage.by_model"),
)


def received(trace: Trace) -> list[ReceivedSpan]:
    """The spans as a collector gets them: encoded for OTLP, and decoded again."""
    request = encode_spans([node.span for node in trace.nodes])
    return decode(ExportTraceServiceRequest.FromString(request.SerializeToString()))


def assert_honest(trace: Trace, *, limit: int = SPAN_BYTES) -> None:
    """Every span is small, its JSON is valid, and all of it arrives as it was sent."""
    for node in trace.nodes:
        assert node.size <= limit, node.label
        for name in _JSON:
            if name in node:
                node.json(name)
    arrived = {span.span_id: span for span in received(trace)}
    assert len(arrived) == len(trace.nodes)
    for node in trace.nodes:
        span = arrived[f"{node.id:016x}"]
        assert (span.name, span.attributes) == (node.name, _as_sent(node.attributes))
        assert [event.attributes for event in span.events] == node.events


def _as_sent(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(cast("Sequence[Any]", value)) if isinstance(value, tuple) else value
        for name, value in attributes.items()
    }


def shown_values(node: SpanView) -> dict[str, Any]:
    """What a span shows of what went in and out, parsed."""
    return {name: node.json(name) for name in ("input.value", "output.value") if name in node}


def text_of(trace: Trace) -> str:
    """All that a trace says, as one text."""
    return json.dumps([[node.name, node.attributes, node.events] for node in trace.nodes])

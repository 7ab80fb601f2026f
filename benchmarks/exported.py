"""How large the spans are that leave the program: OTLP, as the SDK's exporters encode it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks import units
from benchmarks.stores import STORES
from benchmarks.tracers import bare_spans, instrumented

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

    from benchmarks.stores import MakeStore
    from benchmarks.tracers import Tracer

_NODES = 20
_FLOW = "invoke_workflow"
"""What the name of a flow's span begins with."""


class Sizes(NamedTuple):
    """Bytes of a run's spans."""

    node: float
    """Of a node's span, on average."""
    largest: int
    """Of the largest span of any kind."""
    flow: int
    """Of the flow's span."""


_CONFIGURATIONS: dict[str, Callable[[TracerProvider], Tracer]] = {
    "content `values` (default)": instrumented,
    "content `keys`": lambda given: instrumented(given, content="keys"),
    "content `off`": lambda given: instrumented(given, content="off"),
    "a bare span": bare_spans,
}


def by_store() -> dict[str, dict[str, Sizes]]:
    """Sizes by store and configuration."""
    return {
        store: {name: _sizes(make, make_store) for name, make in _CONFIGURATIONS.items()}
        for store, make_store in STORES.items()
    }


def encoded_bytes(span: ReadableSpan) -> int:
    """What a span takes in a message, without what a message has once."""
    message: Any = encode_spans([span])
    return message.resource_spans[0].scope_spans[0].spans[0].ByteSize()


def _sizes(make: Callable[[TracerProvider], Tracer], make_store: MakeStore) -> Sizes:
    kept = InMemorySpanExporter()
    given = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    given.add_span_processor(SimpleSpanProcessor(kept))
    tracer = make(given)
    try:
        units.run_chain(tracer, units.node(tracer, []), _NODES, make_store())
    finally:
        tracer.close()
    spans = kept.get_finished_spans()
    nodes = [encoded_bytes(span) for span in spans if not span.name.startswith(_FLOW)]
    flows = [encoded_bytes(span) for span in spans if span.name.startswith(_FLOW)]
    return Sizes(sum(nodes) / len(nodes), max(nodes + flows), max(flows, default=0))

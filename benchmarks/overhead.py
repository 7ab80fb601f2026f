"""What tracing adds to one node, in units of one bare OpenTelemetry span.

Run it: ``python benchmarks/overhead.py`` (about half a minute). It prints a Markdown table.

A *floor* is what one SDK span with ten attributes and a batch processor (whose exporter discards)
adds to a node. Floor and overhead are measured in the same run: short slices in random order,
thread CPU time, the median of each, so that other load on the machine hardly matters.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider
from pocketflow import Flow, Node

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = 20
ROUNDS = 400
ATTRIBUTES = {f"attribute.{i}": i for i in range(10)}

Store = dict[str, Any]


class Discard(SpanExporter):
    """An exporter that throws spans away."""

    def export(self, spans: Any) -> SpanExportResult:
        """Says that all is well."""
        del spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


class Step(Node):
    """Reads one key and writes one small key, as most nodes do."""

    def prep(self, shared: Store) -> Any:
        """Reads."""
        return shared["question"]

    def exec(self, prep_res: Any) -> int:
        """Answers something small."""
        return len(prep_res)

    def post(self, shared: Store, prep_res: Any, exec_res: int) -> str:
        """Writes."""
        del prep_res
        shared["count"] = shared.get("count", 0) + exec_res
        if "messages" in shared:
            shared["messages"].append({"role": "user", "content": "hello"})
        return "next"


def chain(length: int) -> Flow:
    """A flow of that many nodes in a row."""
    first = node = Step()
    for _ in range(length - 1):
        following = Step()
        node.next(following, "next")
        node = following
    return Flow(start=first)


STORES: dict[str, Callable[[], Store]] = {
    "small store": lambda: {"question": "why?"},
    "1 MB string": lambda: {"question": "why?", "text": "x" * 1_000_000},
    "10,000 small dicts": lambda: {
        "question": "why?",
        "rows": [{"id": i, "text": str(i)} for i in range(10_000)],
    },
    "1,000 keys": lambda: {"question": "why?", **{f"key{i}": i for i in range(1_000)}},
    "chat of 200 messages": lambda: {
        "question": "why?",
        "messages": [{"role": "user", "content": f"message {i}"} for i in range(200)],
    },
}


def provider(**options: Any) -> TracerProvider:
    """A real SDK provider whose spans are batched and thrown away."""
    result = TracerProvider(**options)
    result.add_span_processor(BatchSpanProcessor(Discard()))
    return result


class Traced:
    """The flow under one configuration of the instrumentor."""

    def __init__(self, tracer_provider: Any, **options: Any) -> None:
        self._provider = tracer_provider
        self._options = options

    def __call__(self, flow: Flow, store: Store) -> float:
        """CPU seconds of one run."""
        instrumentor = PocketFlowInstrumentor()
        instrumentor.instrument(tracer_provider=self._provider, resource=False, **self._options)
        try:
            flow.run({"question": ""})  # what is kept for each class is not a cost of each run
            return timed(flow, store)
        finally:
            instrumentor.uninstrument()


def timed(flow: Flow, store: Store) -> float:
    """CPU seconds of one run."""
    begin = time.thread_time_ns()
    flow.run(store)
    return (time.thread_time_ns() - begin) / 1e9


def bare_spans() -> Callable[[Flow, Store], float]:
    """The flow untraced, and one bare span for each of its nodes."""
    tracer = provider().get_tracer("floor")

    def run(flow: Flow, store: Store) -> float:
        spent = timed(flow, store)
        begin = time.thread_time_ns()
        for _ in range(NODES):
            with tracer.start_as_current_span("node") as span:
                span.set_attributes(ATTRIBUTES)
        return spent + (time.thread_time_ns() - begin) / 1e9

    return run


def measure(make_store: Callable[[], Store], rounds: int) -> dict[str, float]:
    """Overhead per node in floors, by configuration."""
    variants: dict[str, Callable[[Flow, Store], float]] = {
        "plain": timed,
        "floor": bare_spans(),
        "values (default)": Traced(provider()),
        "keys": Traced(provider(), content="keys"),
        "off": Traced(provider(), content="off"),
        "sampled out": Traced(provider(sampler=ALWAYS_OFF)),
        "no SDK": Traced(NoOpTracerProvider()),
    }
    flow, samples = chain(NODES), {name: list[float]() for name in variants}
    order = list(variants)
    store = make_store()
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            store.pop("count", None)
            if "messages" in store:
                del store["messages"][200:]
            samples[name].append(variants[name](flow, store))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    floor = medians["floor"] - medians["plain"]
    names = [name for name in variants if name not in {"plain", "floor"}]
    return {
        "floor µs": floor / NODES * 1e6,
        **{name: (medians[name] - medians["plain"]) / floor for name in names},
    }


def main() -> None:
    """Prints the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    rows = {name: measure(make, rounds) for name, make in STORES.items()}
    columns = list(next(iter(rows.values())))
    print(f"Overhead per node, in floors ({NODES} nodes a run, {rounds} rounds)\n")
    print("| store |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} |", " | ".join(f"{row[column]:.2f}" for column in columns), "|")


if __name__ == "__main__":
    main()

"""The same nodes under other ways to trace them, in the same rounds as this project's.

Each is used as its documentation shows. The decorators of OpenInference and OpenLLMetry stand
around a node's whole run, which is given the store. The Langfuse client of pocketflow-tracing is
told to send nothing. What is not installed is left out, and said to be.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.laps import in_floors, long_run, take_turns
from benchmarks.machine import version_of
from benchmarks.stores import STORES
from benchmarks.tracers import (
    Discard,
    Tracer,
    bare_spans,
    copy_of_pocketflow,
    instrumented,
    plain,
    provider,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.laps import Track
    from benchmarks.stores import MakeStore, Store

Differ: TypeAlias = "Callable[[Store, Store], Any]"
"""What differs between the store before a node and the store after it; JSON can tell it."""

OURS: Final = "this project"
_SECONDS: Final = 12.0
"""For all rounds on one store."""


def by_deepcopy() -> Tracer:
    """A deep copy before and after each node, and what `==` finds between them."""

    def compare(before: Store, after: Store) -> Any:
        return {name: after[name] for name in after if before.get(name) != after[name]}

    return _copying(compare)


def by_deepdiff() -> Tracer:
    """A deep copy before and after each node, and `deepdiff` between them."""
    deep_diff: Any = importlib.import_module("deepdiff").DeepDiff
    return _copying(lambda before, after: json.loads(deep_diff(before, after).to_json()))


def openinference() -> Tracer:
    """OpenInference's decorator for a step of a chain."""
    module: Any = importlib.import_module("openinference.instrumentation")
    own = module.TracerProvider()
    own.add_span_processor(BatchSpanProcessor(Discard()))
    return _decorating(own.get_tracer("openinference").chain)


def openllmetry() -> Tracer:
    """OpenLLMetry's decorator for a task."""
    os.environ["TRACELOOP_TELEMETRY"] = os.environ["TRACELOOP_METRICS_ENABLED"] = "false"
    traceloop: Any = importlib.import_module("traceloop.sdk").Traceloop
    decorators: Any = importlib.import_module("traceloop.sdk.decorators")
    with contextlib.redirect_stdout(io.StringIO()):
        traceloop.init(
            processor=BatchSpanProcessor(Discard()),
            instruments=set[Any](),
            telemetry_enabled=False,
        )
    return _decorating(decorators.task(name="node"))


def pocketflow_tracing() -> Tracer:
    """pocketflow-tracing's decorator for flows."""
    module: Any = importlib.import_module("pocketflow_tracing")
    client: Any = importlib.import_module("langfuse").Langfuse(enabled=False)

    def decorate(flow_class: Any) -> Any:
        traced = module.trace_flow(module.TracingConfig())(flow_class)

        def make(start: Any) -> Any:
            start._pocketflow_traced = True  # noqa: SLF001 - the node that waits is none of ours
            flow = traced(start=start)
            flow._tracer.client = client  # noqa: SLF001 - one without keys would make it do nothing
            return flow

        return make

    return Tracer(copy_of_pocketflow(), decorate=decorate)


def _copying(differ: Differ) -> Tracer:
    own = provider()
    tracer = own.get_tracer("copies")

    def around(run: Callable[[Any], Any], store: Any) -> Any:
        with tracer.start_as_current_span("node") as span:
            before = copy.deepcopy(store)
            action = run(store)
            span.set_attribute("diff", json.dumps(differ(before, copy.deepcopy(store))))
            return action

    return Tracer(copy_of_pocketflow(), around, close=own.shutdown)


def _decorating(decorator: Callable[[Any], Any]) -> Tracer:
    running: list[Callable[[Any], Any]] = []

    # Only the store may be an argument: what a step is given is what these record.
    def step(shared: Any) -> Any:
        return running.pop()(shared)

    decorated = decorator(step)

    def around(run: Callable[[Any], Any], store: Any) -> Any:
        running.append(run)
        return decorated(store)

    return Tracer(copy_of_pocketflow(), around)


class Peer(NamedTuple):
    """One other way."""

    distribution: str | None
    """What has to be installed."""
    make: Callable[[], Tracer]


PEERS: Final[dict[str, Peer]] = {
    "deep copies and `==`": Peer(None, by_deepcopy),
    "deep copies and deepdiff": Peer("deepdiff", by_deepdiff),
    "pocketflow-tracing": Peer("pocketflow-tracing", pocketflow_tracing),
    "OpenInference": Peer("openinference-instrumentation", openinference),
    "OpenLLMetry": Peer("traceloop-sdk", openllmetry),
}


class Comparison(NamedTuple):
    """What was found, and what was not there."""

    floors: dict[str, dict[str, float]]
    """What each way adds to a node, by store and way."""
    versions: dict[str, str]
    """Of the distributions that were used."""
    missing: list[str]
    """Distributions that are not installed."""


def compare(rounds: int, seconds: float = _SECONDS) -> Comparison:
    """Measures all that is installed.

    Args:
        rounds: how many laps each makes; fewer where they take long.
        seconds: for each store.
    """
    distributions = [peer.distribution for peer in PEERS.values() if peer.distribution is not None]
    versions = {name: found for name in distributions if (found := version_of(name)) is not None}
    there = {None, *versions}
    tracers = {"plain": plain(), "floor": bare_spans(), OURS: instrumented()}
    tracers |= {name: peer.make() for name, peer in PEERS.items() if peer.distribution in there}
    try:
        floors = {
            store: _on_store(tracers, make_store, rounds, seconds)
            for store, make_store in STORES.items()
        }
    finally:
        for tracer in tracers.values():
            tracer.close()
    return Comparison(floors, versions, [name for name in distributions if name not in versions])


def _on_store(
    tracers: dict[str, Tracer], make_store: MakeStore, rounds: int, seconds: float
) -> dict[str, float]:
    tracks: dict[str, Track] = {
        name: long_run(tracer, make_store) for name, tracer in tracers.items()
    }
    samples = take_turns(tracks, rounds, seconds)
    return {name: in_floors(samples, name) for name in samples if name not in {"plain", "floor"}}

"""What tracing adds to a node, by store; and to other units: items, attempts, nested flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider

from benchmarks import units
from benchmarks.laps import ShortRuns, floor_of, in_floors, long_run, take_turns
from benchmarks.stores import STORES, small
from benchmarks.tracers import (
    bare_spans,
    instrumented,
    plain,
    provider,
    sampled_out,
    uninstrumented_again,
    without_sdk,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.laps import Track
    from benchmarks.stores import MakeStore
    from benchmarks.tracers import Tracer

VALUES = "content `values` (default)"
CONFIGURATIONS: dict[str, Callable[[], Tracer]] = {
    VALUES: instrumented,
    "content `keys`": lambda: instrumented(content="keys"),
    "content `off`": lambda: instrumented(content="off"),
    "sampled out": sampled_out,
    "no SDK": without_sdk,
    "uninstrumented again": uninstrumented_again,
}
_BARE: dict[str, Callable[[], Tracer]] = {
    "a bare span, sampled out": lambda: bare_spans(provider(sampler=ALWAYS_OFF)),
    "a bare span, no SDK": lambda: bare_spans(NoOpTracerProvider()),
}

_ITEMS = 8
_WARM_UP = 100
"""Rounds."""


class Row(NamedTuple):
    """What the configurations add on one store, in floors."""

    floor_us: float
    """One floor in microseconds of CPU."""
    per_node: dict[str, float]
    """A node of a long run."""
    per_run: dict[str, float]
    """The beginning and the end of a run."""


def of_store(make_store: MakeStore, rounds: int) -> Row:
    """Measures all configurations on one kind of store.

    Args:
        make_store: makes such a store.
        rounds: how many laps each makes.
    """
    tracers = {"plain": plain(), "floor": bare_spans()}
    tracers |= {name: make() for name, make in (CONFIGURATIONS | _BARE).items()}
    try:
        nodes = take_turns(
            {name: long_run(tracer, make_store) for name, tracer in tracers.items()}, rounds
        )
        runs: dict[str, Track] = {
            name: ShortRuns(tracer, make_store()) for name, tracer in tracers.items()
        }
        whole = take_turns(runs, rounds, seconds=10)
    finally:
        for tracer in tracers.values():
            tracer.close()
    per_node = {name: in_floors(nodes, name) for name in CONFIGURATIONS | _BARE}
    per_run = {name: in_floors(whole, name) - per_node[name] for name in CONFIGURATIONS}
    return Row(floor_of(nodes) / 1e3, per_node, per_run)


def of_stores(rounds: int) -> dict[str, Row]:
    """The table of issue 6."""
    of_store(small, _WARM_UP)  # what a process measures first comes out up to a third too slow
    return {name: of_store(make, rounds) for name, make in STORES.items()}


def of_units(rounds: int) -> dict[str, float]:
    """What each further unit adds, in floors, with the default configuration."""
    tracer, uncapped, without = instrumented(), instrumented(max_batch_items=0), plain()
    floor = bare_spans()
    kinds: dict[str, units.Unit] = {
        "node": units.node,
        "async": units.async_node,
        "batch": units.batch(_ITEMS),
        "empty": units.batch(0),
        "retried": units.retried_node,
        "nested": units.nested_flow,
    }
    tracks: dict[str, Track] = {
        "plain": long_run(without, small),
        "floor": long_run(floor, small),
    }
    for name, unit in kinds.items():
        tracks[name] = long_run(tracer, small, unit)
        tracks[f"{name}, plain"] = long_run(without, small, unit)
    tracks["capped"] = long_run(uncapped, small, kinds["batch"])
    try:
        samples = take_turns(tracks, rounds)
    finally:
        for opened in (tracer, uncapped, without, floor):
            opened.close()
    added = {name: in_floors(samples, name, f"{name}, plain") for name in kinds}
    added["capped"] = in_floors(samples, "capped", "batch, plain")
    return {
        "node": added["node"],
        "async node": added["async"],
        "batch node without items": added["empty"],
        "batch item": (added["batch"] - added["empty"]) / _ITEMS,
        "batch item beyond the cap": (added["capped"] - added["empty"]) / _ITEMS,
        "failed attempt and the next one": added["retried"] - added["node"],
        "nested flow": added["nested"] - added["node"],
    }

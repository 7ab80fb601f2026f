"""What tracing says that it takes (`self_report`), beside what it adds to a run.

Each round is a run of a few nodes without tracing, one with it, and one that reports on itself. A
report is of real time, and so is what it is compared with, unlike elsewhere in these benchmarks:
what else runs on the machine then is in both.
"""

from __future__ import annotations

import statistics
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.trace import SpanProcessor

from benchmarks.laps import take_turns
from benchmarks.stores import STORES, restore
from benchmarks.tracers import instrumented, plain, provider
from benchmarks.units import chain, node
from opentelemetry.instrumentation.pocketflow import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from benchmarks.laps import Track
    from benchmarks.stores import MakeStore, Store
    from benchmarks.tracers import Tracer

LEVELS: Final = ("values", "keys", "off")
_NODES: Final = 8
_SECONDS: Final = 10


class Report(NamedTuple):
    """A run's report, checked."""

    told: float
    """What it says, as a part of what was measured."""
    extra: float
    """What the reporting itself adds, as a part of what tracing adds without it."""


class _Listener(SpanProcessor):
    """Notes what the outermost spans say."""

    def __init__(self) -> None:
        self.nanos: list[float] = []

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended."""
        seconds: Any = (span.attributes or {}).get(semconv.INSTRUMENTATION_DURATION)
        if seconds is not None:
            self.nanos.append(seconds * 1e9)


class _Runs:
    """One short run after the other.

    Args:
        tracer: what traces them.
        store: for these runs alone.
    """

    def __init__(self, tracer: Tracer, store: Store) -> None:
        first, _ = chain(node(tracer, []), _NODES)
        self._store = store
        self._flow = tracer.framework.Flow(start=first)

    def lap(self) -> float:
        """Nanoseconds of one run."""
        restore(self._store)
        begin = perf_counter_ns()
        self._flow.run(self._store)
        return perf_counter_ns() - begin

    def close(self) -> None:
        """Nothing is open."""


def of_store(make_store: MakeStore, level: str, rounds: int) -> Report:
    """Checks the report of runs on one kind of store.

    Args:
        make_store: makes such a store.
        level: what of the content is shown.
        rounds: how many laps each makes.
    """
    listener, spans = _Listener(), provider()
    spans.add_span_processor(listener)
    tracers = {
        "plain": plain(),
        "silent": instrumented(content=level),
        "reporting": instrumented(spans, content=level, self_report=True),
    }
    tracks: Mapping[str, Track] = {
        name: _Runs(tracer, make_store()) for name, tracer in tracers.items()
    }
    try:
        samples = take_turns(tracks, rounds, _SECONDS)
    finally:
        for tracer in tracers.values():
            tracer.close()
        spans.shutdown()
    told = listener.nanos[-len(samples["plain"]) :]  # the first laps were to warm up
    without, silent, reporting = (samples[name] for name in tracers)
    return Report(
        statistics.median(
            said / (traced - bare)
            for said, traced, bare in zip(told, reporting, without, strict=True)
        ),
        statistics.median(
            (traced - untold) / (untold - bare)
            for traced, untold, bare in zip(reporting, silent, without, strict=True)
        ),
    )


def of_stores(rounds: int) -> dict[str, dict[str, Report]]:
    """By content level and store."""
    return {
        level: {name: of_store(make, level, rounds) for name, make in STORES.items()}
        for level in LEVELS
    }

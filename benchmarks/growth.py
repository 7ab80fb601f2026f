"""How the cost grows with what is in the store."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import units
from benchmarks.laps import ShortRuns, in_floors, long_run, take_turns
from benchmarks.machine import free_bytes
from benchmarks.stores import with_depth, with_keys, with_list, with_rows, with_text
from benchmarks.tracers import bare_spans, instrumented, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.laps import Track
    from benchmarks.stores import MakeStore
    from benchmarks.tracers import Tracer

_MEBI = 1 << 20
_NODES = 5
"""In the runs whose memory is measured."""


class Curve(NamedTuple):
    """One thing in the store that grows."""

    make: Callable[[int], MakeStore]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    bytes_each: int
    """About what one more of it takes of memory, to know beforehand whether there is enough."""

    def affordable(self, *, quick: bool) -> Iterator[int]:
        """The sizes for which there is memory, with as much again to spare."""
        for size in self.quick if quick else self.sizes:
            if 2 * size * self.bytes_each < free_bytes():
                yield size


CURVES: dict[str, Curve] = {
    "keys": Curve(with_keys, (10, 100, 1_000, 10_000, 100_000), (10, 1_000, 10_000), 500),
    "bytes of one string": Curve(
        with_text, (100, 10**4, 10**6, 10**8, 10**9), (100, 10**6, 10**8), 1
    ),
    "depth of nested dicts": Curve(with_depth, (1, 10, 100, 1_000), (1, 100), 500),
    "numbers in a list": Curve(
        with_list, (10, 1_000, 9_000, 100_000, 1_000_000), (10, 9_000, 1_000_000), 40
    ),
    "dicts in a list": Curve(
        with_rows, (10, 1_000, 3_000, 10_000, 100_000, 1_000_000), (10, 3_000, 100_000), 300
    ),
}


class Point(NamedTuple):
    """What tracing costs at one size, with the default configuration."""

    size: int
    per_node: float
    """Floors."""
    per_run: float
    """Floors for the beginning and the end of a run."""
    peak_mib: float
    """Memory that a run with tracing takes beyond what it takes without."""


def curves(rounds: int, *, quick: bool) -> tuple[dict[str, list[Point]], list[str]]:
    """Measures all curves.

    Args:
        rounds: how many laps at each point; fewer where they take long.
        quick: fewer points?

    Returns:
        Points by what grows; and what was left out for want of memory.
    """
    points: dict[str, list[Point]] = {}
    left_out: list[str] = []
    for name, curve in CURVES.items():
        sizes = list(curve.affordable(quick=quick))
        points[name] = [_point(curve.make(size), size, rounds) for size in sizes]
        wanted = curve.quick if quick else curve.sizes
        left_out += [f"{size:,} {name}: not enough memory" for size in wanted if size not in sizes]
    return points, left_out


def _point(make_store: MakeStore, size: int, rounds: int) -> Point:
    tracers = {"plain": plain(), "floor": bare_spans(), "traced": instrumented()}
    try:
        nodes: dict[str, Track] = {
            name: long_run(tracer, make_store) for name, tracer in tracers.items()
        }
        per_node = in_floors(take_turns(nodes, rounds, seconds=4), "traced")
        runs: dict[str, Track] = {
            name: ShortRuns(tracer, make_store()) for name, tracer in tracers.items()
        }
        per_run = in_floors(take_turns(runs, rounds, seconds=2), "traced")
        peak = peak_mib(tracers["traced"], make_store) - peak_mib(tracers["plain"], make_store)
    finally:
        _close(tracers.values())
    return Point(size, per_node, per_run - per_node, peak)


def peak_mib(tracer: Tracer, make_store: MakeStore) -> float:
    """The most memory that Python has allocated at a time during a run of a few nodes, in MiB.

    Args:
        tracer: what traces it.
        make_store: its store is made before the counting begins.
    """
    store = make_store()
    make_node = units.node(tracer, [])
    units.run_chain(tracer, make_node, 1, {"question": ""})  # what is kept for each class
    tracemalloc.start()
    units.run_chain(tracer, make_node, _NODES, store)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / _MEBI


def _close(tracers: Iterable[Tracer]) -> None:
    for tracer in tracers:
        tracer.close()

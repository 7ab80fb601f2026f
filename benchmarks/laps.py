"""The method: runs that take turns, a few nodes at a time, and the median of paired ratios.

What a node costs in a long run must not contain what it costs to begin and to end that run. So each
tracer has one run that never ends, on a store of its own. It is an `AsyncFlow` in a circle, whose
nodes are ordinary ones but for one: that one waits until the next *lap* is wanted. A lap is as many
nodes as take 0.1 to 0.4 ms. In each *round* every run makes one lap, in random order.

Time is the thread's CPU time, taken by the nodes themselves at the beginning of their `prep`, so
that it covers whole nodes and neither the waiting node nor the first node after it. Of each round
the ratio is taken (what a tracer added, through what a bare span added), and of these the median.

What it costs to begin and to end a run is measured in the same way: each slice is a run of one
node, and what that node costs in a long run is subtracted.

The median leaves out what happens seldom: collections of garbage above all. What exists before the
rounds is kept out of these (`gc.freeze`), so that a large store does not disturb the others.
"""

from __future__ import annotations

import contextvars
import gc
import random
import statistics
import time
from time import thread_time_ns
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.stores import restore
from benchmarks.units import NEXT, chain, node, pause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.stores import MakeStore, Store
    from benchmarks.tracers import Tracer
    from benchmarks.units import Unit

_MIN_ROUNDS = 15
_WARM_UP = 5
_SLICE = 250_000
"""Nanoseconds that a lap should take."""
_MAX_UNITS = 32


class Track(Protocol):
    """Something that can be timed again and again."""

    def lap(self) -> float:
        """Nanoseconds of one unit."""
        ...

    def close(self) -> None:
        """It is over."""
        ...


class LongRun:
    """One run that goes on for as many laps as are wanted.

    Args:
        tracer: what traces it.
        store: for this run alone.
        unit: what its nodes are.
        units: how many of them are timed in a lap.
    """

    def __init__(self, tracer: Tracer, store: Store, unit: Unit = node, units: int = 1) -> None:
        self._ticks: list[int] = []
        waiting = pause(tracer, restore)
        # One more for the way into the lap, and one since the last one's end is not seen.
        first, last = chain(unit(tracer, self._ticks), units + 2)
        waiting.next(first, NEXT)
        last.next(waiting, NEXT)
        flow = _flow_class(tracer)(start=waiting)
        self._context = contextvars.copy_context()
        self._coroutine = flow.run_async(store)
        self._context.run(self._coroutine.send, None)

    def lap(self) -> float:
        """Nanoseconds of one unit, the mean of those in a lap."""
        self._ticks.clear()
        self._context.run(self._coroutine.send, None)
        return (self._ticks[-1] - self._ticks[1]) / (len(self._ticks) - 2)

    def close(self) -> None:
        """Ends the run."""
        self._context.run(self._coroutine.close)


def long_run(tracer: Tracer, make_store: MakeStore, unit: Unit = node) -> LongRun:
    """A run whose laps are as long as they should be, or of a single unit where that takes longer.

    Args:
        tracer: what traces it.
        make_store: makes its store.
        unit: what its nodes are.
    """
    trial = LongRun(tracer, make_store(), unit)
    each = statistics.median(trial.lap() for _ in range(_WARM_UP))
    trial.close()
    return LongRun(tracer, make_store(), unit, max(1, min(round(_SLICE / each), _MAX_UNITS)))


class ShortRuns:
    """One run of a single node after the other.

    Args:
        tracer: what traces them.
        store: for these runs alone.
    """

    def __init__(self, tracer: Tracer, store: Store) -> None:
        self._store = store
        self._flow = tracer.framework.Flow(start=node(tracer, [])())

    def lap(self) -> float:
        """Nanoseconds of one run."""
        restore(self._store)
        begin = thread_time_ns()
        self._flow.run(self._store)
        return thread_time_ns() - begin

    def close(self) -> None:
        """Nothing is open."""


Samples = dict[str, list[float]]
"""Nanoseconds by track and round."""


def take_turns(tracks: Mapping[str, Track], rounds: int, seconds: float = 60) -> Samples:
    """Lets each track make one lap a round, in random order, and closes them.

    Args:
        tracks: by name.
        rounds: how many at most.
        seconds: after that much time no further round begins, unless there were very few.
    """
    order = list(tracks)
    samples: Samples = {name: [] for name in order}
    for name in order * _WARM_UP:
        tracks[name].lap()
    gc.collect()
    gc.freeze()
    deadline = time.monotonic() + seconds
    for done in range(rounds):
        if done >= _MIN_ROUNDS and time.monotonic() > deadline:
            break
        random.shuffle(order)
        for name in order:
            samples[name].append(tracks[name].lap())
    gc.unfreeze()
    for track in tracks.values():
        track.close()
    return samples


def floor_of(samples: Samples, plain: str = "plain", floor: str = "floor") -> float:
    """What a bare span adds to a node, in nanoseconds."""
    pairs = zip(samples[floor], samples[plain], strict=True)
    return statistics.median(bare - without for bare, without in pairs)


def in_floors(samples: Samples, name: str, without: str = "plain") -> float:
    """What a tracer adds to a unit, in floors.

    Args:
        samples: of a round each, with those of `plain` and `floor` among them.
        name: the units under that tracer.
        without: the same units without it.
    """
    rounds = zip(samples[name], samples[without], samples["floor"], samples["plain"], strict=True)
    return statistics.median(
        (traced - untraced) / (floor - plain)
        for traced, untraced, floor, plain in rounds
        if floor > plain  # else the round was disturbed: there is no such ratio
    )


def _flow_class(tracer: Tracer) -> Any:
    class Laps(tracer.framework.AsyncFlow):
        pass

    return Laps if tracer.decorate is None else tracer.decorate(Laps)

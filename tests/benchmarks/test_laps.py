"""How the benchmarks come to their ratios, and what runs while they do."""

from __future__ import annotations

import pytest

from benchmarks import laps, stores, tracers, units

SAMPLES = {
    "plain": [10.0, 10.0, 10.0, 30.0],
    "floor": [20.0, 30.0, 20.0, 30.0],
    "ours": [30.0, 50.0, 90.0, 500.0],
}


def test_ratios_are_paired_by_round() -> None:
    """2, 2 and 8 are those of the rounds; one in which a span took no time has none."""
    assert laps.in_floors(SAMPLES, "ours") == 2.0


def test_a_floor_is_what_a_bare_span_adds() -> None:
    """The median of 10, 20, 10 and 0 nanoseconds."""
    assert laps.floor_of(SAMPLES) == 10.0


def test_a_long_run_goes_on_between_laps_on_one_store() -> None:
    """Each lap runs all its nodes and two at its ends, on the store as it was at first."""
    store = stores.chat()
    run = laps.LongRun(tracers.plain(), store, units=3)

    assert all(run.lap() > 0 for _ in range(2))
    assert store["count"] == 3 + 2
    assert len(store["messages"]) == stores.MESSAGES + 3 + 2
    run.close()


@pytest.mark.parametrize(
    "unit",
    [units.node, units.async_node, units.batch(3), units.retried_node, units.nested_flow],
)
def test_every_unit_runs_traced(unit: units.Unit) -> None:
    """One lap of each kind, under a tracer of its own that is taken back."""
    tracer = tracers.instrumented()
    try:
        samples = laps.take_turns({"traced": laps.LongRun(tracer, stores.small(), unit)}, rounds=2)
    finally:
        tracer.close()

    assert len(samples["traced"]) == 2
    assert min(samples["traced"]) > 0

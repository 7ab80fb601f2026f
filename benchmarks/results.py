"""Everything that one run of the command has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import overhead

if TYPE_CHECKING:
    from benchmarks.exported import Sizes
    from benchmarks.gate import Ratios
    from benchmarks.growth import Point
    from benchmarks.overhead import Row
    from benchmarks.peers import Comparison
    from benchmarks.processes import Length
    from benchmarks.self_report import Report


class Results(NamedTuple):
    """See the modules that measure each."""

    machine: dict[str, str]
    rounds: int
    stores: dict[str, Row]
    units: dict[str, float]
    curves: dict[str, list[Point]]
    lengths: list[Length]
    imports: dict[str, float]
    exported: dict[str, dict[str, Sizes]]
    comparison: Comparison
    self_reports: dict[str, dict[str, Report]]
    """By content level and store."""
    left_out: list[str]
    """What was not measured, and why."""


_NOT_WATCHED: Final = {"failed attempt and the next one"}
"""A traceback is read from files: under load its time does not repeat."""


def ratios(stores: dict[str, Row], units: dict[str, float]) -> Ratios:
    """What the gate watches, by name."""
    found = {
        f"{store}: {name}": row.per_node[name]
        for store, row in stores.items()
        for name in overhead.CONFIGURATIONS
    }
    watched = (name for name in units if name not in _NOT_WATCHED)
    return found | {f"unit: {name}": units[name] for name in watched}

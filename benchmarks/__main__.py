"""The command: ``python -m benchmarks``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import (
    chart,
    exported,
    gate,
    growth,
    machine,
    overhead,
    peers,
    processes,
    report,
    results,
    self_report,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.gate import Ratios

_ROUNDS: Final = 400
_QUICK_ROUNDS: Final = 150
_CURVE_ROUNDS: Final = 100
_IMPORT_ROUNDS: Final = 15
_LENGTHS: Final = (100, 1_000, 10_000, 100_000)
_MILLION: Final = 1_000_000
_DOCS: Final = Path(__file__).parents[1] / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and writes down or judges what it finds.

    Args:
        arguments: of the command; by default those of the process.

    Returns:
        1 where the gate is shut, else 0.
    """
    options = _parser().parse_args(arguments)
    if options.record:
        gate.write(_median_of([_ratios(options.rounds or _QUICK_ROUNDS) for _ in range(3)]))
        return 0
    if options.quick:
        return _judge(options.rounds or _QUICK_ROUNDS)
    found = _measure(options.rounds or _ROUNDS, full=options.full)
    options.into.mkdir(parents=True, exist_ok=True)
    _write(found, options.into)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only what the gate watches: exit code 1 if it has become slower than recorded",
    )
    parser.add_argument("--full", action="store_true", help="also a run of a million nodes")
    parser.add_argument(
        "--record", action="store_true", help="record what the gate compares with from now on"
    )
    parser.add_argument("--rounds", type=int, help=f"how many (default: {_ROUNDS})")
    parser.add_argument(
        "--into", type=Path, default=_DOCS, help="folder for overhead.md and overhead.svg"
    )
    return parser


def _judge(rounds: int) -> int:
    excesses = gate.check(lambda: _ratios(rounds), gate.read())
    for excess in excesses:
        print(excess, file=sys.stderr)
    print("slower than recorded" if excesses else "as fast as recorded")
    return 1 if excesses else 0


def _ratios(rounds: int) -> Ratios:
    stores, units = overhead.of_stores(rounds), overhead.of_units(rounds)
    print(f"{report.store_table(stores)}\n\n{report.unit_table(units)}\n", flush=True)
    return results.ratios(stores, units)


def _median_of(found: Sequence[Ratios]) -> Ratios:
    return {name: statistics.median(ratios[name] for ratios in found) for name in found[0]}


def _measure(rounds: int, *, full: bool) -> results.Results:
    before = machine.load()
    stores, units = overhead.of_stores(rounds), overhead.of_units(rounds)
    print(f"{report.store_table(stores)}\n\n{report.unit_table(units)}", flush=True)
    curves, left_out = growth.curves(_CURVE_ROUNDS, quick=False)
    lengths = processes.run_lengths((*_LENGTHS, _MILLION) if full else _LENGTHS)
    if not full:
        left_out.append(f"a run of {_MILLION:,} nodes: only with `--full`")
    reports = self_report.of_stores(rounds)
    imports, sizes = processes.imports(_IMPORT_ROUNDS), exported.by_store()
    # Last, since some of these change what is global.
    comparison = peers.compare(_CURVE_ROUNDS)
    described = machine.describe()
    described["load"] = f"{before} before, {described['load']} after"
    return results.Results(
        machine=described,
        rounds=rounds,
        stores=stores,
        units=units,
        curves=curves,
        lengths=lengths,
        imports=imports,
        exported=sizes,
        comparison=comparison,
        self_reports=reports,
        left_out=left_out,
    )


def _write(found: results.Results, folder: Path) -> None:
    page, picture = report.page(found), chart.picture(found.comparison.floors, found.curves)
    (folder / "overhead.md").write_text(page, encoding="utf-8")
    (folder / "overhead.svg").write_text(picture, encoding="utf-8")
    print(json.dumps([str(folder / name) for name in ("overhead.md", "overhead.svg")]))


if __name__ == "__main__":
    sys.exit(main())

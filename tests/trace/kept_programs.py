"""Runs of real programs, collected in this process and kept as files."""

from __future__ import annotations

import typing
from dataclasses import replace

from pocketflow_trace.keeping import runfile
from pocketflow_trace.record.collector import RunCollector
from pocketflow_trace.record.model import About, Run
from support.tracing import Outcome, act, tracing

if typing.TYPE_CHECKING:
    from pathlib import Path

    from pocketflow_trace.record.model import Entry
    from support.tracing import Program

SECOND = 1_000_000_000
STARTED = 1_700_000_000 * SECOND
"""2023-11-14 22:13:20 UTC."""


def collected(program: Program, **options: typing.Any) -> tuple[Run, Outcome]:
    """Run a program traced; options are those of the instrumentor.

    Returns:
        The run, and what the program came to.
    """
    collector = RunCollector()
    with tracing(**options) as running:
        running.provider.add_span_processor(collector)
        outcome = act(program)
    return collector.snapshot(), outcome


def about(number: int = 0, program: str = "main", **resource: typing.Any) -> About:
    """Return what a run is a run of; those with a higher number began a second later each.

    Args:
        number: Up to 9; also the end of the run's id.
        program: Name of the program.
        resource: Attributes, with `__` for a dot in their names.
    """
    started = STARTED + number * SECOND
    named = {name.replace("__", "."): value for name, value in resource.items()}
    return About(f"20231114-22132{number}-000{number}", program, started, None, named)


def keep(run: Run, directory: Path, told: About | None = None, *, is_complete: bool = True) -> Path:
    """Write a run's file as it is while the program runs: starts, then ends.

    Args:
        run: The run; entries without an end stay so.
        directory: Where to.
        told: What it is a run of.
        is_complete: Has the program ended in order?

    Returns:
        The file.
    """
    told = told or about()
    suffix = ".jsonl" if is_complete else ".partial"
    lines = [runfile.header_line(told)]
    for entry, parent in with_parents(run):
        lines.append(runfile.start_line(replace(entry, end=None), parent))
        lines += [runfile.end_line(entry, parent)] if entry.end is not None else []
    if is_complete:
        lines.append(runfile.done_line(told.started + SECOND, run.dropped))
    path = directory / f"{told.id}{suffix}"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def with_parents(run: Run) -> list[tuple[Entry, str | None]]:
    """Return all entries, parents first, each with the key of its parent."""
    found: list[tuple[Entry, str | None]] = []
    pending: list[tuple[Entry, str | None]] = [(root, None) for root in reversed(run.roots)]
    while pending:
        entry, parent = pending.pop()
        found.append((replace(entry, children=()), parent))
        pending += [(child, runfile.key_of(entry)) for child in reversed(entry.children)]
    return found

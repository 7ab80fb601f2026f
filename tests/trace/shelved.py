"""Keeps runs as files, as the commands find them."""

from __future__ import annotations

import typing
from dataclasses import replace

from pocketflow_trace.keeping import runfile
from pocketflow_trace.record.model import About, Run

if typing.TYPE_CHECKING:
    from pathlib import Path

    from pocketflow_trace.record.model import Entry

SECOND = 1_000_000_000
STARTED = 1_700_000_000 * SECOND
"""2023-11-14 22:13:20 UTC."""


def about(
    number: int = 0, program: str = "main", resource: typing.Mapping[str, typing.Any] | None = None
) -> About:
    """Return what a run is a run of; those with a higher number began a second later each."""
    started = STARTED + number * SECOND
    return About(
        f"20231114-22132{number % 10}-{number:04x}", program, started, None, resource or {}
    )


def keep(run: Run, directory: Path, told: About | None = None, *, is_complete: bool = True) -> Path:
    """Write a run's file, and return its path.

    Args:
        run: The run; what it is a run of is told by the next but one.
        directory: Where to.
        told: What it is a run of.
        is_complete: Has the program ended in order?
    """
    told = told or about()
    lines = [runfile.header_line(told)]
    pending: list[tuple[Entry, str | None]] = [(root, None) for root in reversed(run.roots)]
    while pending:
        entry, parent = pending.pop()
        line = runfile.start_line if entry.end is None else runfile.end_line
        lines.append(line(replace(entry, children=()), parent))
        pending += [(child, runfile.key_of(entry)) for child in reversed(entry.children)]
    if is_complete:
        lines.append(runfile.done_line(told.started + SECOND, run.dropped))
    path = directory / f"{told.id}{'.jsonl' if is_complete else '.partial'}"
    path.write_text("".join(lines), encoding="utf-8")
    return path

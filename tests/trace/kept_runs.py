"""Reads back what a keeper has written."""

from __future__ import annotations

import typing

from sample_spans import Stage

from pocketflow_trace.keeping.shelf import read
from pocketflow_trace.record.model import walk

if typing.TYPE_CHECKING:
    from pocketflow_trace.keeping.keeper import RunKeeper
    from pocketflow_trace.keeping.shelf import Shelf
    from pocketflow_trace.record.model import Run


def kept(shelf: Shelf) -> Run:
    """Return the newest run in the folder; none of its lines may be damaged."""
    reading = read(shelf.find())
    assert reading.damaged == 0
    return reading.run


def staged(keeper: RunKeeper) -> Stage:
    """Return a stage whose spans a keeper sees, beside the collector."""
    stage = Stage()
    stage.provider.add_span_processor(keeper)
    return stage


def names(run: Run) -> list[str]:
    """Return the names of all entries, parents first."""
    return [entry.name for entry in walk(run.roots)]

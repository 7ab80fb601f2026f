"""Finds the runs of a node by what a user calls it: `Search`, `Search#2`, `Search:3`.

Pure functions over the model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.facts import place, text
from pocketflow_trace.record.model import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry, Run

NAME_HELP: Final = """\
NODE is a node's class or its id, such as Search or Search#2 (Search#1 is the first node of that
class alone), or a flow's name. Search:3 is the third time that it ran."""

_NUMBERED: Final = re.compile(r"(?P<name>.+):(?P<number>[1-9]\d{0,8})", re.DOTALL)
_FIRST: Final = "#1"
_RUNS: Final = frozenset({"flow", "node"})


def node_runs(run: Run, name: str) -> list[Entry]:
    """Return the runs of nodes and flows that a name fits, in the order in which they began.

    Args:
        run: Where to look.
        name: A class, an id or a flow's name; with `:3` behind it, only the third of its runs.

    Returns:
        The entries; empty where there are none.
    """
    runs = sorted(_runs(walk(run.roots)), key=lambda entry: entry.start)
    found = _named(runs, name)
    match = _NUMBERED.fullmatch(name)
    if found or match is None:
        return found
    number = int(match["number"])
    return _named(runs, match["name"])[number - 1 : number]


def names(run: Run) -> Mapping[str, int]:
    """Return how often each node and flow of a run ran, by id or name, in order of appearance."""
    counts: dict[str, int] = {}
    for entry in _runs(walk(run.roots)):
        name = place(entry)
        counts[name] = counts.get(name, 0) + 1
    return counts


def _runs(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if entry.kind in _RUNS)


def _named(runs: Sequence[Entry], name: str) -> list[Entry]:
    """Return the runs that a name without a number fits."""
    if name.endswith(_FIRST):
        return [entry for entry in runs if text(entry, semconv.NODE_ID) == name[: -len(_FIRST)]]
    kinds = (semconv.NODE_ID, semconv.NODE_CLASS, semconv.GEN_AI_WORKFLOW_NAME)
    return [entry for entry in runs if any(text(entry, kind) == name for kind in kinds)]

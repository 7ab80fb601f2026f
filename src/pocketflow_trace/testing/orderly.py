"""Makes a run the same each time: ids, times and numbers that chance had a part in.

Pure. For tests that compare a whole run, and for examples in documents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.model import Entry, Run, assemble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketflow_trace.record.model import Value

STEP: Final = 1_000_000
"""Nanoseconds from one start or end to the next one."""

_DURATIONS: Final = frozenset(
    {
        semconv.PREP_DURATION,
        semconv.EXEC_DURATION,
        semconv.POST_DURATION,
        semconv.WAIT_DURATION,
        semconv.INSTRUMENTATION_DURATION,
    }
)


def orderly(run: Run, *, keep_times: bool = False) -> Run:
    """Return the run with ids and numbers of stores that count from 1 in the order of the tree.

    Items of a batch are put in the order of the batch; other branches stay in that of their starts.

    Args:
        run: The run.
        keep_times: Keep times and durations. Otherwise times count steps in the order of the tree,
            so that even branches that ran at the same time stand one after the other.
    """
    return replace(run, roots=_Ordering(keep_times=keep_times).order(run.roots))


class _Ordering:
    """Goes through a tree once, and counts."""

    def __init__(self, *, keep_times: bool) -> None:
        self._keep_times = keep_times
        self._entries: list[Entry] = []
        self._parents: list[int | None] = []
        self._now = 0
        self._traces: dict[str, str] = {}
        self._stores: dict[Value, int] = {}

    def order(self, roots: tuple[Entry, ...]) -> tuple[Entry, ...]:
        # A position stands for the end of an entry, met when all inside it is done.
        pending: list[tuple[Entry, int | None] | int] = [(root, None) for root in reversed(roots)]
        while pending:
            top = pending.pop()
            if isinstance(top, int):
                self._end(top)
                continue
            entry, parent = top
            position = self._start(entry, parent)
            pending.append(position)
            pending.extend((child, position) for child in reversed(_in_order(entry)))
        return assemble(self._entries, self._parents)

    def _start(self, entry: Entry, parent: int | None) -> int:
        position = len(self._entries)
        known = self._traces
        self._entries.append(
            replace(
                entry,
                start=entry.start if self._keep_times else self._tick(),
                attributes=self._attributes(entry.attributes),
                children=(),
                trace_id=known.setdefault(entry.trace_id, f"{len(known) + 1:032x}"),
                span_id=f"{position + 1:016x}",
            )
        )
        self._parents.append(parent)
        return position

    def _end(self, position: int) -> None:
        entry = self._entries[position]
        if not self._keep_times and entry.end is not None:
            self._entries[position] = replace(entry, end=self._tick())

    def _tick(self) -> int:
        self._now += STEP
        return self._now

    def _attributes(self, attributes: Mapping[str, Value]) -> dict[str, Value]:
        kept = dict(attributes)
        if not self._keep_times:
            kept = {name: value for name, value in kept.items() if name not in _DURATIONS}
        if (store := kept.get(semconv.SHARED_ID)) is not None:
            kept[semconv.SHARED_ID] = self._stores.setdefault(store, len(self._stores) + 1)
        return kept


def _in_order(entry: Entry) -> list[Entry]:
    """Return what is inside an entry; threads may start the items of a batch in any order."""
    if not any(child.kind == "item" for child in entry.children):
        return list(entry.children)
    return sorted(entry.children, key=_index)


def _index(entry: Entry) -> int:
    index = entry.attributes.get(semconv.ITEM_INDEX)
    return index if isinstance(index, int) else -1

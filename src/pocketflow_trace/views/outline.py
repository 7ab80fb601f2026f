"""Chooses which entries of a run to show, so that the output stays bounded and errors visible."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from pocketflow_trace.views.lines import is_cancelled, is_failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketflow_trace.record.model import Entry, Run


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is shown.

    Attributes:
        total: Entries in all, errors aside.
        errors: Entries shown beyond that because they failed, or did not end.
        head: First children of an entry, where it has more than `head + tail`.
        tail: Last children of an entry.
        items: The same as `head + tail` for the items of a batch.
        depth: Levels.
    """

    total: int = 300
    errors: int = 50
    head: int = 30
    tail: int = 10
    items: int = 6
    depth: int = 12


@dataclass(frozen=True, slots=True)
class Gap:
    """Neighbouring entries that are not shown.

    Attributes:
        count: How many.
        failed: How many of them failed.
    """

    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry that is shown, with what stands under it."""

    entry: Entry
    inside: tuple[Shown | Gap, ...]


Part: TypeAlias = Shown | Gap

DEFAULT_LIMITS: Final = Limits()

WIDE_LIMITS: Final = Limits(total=5_000, errors=500, head=500, tail=100, items=300, depth=30)
"""For those who want to see all; a tree of any size stays bounded."""


def outline(run: Run, limits: Limits = DEFAULT_LIMITS) -> tuple[Part, ...]:
    """Choose what to show of a run.

    Errors come first, with all that they are inside of; then whole levels, from the outside in.
    """
    tree = _Tree(run)
    chosen: set[int] = set()
    tree.choose_errors(chosen, limits)
    tree.choose_levels(chosen, limits)
    return tree.parts(tree.roots, chosen)


def children_to_show(entry: Entry) -> Sequence[Entry]:
    """Return the children; those of an only attempt that went well stand for the attempt."""
    attempts = [child for child in entry.children if child.kind == "attempt"]
    if len(attempts) != 1 or attempts[0].end is None or _is_notable(attempts[0]):
        return entry.children
    only = attempts[0]
    return [
        inner
        for child in entry.children
        for inner in ((child,) if child is not only else child.children)
    ]


def _is_notable(entry: Entry) -> bool:
    return is_failed(entry) or is_cancelled(entry) or entry.end is None


class _Tree:
    """A run with the way from each entry to its parent and its depth, by identity."""

    def __init__(self, run: Run) -> None:
        self.roots = run.roots
        self._children: dict[int, Sequence[Entry]] = {}
        self._parents: dict[int, Entry | None] = {id(root): None for root in run.roots}
        self._depths: dict[int, int] = {id(root): 1 for root in run.roots}
        self._order: list[Entry] = []
        pending = list(reversed(run.roots))
        while pending:
            entry = pending.pop()
            children = children_to_show(entry)
            self._order.append(entry)
            self._children[id(entry)] = children
            self._parents.update((id(child), entry) for child in children)
            self._depths.update((id(child), self._depths[id(entry)] + 1) for child in children)
            pending.extend(reversed(children))

    def choose_errors(self, chosen: set[int], limits: Limits) -> None:
        left = limits.errors
        for entry in self._order:
            if left <= 0:
                return
            if self._deserves(entry) and self._depths[id(entry)] <= limits.depth:
                left -= 1
                self._choose_with_parents(entry, chosen)

    def _deserves(self, entry: Entry) -> bool:
        """Tell whether an entry is shown before others; a failure that was mended is not."""
        parent = self._parents[id(entry)]
        if parent is None:
            return _is_notable(entry)
        if entry.kind in {"attempt", "other"} and not _is_notable(parent):
            return False
        # Where one branch fails, those beside it are cancelled, and there may be many.
        return is_failed(entry) or entry.end is None

    def _choose_with_parents(self, entry: Entry, chosen: set[int]) -> None:
        current: Entry | None = entry
        while current is not None and id(current) not in chosen:
            chosen.add(id(current))
            current = self._parents[id(current)]

    def choose_levels(self, chosen: set[int], limits: Limits) -> None:
        left = limits.total
        level: deque[Sequence[Entry]] = deque([self.roots])
        while level:
            for entry in _ends(level.popleft(), limits):
                if id(entry) not in chosen:
                    if left <= 0 or self._depths[id(entry)] > limits.depth:
                        continue
                    left -= 1
                    chosen.add(id(entry))
                level.append(self._children[id(entry)])

    def parts(self, entries: Sequence[Entry], chosen: set[int]) -> tuple[Part, ...]:
        """Return the chosen entries in order, with gaps; recursion ends at the depth limit."""
        parts: list[Part] = []
        hidden: list[Entry] = []
        for entry in entries:
            if id(entry) not in chosen:
                hidden.append(entry)
                continue
            parts += _gap(hidden)
            hidden = []
            parts.append(Shown(entry, self.parts(self._children[id(entry)], chosen)))
        return (*parts, *_gap(hidden))


def _ends(entries: Sequence[Entry], limits: Limits) -> Sequence[Entry]:
    """Return the first and the last of many siblings."""
    head, tail = limits.head, limits.tail
    if entries and entries[0].kind == "item":
        head, tail = limits.items - limits.items // 3, limits.items // 3
    return entries if len(entries) <= head + tail else [*entries[:head], *entries[-tail:]]


def _gap(hidden: Sequence[Entry]) -> list[Gap]:
    if not hidden:
        return []
    return [Gap(len(hidden), sum(1 for entry in hidden if is_failed(entry)))]

"""The changes of one shared store, in order, each credited to the phase that made it.

Pure: no OpenTelemetry. Every run on a store *marks* its journal at the borders of its phases. What
changed since the last mark of any run is credited to the phase that just ended there. Runs that
overlap on one store (gathered branches, threads) share its journal, so each change is found once.
"""

from __future__ import annotations

import threading
from itertools import count
from operator import is_
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.reading import (
    CONTAINERS,
    Kind,
    dict_keys,
    dict_len,
    dict_values,
)
from opentelemetry.instrumentation.pocketflow.capture.snapshot import (
    Budget,
    Change,
    Flat,
    Node,
    Snapshot,
    key_token,
    match_keys,
    same_objects,
    same_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.instrumentation.pocketflow.capture.snapshot import Around, Path

PREP: Final = "prep"
EXEC: Final = "exec"
POST: Final = "post"
RUN: Final = "run"
"""The whole of a node whose own `_run` hides the borders of its phases."""
ELSEWHERE: Final = "elsewhere"
"""Another branch, or code between nodes."""

_clock = count(1)
"""Orders beginnings and ends of runs; `next` of it is atomic."""

_ids = count(1)

# Runs begin and end in several threads. Reentrant, since a collected object's finalizer may start
# a flow wherever something is allocated.
_tree_lock = threading.RLock()

_MAX_WRITERS: Final = 512
"""Paths of which the last writer is remembered, to notice conflicts."""


class Credited(NamedTuple):
    """A change, who is credited with it, and its place among all changes of the store."""

    change: Change
    phase: str
    seq: int


class Branch:
    """One run's stay on a store, in a tree like that of the runs."""

    __slots__ = (
        "_beside_others",
        "_forks_at_start",
        "closed_at",
        "conflicts",
        "forks",
        "open_children",
        "opened_at",
        "parent",
    )

    def __init__(self, parent: Branch | None) -> None:
        self.parent = parent
        self.open_children = 0
        self.forks = 0
        """How often a run began below this one while another was open there."""
        self.conflicts: dict[object, Path] = {}
        """Paths that this run and an overlapping one wrote, by what stands for them."""
        self.opened_at = next(_clock)
        self.closed_at: int | None = None
        with _tree_lock:
            if parent is not None:
                parent.open_children += 1
                parent.forks += parent.open_children > 1
            self._beside_others = any(around.open_children > 1 for around in self.around())
            self._forks_at_start = self._forks_around()

    def close(self) -> None:
        """Ends the stay."""
        self.closed_at = next(_clock)
        if self.parent is not None:
            with _tree_lock:
                self.parent.open_children -= 1

    def is_concurrent(self) -> bool:
        """Has another branch been open on the store at any time during this one's stay?"""
        return self._beside_others or self._forks_around() != self._forks_at_start

    def around(self) -> Iterator[Branch]:
        """The runs around this one, innermost first."""
        branch = self.parent
        while branch is not None:
            yield branch
            branch = branch.parent

    def _forks_around(self) -> int:
        return sum(around.forks for around in self.around())


class Journal:
    """Keeps what a store held at the last mark.

    Args:
        store: anything; a dict, an object with attributes, or something that can't be looked into.
        max_items: how many items may be watched in all; the top level always is.
    """

    def __init__(self, store: object, max_items: int) -> None:
        self.id = next(_ids)
        self.store = store
        self.root = Branch(None)
        self.users = 0
        kind = reading.kind_of(store)
        # An object of any class may be a store: its attributes are what changes.
        self._kind = kind if kind in CONTAINERS else Kind.FIELDS
        self._has_names = self._kind in {Kind.DICT, Kind.FIELDS}
        self._budget = Budget(max_items)
        self._seq = 0
        # Reentrant, since a collected object's finalizer may start a flow in the middle of a mark.
        self._lock = threading.RLock()
        self._busy = False
        """Is it being marked, or closed?"""
        self._writers: dict[object, tuple[Branch, Path]] = {}
        self._keys: list[Any] = []
        self._items: list[Any] = []
        self._snapshots: dict[object, Snapshot] = {}
        """Of the containers at the top level, by what stands for their keys."""
        self._flat: Flat | None = None
        """All nodes of these; None where it has to be laid out anew."""
        if not self._has_names:
            self._watch(None, store, (), ())
        self._look()  # a first look: what it finds is where the journal begins

    @property
    def unwatched(self) -> int:
        """Containers of which only identity and length are compared."""
        return sum(snapshot.unwatched for snapshot in self._snapshots.values())

    def recorded(self) -> Node:
        """The store as the last mark found it."""
        if not self._has_names:
            return self._snapshots[None].root
        node = Node(self.store, self._kind)
        node.keys, node.items, node.length = self._keys, self._items, len(self._items)
        snapshots = [self._snapshots.get(key_token(key)) for key in self._keys]
        node.children = {place: s.root for place, s in enumerate(snapshots) if s is not None}
        return node

    def mark(self, branch: Branch, phase: str, render: Callable[[list[Credited]], None]) -> None:
        """Hands the changes since the last mark to `render`, credited to a phase.

        Args:
            branch: the run that has come to a border.
            phase: the phase that ends there.
            render: called with the changes, if there are any, before the store changes again.
        """
        if phase == EXEC and branch.open_children:
            return  # what changes while runs are open inside this one is theirs to find
        with self._lock:
            if self._busy:
                return
            self._busy = True
            try:
                if changes := self._look():
                    render(self._credit(branch, phase, changes))
            finally:
                self._busy = self.store is None

    def close(self) -> None:
        """Lets go of the store and everything in it; what is marked from now on is not heard."""
        self._busy = True
        self.store = None
        self._keys, self._items, self._snapshots, self._writers = [], [], {}, {}
        self._flat = None

    def _credit(self, branch: Branch, phase: str, changes: list[Change]) -> list[Credited]:
        concurrent = branch.is_concurrent()
        if phase == EXEC and concurrent:
            phase = ELSEWHERE  # exec has no store to write to, but others are writing
        credited: list[Credited] = []
        for change in changes:
            self._seq += 1
            credited.append(Credited(change, phase, self._seq))
            if phase != ELSEWHERE:
                self._note_writer(branch, change.path)
        return credited

    def _note_writer(self, branch: Branch, path: Path) -> None:
        key = tuple(key_token(step) for step in path)
        other, _ = self._writers.pop(key, (branch, path))
        self._writers[key] = branch, path  # the path keeps its keys, and so their ids, alive
        if other is not branch and _overlap(branch, other):
            branch.conflicts[key] = path
            if other.closed_at is None:
                other.conflicts[key] = path
        if len(self._writers) > _MAX_WRITERS:
            self._writers.pop(next(iter(self._writers)))

    def _look(self) -> list[Change]:
        """The changes since the last look; what is found now is where the next one begins."""
        changes: list[Change] = []
        changed = self._changed_inside()
        if self._has_names:
            self._look_at_names(changes)
        for token, snapshot, value in changed:
            # What has been replaced or removed is not told twice; and a snapshot is not updated
            # again before its changes are rendered, since they show its nodes.
            if self._snapshots.get(token) is snapshot and snapshot.root.value is value:
                changes += self._update(snapshot, value)
        if self._flat is None:
            self._lay_out()
        return changes

    def _changed_inside(self) -> list[tuple[object, Snapshot, object]]:
        """The snapshots of values that have changed in place, with their keys' tokens."""
        if self._flat is not None and self._flat.same():
            return []
        snapshots = self._snapshots.items()
        return [(token, s, s.root.value) for token, s in snapshots if not s.unchanged()]

    def _lay_out(self) -> None:
        self._flat = Flat()
        for snapshot in self._snapshots.values():
            self._flat.add(snapshot.root)
            self._flat.extend(snapshot.below)

    def _look_at_names(self, changes: list[Change]) -> None:
        try:
            if self._kind is Kind.DICT and self._same_dict():
                return
            keys, items = reading.contents_of(self.store, self._kind)
        except RuntimeError:  # another thread changes its size just now: the next mark sees it
            return
        keys = keys or []
        if not (same_objects(items, self._items) and same_objects(keys, self._keys)):
            self._compare_names(keys, items, changes)

    def _same_dict(self) -> bool:
        """Does a store that is a dict hold the very same keys and values as before?"""
        return (
            dict_len(self.store) == len(self._items)
            and all(map(is_, dict_values(self.store), self._items))
            and all(map(is_, dict_keys(self.store), self._keys))
        )

    def _compare_names(self, keys: list[Any], items: list[Any], changes: list[Change]) -> None:
        old_keys, old_items = self._keys, self._items
        self._keys, self._items = keys, items
        match = match_keys(old_keys, keys)
        changes += [self._removed(old_keys[place], old_items[place]) for place in match.removed]
        for old, new in match.differing(old_items, items):
            changes += self._replaced(keys[new], old_items[old], items[new])
        around = (self.store,)
        for place in match.added:
            node = self._watch(key_token(keys[place]), items[place], (keys[place],), around)
            changes.append(Change("add", (keys[place],), around, items[place], node))

    def _removed(self, key: object, was: object) -> Change:
        return Change("remove", (key,), (self.store,), was=was, was_node=self._forget(key))

    def _replaced(self, key: object, was: object, now: object) -> Sequence[Change]:
        snapshot = self._snapshots.get(key_token(key))
        if snapshot is not None and snapshot.can_become(now):
            return self._update(snapshot, now)
        if snapshot is None and same_value(was, now):
            return ()
        gone, around = self._forget(key), (self.store,)
        node = self._watch(key_token(key), now, (key,), around)
        return (Change("replace", (key,), around, now, node, was, gone),)

    def _update(self, snapshot: Snapshot, value: object) -> list[Change]:
        self._flat = None
        return snapshot.update(value)

    def _forget(self, key: object) -> Node | None:
        snapshot = self._snapshots.pop(key_token(key), None)
        if snapshot is None:
            return None
        self._flat = None
        snapshot.discard()
        return snapshot.root

    def _watch(self, token: object, value: object, path: Path, around: Around) -> Node | None:
        kind = reading.kind_of(value)
        if kind not in CONTAINERS:
            return None
        self._flat = None
        snapshot = self._snapshots[token] = Snapshot(value, kind, path, around, self._budget)
        return snapshot.root


_open: dict[int, Journal] = {}
_open_lock = threading.RLock()


def acquire(store: object, max_items: int) -> tuple[Journal, bool]:
    """The journal of a store that runs are working on, and whether it begins with this one."""
    with _open_lock:
        journal = _open.get(id(store))
        is_new = journal is None
        if journal is None:
            # The journal keeps the store alive, so the id stays its own until it is released.
            journal = _open[id(store)] = Journal(store, max_items)
        journal.users += 1
        return journal, is_new


def release(journal: Journal) -> None:
    """One run fewer works on the store; with the last one the journal lets go of it."""
    with _open_lock:
        journal.users -= 1
        if not journal.users:
            _open.pop(id(journal.store), None)
            journal.close()


def _overlap(branch: Branch, other: Branch) -> bool:
    """Were two runs open at the same time, neither inside the other?"""
    if branch in other.around() or other in branch.around():
        return False
    return other.closed_at is None or other.closed_at > branch.opened_at

"""The changes of one shared store, in order, each credited to the phase that made it.

Pure: no OpenTelemetry. Every run on a store *marks* its journal at the borders of its phases. What
changed since the last mark of any run is credited to the phase that just ended there. Runs that
overlap on one store (gathered branches, threads) share its journal, so each change is found once.
"""

from __future__ import annotations

import os
import threading
from itertools import count
from operator import is_
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.reading import (
    CONTAINERS,
    Kind,
    dict_keys,
    dict_values,
)
from opentelemetry.instrumentation.pocketflow.capture.snapshot import (
    Budget,
    Change,
    Flat,
    Node,
    Snapshot,
    containers_in,
    differing_places,
    key_token,
    match_keys,
    same_objects,
    same_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

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


class _Locks:
    """Those of what all journals share.

    Runs begin and end in several threads. Reentrant, since a collected object's finalizer may start
    a flow wherever something is allocated.
    """

    def __init__(self) -> None:
        self.tree = threading.RLock()
        self.open = threading.RLock()


_locks: Final = _Locks()

_MAX_LOOSE: Final = 4
"""Containers that are checked one by one, so that the others need not be laid out anew."""

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
        with _locks.tree:
            if parent is not None:
                parent.open_children += 1
                parent.forks += parent.open_children > 1
            self._beside_others = False
            self._forks_at_start = 0
            around = parent
            while around is not None:
                self._beside_others = self._beside_others or around.open_children > 1
                self._forks_at_start += around.forks
                around = around.parent

    def close(self) -> None:
        """Ends the stay."""
        self.closed_at = next(_clock)
        if self.parent is not None:
            with _locks.tree:
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
        forks, around = 0, self.parent
        while around is not None:
            forks += around.forks
            around = around.parent
        return forks


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
        self.marked_by: Branch | None = None
        """The run that came to a border last."""
        self._writers: dict[object, tuple[Branch, Path]] = {}
        self._keys: list[Any] = []
        self._items: list[Any] = []
        self._snapshots: dict[object, Snapshot] = {}
        """Of the containers at the top level, by what stands for their keys."""
        self._loose: dict[object, Snapshot] = {}
        """Those of them that have changed of late: what changes will change again."""
        self._flat: Flat | None = None
        """All nodes of the others; None where it has to be laid out anew."""
        self._views: tuple[Collection[Any], ...] = ()
        """The values and the keys of a store that is a dict."""
        if self._kind is Kind.DICT:
            self._views = dict_values(store), dict_keys(store)
        self._begin()
        self._lay_out()

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
        for place, _, _ in containers_in(node.items):
            snapshot = self._snapshots.get(key_token(node.keys[place]))
            if snapshot is not None:
                node.children[place] = snapshot.root
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
            self.marked_by = branch
            try:
                # Most borders have nothing to tell, but that of `post`.
                if phase != POST and self._is_untouched():
                    return
                if changes := self._look():
                    render(self._credit(branch, phase, changes))
            finally:
                self._busy = self.store is None

    def close(self) -> None:
        """Lets go of the store and everything in it; what is marked from now on is not heard."""
        self._busy = True
        self.store = None
        self._keys, self._items, self._snapshots, self._writers = [], [], {}, {}
        self._flat, self._loose, self._views = None, {}, ()

    def renew_lock(self) -> None:
        """For a forked child: a thread that was in the middle of a mark is not there to end it."""
        self._lock = threading.RLock()
        self._busy = self.store is None

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
        # The usual path is what stands for it.
        simple = len(path) == 1 and type(path[0]) is str
        key = path if simple else tuple([key_token(step) for step in path])
        other, _ = self._writers.pop(key, (branch, path))
        self._writers[key] = branch, path  # the path keeps its keys, and so their ids, alive
        if other is not branch and _overlap(branch, other):
            branch.conflicts[key] = path
            if other.closed_at is None:
                other.conflicts[key] = path
        if len(self._writers) > _MAX_WRITERS:
            self._writers.pop(next(iter(self._writers)))

    def _begin(self) -> None:
        """A first look: what it finds is no change."""
        if not self._has_names:
            self._watch(None, self.store, (), ())
            return
        try:
            keys, self._items = reading.contents_of(self.store, self._kind)
        except RuntimeError:  # another thread changes its size just now: the next mark sees it
            return
        self._keys = keys or []
        for place, item, kind in containers_in(self._items):
            key = self._keys[place]
            self._snapshots[key_token(key)] = Snapshot(
                item, kind, (key,), (self.store,), self._budget
            )

    def _is_untouched(self) -> bool:
        """Is everything as the last look found it? Of stores that are no dict, that is not told."""
        if not self._views or self._flat is None:
            return False
        live_items, live_keys = self._views
        try:
            return (
                len(live_items) == len(self._items)
                and all(map(is_, live_items, self._items))
                and all(map(is_, live_keys, self._keys))
                and self._flat.same()
                and (not self._loose or all(map(Snapshot.unchanged, self._loose.values())))
            )
        except RuntimeError:  # another thread changes its size just now
            return False

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
                changes += self._update(token, snapshot, value)
        if self._flat is None:
            self._lay_out()
        return changes

    def _changed_inside(self) -> list[tuple[object, Snapshot, object]]:
        """The snapshots of values that have changed in place, with their keys' tokens."""
        settled = self._flat is not None and self._flat.same()
        suspects = self._loose if settled else self._snapshots
        return [(token, s, s.root.value) for token, s in suspects.items() if not s.unchanged()]

    def _lay_out(self) -> None:
        self._flat = Flat()
        for token, snapshot in self._snapshots.items():
            if token not in self._loose:
                self._flat.add(snapshot.root)
                self._flat.extend(snapshot.below)

    def _look_at_names(self, changes: list[Change]) -> None:
        try:
            keys, items = self._names_now()
        except RuntimeError:  # another thread changes its size just now: the next mark sees it
            return
        if keys is not self._keys:
            self._compare_names(keys, items, changes)
            return
        before, self._items = self._items, items
        for place in differing_places(before, items):
            changes += self._replaced(keys[place], before[place], items[place])

    def _names_now(self) -> tuple[list[Any], list[Any]]:
        """Keys and items of the store: of keys that are the same, the list that is known."""
        if self._views:
            live_items, live_keys = self._views
            items = [*live_items]
            if len(items) == len(self._keys) and all(map(is_, live_keys, self._keys)):
                return self._keys, items
        keys, items = reading.contents_of(self.store, self._kind)
        keys = keys or []
        return (self._keys if same_objects(keys, self._keys) else keys), items

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
        token = key_token(key)
        snapshot = self._snapshots.get(token)
        if snapshot is not None and snapshot.can_become(now):
            return self._update(token, snapshot, now)
        if snapshot is None and same_value(was, now):
            return ()
        gone, around = self._forget(key), (self.store,)
        node = self._watch(token, now, (key,), around)
        return (Change("replace", (key,), around, now, node, was, gone),)

    def _update(self, token: object, snapshot: Snapshot, value: object) -> list[Change]:
        if token not in self._loose:
            loose = {token, *self._loose} if len(self._loose) < _MAX_LOOSE else {token}
            # In the order of all: in which their changes are told.
            self._loose = {t: s for t, s in self._snapshots.items() if t in loose}
            self._flat = None
        return snapshot.update(value)

    def _forget(self, key: object) -> Node | None:
        token = key_token(key)
        snapshot = self._snapshots.pop(token, None)
        if snapshot is None:
            return None
        if self._loose.pop(token, None) is None:
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


def acquire(store: object, max_items: int) -> tuple[Journal, bool]:
    """The journal of a store that runs are working on, and whether it begins with this one."""
    with _locks.open:
        journal = _open.get(id(store))
        is_new = journal is None
        if journal is None:
            # The journal keeps the store alive, so the id stays its own until it is released.
            journal = _open[id(store)] = Journal(store, max_items)
        journal.users += 1
        return journal, is_new


def release(journal: Journal) -> None:
    """One run fewer works on the store; with the last one the journal lets go of it."""
    with _locks.open:
        journal.users -= 1
        if not journal.users:
            _open.pop(id(journal.store), None)
            journal.close()


def _renew_locks() -> None:
    _locks.__init__()
    for journal in list(_open.values()):
        journal.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def _overlap(branch: Branch, other: Branch) -> bool:
    """Were two runs open at the same time, neither inside the other?"""
    if other.closed_at is not None and other.closed_at <= branch.opened_at:
        return False
    return branch not in other.around() and other not in branch.around()

"""The changes of one shared store, in order, each credited to the phase that made it.

Pure: no OpenTelemetry. Every run on a store *marks* its journal at the borders of its phases. What
changed since the last mark of any run is credited to the phase that just ended there. Runs that
overlap on one store (gathered branches, threads) share its journal, so each change is found once.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import compress, count
from operator import is_, is_not
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

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
    Path,
    Snapshot,
    key_token,
    same_objects,
    same_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        self.conflicts: list[Path] = []
        """Paths that this run and an overlapping one wrote."""
        self.opened_at = next(_clock)
        self.closed_at: int | None = None
        if parent is not None:
            parent.open_children += 1
            parent.forks += parent.open_children > 1
        self._beside_others = any(around.open_children > 1 for around in self.around())
        self._forks_at_start = self._forks_around()

    def close(self) -> None:
        """Ends the stay."""
        self.closed_at = next(_clock)
        if self.parent is not None:
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
        self._kind = reading.kind_of(store)
        self._max_items = max_items
        self._seq = 0
        # Reentrant, since a collected object's finalizer may start a flow in the middle of a mark.
        self._lock = threading.RLock()
        self._marking = False
        self._writers: dict[Path, Branch] = {}
        self._keys: list[Any] = []
        self._items: list[Any] = []
        self._snapshots: dict[object, Snapshot] = {}
        self._look()  # a first look: what it finds is where the journal begins

    @property
    def unwatched(self) -> int:
        """Containers of which only identity and length are compared."""
        return sum(snapshot.unwatched for snapshot in self._snapshots.values())

    def top_level(self) -> list[tuple[Any, Any]]:
        """Keys and values of the store as the last mark found them."""
        return list(zip(self._keys, self._items, strict=True))

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
            if self._marking:
                return
            self._marking = True
            try:
                if changes := self._look():
                    render(self._credit(branch, phase, changes))
            finally:
                self._marking = False

    def close(self) -> None:
        """Lets go of the store and everything in it."""
        self.store = None
        self._keys, self._items, self._snapshots, self._writers = [], [], {}, {}

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
        other = self._writers.pop(key, None)
        self._writers[key] = branch
        if other is not None and other is not branch and _overlap(branch, other):
            branch.conflicts.append(path)
            if other.closed_at is None:
                other.conflicts.append(path)
        if len(self._writers) > _MAX_WRITERS:
            self._writers.pop(next(iter(self._writers)))

    def _look(self) -> list[Change]:
        """The changes since the last look; what is found now is where the next one begins."""
        changes: list[Change] = []
        # Another thread may change the store's size just now: the next mark sees the rest.
        with suppress(RuntimeError):
            if self._kind in CONTAINERS and self._kind not in {Kind.DICT, Kind.FIELDS}:
                self._look_at_items(changes)
            else:
                self._look_at_names(self._names(), changes)
        return changes

    def _names(self) -> dict[Any, Any]:
        if self._kind is Kind.DICT:
            return cast("dict[Any, Any]", self.store)
        return reading.fields_of(self.store)

    def _look_at_items(self, changes: list[Change]) -> None:
        """A store that is a list or the like."""
        if not self._snapshots:
            self._watch(None, self.store, ())
        self._look_inside(changes)

    def _look_at_names(self, top: dict[Any, Any], changes: list[Change]) -> None:
        self._look_inside(changes)
        if not (
            dict_len(top) == len(self._items)
            and all(map(is_, dict_values(top), self._items))
            and all(map(is_, dict_keys(top), self._keys))
        ):
            self._compare_top(top, changes)

    def _look_inside(self, changes: list[Change]) -> None:
        """What changed in place below the top level."""
        for snapshot in self._snapshots.values():
            if not snapshot.unchanged():
                changes += self._update(snapshot, snapshot.root.value)

    def _compare_top(self, top: dict[Any, Any], changes: list[Change]) -> None:
        old_keys, old_items = self._keys, self._items
        keys, items = reading.pairs_of(top)
        self._keys, self._items = keys, items
        kept = len(old_keys)
        if same_objects(keys[:kept], old_keys):
            # The usual case: nothing was removed, so every key stands where it stood.
            moved = compress(range(kept), map(is_not, items, old_items))
            changed = [(place, place) for place in moved]
            added = list(range(kept, len(keys)))
        else:
            left = {key_token(key): place for place, key in enumerate(old_keys)}
            origins = list(enumerate([left.pop(key_token(key), None) for key in keys]))
            added = [place for place, old in origins if old is None]
            changed = [
                (place, old)
                for place, old in origins
                if old is not None and items[place] is not old_items[old]
            ]
            changes += [self._removed(old_keys[old], old_items[old]) for old in left.values()]
        for place, old in changed:
            changes += self._replaced(keys[place], old_items[old], items[place])
        for place in added:
            changes.append(Change("add", (keys[place],), items[place]))
            self._watch(key_token(keys[place]), items[place], (keys[place],))

    def _removed(self, key: object, was: object) -> Change:
        snapshot = self._snapshots.pop(key_token(key), None)
        return Change("remove", (key,), was=was, was_node=snapshot and snapshot.root)

    def _replaced(self, key: object, was: object, now: object) -> list[Change]:
        token = key_token(key)
        snapshot = self._snapshots.get(token)
        if snapshot is not None and type(was) is type(now):
            return self._update(snapshot, now)
        self._snapshots.pop(token, None)
        self._watch(token, now, (key,))
        if same_value(was, now):
            return []
        return [Change("replace", (key,), now, was, snapshot and snapshot.root)]

    def _watch(self, token: object, value: object, path: Path) -> None:
        kind = reading.kind_of(value)
        if kind in CONTAINERS:
            self._snapshots[token] = Snapshot(value, kind, path, self._budget())

    def _update(self, snapshot: Snapshot, value: object) -> list[Change]:
        return snapshot.update(value, self._budget(without=snapshot))

    def _budget(self, without: Snapshot | None = None) -> Budget:
        watched = sum(s.watched for s in self._snapshots.values() if s is not without)
        return Budget(max(self._max_items - watched, 0))


_open: dict[int, Journal] = {}
_open_lock = threading.Lock()


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

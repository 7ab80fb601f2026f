"""What a value held at one moment, and how it differs from what it holds now.

Pure: no OpenTelemetry, and no code of the user's classes runs (see `reading`).

A snapshot is a tree of `Node`, one for each container, each with a shallow copy of the container's
items. Nothing is copied deeply: an item that is the same object has not changed, unless it is a
container, which has a node of its own. `Snapshot.unchanged` compares a whole tree in a few calls
of C code; only where that fails is the tree walked.

The number of items looked at is bounded by a `Budget`. A container beyond it is *unwatched*: its
identity and length are compared, its items are not.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from operator import is_
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from opentelemetry.instrumentation.pocketflow.capture.preview import MAX_DEPTH
from opentelemetry.instrumentation.pocketflow.capture.reading import (
    ATOM_TYPE_IDS,
    CONTAINERS,
    Kind,
    contents_of,
    dict_keys,
    dict_len,
    dict_values,
    is_mutable_in_place,
    kind_of,
    length_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_COMPARED_CHARS: Final = 65_536
"""Longer texts that are not the same object count as changed: comparing costs their length."""


Path: TypeAlias = "tuple[object, ...]"
"""Dict keys and list indices from the root; not yet text."""


class Change(NamedTuple):
    """One difference, as an operation of JSON Patch."""

    op: str
    """`add`, `remove` or `replace`."""
    path: Path
    value: object = None
    """What stands there now; of no meaning for `remove`."""
    was: object = None
    """What stood there before; of no meaning for `add`."""
    was_node: Node | None = None
    """What `was` held before, where it is a container."""


class Budget:
    """How many items a snapshot may look at; shared by everything it watches."""

    __slots__ = ("left",)

    def __init__(self, items: int) -> None:
        self.left = items

    def take(self, items: int) -> bool:
        """Takes that many, if there are as many."""
        if items > self.left:
            return False
        self.left -= items
        return True


class Node:
    """What one container held."""

    __slots__ = ("children", "items", "keys", "kind", "length", "parent", "value")

    def __init__(self, value: object, kind: Kind, parent: Node | None) -> None:
        self.value = value
        self.kind = kind
        self.parent = parent
        self.length = 0
        self.keys: list[Any] | None = None
        self.items: list[Any] | None = None
        """None where the container is unwatched."""
        self.children: dict[int, Node] = {}
        """The containers among the items, by position."""

    def read(self, budget: Budget) -> None:
        """Takes the container's items as they are now.

        Raises:
            RuntimeError: another thread changes the container just now.
        """
        self.length = length_of(self.value, self.kind)
        if budget.take(self.length + 1):
            self.keys, self.items = contents_of(self.value, self.kind)
            self.length = len(self.items)
        else:
            self.keys = self.items = None

    def nodes(self) -> Iterator[Node]:
        """This node and all below it."""
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(node.children.values())

    def ancestors(self) -> Iterator[Node]:
        """The containers around this one, innermost first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def is_cycle(self) -> bool:
        """Does the container stand inside itself?"""
        return any(ancestor.value is self.value for ancestor in self.ancestors())


class Snapshot:
    """What one container and everything in it held, as far as it is watched.

    Args:
        value: the container.
        kind: of the container.
        path: where it stands in the store.
        budget: how much of it may be watched.

    Raises:
        RuntimeError: another thread changes the value just now.
    """

    __slots__ = ("_expected", "_live", "_path", "_slow", "root", "unwatched", "watched")

    def __init__(self, value: object, kind: Kind, path: Path, budget: Budget) -> None:
        self._path = path
        self.root = build(value, kind, None, budget)
        self._index()

    def unchanged(self) -> bool:
        """Does everything watched hold the very same objects as before?"""
        try:
            return _same_now(self.root) and self._same_below()
        except RuntimeError:  # changed in size by another thread meanwhile
            return False

    def update(self, value: object, budget: Budget) -> list[Change]:
        """The changes since the snapshot was taken; it then stands for the present.

        Args:
            value: what stands in the place now, of the same exact type.
            budget: what may be watched from now on.

        Raises:
            RuntimeError: another thread changes the value just now.
        """
        comparison = _Comparison(budget, same_below=self._same_below())
        self.root = comparison.compare(self.root, value, self.root.kind, self._path)
        self._index()
        return comparison.changes

    def _same_below(self) -> bool:
        # `len` and iteration of exact builtins and of dict views: C code throughout.
        return (
            sum(map(len, self._live)) == len(self._expected)
            and all(map(is_, chain.from_iterable(self._live), self._expected))
            and all(map(_same_now, self._slow))
        )

    def _index(self) -> None:
        """Lays the nodes below the root out flat, so that they are compared in one call."""
        live: list[Any] = []
        slow: list[Node] = []
        expected: list[Any] = []
        self.unwatched = 0
        self.watched = 0
        for node in self.root.nodes():
            if node.items is None:
                self.unwatched += 1
            else:
                self.watched += node.length + 1
            if node is self.root or not is_mutable_in_place(node.value, node.kind):
                continue
            if node.items is not None and node.kind is Kind.DICT:
                live += (dict_keys(node.value), dict_values(node.value))
                expected += cast("list[Any]", node.keys)
                expected += node.items
            elif node.items is not None and type(node.value) in (list, deque, set):
                live.append(node.value)
                expected += node.items
            else:
                slow.append(node)
        self._live, self._slow, self._expected = live, slow, expected


def _same_now(node: Node) -> bool:
    """Does a container itself, not what is in it, hold what it held?"""
    value: Any = node.value
    if node.items is None:
        return length_of(value, node.kind) == node.length
    if node.kind is Kind.DICT:
        return (
            dict_len(value) == node.length
            and all(map(is_, dict_values(value), node.items))
            and all(map(is_, dict_keys(value), cast("list[Any]", node.keys)))
        )
    if type(value) is list:
        return same_objects(cast("list[object]", value), node.items)
    if not is_mutable_in_place(value, node.kind):
        return True
    keys, items = contents_of(value, node.kind)
    return same_objects(items, node.items) and _same_names(keys, node.keys)


def _same_names(now: list[Any] | None, before: list[Any] | None) -> bool:
    return now is before or same_objects(now or (), before or ())


def same_objects(now: Sequence[object], before: Sequence[object]) -> bool:
    """The very same objects in the same order? Both are lists or tuples of ours."""
    return len(now) == len(before) and all(map(is_, now, before))


def build(
    value: object,
    kind: Kind,
    parent: Node | None,
    budget: Budget,
) -> Node:
    """Records a container and, breadth first, the containers in it.

    Raises:
        RuntimeError: another thread changes one of them just now.
    """
    root = Node(value, kind, parent)
    root.read(budget)
    pending = deque([(root, sum(1 for _ in root.ancestors()))])
    while pending:
        node, depth = pending.popleft()
        for index, item, item_kind in _containers_in(node):
            child = Node(item, item_kind, node)
            if child.is_cycle():
                continue
            if depth < MAX_DEPTH:
                child.read(budget)
                pending.append((child, depth + 1))
            else:
                child.length = length_of(item, item_kind)
            node.children[index] = child
    return root


def _containers_in(node: Node) -> Iterator[tuple[int, object, Kind]]:
    items = node.items
    # One pass of C code over the types tells most lists apart from those worth a loop.
    if not items or ATOM_TYPE_IDS.issuperset(map(id, map(type, items))):
        return
    item: object
    for index, item in enumerate(items):
        if id(type(item)) not in ATOM_TYPE_IDS and (kind := kind_of(item)) in CONTAINERS:
            yield index, item, kind


def same_value(before: object, now: object) -> bool:
    """The same object, or equal builtins of the same exact type that are cheap to compare."""
    if before is now:
        return True
    if type(before) is not type(now) or kind_of(before) is not Kind.ATOM:
        return False
    if type(before) is str or type(before) is bytes:
        return len(before) == len(cast("str", now)) <= _MAX_COMPARED_CHARS and before == now
    # Zero and minus zero are equal but print differently.
    return before == now and (type(before) is not float or str(before) == str(now))


class _Comparison:
    """One walk over a snapshot and the present, which collects the changes between them."""

    def __init__(self, budget: Budget, *, same_below: bool) -> None:
        self.changes: list[Change] = []
        self._budget = budget
        self._same_below = same_below
        """Is it known already that no container below the root has changed in place?"""

    def compare(self, before: Node, value: object, kind: Kind, path: Path) -> Node:
        """Collects what differs between a recorded container and the one in its place now.

        Returns:
            The node that stands for the present.
        """
        now = Node(value, kind, before.parent)
        now.read(self._budget)
        if self._explained(before, now, path):
            return now
        self.changes.append(Change("replace", path, value, before.value, before))
        return self._build(value, kind, before.parent)

    def _explained(self, before: Node, now: Node, path: Path) -> bool:
        """Collects the changes inside a container; False where it is replaced as a whole."""
        if before.items is None or now.items is None:
            same = before.value is now.value and before.length == now.length
            return same and before.items is now.items
        if now.keys is not None and before.keys is not None:
            return self._compare_mappings(before, now, path)
        if now.kind is Kind.SET:
            return same_objects(now.items, before.items)
        return self._compare_sequences(before, now, path)

    def _compare_mappings(self, before: Node, now: Node, path: Path) -> bool:
        old_keys, new_keys = cast("list[Any]", before.keys), cast("list[Any]", now.keys)
        old_items, new_items = cast("list[Any]", before.items), cast("list[Any]", now.items)
        old_place = {key_token(key): index for index, key in enumerate(old_keys)}
        new_place = {key_token(key): index for index, key in enumerate(new_keys)}
        if before.value is not now.value and old_keys:
            kept = old_place.keys() & new_place.keys()
            if not any(same_value(old_items[old_place[k]], new_items[new_place[k]]) for k in kept):
                return False  # another dict with nothing in common
        for token, index in old_place.items():
            if token not in new_place:
                self._remove(before, index, (*path, old_keys[index]))
        for token, index in new_place.items():
            here = (*path, new_keys[index])
            if token in old_place:
                self._step(before, old_place[token], now, index, here)
            else:
                self._add(now, index, here)
        return True

    def _compare_sequences(self, before: Node, now: Node, path: Path) -> bool:
        old, new = cast("list[Any]", before.items), cast("list[Any]", now.items)
        head = _common(old, new)
        tail = _common(old[head:][::-1], new[head:][::-1])
        gone, come = len(old) - head - tail, len(new) - head - tail
        if before.value is not now.value and old and not head and not tail:
            return False  # another list with nothing in common
        # Each operation finds the indices as the ones before it left them.
        for index in range(head + min(gone, come)):
            self._step(before, index, now, index, (*path, index))
        for index in range(head + gone - 1, head + come - 1, -1):
            self._remove(before, index, (*path, index))
        for index in range(head + gone, head + come):
            self._add(now, index, (*path, index))
        for offset in range(tail, 0, -1):
            index = len(new) - offset
            self._step(before, len(old) - offset, now, index, (*path, index))
        return True

    def _step(self, before: Node, old_index: int, now: Node, new_index: int, path: Path) -> None:
        """Compares one item with what stood in its place."""
        old = cast("list[Any]", before.items)[old_index]
        new = cast("list[Any]", now.items)[new_index]
        old_node = before.children.get(old_index)
        if old_node is None:
            if not same_value(old, new):
                self.changes.append(Change("replace", path, new, old))
            self._watch(now, new_index)
        elif old is new and self._same_below:
            old_node.parent = now
            now.children[new_index] = old_node
        elif type(old) is type(new) and not Node(new, old_node.kind, now).is_cycle():
            old_node.parent = now
            now.children[new_index] = self.compare(old_node, new, old_node.kind, path)
        else:
            self.changes.append(Change("replace", path, new, old, old_node))
            self._watch(now, new_index)

    def _remove(self, before: Node, index: int, path: Path) -> None:
        was = cast("list[Any]", before.items)[index]
        gone = Change("remove", path, was=was, was_node=before.children.get(index))
        self.changes.append(gone)

    def _add(self, now: Node, index: int, path: Path) -> None:
        self.changes.append(Change("add", path, cast("list[Any]", now.items)[index]))
        self._watch(now, index)

    def _watch(self, now: Node, index: int) -> None:
        item = cast("list[Any]", now.items)[index]
        kind = kind_of(item)
        if kind in CONTAINERS and not Node(item, kind, now).is_cycle():
            now.children[index] = self._build(item, kind, now)

    def _build(self, value: object, kind: Kind, parent: Node | None) -> Node:
        return build(value, kind, parent, self._budget)


def _common(old: Sequence[object], new: Sequence[object]) -> int:
    """How many items from the start are the same value in both."""
    if same_objects(old, new[: len(old)]):
        return len(old)
    for index, (was, item) in enumerate(zip(old, new, strict=False)):
        if not same_value(was, item):
            return index
    return min(len(old), len(new))


def key_token(key: object) -> object:
    """Stands for a dict key without calling its `__hash__` and `__eq__`."""
    if type(key) is str:
        return key
    if kind_of(key) is Kind.ATOM:
        return (type(key), key)
    return (key_token, id(key))

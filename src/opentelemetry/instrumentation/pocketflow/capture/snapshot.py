"""What a value held at one moment, and how it differs from what it holds now.

Pure: no OpenTelemetry, and no code of the user's classes runs (see `reading`).

A snapshot is a tree of `Node`, one for each container, each with a shallow copy of the container's
items. Nothing is copied deeply: an item that is the same object has not changed, unless it is a
container, which has a node of its own. `Snapshot.unchanged` compares a whole tree in a few calls
of C code; only where that fails is the tree walked, and then only the parts that differ.

The number of items looked at is bounded by a `Budget`. A container beyond it is *unwatched*: its
identity and length are compared, its items are not.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, compress, count, islice, repeat
from operator import is_, is_not, length_hint
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
    exact_text,
    is_mutable_in_place,
    kind_of,
    layout_of,
    length_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from opentelemetry.instrumentation.pocketflow.capture.reading import Getter

_MAX_COMPARED_CHARS: Final = 65_536
"""Longer texts that are not the same object count as changed: comparing costs their length."""


_NOT_EQUAL: Final = frozenset({"NaN", "-NaN"})
"""Decimals that are equal to nothing: a dict may have several of them as keys."""

_ITERABLE_TYPE_IDS: Final = frozenset(map(id, (list, set, deque)))
"""Exact types that `len` and iteration may be asked of; by id, since `==` may be a metaclass's."""

Path: TypeAlias = "tuple[object, ...]"
"""Dict keys and list indices from the root; not yet text."""

Around: TypeAlias = "tuple[object, ...]"
"""The containers around a place, outermost first."""


class Change(NamedTuple):
    """One difference, as an operation of JSON Patch."""

    op: str
    """`add`, `remove` or `replace`."""
    path: Path
    around: Around
    value: object = None
    """What stands there now; of no meaning for `remove`."""
    node: Node | None = None
    """What `value` holds, where it is a container."""
    was: object = None
    """What stood there before; of no meaning for `add`."""
    was_node: Node | None = None
    """What `was` held before, where it is a container."""


class Budget:
    """How many items may be watched; shared by all snapshots of one store."""

    __slots__ = ("left",)

    def __init__(self, items: int) -> None:
        self.left = items

    def take(self, items: int) -> bool:
        """Takes that many, if there are as many."""
        if items > self.left:
            return False
        self.left -= items
        return True

    def give_back(self, node: Node) -> None:
        """Returns what a node and all below it have taken."""
        self.left += sum(below.taken for below in node.nodes())


class Node:
    """What one container held."""

    __slots__ = (
        "children",
        "is_cycle",
        "is_unread",
        "items",
        "keys",
        "kind",
        "length",
        "taken",
        "value",
    )

    def __init__(self, value: object, kind: Kind) -> None:
        self.value = value
        self.kind = kind
        self.length = 0
        self.keys: list[Any] | None = None
        self.items: list[Any] | None = None
        """None where the container is unwatched."""
        self.children: dict[int, Node] = {}
        """The containers among the items, by position."""
        self.taken = 0
        """Its part of the budget."""
        self.is_cycle = False
        """Does the container stand inside itself? Then it is read where it stands first."""
        self.is_unread = False
        """Did another thread change it while it was read? Then the next look finds it changed."""

    def read(self, budget: Budget) -> None:
        """Takes the container's items as they are now, if the budget allows."""
        self.length = length_of(self.value, self.kind)
        if not budget.take(self.length + 1):
            return
        try:
            self.keys, self.items = contents_of(self.value, self.kind)
        except RuntimeError:
            budget.left += self.length + 1
            self.is_unread = True
            return
        self.taken = self.length + 1
        self.length = len(self.items)

    def nodes(self) -> Iterator[Node]:
        """This node and all below it."""
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(node.children.values())

    def step_to(self, index: int) -> object:
        """The part of a path that leads to an item."""
        return index if self.keys is None else self.keys[index]


class Snapshot:
    """What one container and everything in it held, as far as it is watched.

    Args:
        value: the container.
        kind: of the container.
        path: where it stands in the store.
        around: the store, where the container is not the store itself.
        budget: how much may be watched.
    """

    __slots__ = ("_around", "_budget", "_has_cycles", "_path", "below", "root", "unwatched")

    def __init__(
        self, value: object, kind: Kind, path: Path, around: Around, budget: Budget
    ) -> None:
        self._path = path
        self._around = around
        self._budget = budget
        self.root = build(value, kind, around, budget)
        self._index()

    def unchanged(self) -> bool:
        """Does everything watched hold the very same objects as before?"""
        return same_now(self.root) and self.below.same()

    def update(self, value: object) -> list[Change]:
        """The changes since the snapshot was taken; it then stands for the present.

        Args:
            value: what stands in the place now, of the same exact type.
        """
        # Where a container stands inside itself depends on what is around it: look everywhere.
        same_below = not self._has_cycles and self.below.same()
        comparison = _Comparison(self._budget, same_below=same_below)
        self.root = comparison.compare(self.root, value, self._path, self._around)
        if comparison.stale:
            self._index()
        else:
            self._extend_index(chain.from_iterable(node.nodes() for node in comparison.built))
        return comparison.changes

    def can_become(self, value: object) -> bool:
        """May `update` be called with that value?"""
        if self.root.is_cycle or is_among(value, self._around):
            return False
        return type(value) is type(self.root.value)

    def discard(self) -> None:
        """Gives back what it took of the budget."""
        self._budget.give_back(self.root)

    def _index(self) -> None:
        self.below = Flat()
        """All nodes but the root."""
        self._has_cycles = self.root.is_cycle
        self.unwatched = int(_is_unwatched(self.root))
        self._extend_index(chain.from_iterable(n.nodes() for n in self.root.children.values()))

    def _extend_index(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._has_cycles = self._has_cycles or node.is_cycle
            self.unwatched += _is_unwatched(node)
            self.below.add(node)


class _Column(NamedTuple):
    """One field, or the dict of all fields, of many objects of one class."""

    read: Getter
    owners: list[object]
    expected: list[object]

    def same(self) -> bool:
        """Is it the very same object in each of them?"""
        return all(map(is_, map(self.read, self.owners), self.expected))


class Flat:
    """Nodes laid out so that a few calls of C code compare them all with what they stand for."""

    __slots__ = ("_columns", "_expected", "_lengths", "_live", "_sized", "_slow")

    def __init__(self) -> None:
        self._columns: dict[int, _Column] = {}
        """What is read of objects with fields, by the id of what reads it."""
        self._live: list[Any] = []
        """What can be iterated over without running code of the user's: exact builtins, views."""
        self._sized: list[Any] = []
        """Of these one of each container, to be asked for its length."""
        self._lengths: list[int] = []
        self._expected: list[Any] = []
        """What all of these should hold, one after the other."""
        self._slow: list[Node] = []

    def add(self, node: Node) -> None:
        """One more node, without those below it."""
        if node.items is None:
            if not node.is_cycle and is_mutable_in_place(node.value, node.kind):
                self._slow.append(node)
        elif node.kind is Kind.DICT:
            self._expect_pairs(node.value, cast("list[Any]", node.keys), node.items)
        elif id(type(node.value)) in _ITERABLE_TYPE_IDS:
            self._expect(len(node.items), node.items, node.value)
        elif is_mutable_in_place(node.value, node.kind) and not self._add_fields(node):
            self._slow.append(node)

    def extend(self, other: Flat) -> None:
        """All nodes of another one."""
        self._live += other._live
        self._sized += other._sized
        self._lengths += other._lengths
        self._expected += other._expected
        self._slow += other._slow
        for key, column in other._columns.items():
            mine = self._columns.setdefault(key, _Column(column.read, [], []))
            mine.owners.extend(column.owners)
            mine.expected.extend(column.expected)

    def same(self) -> bool:
        """Does each container hold the very same objects as its node?"""
        try:
            return (
                # Of each: an item may have moved from one to the next.
                (not self._sized or list(map(len, self._sized)) == self._lengths)
                and all(map(is_, chain.from_iterable(self._live), self._expected))
                and (not self._columns or all(c.same() for c in self._columns.values()))
                and (not self._slow or all(map(same_now, self._slow)))
            )
        except (RuntimeError, AttributeError):  # changed in size just now; a slot was unset
            return False

    def _add_fields(self, node: Node) -> bool:
        """An object with fields, unless a slot is unset or they stand in more than one dict."""
        if node.kind is not Kind.FIELDS:
            return False
        keys, items = cast("list[Any]", node.keys), cast("list[Any]", node.items)
        layout = layout_of(type(node.value))
        slots = len(layout.slots)
        dicts = [read(node.value) for read in layout.dicts]
        live: list[Any] = [own for own in dicts if type(own) is dict]
        if not same_objects(keys[:slots], [name for name, _ in layout.slots]) or len(live) > 1:
            return False
        readers = (*(read for _, read in layout.slots), *layout.dicts)
        for read, value in zip(readers, (*items[:slots], *dicts), strict=True):
            column = self._columns.setdefault(id(read), _Column(read, [], []))
            column.owners.append(node.value)
            column.expected.append(value)
        for own in live:
            self._expect_pairs(own, keys[slots:], items[slots:])
        return True

    def _expect_pairs(self, live: Any, keys: list[Any], items: list[Any]) -> None:
        self._expect(len(keys), [*keys, *items], dict_keys(live), dict_values(live))

    def _expect(self, length: int, expected: list[Any], *live: Any) -> None:
        self._live += live
        self._sized.append(live[0])
        self._lengths.append(length)
        self._expected += expected


def same_now(node: Node) -> bool:
    """Does a container itself, not what is in it, hold what it held?"""
    value: Any = node.value
    if node.items is None:
        return node.is_cycle or (not node.is_unread and length_of(value, node.kind) == node.length)
    try:
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
    except RuntimeError:  # changed in size by another thread meanwhile
        return False
    return same_objects(items, node.items) and same_objects(keys or (), node.keys or ())


def _is_unwatched(node: Node) -> bool:
    return node.items is None and not node.is_cycle


def same_objects(now: Sequence[object], before: Sequence[object]) -> bool:
    """The very same objects in the same order? Both are exact lists or tuples."""
    return len(now) == len(before) and all(map(is_, now, before))


def differing_places(before: Sequence[object], now: Sequence[object]) -> Iterator[int]:
    """Where two lists hold other objects, as far as the shorter one goes."""
    left = iter(now)
    pairs = map(is_, before, left)
    # One pass of C code, which rests at each difference: what is left tells where that is.
    while not all(pairs):
        yield len(now) - length_hint(left) - 1


def is_among(value: object, around: Around) -> bool:
    """Is it the very same object as one of these?"""
    return any(map(is_, around, repeat(value)))


def holds_same(node: Node, value: object) -> bool:
    """Does a value that is not the recorded container hold what that held, all the way down?"""
    if type(value) is not type(node.value) or node.items is None:
        return False
    try:
        keys, items = contents_of(value, node.kind)
    except RuntimeError:  # changed in size by another thread meanwhile
        return False
    if len(items) != node.length:
        return False
    if node.kind is Kind.SET:
        return not node.children and _same_members(items, node.items)
    if node.keys is None:
        return all(_holds_same_item(node, place, item) for place, item in enumerate(items))
    return _holds_same_names(node, keys or [], items)


def _holds_same_names(node: Node, keys: list[Any], items: list[Any]) -> bool:
    match = match_keys(node.keys or (), keys)
    return not match.removed and all(
        _holds_same_item(node, old, items[new]) for old, new in match.pairs()
    )


def _holds_same_item(node: Node, index: int, new: object) -> bool:
    child = node.children.get(index)
    if child is None:
        return same_value(cast("list[Any]", node.items)[index], new)
    return holds_same(child, new)


def _same_members(old: Sequence[object], new: Sequence[object]) -> bool:
    """The order in which a set lists its items has no meaning."""
    return set(map(key_token, old)) == set(map(key_token, new))


def build(value: object, kind: Kind, around: Around, budget: Budget) -> Node:
    """Records a container and the containers in it."""
    node = Node(value, kind)
    if _take_in(node, around, budget):
        _build_below(node, around, budget)
    return node


def _take_in(node: Node, around: Around, budget: Budget) -> bool:
    """Reads one container; tells whether there may be more inside."""
    if is_among(node.value, around):
        node.is_cycle = True
    elif len(around) < MAX_DEPTH:
        node.read(budget)
    else:
        node.length = length_of(node.value, node.kind)
    return node.items is not None


def _build_below(root: Node, around: Around, budget: Budget) -> None:
    """Records, breadth first, the containers in one that has been read."""
    pending = deque([(root, around)])
    while pending:
        node, outside = pending.popleft()
        inside = (*outside, node.value)
        for index, item, kind in containers_in(node.items or ()):
            child = node.children[index] = Node(item, kind)
            if _take_in(child, inside, budget):
                pending.append((child, inside))


def containers_in(items: Sequence[object]) -> Iterator[tuple[int, object, Kind]]:
    """The containers among some values, and their places."""
    # One pass of C code over the types tells most lists apart from those worth a loop.
    if ATOM_TYPE_IDS.issuperset(map(id, map(type, items))):
        return
    for index, item in enumerate(items):
        if id(type(item)) not in ATOM_TYPE_IDS and (kind := kind_of(item)) in CONTAINERS:
            yield index, item, kind


def same_value(before: object, now: object) -> bool:
    """The same object, or builtins of the same exact type that are equal and look the same."""
    if before is now:
        return True
    if type(before) is not type(now):
        return False
    kind = kind_of(before)
    if kind is Kind.ATOM:
        return _same_atom(before, now)
    if kind is not Kind.TEXT or (text := exact_text(before)) is None:
        return False
    return text == exact_text(now)


def _same_atom(before: object, now: object) -> bool:
    if type(before) is str or type(before) is bytes:
        return len(before) == len(cast("str", now)) <= _MAX_COMPARED_CHARS and before == now
    if type(before) is float or type(before) is complex:
        # Zero and minus zero are equal but look different; of nan the reverse is true.
        return repr(before) == repr(now)
    return before == now


class _Comparison:
    """One walk over a snapshot and the present, which collects the changes between them."""

    def __init__(self, budget: Budget, *, same_below: bool) -> None:
        self.changes: list[Change] = []
        self.built: list[Node] = []
        """Nodes of containers that have come."""
        self.stale = False
        """Is any node below the root gone, or another one?"""
        self._budget = budget
        self._same_below = same_below
        """Is it known already that no container below the root has changed in place?"""

    def compare(self, before: Node, value: object, path: Path, around: Around) -> Node:
        """Collects what differs between a recorded container and the one in its place now.

        Returns:
            The node that stands for the present.
        """
        inside = (*around, value)
        if before.value is value and same_now(before):
            self._compare_children(before, path, inside)
            return before
        self._budget.left += before.taken
        now = Node(value, before.kind)
        now.read(self._budget)
        if now.is_unread and before.value is value:
            self._budget.left -= before.taken
            return before  # the next look finds the changes
        if not self._explained(before, now, path, inside):
            self._replace_all(before, now, path, around)
        return now

    def _replace_all(self, before: Node, now: Node, path: Path, around: Around) -> None:
        self._drop_children(before)
        _build_below(now, around, self._budget)
        self.stale = True
        self.changes.append(Change("replace", path, around, now.value, now, before.value, before))

    def _explained(self, before: Node, now: Node, path: Path, inside: Around) -> bool:
        """Collects the changes inside a container; False where it is replaced as a whole."""
        if before.items is None or now.items is None:
            return self._explained_unwatched(before, now, inside)
        if now.keys is not None and before.keys is not None:
            return self._compare_mappings(before, now, path, inside)
        if now.kind is Kind.SET:
            return self._compare_sets(before, now, path, inside)
        return self._compare_sequences(before, now, path, inside)

    def _explained_unwatched(self, before: Node, now: Node, inside: Around) -> bool:
        """Of a container that is not, or no longer, watched no change is claimed without reason."""
        if before.is_unread or before.value is not now.value or before.length != now.length:
            return False
        self._drop_children(before)
        _build_below(now, inside[:-1], self._budget)
        self.stale = True
        return True

    def _compare_mappings(self, before: Node, now: Node, path: Path, inside: Around) -> bool:
        old_items, new_items = cast("list[Any]", before.items), cast("list[Any]", now.items)
        match = match_keys(cast("list[Any]", before.keys), cast("list[Any]", now.keys))
        if before.value is not now.value and old_items:
            pairs = match.pairs()
            if not any(self._same_item(before, old, new_items[new]) for old, new in pairs):
                return False  # another dict with nothing in common
        for index in match.removed:
            self._remove(before, index, (*path, before.step_to(index)), inside)
        now.children = match.moved(before.children)
        also = () if self._same_below else before.children
        for old, new in match.differing(old_items, new_items, also):
            self._step(now, new, old_items[old], (*path, now.step_to(new)), inside)
        for index in match.added:
            self._add(now, index, (*path, now.step_to(index)), inside)
        return True

    def _compare_sets(self, before: Node, now: Node, path: Path, inside: Around) -> bool:
        old, new = cast("list[Any]", before.items), cast("list[Any]", now.items)
        if same_objects(old, new):
            now.children = before.children
            self._compare_children(now, path, inside)
            return True
        return not before.children and _same_members(old, new)

    def _compare_sequences(self, before: Node, now: Node, path: Path, inside: Around) -> bool:
        old, new = cast("list[Any]", before.items), cast("list[Any]", now.items)
        if len(old) < len(new) and all(map(is_, old, new)):
            return self._compare_grown(before, now, path, inside)
        slid = _slid(old, new)
        if slid:
            # The usual end of a memory of the last few messages: the first ones have gone.
            self._remove_range(before, range(slid), path, inside)
            before = _without_first(before, slid)
            old = old[slid:]
        head = self._common(before, new)
        tail = self._common(before, new, skip=head, step=-1)
        if before.value is not now.value and old and not head and not tail:
            return False  # another list with nothing in common
        # Each operation finds the indices as the ones before it left them.
        gone, come = range(head, len(old) - tail), range(head, len(new) - tail)
        shared = min(len(gone), len(come))
        shift = len(come) - len(gone)
        dropped = gone[shared:]
        look_first = self._worth_a_look(before, range(head), new)
        look_last = self._worth_a_look(before, range(gone.stop, len(old)), new, shift)
        now.children = _moved(before.children, dropped, shift if tail else 0)
        for index in chain(look_first, gone[:shared]):
            self._step(now, index, old[index], (*path, index), inside)
        self._remove_range(before, dropped, path, inside)
        for index in come[shared:]:
            self._add(now, index, (*path, index), inside)
        for index in look_last:
            self._step(now, index + shift, old[index], (*path, index + shift), inside)
        return True

    def _compare_grown(self, before: Node, now: Node, path: Path, inside: Around) -> bool:
        """The usual case: a list where nothing has happened but at its end."""
        now.children = before.children
        self._compare_children(now, path, inside)
        for index in range(before.length, now.length):
            self._add(now, index, (*path, index), inside)
        return True

    def _common(self, before: Node, new: Sequence[object], skip: int = 0, step: int = 1) -> int:
        """How many items of a list are the same, from its start, or from its end.

        Args:
            before: what the list held.
            new: what it holds.
            skip: how many items at the start are none of them.
            step: 1 from the start, -1 from the end.
        """
        old = cast("list[Any]", before.items)
        places = range(skip, len(old))[::step]
        others = range(skip, len(new))[::step]
        differing = map(is_not, old[skip:][::step], new[skip:][::step])
        for index in compress(count(), differing):
            if not self._same_item(before, places[index], new[others[index]]):
                return index
        return min(len(places), len(others))

    def _same_item(self, before: Node, index: int, new: object) -> bool:
        """Is an item the very same object as before, or does it hold the same?"""
        old = cast("list[Any]", before.items)[index]
        child = before.children.get(index)
        return old is new or (same_value(old, new) if child is None else holds_same(child, new))

    def _compare_children(self, now: Node, path: Path, inside: Around) -> None:
        """Looks into the containers of one that holds the same items as before."""
        items = now.items or []
        for index in () if self._same_below else sorted(now.children):
            self._step(now, index, items[index], (*path, now.step_to(index)), inside)

    def _worth_a_look(
        self, before: Node, places: range, new: Sequence[object], shift: int = 0
    ) -> list[int]:
        """Places of containers that stay where they were, but may hold something else.

        Args:
            before: what held them.
            places: among these.
            new: what stands in their places now.
            shift: how far they have moved.
        """
        if not self._same_below:
            return sorted(place for place in before.children if place in places)
        old = cast("list[Any]", before.items)[places.start : places.stop]
        others = islice(new, places.start + shift, None)
        differing = compress(places, map(is_not, old, others))
        return [place for place in differing if place in before.children]

    def _step(self, now: Node, index: int, old: object, path: Path, inside: Around) -> None:
        """Compares one item with what stood in its place; `now` still has the node of that."""
        new = cast("list[Any]", now.items)[index]
        child = now.children.get(index)
        if child is None:
            if not same_value(old, new):
                self._replace(now, index, old, path, inside)
            return
        stands_inside = is_among(new, inside)
        if child.is_cycle or stands_inside or type(old) is not type(new):
            if not (old is new and child.is_cycle and stands_inside):
                self._replace(now, index, old, path, inside)
            return
        compared = self.compare(child, new, path, inside)
        if compared is not child:
            now.children[index] = compared
            self.stale = True

    def _replace(self, now: Node, index: int, old: object, path: Path, inside: Around) -> None:
        gone = now.children.pop(index, None)
        if gone is not None:
            self._drop(gone)
        node = self._watch(now, index, inside)
        new = cast("list[Any]", now.items)[index]
        self.changes.append(Change("replace", path, inside, new, node, old, gone))

    def _remove(self, before: Node, index: int, path: Path, inside: Around) -> None:
        was, gone = cast("list[Any]", before.items)[index], before.children.get(index)
        if gone is not None:
            self._drop(gone)
        self.changes.append(Change("remove", path, inside, was=was, was_node=gone))

    def _remove_range(self, before: Node, gone: range, path: Path, inside: Around) -> None:
        for index in reversed(gone):
            self._remove(before, index, (*path, index), inside)

    def _add(self, now: Node, index: int, path: Path, inside: Around) -> None:
        node = self._watch(now, index, inside)
        new = cast("list[Any]", now.items)[index]
        self.changes.append(Change("add", path, inside, new, node))

    def _watch(self, now: Node, index: int, inside: Around) -> Node | None:
        item = cast("list[Any]", now.items)[index]
        kind = kind_of(item)
        if kind not in CONTAINERS:
            return None
        node = now.children[index] = build(item, kind, inside, self._budget)
        self.built.append(node)
        return node

    def _drop(self, gone: Node) -> None:
        self._budget.give_back(gone)
        self.stale = True

    def _drop_children(self, node: Node) -> None:
        for child in node.children.values():
            self._drop(child)


class Match(NamedTuple):
    """Which key of one dict is which key of another."""

    known: int
    """Number of old keys."""
    removed: Sequence[int]
    """Old places."""
    kept: list[tuple[int, int]] | None
    """Old and new places; None where every old key stands where it stood."""
    added: Sequence[int]
    """New places."""

    def pairs(self) -> Iterable[tuple[int, int]]:
        """Old and new place of each key that is in both."""
        return zip(range(self.known), count(), strict=False) if self.kept is None else self.kept

    def differing(
        self, old: Sequence[object], new: Sequence[object], also: Collection[int] = ()
    ) -> Iterable[tuple[int, int]]:
        """Old and new place of keys with another object now.

        Args:
            old: the old items.
            new: the new items.
            also: old places to be named in any case, where their keys are kept.
        """
        if self.kept is None:
            places = differing_places(old, new)
            return ((place, place) for place in (sorted({*places, *also}) if also else places))
        return [(o, n) for o, n in self.kept if old[o] is not new[n] or o in also]

    def moved(self, children: dict[int, Node]) -> dict[int, Node]:
        """What was at the old places of kept keys, by new places."""
        if self.kept is None:
            return children
        return {new: children[old] for old, new in self.kept if old in children}


def match_keys(old: Sequence[object], new: Sequence[object]) -> Match:
    """Finds the keys of one dict in another, without calling anything of theirs."""
    known = len(old)
    if known <= len(new) and all(map(is_, old, new)):
        # The usual case: nothing was removed, so every key stands where it stood.
        return Match(known, (), None, range(known, len(new)))
    left = {key_token(key): place for place, key in enumerate(old)}
    kept: list[tuple[int, int]] = []
    added: list[int] = []
    for place, key in enumerate(new):
        origin = left.pop(key_token(key), None)
        if origin is None:
            added.append(place)
        else:
            kept.append((origin, place))
    return Match(known, list(left.values()), kept, added)


def _slid(old: Sequence[object], new: Sequence[object]) -> int:
    """How many items have gone from the start, if the others are where `new` starts; else 0."""
    if not old or not new or old[0] is new[0]:
        return 0
    first = next(compress(count(), map(is_, old, repeat(new[0]))), 0)
    kept = len(old) - first
    return first if kept <= len(new) and all(map(is_, old[first:], new)) else 0


def _without_first(node: Node, gone: int) -> Node:
    rest = Node(node.value, node.kind)
    rest.items = cast("list[Any]", node.items)[gone:]
    rest.children = _moved(node.children, range(gone), -gone)
    return rest


def _moved(children: dict[int, Node], dropped: range, shift: int) -> dict[int, Node]:
    """The children by their new places.

    Args:
        children: by their old places.
        dropped: old places of what has gone.
        shift: how far what stood behind that has moved.
    """
    if not dropped and not shift:
        return children
    return {
        place if place < dropped.start else place + shift: child
        for place, child in children.items()
        if place not in dropped
    }


def key_token(key: object) -> object:
    """Stands for a dict key without calling its `__hash__` and `__eq__`."""
    if type(key) is str:
        return key
    kind = kind_of(key)
    if kind is Kind.ATOM:
        return (type(key), key)
    if kind is Kind.TEXT and (text := exact_text(key)) is not None and text not in _NOT_EQUAL:
        return (type(key), text)
    return (key_token, id(key))

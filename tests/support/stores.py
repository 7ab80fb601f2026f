"""Random stores, and random programs that change them in every way that a node could."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import types
import typing
from typing import Any, NamedTuple

import attrs
import pydantic
from hypothesis import strategies as st

if typing.TYPE_CHECKING:
    from collections.abc import Callable


class Dict(dict[Any, Any]):
    """A subclass of dict."""


class List(list[Any]):
    """A subclass of list."""


class Store:
    """A store with attributes, of no known kind."""


@dataclasses.dataclass
class Data:
    """A dataclass."""

    a: Any
    b: Any


@dataclasses.dataclass(eq=False)
class SlotsData:
    """A dataclass with slots."""

    __slots__ = ("a", "b")
    a: Any
    b: Any


@attrs.define(eq=False)
class Attrs:
    """An attrs class, with slots."""

    a: Any = None
    b: Any = None


class Model(pydantic.BaseModel):
    """A pydantic model that takes further fields."""

    model_config = pydantic.ConfigDict(extra="allow")
    a: Any = None


KEYS: tuple[Any, ...] = (
    *("a", "b", "a/b", "~", "~1", "", "é", "$cut", "$$cut", "$opaque"),
    *(7, -1, 2.5, None, True, b"x", (1, "x"), dt.date(2024, 1, 1)),
)
"""No two of them have the same text."""

MEMBERS = tuple(f"s:{number}" for number in range(6))
"""Of sets. No other text looks like these, so that sets can be told from lists in JSON."""

ATOMS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, float("nan"), 10**30, 1j]),
    st.integers(-3, 3),
    st.floats(width=16),
    st.text("ab~/é", max_size=3),
    st.just(dt.date(2024, 1, 1)),
    st.builds(object),
)

SETS = st.sets(st.sampled_from(MEMBERS), max_size=4)


def _mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(KEYS), values, max_size=4)


def _set_of_one(value: Any) -> set[Any]:
    return {Attrs(value)}


def _containers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(values, max_size=4)
    return st.one_of(
        *(lists, _mappings(values), lists.map(tuple), lists.map(collections.deque)),
        *(lists.map(List), _mappings(values).map(Dict), SETS, SETS.map(frozenset)),
        *(st.builds(cls, a=values, b=values) for cls in (Data, SlotsData, Attrs, Model)),
        st.builds(types.SimpleNamespace, a=values),
        st.builds(_set_of_one, values),
    )


VALUES = st.recursive(ATOMS, _containers, max_leaves=12)


def _attributes(names: dict[str, Any]) -> Store:
    store = Store()
    vars(store).update(names)
    return store


STORES: st.SearchStrategy[Any] = st.one_of(
    _mappings(VALUES),
    _mappings(VALUES).map(Dict),
    st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4).map(_attributes),
    st.lists(VALUES, max_size=4),
)

MAX_TREE_DEPTH = 12

NAMES = ("a", "b", "c")


class Step(NamedTuple):
    """One change, as numbers that choose among what there is when it is made."""

    what: int
    where: int
    at: int
    source: int
    value: Any

    def apply(self, store: Any) -> None:
        """Change the store."""
        found = containers_in(store)
        target = found[self.where % len(found)]
        value = self._value(found) if _is_small(store) else self.at
        if isinstance(target, dict):
            changes = MAPPING_CHANGES
        elif isinstance(target, (list, collections.deque)):
            changes = SEQUENCE_CHANGES
        elif isinstance(target, set):
            changes = SET_CHANGES
        else:
            changes = FIELD_CHANGES
        changes[self.what % len(changes)](typing.cast("Any", target), self.at, value)

    def _value(self, found: list[Any]) -> Any:
        other = found[self.source % len(found)]
        return {
            0: other,  # the same object in a second place, or inside itself
            1: copy.deepcopy(other),
            2: [other],
        }.get(self.source % 7, self.value)


STEPS = st.builds(
    Step,
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 100),
    VALUES,
)

PROGRAMS = st.lists(st.lists(STEPS, max_size=4), min_size=1, max_size=5)
"""What happens between one border and the next, for some borders."""


def containers_in(store: Any) -> list[Any]:
    """All containers that can be changed, the store first, each once."""
    found: list[Any] = []
    seen: set[int] = set()
    pending = [store]
    while pending:
        value = pending.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        inside = _inside(value)
        if inside is None:
            continue
        if not isinstance(value, (tuple, frozenset)):
            found.append(value)
        pending.extend(inside)
    return found


def _is_small(value: Any) -> bool:
    """Would it take little room as a tree, with what stands in two places written twice?"""
    pending, left = [(value, 0)], 300
    while pending and left:
        item, depth = pending.pop()
        left -= 1
        pending += [(inner, depth + 1) for inner in _inside(item) or () if depth < MAX_TREE_DEPTH]
    return not pending


def _inside(value: Any) -> list[Any] | None:
    if isinstance(value, dict):
        return list(typing.cast("dict[Any, Any]", value).values())
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return list(typing.cast("Any", value))
    if isinstance(value, (Data, SlotsData, Attrs, Model, types.SimpleNamespace, Store)):
        return [getattr(value, name) for name in NAMES if hasattr(value, name)]
    return None


def _key(at: int) -> Any:
    return KEYS[at % len(KEYS)]


def _existing(target: dict[Any, Any], at: int) -> Any:
    return list(target)[at % len(target)] if target else None


def _rename(target: dict[Any, Any], at: int, value: Any) -> None:
    if target:
        target[_key(at + 1)] = target.pop(_existing(target, at))


def _reorder(target: dict[Any, Any], at: int, value: Any) -> None:
    if target:
        key = _existing(target, at)
        target[key] = target.pop(key)


def _equal_copy(target: dict[Any, Any], at: int, value: Any) -> None:
    if target:
        key = _existing(target, at)
        target[key] = copy.deepcopy(target[key])


MAPPING_CHANGES: tuple[Callable[[Any, int, Any], object], ...] = (
    lambda target, at, value: target.__setitem__(_key(at), value),
    lambda target, at, value: target.__setitem__(_key(at), value),
    lambda target, at, value: target.pop(_existing(target, at), None),
    lambda target, at, value: target.clear() if at % 5 == 0 else None,
    _rename,
    _reorder,
    _equal_copy,
)


def _set_item(target: Any, at: int, value: Any) -> None:
    if target:
        target[at % len(target)] = value


def _delete(target: Any, at: int, value: Any) -> None:
    if target:
        del target[at % len(target)]


def _equal_item(target: Any, at: int, value: Any) -> None:
    if target:
        target[at % len(target)] = copy.deepcopy(target[at % len(target)])


def _swap(target: Any, at: int, value: Any) -> None:
    if target:
        target[0], target[at % len(target)] = target[at % len(target)], target[0]


def _slide(target: Any, at: int, value: Any) -> None:
    for _ in range(at % 3):
        if target:
            del target[0]
    target.append(value)


SEQUENCE_CHANGES: tuple[Callable[[Any, int, Any], object], ...] = (
    lambda target, at, value: target.append(value),
    lambda target, at, value: target.insert(at % 5, value),
    lambda target, at, value: target.reverse(),
    lambda target, at, value: target.extend([value, at]),
    _set_item,
    _delete,
    _equal_item,
    _swap,
    _slide,
)

SET_CHANGES: tuple[Callable[[Any, int, Any], object], ...] = (
    lambda target, at, value: target.add(MEMBERS[at % len(MEMBERS)]),
    lambda target, at, value: target.discard(MEMBERS[at % len(MEMBERS)]),
    lambda target, at, value: target.add(Attrs(at)),
)


def _delete_field(target: Any, at: int, value: Any) -> None:
    name = NAMES[at % len(NAMES)]
    if hasattr(target, name) and not isinstance(target, Attrs):  # it could not be copied then
        delattr(target, name)


def _set_field(target: Any, at: int, value: Any) -> None:
    names = [name for name in NAMES if _may_have(target, name)]
    setattr(target, names[at % len(names)], value)


def _may_have(target: Any, name: str) -> bool:
    return name != "c" or not isinstance(target, (SlotsData, Attrs))


FIELD_CHANGES: tuple[Callable[[Any, int, Any], object], ...] = (
    _set_field,
    _set_field,
    _delete_field,
)

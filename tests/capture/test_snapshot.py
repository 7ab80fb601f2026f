"""What a value held, and how it differs from what it holds now."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import gc
import operator
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture.preview import MAX_DEPTH
from opentelemetry.instrumentation.pocketflow.capture.reading import kind_of
from opentelemetry.instrumentation.pocketflow.capture.snapshot import (
    Budget,
    Snapshot,
    holds_same,
    key_token,
    match_keys,
    same_value,
)
from support.stores import KEYS, PROGRAMS, STORES, Attrs, Data, Dict, List, Model, SlotsData, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def snapshot(value: object, budget: Budget | None = None) -> Snapshot:
    """A snapshot of a container at the root of a store."""
    return Snapshot(value, kind_of(value), (), (), budget or Budget(1_000_000))


def found(before: Snapshot, value: object) -> list[tuple[str, tuple[object, ...]]]:
    """Operations and paths of the changes since then."""
    return [(change.op, change.path) for change in before.update(value)]


# --- Seeing that something changed -------------------------------------------------------------

CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "dict: new key": (lambda: {"a": 1}, lambda v: v.update(b=1)),
    "dict: no key": (lambda: {"a": 1}, lambda v: v.clear()),
    "dict: other value": (lambda: {"a": 1}, lambda v: v.update(a=2)),
    "subclass of dict": (lambda: Dict(a=1), lambda v: v.update(a=2)),
    "defaultdict": (lambda: collections.defaultdict[str, int](int), lambda v: v["a"]),
    "list: one more": (lambda: [1], lambda v: v.append(1)),
    "list: another": (lambda: [1, 2], lambda v: operator.setitem(v, 0, 9)),
    "subclass of list": (lambda: List([1, 2]), lambda v: v.append(3)),
    "deque": (lambda: collections.deque([1]), lambda v: v.append(1)),
    "set": (lambda: {1}, lambda v: v.add(2)),
    "dataclass": (lambda: Data(1, 2), lambda v: setattr(v, "a", 3)),
    "dataclass: its dict": (lambda: Data(1, 2), lambda v: setattr(v, "__dict__", {"a": 3, "b": 2})),
    "slots": (lambda: SlotsData(1, 2), lambda v: setattr(v, "a", 3)),
    "slots: one less": (lambda: SlotsData(1, 2), lambda v: delattr(v, "a")),
    "attrs": (lambda: Attrs(1, 2), lambda v: setattr(v, "b", 3)),
    "pydantic": (lambda: Model(a=1), lambda v: setattr(v, "a", 2)),
    "pydantic: extra": (lambda: Model(a=1), lambda v: setattr(v, "more", 2)),
    "namespace": (lambda: types.SimpleNamespace(a=1), lambda v: setattr(v, "b", 2)),
}
"""Containers of each kind, and a change in place."""

WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "in a list": lambda value: ["x", value],
    "in a dict": lambda value: {"x": 0, "k": value},
    "in a tuple": lambda value: ("x", (value,)),
    "in a record": lambda value: Attrs(value),  # noqa: PLW0108 - it takes a second argument
    "in a model": lambda value: Model(a=value),
    "deep": lambda value: [[{"k": [types.SimpleNamespace(x=(value,))]}]],
    "twice": lambda value: [value, {"again": value}],
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("case", CHANGES)
def test_a_change_in_place_is_seen(case: str, wrapping: str) -> None:
    """Of every kind of container, wherever it stands; and then no more."""
    make, change = CHANGES[case]
    value = make()
    whole = WRAPPINGS[wrapping](value)
    before = snapshot(whole)
    assert before.unchanged()
    change(value)
    assert not before.unchanged()
    assert len(before.update(whole)) == (2 if wrapping == "twice" else 1)
    assert before.unchanged()
    assert before.update(whole) == []


def test_what_was_held_is_kept() -> None:
    """The change tells it, though the value holds something else by now."""
    inner = {"k": [1]}
    value = [inner]
    before = snapshot(value)
    inner["k"].append(2)
    inner["new"] = []
    value.clear()
    (change,) = before.update(value)
    assert change.was_node is not None
    assert (change.was_node.keys, change.was_node.children[0].items) == (["k"], [1])


def test_a_field_of_objects_with_and_without_it() -> None:
    """Unset slots, extra fields and ordinary ones, side by side."""
    values: list[Any] = [SlotsData(1, 2), SlotsData(1, 2), Model(a=1), Model(a=1), Model(a=1)]
    del values[0].a
    values[2].more = 1
    before = snapshot(values)
    assert before.unchanged()
    values[0].a = values[1].b = 5
    values[2].more = values[3].more = values[4].a = 5
    assert found(before, values) == [
        ("add", (0, "a")),
        ("replace", (1, "b")),
        ("replace", (2, "more")),
        ("add", (3, "more")),
        ("replace", (4, "a")),
    ]


@pytest.mark.parametrize(
    ("before", "after", "operations"),
    [
        ([1, 2, 3], [1, 2, 3, 4], [("add", (3,))]),
        ([1, 2, 3], [0, 1, 2, 3], [("add", (0,))]),
        ([1, 2, 3], [1, 3], [("remove", (1,))]),
        ([1, 2, 3], [1, 9, 3], [("replace", (1,))]),
        ([1, 2, 3], [2, 3, 4], [("remove", (0,)), ("add", (2,))]),
        ([1, 2, 3], [3], [("remove", (1,)), ("remove", (0,))]),
        ([1, 2, 3], [], [("replace", ())]),
        ([{"a": 1}, {"b": 2}], [{"a": 1}, {"b": 2}, {"c": 3}], [("add", (2,))]),
        ([{"a": 1, "b": 1}, 2], [{"a": 1, "b": 2}, 2], [("replace", (0, "b"))]),
        ({"a": 1, "b": 2}, {"a": 1, "c": 2}, [("remove", ("b",)), ("add", ("c",))]),
        ({"a": 1}, {"b": 2}, [("replace", ())]),
        ([1], [2], [("replace", ())]),
        ({1, 2}, {2, 3}, [("replace", ())]),
    ],
)
def test_another_container_in_its_place(before: Any, after: Any, operations: Any) -> None:
    """What is common stays; what has nothing in common is replaced as a whole."""
    taken = snapshot(before)
    assert found(taken, after) == operations
    assert taken.root.value is after
    assert taken.unchanged()


# --- Within limits -----------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(STORES.filter(lambda store: kind_of(store) != 8), PROGRAMS, st.integers(0, 40))
def test_the_budget_is_kept_to_the_item(store: Any, program: list[list[Step]], items: int) -> None:
    """What is watched and what is left are always the whole: nothing leaks or is overdrawn."""
    budget = Budget(items)
    taken = snapshot(store, budget)
    for steps in program:
        for step in steps:
            step.apply(store)
        taken.update(store)
        assert sum(node.taken for node in taken.root.nodes()) == items - budget.left
        assert budget.left >= 0
        watched = [node for node in taken.root.nodes() if node.items is not None]
        assert all(node.taken == len(node.items or ()) + 1 for node in watched)
        hidden = sum(node.items is None and not node.is_cycle for node in taken.root.nodes())
        assert taken.unwatched == hidden
    taken.discard()
    assert budget.left == items


def test_growing_by_steps_stays_within_the_budget() -> None:
    """What is kept counts as much as what is new."""
    budget = Budget(100)
    history: list[list[int]] = []
    taken = snapshot(history, budget)
    for _ in range(50):
        history.append([1, 2, 3])
        taken.update(history)
    assert budget.left >= 0
    assert taken.unwatched == 50 - sum(node.items is not None for node in taken.root.nodes()) + 1


def test_containers_that_are_too_deep_are_not_watched() -> None:
    """Deeper than a picture shows, and deeper than the interpreter's stack."""
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    taken = snapshot(value)
    assert taken.unchanged()
    assert taken.unwatched == 1
    assert sum(1 for _ in taken.root.nodes()) == MAX_DEPTH + 1
    taken.update(value)
    while value:  # take it apart from outside, since the interpreter would recurse
        value = value.pop()


def test_a_cycle_ends() -> None:
    """A container inside itself is read once, and the place inside is known."""
    value: dict[str, Any] = {"list": [1]}
    value["list"].append(value)
    taken = snapshot(value)
    assert taken.unchanged()
    assert taken.unwatched == 0
    value["list"][1] = {"list": value["list"]}
    assert found(taken, value) == [("replace", ("list", 1))]


def test_a_container_that_comes_to_stand_inside_itself() -> None:
    """From then on, the place inside is not looked into."""
    value: dict[str, Any] = {"inner": {"x": 1}, "x": 1}
    taken = snapshot(value)
    value["inner"] = value
    assert found(taken, value) == [("replace", ("inner",))]
    value["x"] = 2
    assert found(taken, value) == [("replace", ("x",))]


def test_a_cycle_that_is_entered_elsewhere() -> None:
    """The same objects stand inside themselves at other places then."""
    first: list[Any] = []
    second: list[Any] = [first]
    first.append(second)
    taken = snapshot([first])
    assert [node.value is first for node in taken.root.nodes() if node.is_cycle] == [True]
    assert found(taken, second) == [("replace", (0, 0))]
    assert [node.value is second for node in taken.root.nodes() if node.is_cycle] == [True]


# --- Read while it changes ---------------------------------------------------------------------


@pytest.fixture
def changing() -> Generator[dict[int, Any]]:
    """A dict that changes at every garbage collection, which come all the time.

    Up to Python 3.11 they also come while a builtin iterates over it, as the changes of other
    threads do in a free-threaded interpreter; where there are fewer keys, no memory is asked for.
    """
    value: dict[int, Any] = {number: [number] for number in range(4_000)}

    def change(phase: str, info: object) -> None:
        if phase == "start":
            value[len(value)] = [len(value)]

    threshold = gc.get_threshold()
    gc.callbacks.append(change)
    gc.set_threshold(7)
    yield value
    gc.set_threshold(*threshold)
    gc.callbacks.remove(change)


def test_a_dict_that_changes_while_it_is_read(changing: dict[int, Any]) -> None:
    """Nothing is raised, and once it rests, the snapshot is what it holds."""
    whole = {"inner": [changing]}
    taken = snapshot(whole)
    for _ in range(3):
        taken.unchanged()
        taken.update(whole)
    gc.set_threshold(0)
    taken.update(whole)
    assert taken.unchanged()
    node = taken.root.children[0].children[0]
    assert (node.keys, node.items) == (list(changing), list(changing.values()))
    assert taken.unwatched == 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="no collection while a builtin iterates")
def test_an_object_that_could_not_be_read_is_told_as_a_whole(changing: dict[Any, Any]) -> None:
    """Though it has as many fields as before, by the time it can."""
    record = Data(0, 0)
    record.__dict__ = changing
    value = {"inner": record}
    taken = snapshot(value)
    gc.set_threshold(0)
    assert taken.root.children[0].is_unread
    while len(changing) > taken.root.children[0].length:
        changing.popitem()
    assert not taken.unchanged()
    assert found(taken, value) == [("replace", ("inner",))]
    assert taken.unchanged()


# --- Comparing without running code ------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (1, True, False),
        (1, 1.0, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        (1.5, 1.5, True),
        (complex(0.0, -0.0), complex(0.0, 0.0), False),
        ("a" * 50, "a" * 49 + "a", True),
        ("a", "b", False),
        ("a", b"a", False),
        (10**40, 10**40, True),
        (decimal.Decimal("1.0"), decimal.Decimal("1.0"), True),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00"), False),
        (decimal.Decimal("sNaN"), decimal.Decimal("sNaN"), True),
        (dt.date(2024, 1, 1), dt.date(2024, 1, 1), True),
        (object(), object(), False),
        (None, None, True),
    ],
)
def test_values_that_are_the_same(before: object, now: object, same: bool) -> None:
    """The same is what is equal, of the same type, and looks the same."""
    copied = copy.copy(now) if type(now) is not str else "".join([now[:1], now[1:]])
    assert same_value(before, copied) is same


def test_long_texts_are_not_compared() -> None:
    """That would cost their length; another object counts as another text."""
    half = "x" * 50_000
    assert same_value(half, half)
    assert not same_value(half + half, half + half)


@given(st.lists(st.sampled_from(KEYS), unique=True), st.lists(st.sampled_from(KEYS), unique=True))
def test_keys_are_matched(old: list[Any], new: list[Any]) -> None:
    """Each key is kept, removed or added, and found in its place."""
    match = match_keys(old, copy.deepcopy(new))
    pairs = [(old[before], new[after]) for before, after in match.pairs()]
    assert all(repr(before) == repr(after) for before, after in pairs)
    assert {before for before, _ in pairs} == set(old) & set(new)
    assert {old[place] for place in match.removed} == set(old) - set(new)
    assert {new[place] for place in match.added} == set(new) - set(old)


def test_keys_of_different_types_are_different_keys() -> None:
    """Also where a dict could not hold both."""
    keys = [1, True, 1.0, "1", b"1", (1,), dt.date(2024, 1, 1), None]
    assert len({key_token(key) for key in keys}) == len(keys)
    assert key_token(dt.date(2024, 1, 1)) == key_token(dt.date(2024, 1, 1))


@settings(deadline=None)
@given(
    st.recursive(
        st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=2), inner, max_size=3)
            | st.tuples(inner, inner)
        ),
    ).filter(lambda value: kind_of(value) in {2, 3, 4})
)
def test_a_copy_holds_the_same_until_it_is_changed(value: Any) -> None:
    """All the way down, whatever the value itself does meanwhile."""
    taken = snapshot(value)
    other = copy.deepcopy(value)
    assert holds_same(taken.root, other)
    other = [other] if type(value) is list else {"more": other}
    assert not holds_same(taken.root, other)

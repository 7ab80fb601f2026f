"""Hostile values beside, inside and in place of each other, as hypothesis puts them together.

What is drawn is a recipe, since the values themselves would not let it print them.
"""

from __future__ import annotations

import collections
import itertools
import math
import threading
import types
import typing
import weakref
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.dunders import BASES, WAYS, make
from support.everywhere import PLACES, everywhere
from support.honest import assert_honest
from support.tracing import compared

if typing.TYPE_CHECKING:
    from collections.abc import Callable

Recipe: typing.TypeAlias = "str | tuple[str, list[Recipe]]"


class Named:
    """What a weak proxy leads to."""


_NAMED = Named()
ODD: dict[str, Callable[[], Any]] = {
    "nan": lambda: math.nan,
    "huge int": lambda: 10**5000,
    "surrogate": lambda: "\ud800",
    "long text": lambda: "x" * 100_000,
    "secret": lambda: "token=sk-ant-abcdefghijklmnopqrstuvwxyz0123",
    "bytes": lambda: b"\xff",
    "none": lambda: None,
    "number": lambda: 7,
    "text": lambda: "text",
    "lock": threading.Lock,
    "proxy": lambda: weakref.proxy(_NAMED),
    "class": lambda: Named,
    "module": lambda: types,
    "iterator": lambda: iter(()),
    "exception": lambda: ValueError("text"),
}
BAD = {f"{kind} {way}": (kind, way) for kind in BASES for way in WAYS}
_AS_KEYS = {"object", "str", "int", "bytes", "float"}


def _as_dict(items: list[Any]) -> dict[Any, Any]:
    return {_key(item, place): item for place, item in enumerate(items)}


def _key(item: Any, place: int) -> Any:
    return item if type(item) in {str, int, float, bytes, type(None)} else ("key", place)


def _bad_keys(items: list[Any]) -> dict[Any, Any]:
    keeps = frozenset({"__hash__", "__eq__"})
    ways = itertools.cycle(WAYS)
    kinds = itertools.cycle(sorted(_AS_KEYS))
    return {make(next(kinds), next(ways), keeps=keeps): item for item in items}


def _in_itself(items: list[Any]) -> list[Any]:
    around = list(items)
    around.append(around)
    return around


CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "deque": collections.deque,
    "dict": _as_dict,
    "dict with bad keys": _bad_keys,
    "namespace": lambda items: types.SimpleNamespace(**{f"f{n}": i for n, i in enumerate(items)}),
    "exception around": lambda items: ValueError(*items),
    "in itself": _in_itself,
}
RECIPES: st.SearchStrategy[Recipe] = st.recursive(
    st.sampled_from([*ODD, *BAD]),
    lambda inner: st.tuples(st.sampled_from(list(CONTAINERS)), st.lists(inner, max_size=4)),
    max_leaves=10,
)


def cooked(recipe: Recipe) -> Any:
    """The value of a recipe."""
    if isinstance(recipe, tuple):
        kind, inside = recipe
        return CONTAINERS[kind]([cooked(one) for one in inside])
    return make(*BAD[recipe]) if recipe in BAD else ODD[recipe]()


_SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_SOME
@given(RECIPES, st.sampled_from(["values", "keys", "off"]))
def test_any_combination_in_every_place(recipe: Recipe, content: str) -> None:
    """The program's own calls and results stay as they are, and the trace is sound."""
    # Actions are asked by the framework, which may then print them: other tests have these.
    program = everywhere(cooked(recipe), but=frozenset({"action"}))
    assert_honest(compared(program, content=content))


@_SOME
@given(RECIPES, st.integers(6144, 20_000), st.sampled_from(sorted(PLACES.keys() - {"action"})))
def test_any_combination_within_any_budget(recipe: Recipe, limit: int, place: str) -> None:
    """Cut anywhere, it is still valid and within its bytes."""
    trace = compared(PLACES[place](cooked(recipe)), max_span_bytes=limit)
    assert_honest(trace, limit=limit)

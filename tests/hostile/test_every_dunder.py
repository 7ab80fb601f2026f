"""Whatever the special methods of a value do, none is called, and the program stays as it is."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from opentelemetry.instrumentation.pocketflow import conversation, guard
from support.dunders import BASES, KINDS, WAYS, make, special_methods
from support.everywhere import as_results, everywhere, to_public_functions
from support.honest import assert_honest, shown_values
from support.tracing import act, compared, note, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = ("values", "keys", "off")
SHOWN: dict[str, Any] = {
    "dict": {"a": ["b"]},
    "Record": {"a": ["b"]},
    "list": ["a", ["b"]],
    "tuple": ["a", ["b"]],
    "deque": ["a", ["b"]],
    "set": ["a"],
    "frozenset": ["a"],
    "str": "a text",
    "int": 5,
    "float": 0.5,
}
"""What subclasses hold, by their bases; others are not looked into."""
SIZES = {"dict": 1, "Record": 1, "list": 2, "tuple": 2, "deque": 2, "set": 1, "frozenset": 1}


@pytest.fixture
def _quiet() -> Iterator[None]:
    """The framework warns of an action that nothing follows; a plain run does the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def _refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong arguments are logged once; here they are wrong again and again."""
    monkeypatch.setattr(guard, "_reported", _Everything())


class _Everything(set[str]):
    def __contains__(self, item: object) -> bool:
        return True


def test_all_special_methods_are_overridden() -> None:
    """Those of the data model, and those that libraries ask for."""
    methods = special_methods()
    assert len(methods) > 120
    for name in ("__eq__", "__hash__", "__getattribute__", "__len__", "__reduce_ex__", "__array__"):
        assert name in methods


@pytest.mark.parametrize("way", WAYS)
def test_overridden_methods_are_called_where_somebody_asks(way: str) -> None:
    """The log would tell: this is what the other tests rely on."""

    def program(_: object) -> None:
        try:
            len(make("list", way))
        except RecursionError:
            raise ValueError from None

    outcome = act(program)
    assert outcome.log == ("list.__len__",)
    assert bool(outcome.raised) is (way not in {"counts", "lies"})


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("content", LEVELS)
@pytest.mark.parametrize(("kind", "way"), KINDS)
def test_a_program_is_the_same_whatever_its_values_do(kind: str, way: str, content: str) -> None:
    """The very same calls in the same order as without us, in each place that holds a value."""
    trace = compared(everywhere(make(kind, way)), content=content)

    assert_honest(trace)
    assert len(trace.nodes) > 30


@pytest.mark.usefixtures("_refused_before")
@pytest.mark.parametrize("content", LEVELS)
@pytest.mark.parametrize(("kind", "way"), KINDS)
def test_public_functions_call_nothing_of_their_arguments(
    kind: str, way: str, content: str
) -> None:
    """`conversation` and `record_usage` refuse what is wrong, and read the rest past its class."""
    with tracing(content=content) as running:
        outcome = act(to_public_functions(make(kind, way)))

    assert outcome.log == ("before", "after")
    assert outcome.raised == ()
    assert_honest(running.trace())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", BASES)
def test_what_is_shown_is_what_the_base_holds(kind: str, way: str) -> None:
    """Not what the methods claim; what cannot be looked into is shown as its type, and marked."""
    value = make(kind, way)
    node = compared(as_results(value)).nodes[1]

    opaque = {"$opaque": f"support.dunders.Bad{kind}"}
    expected = SHOWN.get(kind, opaque)
    assert shown_values(node) == {"input.value": expected, "output.value": expected}


@pytest.mark.parametrize(("kind", "way"), KINDS)
def test_level_keys_shows_the_type_and_the_true_size(kind: str, way: str) -> None:
    """A length that lies is not asked."""
    node = compared(as_results(make(kind, way)), content="keys").nodes[1]

    size = {"size": SIZES[kind]} if kind in SIZES else {}
    assert node.json("input.value") == {"type": f"support.dunders.Bad{kind}", **size}


@pytest.mark.usefixtures("_refused_before")
def test_public_functions_do_not_ask_the_class_of_an_argument() -> None:
    """For a hash, as a look into a set of classes would."""

    class Meta(type):
        def __hash__(cls) -> int:
            note("hash of a class")
            return 1

    class Price(metaclass=Meta):
        pass

    with tracing():
        assert act(to_public_functions(Price())).log == ("before", "after")


def test_metadata_without_end() -> None:
    """A mapping of the program's own is asked for its items, but not for ever."""

    class Endless(Mapping[str, int]):
        def __iter__(self) -> Iterator[str]:
            return map(str, itertools.count())

        def __getitem__(self, key: str) -> int:
            return 1

        def __len__(self) -> int:
            return 0

    with conversation("c", metadata=Endless()) as current:
        assert current is not None
        assert len(current.metadata) == 10_000

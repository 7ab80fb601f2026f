"""When a run is over, nothing of ours keeps what the program held."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from opentelemetry.instrumentation.pocketflow import conversation
from support.everywhere import everywhere
from support.framework import BatchNode, Flow, Node
from support.tracing import act, tracing

if TYPE_CHECKING:
    from collections.abc import Callable


class Plain:
    """Any object."""


class Mapping(dict[Any, Any]):
    """A container that can be referred to weakly."""


class List(list[Any]):
    """Another."""


class Error(Exception):
    """An exception that can be referred to weakly."""


MADE: dict[str, Callable[[], Any]] = {
    "object": Plain,
    "dict": lambda: Mapping(a=[1]),
    "list": lambda: List([[1]]),
    "exception": lambda: Error("text"),
    "class": lambda: type("Made", (), {}),
    "function": lambda: lambda: 1,
}


@pytest.mark.parametrize("content", ["values", "keys", "off"])
@pytest.mark.parametrize("kind", MADE)
def test_a_value_is_let_go_when_the_run_is_over(kind: str, content: str) -> None:
    """Wherever it was, while we are still instrumented."""
    with tracing(content=content):
        value = MADE[kind]()
        reference = weakref.ref(value)
        act(everywhere(value))
        act(lambda stage: None)  # the harness keeps the log of the last program
        del value
        gc.collect()
        assert reference() is None


def test_exceptions_are_let_go() -> None:
    """That of an attempt, of an item, and what it came from; and the frames that they hold."""

    class Items(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2]

        def exec(self, prep_res: Any) -> Any:
            held = Plain()
            references.append(weakref.ref(held))
            first = Error(held)
            references.append(weakref.ref(first))
            raise Error from first

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            references.append(weakref.ref(exc))

    references: list[weakref.ref[Any]] = []
    with tracing():
        Flow(start=Items(max_retries=2)).run({})
        gc.collect()
        assert len(references) == 2 * (2 * 2 + 1)
        assert [reference() for reference in references] == [None] * len(references)


def test_what_replaced_values_leave_goes_at_the_next_border() -> None:
    """Until then, what stood there before is needed to tell of the change."""

    class Replaces(Node):
        def prep(self, shared: Any) -> Any:
            references.append(weakref.ref(shared["value"]))
            shared["value"] = Plain()

        def exec(self, prep_res: Any) -> Any:
            pass

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            gone.append(references[0]() is None)

    references: list[weakref.ref[Any]] = []
    gone: list[bool] = []
    with tracing():
        Replaces().run({"value": Plain()})
    assert gone == [True]


def test_metadata_is_let_go_with_its_block() -> None:
    """The context that held it is the one before."""
    with tracing():
        value = Mapping(a=1)
        reference = weakref.ref(value)
        with conversation("c", metadata={"value": value}):
            Flow(start=Node()).run({})
        del value
        gc.collect()
        assert reference() is None

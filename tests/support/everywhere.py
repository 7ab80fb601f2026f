"""Programs that move one value through every place where a value can enter a run."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import typing
from typing import Any

from opentelemetry.instrumentation.pocketflow import conversation, record_usage
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import note

if typing.TYPE_CHECKING:
    from collections.abc import Callable

    from support.tracing import Stage

Program: typing.TypeAlias = "Callable[[Stage], Any]"


class Carries(Node):
    """A result of `prep` and of `exec`."""

    def __init__(self, value: Any, **options: Any) -> None:
        super().__init__(**options)
        self.value = value

    def prep(self, shared: Any) -> Any:
        """The value."""
        return self.value

    def exec(self, prep_res: Any) -> Any:
        """What `prep` returned."""
        note("in exec", prep_res is self.value)
        return prep_res

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Notes that it is still the very same object."""
        note("in post", exec_res is self.value)


class Stores(Carries):
    """Puts the value into the store in each way."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Adds, replaces and removes, at the top and inside."""
        value = self.value
        shared["top"] = value
        shared["nested"]["list"].append(value)
        shared["nested"]["tuple"] = (1, (value,))
        shared["replaced"] = value
        shared["removed"] = None
        del shared["gone"]
        shared["nested"]["dict"]["gone"] = [value]
        note("stored", shared["top"] is value)


class TakesOut(Carries):
    """Takes the value out of the store again."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Removes it, and puts it elsewhere."""
        shared["moved"] = shared.pop("top")
        shared["nested"]["list"].insert(0, "first")
        shared["replaced"] = [self.value]


def in_store(value: Any) -> Program:
    """In the store from the start, then added, replaced and removed."""

    def program(stage: Stage) -> None:
        store: dict[str, Any] = {
            "there": value,
            "replaced": 1,
            "removed": value,
            "gone": value,
            "nested": {"list": [value], "dict": {"gone": value}},
        }
        first = Stores(value)
        first >> TakesOut(value)
        Flow(start=first).run(store)
        note("kept", store["there"] is value, store["nested"]["list"][0] is value)

    return program


def as_results(value: Any) -> Program:
    """What `prep` and `exec` return."""

    def program(stage: Stage) -> None:
        Flow(start=Carries(value)).run({})

    return program


class AsyncCarries(AsyncNode):
    """The same, async."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    async def prep_async(self, shared: Any) -> Any:
        """The value."""
        return self.value

    async def exec_async(self, prep_res: Any) -> Any:
        """What `prep` returned."""
        return prep_res

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Writes it."""
        shared["value"] = exec_res
        note("in post", exec_res is self.value)


def as_async_results(value: Any) -> Program:
    """The same of an async node."""

    async def program(stage: Stage) -> None:
        await AsyncFlow(start=AsyncCarries(value)).run_async({"before": value})

    return program


class Items(BatchNode):
    """A batch."""

    def __init__(self, items: Any) -> None:
        super().__init__(max_retries=2)
        self.items = items

    def prep(self, shared: Any) -> Any:
        """The items."""
        return self.items

    def exec(self, prep_res: Any) -> Any:
        """The item itself."""
        return prep_res


def as_items(value: Any) -> Program:
    """The items of a batch, one after another and at the same time."""

    def program(stage: Stage) -> None:
        Flow(start=Items([value, value])).run({})

    return program


class AsyncItems(AsyncParallelBatchNode):
    """A batch whose items run at the same time."""

    def __init__(self, items: Any) -> None:
        super().__init__()
        self.items = items

    async def prep_async(self, shared: Any) -> Any:
        """The items."""
        return self.items

    async def exec_async(self, prep_res: Any) -> Any:
        """The item itself."""
        return prep_res


def as_async_items(value: Any) -> Program:
    """The items of a batch that run at the same time."""

    async def program(stage: Stage) -> None:
        await AsyncItems([value, value]).run_async({})

    return program


class Each(BatchFlow):
    """A flow for each of two dicts of params."""

    def __init__(self, value: Any) -> None:
        super().__init__(start=Carries(value))
        self.value = value

    def prep(self, shared: Any) -> Any:
        """The params."""
        return [{"item": self.value}, {"item": [self.value]}]


def as_params(value: Any) -> Program:
    """Params of a flow, of its nodes and of the items of a batch flow."""

    def program(stage: Stage) -> None:
        flow, each = Flow(start=Carries(value)), Each(value)
        for one in (flow, each):
            one.set_params({"value": value, "nested": {"value": [value]}})
            one.run({})

    return program


class Fails(Carries):
    """Raises an exception with the value in it."""

    def exec(self, prep_res: Any) -> Any:
        """Fails in two ways."""
        if self.cur_retry:
            raise KeyError(prep_res)
        raise ValueError("with", prep_res)


class Recovers(Fails):
    """Has another answer."""

    def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
        """The value."""
        return prep_res


def in_exceptions(value: Any) -> Program:
    """Arguments of exceptions, of attempts and of what leaves the flow."""

    def program(stage: Stage) -> None:
        flow = Flow(start=Recovers(value, max_retries=2))
        flow.run({})
        try:
            Flow(start=Fails(value, max_retries=2)).run({"there": value})
        except KeyError as exc:
            note("raised", exc.args[0] is value, exc.__context__ is None)

    return program


def as_store(value: Any) -> Program:
    """The store itself."""

    def program(stage: Stage) -> None:
        Carries(value).run(value)
        Flow(start=Carries(None)).run(value)

    return program


class Acts(Node):
    """Returns the value as its action."""

    def __init__(self, action: Any) -> None:
        super().__init__()
        self.action = action

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """The value."""
        return self.action


def as_action(value: Any) -> Program:
    """The action: the framework asks it for its truth, its hash and whether it is equal."""

    def program(stage: Stage) -> None:
        for follows in (False, True):
            node = Acts(value)
            if follows:
                node >> Node()
            try:
                note("action", Flow(start=node).run({}) is value)
            except BaseException as exc:  # noqa: BLE001 - whatever the value raises, in both runs
                note("raised", type(exc).__name__)

    return program


class Tells(Node):
    """Gives the value to the public functions."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def exec(self, prep_res: Any) -> Any:
        """Each argument in turn."""
        value: Any = self.value
        note("before")
        for name in ("conversation_id", "user", "session", "tags", "metadata", "baggage"):
            given = {name: value}
            with conversation(**given):
                pass
        with conversation(tags=[value], metadata={"value": value, "list": [value]}):
            Node().run({})
        for name in ("provider", "model", "input_tokens", "output_tokens", "cost"):
            given = {name: value}
            record_usage(**given)
        note("after")


def to_public_functions(value: Any) -> Program:
    """Arguments of `conversation` and `record_usage`."""

    def program(stage: Stage) -> None:
        Tells(value).run({})

    return program


PLACES: dict[str, Callable[[Any], Program]] = {
    "store": in_store,
    "results": as_results,
    "async results": as_async_results,
    "items": as_items,
    "async items": as_async_items,
    "params": as_params,
    "exceptions": in_exceptions,
    "the store itself": as_store,
    "action": as_action,
}
"""Each makes a program that moves a value through one place, and notes where it arrives."""


def everywhere(value: Any, *, but: frozenset[str] = frozenset()) -> Program:
    """A program that moves a value through all places, one after another.

    Args:
        value: anything.
        but: places that are left out.
    """
    programs = [make(value) for place, make in PLACES.items() if place not in but]

    async def program(stage: Stage) -> None:
        for one in programs:
            done = one(stage)
            if done is not None:
                await done

    return program

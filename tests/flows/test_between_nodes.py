"""Changes that a program makes between two nodes belong to neither of them.

Where only the framework's own code runs from one node to the next, the store is not looked at
again. These programs have code of their own there.
"""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnusedExpression=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.framework import AsyncFlow, AsyncNode, Flow, Node
from support.samplers import Only
from support.tracing import Stage, traced

STORE: dict[str, Any] = {}
"""Of the flow that runs, for code which is not handed one."""


def change() -> None:
    """Writes to the store, unless nothing has run yet."""
    if "first" in STORE:
        STORE["between"] = True


class First(Node):
    """Comes before."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Writes."""
        shared["first"] = True


class Last(Node):
    """Comes after."""

    def prep(self, shared: Any) -> Any:
        """Writes."""
        shared["last"] = True


class ChoosingFlow(Flow):
    """Writes when it is asked what follows."""

    def get_next_node(self, curr: Any, action: Any) -> Any:
        """The node that follows."""
        change()
        return super().get_next_node(curr, action)


class CountedFlow(Flow):
    """Is no plain object: its class decides what its attributes are."""

    def __getattribute__(self, name: str) -> Any:
        change()
        return super().__getattribute__(name)


class Truthful(Last):
    """Is asked whether it is true."""

    def __bool__(self) -> bool:
        change()
        return True


class Copied(Last):
    """Has a way of its own to be copied."""

    def __copy__(self) -> Any:
        change()
        copied = type(self)()
        copied.__dict__.update(self.__dict__)
        return copied


class Made(Last):
    """Writes when an object of it is made, as a copy is."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A new object."""
        change()
        return super().__new__(cls)


class Given(Last):
    """Takes its params in a way of its own."""

    def set_params(self, params: Any) -> None:
        """The params."""
        change()
        super().set_params(params)


class Assigned(Last):
    """Is told of each attribute."""

    def __setattr__(self, name: str, value: Any) -> None:
        change()
        super().__setattr__(name, value)


class Unseen(Node):
    """Has no span."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Writes."""
        change()


class Action(str):
    """Writes when a successor is looked up by it."""

    __slots__ = ()

    def __hash__(self) -> int:
        change()
        return hash("default")

    def __eq__(self, other: object) -> bool:
        return other == "default"


class Acting(First):
    """Answers with such an action."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Writes."""
        super().post(shared, prep_res, exec_res)
        return Action("default")


def on_object() -> Any:
    """A node of which only this object takes its params in a way of its own."""
    node = Last()

    def set_params(params: Any) -> None:
        change()

    node.set_params = set_params
    return node


def started(stage: Stage, flow: Any) -> Any:
    """Runs a flow on the store that everybody here writes to."""
    STORE.clear()
    return stage.run(flow, STORE)


@pytest.mark.parametrize(
    ("flow", "nodes"),
    [
        (ChoosingFlow, (First, Last)),
        (CountedFlow, (First, Last)),
        (Flow, (First, Truthful)),
        (Flow, (First, Copied)),
        (Flow, (First, Made)),
        (Flow, (First, Given)),
        (Flow, (First, Assigned)),
        (Flow, (First, Unseen, Last)),
        (Flow, (Acting, Last)),
        (Flow, (First, on_object)),
    ],
)
def test_code_between_nodes_is_credited_with_what_it_writes(flow: Any, nodes: Any) -> None:
    """The next node's own changes stay its own."""

    def program(stage: Stage) -> Any:
        STORE.clear()
        first, *others = [make() for make in nodes]
        node = first
        for other in others:
            node = node >> other
        return started(stage, flow(start=first))

    trace = traced(program, levels={"Unseen": "skip"})

    writes = {change["path"]: change["phase"] for change in trace.patches()}
    assert writes == {"/first": "post", "/between": "elsewhere", "/last": "prep"}


def test_what_a_dropped_node_writes_is_not_the_next_ones() -> None:
    """A node that is not sampled has no span to tell of it."""

    def program(stage: Stage) -> Any:
        first = First()
        first >> Unseen() >> Last()
        return started(stage, Flow(start=first))

    trace = traced(program, sampler=Only("Unseen"))

    assert trace.node("Last").writes == [
        ("add", "/between", "elsewhere"),
        ("add", "/last", "prep"),
    ]


class AsyncLast(AsyncNode):
    """Lets others run before it writes."""

    async def prep_async(self, shared: Any) -> Any:
        """Writes."""
        await asyncio.sleep(0)
        shared["last"] = True


def test_what_another_task_writes_meanwhile_is_not_the_nodes() -> None:
    """Two flows on one store: each change is found once, by the run that made it or by neither."""

    def program(stage: Stage) -> Any:
        async def both() -> None:
            store: dict[str, Any] = {}
            flows = [First() for _ in range(2)]
            for first in flows:
                first >> AsyncLast()
            await asyncio.gather(*(AsyncFlow(start=first).run_async(store) for first in flows))

        asyncio.run(both())

    trace = traced(program, nested=False)

    assert sorted(change["path"] for change in trace.patches()) == ["/first", "/last"]
    assert {change["phase"] for change in trace.patches() if change["path"] == "/first"} == {"post"}


def test_the_framework_alone_changes_nothing_between_nodes() -> None:
    """A plain chain of nodes: what each of them writes is its own."""

    def program(stage: Stage) -> Any:
        first = First()
        first >> Last()
        return stage.run(Flow(start=first), {})

    trace = traced(program)

    assert trace.node("First").writes == [("add", "/first", "post")]
    assert trace.node("Last").writes == [("add", "/last", "prep")]

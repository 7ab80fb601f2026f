"""AsyncFlow: sync and async nodes after one another."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
from typing import Any

from support.framework import AsyncFlow, AsyncNode, BatchNode, Flow, Node
from support.tracing import note, traced


class Ask(AsyncNode):
    """Waits for a question."""

    async def exec_async(self, prep_res: Any) -> Any:
        """The question."""
        await asyncio.sleep(0)
        return "why"

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps it."""
        shared["question"] = exec_res
        return "asked"


class Think(Node):
    """A sync node between async ones."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Counts."""
        note("think")
        shared["thoughts"] = shared.get("thoughts", 0) + 1
        return "again" if shared["thoughts"] < 2 else "enough"


class Reply(AsyncNode):
    """Ends the flow."""


def chat() -> Any:
    """A flow of sync and async nodes with a loop."""
    ask, think, reply = Ask(), Think(), Reply()
    ask - "asked" >> think
    think - "again" >> think
    think - "enough" >> reply
    return AsyncFlow(start=ask)


def test_sync_and_async_nodes_stand_side_by_side() -> None:
    """One span for each node run, in order, with its route."""
    trace = traced(lambda stage: stage.run_async(chat(), {}))

    assert trace.lines() == [
        "invoke_workflow AskFlow",
        "  Ask",
        "  Think",
        "  Think",
        "  Reply",
    ]
    route = ("node.id", "node.iteration", "node.action", "node.next")
    assert [tuple(map(node.get, route)) for node in trace.nodes[1:]] == [
        ("Ask", 1, "asked", "Think"),
        ("Think", 1, "again", "Think"),
        ("Think", 2, "enough", "Reply"),
        ("Reply", 1, "default", None),
    ]
    assert trace.nodes[0]["flow.path"] == ("Ask", "Think", "Think", "Reply")
    assert trace.nodes[0]["node.base"] == "AsyncFlow"
    assert [node.writes for node in trace.all("Think")] == [
        [("add", "/thoughts", "post")],
        [("replace", "/thoughts", "post")],
    ]


def test_async_phases_of_a_flow() -> None:
    """Prep and post of the flow are credited with their changes."""

    class Chat(AsyncFlow):
        async def prep_async(self, shared: Any) -> Any:
            shared["open"] = True

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post", exec_res)
            del shared["open"]
            return "bye"

    trace = traced(lambda stage: stage.run_async(Chat(start=Ask()), {}))

    assert trace.nodes[0].writes == [("add", "/open", "prep"), ("remove", "/open", "post")]
    assert trace.nodes[0]["node.action"] == "bye"


def test_flows_of_both_kinds_nest() -> None:
    """An async flow may hold a sync flow, and another async one."""

    def program(stage: Any) -> Any:
        sync = Flow(start=Think())
        inner = AsyncFlow(start=Ask())
        sync - "again" >> inner
        return stage.run_async(AsyncFlow(start=sync), {})

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow ThinkFlow",
        "  invoke_workflow ThinkFlow",
        "    Think",
        "  invoke_workflow AskFlow",
        "    Ask",
    ]
    assert trace.nodes[0]["flow.path"] == ("ThinkFlow", "AskFlow")


def test_a_batch_node_in_an_async_flow() -> None:
    """Sync items stand below their node."""

    class Split(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2]

    trace = traced(lambda stage: stage.run_async(AsyncFlow(start=Split()), {}))

    assert trace.lines() == [
        "invoke_workflow SplitFlow",
        "  Split",
        "    Split item",
        "    Split item",
    ]


def test_an_exception_is_told_once_through_nested_flows() -> None:
    """Every level is an error; only the innermost tells the exception."""

    class Breaks(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            raise ZeroDivisionError

    trace = traced(
        lambda stage: stage.run_async(AsyncFlow(start=AsyncFlow(start=Breaks(max_retries=2)))),
        raises=ZeroDivisionError,
    )

    assert trace.lines() == [
        "invoke_workflow BreaksFlow [ZeroDivisionError]",
        "  invoke_workflow BreaksFlow [ZeroDivisionError]",
        "    Breaks [ZeroDivisionError]",
        "      Breaks attempt [ZeroDivisionError, recorded]",
        "      Breaks attempt [ZeroDivisionError, recorded]",
    ]


def test_two_flows_at_once_do_not_mix() -> None:
    """Gathered flows with stores of their own are two traces."""

    async def program(stage: Any) -> Any:
        await asyncio.gather(stage.run_async(chat(), {}), stage.run_async(chat(), {}))

    trace = traced(program)

    first = ["Ask", "Think", "Think", "Reply"]
    assert [[name for name, _ in children] for _, children in trace.tree()] == [first, first]
    assert len({node.span.context.trace_id for node in trace.nodes if node.span.context}) == 2
    assert not trace.values("shared.concurrent")

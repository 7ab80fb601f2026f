"""Flows in flows, in nodes, in themselves."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from support.framework import AsyncFlow, AsyncNode, BatchFlow, Flow, Node
from support.tracing import Stage, note, traced


class Leaf(Node):
    """Writes its name."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """A change of the store."""
        note("leaf")
        shared["leaf"] = shared.get("leaf", 0) + 1


def test_a_flow_run_inside_exec_stands_below_its_node() -> None:
    """A node that runs a flow on a store of its own: two stores, one trace."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            inner = {"inner": True}
            Flow(start=Leaf()).run(inner)
            return inner

    trace = traced(lambda stage: stage.run(Flow(start=Outer()), {"outer": True}))

    assert trace.lines() == [
        "invoke_workflow OuterFlow",
        "  Outer",
        "    invoke_workflow LeafFlow",
        "      Leaf",
    ]
    flow, inner = trace.nodes[0], trace.node("invoke_workflow LeafFlow")
    assert inner["shared.id"] != flow["shared.id"]
    assert inner.json("shared.initial") == {"inner": True}
    assert inner.json("output.value") == {"inner": True, "leaf": 1}
    assert trace.node("Outer").patch == []
    assert "node.id" not in inner


def test_a_flow_run_inside_exec_on_the_same_store() -> None:
    """Its changes are its own, and not told again around it."""

    class Outer(Node):
        def prep(self, shared: Any) -> Any:
            return shared

        def exec(self, prep_res: Any) -> Any:
            Flow(start=Leaf()).run(prep_res)

    trace = traced(lambda stage: stage.run(Outer(), {}))

    assert trace.lines() == ["Outer", "  invoke_workflow LeafFlow", "    Leaf"]
    assert trace.node("Leaf").writes == [("add", "/leaf", "post")]
    assert trace.node("Outer").patch == []
    assert not trace.values("shared.concurrent")


def test_a_flow_run_inside_an_attempt_stands_below_it() -> None:
    """A retried flow is told once for each attempt."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            Flow(start=Leaf()).run(store)
            if store["leaf"] < 2:
                raise OSError("again")

    store: dict[str, int] = {}

    def program(stage: Stage) -> Any:
        store.clear()
        return stage.run(Outer(max_retries=2))

    flow = "    invoke_workflow LeafFlow"
    assert traced(program).lines() == [
        "Outer",
        "  Outer attempt [OSError, recorded]",
        flow,
        "      Leaf",
        "  Outer attempt",
        flow,
        "      Leaf",
    ]


def test_a_node_that_runs_itself() -> None:
    """Each level of a recursion is a run of its own."""

    class Down(Node):
        def prep(self, shared: Any) -> Any:
            return shared

        def exec(self, prep_res: Any) -> Any:
            note(prep_res["depth"])
            if prep_res["depth"]:
                self.run({"depth": prep_res["depth"] - 1})

    assert traced(lambda stage: stage.run(Down(), {"depth": 2})).lines() == [
        "Down",
        "  Down",
        "    Down",
    ]


def test_a_flow_whose_node_runs_the_flow_again() -> None:
    """Recursion through a flow keeps the routes of its levels apart."""

    class Again(Node):
        def prep(self, shared: Any) -> Any:
            return shared

        def exec(self, prep_res: Any) -> Any:
            if prep_res["depth"]:
                flow.run({"depth": prep_res["depth"] - 1})

    again = Again()
    again >> Leaf()
    flow = Flow(start=again)
    trace = traced(lambda stage: stage.run(flow, {"depth": 1}))

    assert trace.lines() == [
        "invoke_workflow AgainFlow",
        "  Again",
        "    invoke_workflow AgainFlow",
        "      Again",
        "      Leaf",
        "  Leaf",
    ]
    assert trace.values("flow.path") == [("Again", "Leaf")] * 2
    assert trace.values("node.iteration") == [1, 1, 1, 1]


def test_one_node_object_in_several_places() -> None:
    """An object that stands in two flows has an id in each."""

    def program(stage: Stage) -> Any:
        shared_node, other = Leaf(), Leaf()
        other >> shared_node
        inner, outer = Flow(start=other), Flow(start=shared_node)
        shared_node - "never" >> inner
        stage.run(inner)
        return stage.run(outer)

    trace = traced(program)

    assert [span.get("node.id") for span in trace.all("Leaf")] == ["Leaf", "Leaf#2", "Leaf"]


def test_three_levels_of_flows() -> None:
    """The exception of the innermost node is told once; every flow around it is an error."""

    class Breaks(Node):
        def exec(self, prep_res: Any) -> Any:
            raise ValueError("deep")

    def program(stage: Stage) -> Any:
        leaf = Leaf()
        leaf >> Breaks()
        return stage.run(Flow(start=Flow(start=Flow(start=leaf))))

    trace = traced(program, raises=ValueError)

    assert trace.lines() == [
        "invoke_workflow FlowFlow [ValueError]",
        "  invoke_workflow LeafFlow [ValueError]",
        "    invoke_workflow LeafFlow [ValueError]",
        "      Leaf",
        "      Breaks [ValueError, recorded]",
    ]


def test_a_batch_flow_in_a_batch_flow_in_a_flow() -> None:
    """Items of both levels nest."""

    class Outer(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"a": 1}, {"a": 2}]

    class Inner(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"b": 1}]

    def program(stage: Stage) -> Any:
        outer = Outer(start=Inner(start=Leaf()))
        outer >> Leaf()
        return stage.run(Flow(start=outer))

    inner = ("invoke_workflow Inner", [("Inner item", [("Leaf", [])])])
    assert traced(program).tree() == [
        (
            "invoke_workflow OuterFlow",
            [("invoke_workflow Outer", [("Outer item", [inner])] * 2), ("Leaf", [])],
        )
    ]


def test_a_sync_flow_runs_in_an_async_node() -> None:
    """A sync flow called from a coroutine stands below its node."""

    class Outer(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            Flow(start=Leaf()).run({})

    trace = traced(lambda stage: stage.run_async(AsyncFlow(start=Outer())))

    assert trace.lines() == [
        "invoke_workflow OuterFlow",
        "  Outer",
        "    invoke_workflow LeafFlow",
        "      Leaf",
    ]


def test_an_event_loop_inside_a_sync_node() -> None:
    """`asyncio.run` copies the context, so an async flow in a sync node stands below it."""

    class Inner(AsyncNode):
        pass

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            asyncio.run(AsyncFlow(start=Inner()).run_async({}))

    assert traced(lambda stage: stage.run(Outer())).lines() == [
        "Outer",
        "  invoke_workflow InnerFlow",
        "    Inner",
    ]


def test_the_callers_span_is_the_parent() -> None:
    """A flow run inside somebody else's span belongs to their trace."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("theirs")

    def program(stage: Stage) -> Any:
        with tracer.start_as_current_span("request"):
            return stage.run(Flow(start=Leaf()))

    trace = traced(program)

    assert trace.nodes[0].parent_id is not None
    assert "shared.initial" in trace.nodes[0]

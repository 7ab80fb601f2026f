"""Classes that take the place of the framework's own methods: still one span for one run."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    BaseNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Stage, note, traced


def in_a_flow(stage: Stage, *nodes: Any, store: Any = None) -> Any:
    """Runs nodes one after another in a flow."""
    for node, following in itertools.pairwise(nodes):
        node.next(following)
    return stage.run(Flow(start=nodes[0]), store)


class Last(Node):
    """Follows another node."""


# --- _run -----------------------------------------------------------------------------------


class Wrapped(Node):
    """Does something around the framework's run."""

    def _run(self, shared: Any) -> Any:
        note("before")
        shared["before"] = True
        result = super()._run(shared)
        note("after")
        return result

    def exec(self, prep_res: Any) -> Any:
        """The work."""
        note("exec")
        return "worked"


class Replaced(Node):
    """Runs in a way of its own."""

    def _run(self, shared: Any) -> Any:
        note("run")
        shared["ran"] = True
        return "mine"


class Halved(Node):
    """Leaves out post, and calls the framework's exec alone."""

    def _run(self, shared: Any) -> Any:
        shared["half"] = self._exec("input")
        return "half"

    def exec(self, prep_res: Any) -> Any:
        """The work."""
        return prep_res.upper()


class Twice(Node):
    """Runs the framework's part two times."""

    def _run(self, shared: Any) -> Any:
        super()._run(shared)
        return super()._run(shared)


@pytest.mark.parametrize("node", [Wrapped, Replaced, Halved])
def test_a_node_with_its_own_run_is_one_span(node: Any) -> None:
    """Alone: whether it calls the framework's run or not."""
    trace = traced(lambda stage: stage.run(node()))

    assert trace.lines() == [node.__name__]


@pytest.mark.parametrize("node", [Wrapped, Replaced, Halved])
def test_a_node_with_its_own_run_is_one_step_of_its_flow(node: Any) -> None:
    """In a flow: in its place in the route."""
    trace = traced(lambda stage: in_a_flow(stage, Last(), node(), Last()))

    assert trace.lines() == [
        "invoke_workflow LastFlow",
        "  Last",
        f"  {node.__name__}",
        *(["  Last"] if node is Wrapped else []),
    ]
    span = trace.node(node.__name__)
    assert span["node.id"] == node.__name__
    assert span["node.iteration"] == 1
    assert trace.nodes[0]["flow.node_runs"] == len(trace.nodes) - 1


def test_its_action_and_what_follows_are_told() -> None:
    """The route of a node with its own run is as complete as any."""

    def program(stage: Stage) -> Any:
        first, last = Replaced(), Last()
        first - "mine" >> last
        return stage.run(Flow(start=first))

    span = traced(program).node("Replaced")

    assert span.pick("node.action", "node.next") == {"node.action": "mine", "node.next": "Last"}
    assert span.writes == [("add", "/ran", "run")]


def test_a_run_that_ends_in_a_dead_end_says_so() -> None:
    """A node with its own run has no successor for what it returned."""
    span = traced(lambda stage: in_a_flow(stage, Replaced(), Last())).node("Replaced")

    assert span["node.dead_end"] is True


def test_phases_inside_an_overridden_run_are_still_told() -> None:
    """Where the framework's part runs, its borders are seen."""
    span = traced(lambda stage: in_a_flow(stage, Wrapped(max_retries=2))).node("Wrapped")

    assert "node.exec.duration" in span
    assert span["node.attempts"] == 1
    assert span.json("output.value") == "worked"


def test_a_run_that_calls_the_framework_twice_is_one_run() -> None:
    """One call of the outer run is one span around all that it does."""
    assert traced(lambda stage: stage.run(Twice())).lines() == ["Twice"]
    trace = traced(lambda stage: in_a_flow(stage, Twice(), Last()))
    assert trace.lines() == ["invoke_workflow TwiceFlow", "  Twice", "  Last"]
    assert trace.node("Twice")["node.attempts"] == 2


def test_an_exception_of_an_overridden_run_is_told_once() -> None:
    """It leaves the node's span, and the flow is an error."""

    class Breaks(Node):
        def _run(self, shared: Any) -> Any:
            raise ValueError("mine")

    trace = traced(lambda stage: in_a_flow(stage, Last(), Breaks()), raises=ValueError)

    assert trace.lines() == [
        "invoke_workflow LastFlow [ValueError]",
        "  Last",
        "  Breaks [ValueError, recorded]",
    ]


def test_an_async_run_of_its_own() -> None:
    """The same for async nodes, with and without the framework's part."""

    class Around(AsyncNode):
        async def _run_async(self, shared: Any) -> Any:
            note("around")
            await asyncio.sleep(0)
            return await super()._run_async(shared)

    class Instead(AsyncNode):
        async def _run_async(self, shared: Any) -> Any:
            note("instead")
            await asyncio.sleep(0)

    def program(stage: Stage) -> Any:
        around, instead = Around(), Instead()
        around >> instead >> Last()
        return stage.run_async(AsyncFlow(start=around))

    trace = traced(program)

    assert trace.lines() == ["invoke_workflow AroundFlow", "  Around", "  Instead", "  Last"]
    assert traced(lambda stage: stage.run_async(Around())).lines() == ["Around"]
    assert traced(lambda stage: stage.run_async(Instead())).lines() == ["Instead"]


def test_a_flow_with_its_own_run() -> None:
    """A flow that wraps, or replaces, what the framework does is one span."""

    class Timed(Flow):
        def _run(self, shared: Any) -> Any:
            note("start")
            return super()._run(shared)

    class Custom(Flow):
        def _run(self, shared: Any) -> Any:
            return self._orch(shared)

    class Manual(Flow):
        def _run(self, shared: Any) -> Any:
            return self.start_node._run(shared)

    for flow in (Timed, Custom, Manual):
        name = f"invoke_workflow {flow.__name__}"
        trace = traced(lambda stage, flow=flow: stage.run(flow(start=Last())))
        assert trace.lines() == [name, "  Last"]
        trace = traced(lambda stage, flow=flow: stage.run(Flow(start=flow(start=Last()))))
        assert trace.lines() == [f"invoke_workflow {flow.__name__}Flow", f"  {name}", "    Last"]


def test_a_flow_with_its_own_run_is_followed_by_others() -> None:
    """What comes after it in the outer flow is no part of it."""

    class Timed(Flow):
        def _run(self, shared: Any) -> Any:
            note("start")
            return super()._run(shared)

    def program(stage: Stage) -> Any:
        timed = Timed(start=Last())
        timed.next(Replaced()).next(Last(), "mine")
        return stage.run(Flow(start=timed))

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow TimedFlow",
        "  invoke_workflow Timed",
        "    Last",
        "  Replaced",
        "  Last",
    ]
    assert trace.nodes[0]["flow.path"] == ("Timed", "Replaced", "Last")


def test_a_batch_flow_with_its_own_run() -> None:
    """A batch flow that goes on after a failed item is one flow span with its items."""

    class Robust(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 0}, {"n": 2}]

        def _run(self, shared: Any) -> Any:
            params = self.prep(shared)
            for each in params:
                try:
                    self._orch(shared, {**self.params, **each})
                except ZeroDivisionError:
                    note("skipped", each)
            return self.post(shared, params, None)

    class Divide(Node):
        def exec(self, prep_res: Any) -> Any:
            return 1 / self.params["n"]

    trace = traced(lambda stage: stage.run(Robust(start=Divide())))

    assert trace.lines() == [
        "invoke_workflow Robust",
        "  Robust item",
        "    Divide",
        "  Robust item [ZeroDivisionError]",
        "    Divide [ZeroDivisionError, recorded]",
        "  Robust item",
        "    Divide",
    ]
    assert trace.nodes[0].pick("batch.size", "batch.failed") == {"batch.size": 3, "batch.failed": 1}


def test_a_limited_parallel_batch_flow() -> None:
    """The cookbook's way to bound parallel items: a semaphore around `_orch_async`."""

    class Limited(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            self.limit = asyncio.Semaphore(2)
            return [{"n": n} for n in range(4)]

        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            async with self.limit:
                return await super()._orch_async(shared, params)

    class Leaf(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)

    trace = traced(lambda stage: stage.run_async(Limited(start=Leaf())))

    assert trace.tree() == [
        ("invoke_workflow Limited", [("Limited item", [("Leaf", [])])] * 4),
    ]


# --- run ------------------------------------------------------------------------------------


def test_an_overridden_run_method() -> None:
    """What a class does around `run` is not part of the node's run."""

    class Retry(Node):
        def run(self, shared: Any) -> Any:
            note("outer")
            return super().run(shared)

    class Direct(Node):
        def run(self, shared: Any) -> Any:
            return self._run(shared)

    assert traced(lambda stage: stage.run(Retry())).lines() == ["Retry"]
    assert traced(lambda stage: stage.run(Direct())).lines() == ["Direct"]


# --- _exec ----------------------------------------------------------------------------------


def test_an_overridden_exec_loop() -> None:
    """A loop of the user's own has no attempts that could be seen; it is one node all the same."""

    class Loop(Node):
        def _exec(self, prep_res: Any) -> Any:
            for _ in range(3):
                self.exec(prep_res)
            return "looped"

        def exec(self, prep_res: Any) -> Any:
            note("exec")

    trace = traced(lambda stage: in_a_flow(stage, Loop(max_retries=2), Last()))

    assert trace.lines() == ["invoke_workflow LoopFlow", "  Loop", "  Last"]
    assert "node.attempts" not in trace.node("Loop")


def test_an_exec_loop_around_the_frameworks() -> None:
    """Attempts of the framework's part are seen."""

    class Cached(Node):
        def _exec(self, prep_res: Any) -> Any:
            note("cache")
            return super()._exec(prep_res)

        def exec(self, prep_res: Any) -> Any:
            tries.append(1)
            if len(tries) % 2:
                raise OSError("flaky")
            return "fine"

    tries: list[int] = []
    trace = traced(lambda stage: stage.run(Cached(max_retries=2)))

    assert trace.lines() == ["Cached", "  Cached attempt [OSError, recorded]", "  Cached attempt"]
    assert trace.node("Cached")["node.attempts"] == 2


def test_a_batch_exec_of_its_own() -> None:
    """A batch that calls the framework's exec for each item shows its items."""

    class Reverse(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2]

        def _exec(self, items: Any) -> Any:
            return super()._exec(list(reversed(items)))

        def exec(self, prep_res: Any) -> Any:
            note(prep_res)
            return prep_res

    trace = traced(lambda stage: stage.run(Reverse()))

    assert trace.lines() == ["Reverse", "  Reverse item", "  Reverse item"]
    assert [item.json("input.value") for item in trace.all("Reverse item")] == [2, 1]


# --- _orch and get_next_node ----------------------------------------------------------------


class Walk(Flow):
    """Goes from node to node by itself."""

    def _orch(self, shared: Any, params: Any = None) -> Any:
        node, action = self.start_node, None
        while node:
            note(type(node).__name__)
            node.set_params(params or self.params)
            action = node._run(shared)
            node = self.get_next_node(node, action)
        return action


def test_an_orchestration_of_its_own() -> None:
    """A flow that walks its nodes itself is told with its route all the same."""

    def program(stage: Stage) -> Any:
        first, replaced = Last(), Replaced()
        first >> replaced
        replaced - "mine" >> Wrapped()
        return stage.run(Walk(start=first))

    trace = traced(program)

    assert trace.lines() == ["invoke_workflow Walk", "  Last", "  Replaced", "  Wrapped"]
    flow = trace.nodes[0]
    assert flow["flow.path"] == ("Last", "Replaced", "Wrapped")
    assert flow["flow.node_runs"] == 3
    assert flow.json("graph")["nodes"] == ["Last", "Replaced", "Wrapped"]
    assert trace.values("node.next") == ["Replaced", "Wrapped"]
    assert trace.values("node.iteration") == [1, 1, 1]


def test_an_orchestration_of_its_own_that_fails() -> None:
    """The exception stands on the node; the flow did not get to its post."""

    class Breaks(Node):
        def exec(self, prep_res: Any) -> Any:
            raise ValueError("broken")

    def program(stage: Stage) -> Any:
        first = Last()
        first >> Breaks()
        return stage.run(Walk(start=first))

    trace = traced(program, raises=ValueError)

    assert trace.lines() == [
        "invoke_workflow Walk [ValueError]",
        "  Last",
        "  Breaks [ValueError, recorded]",
    ]
    assert trace.nodes[0]["flow.path"] == ("Last", "Breaks")
    assert "node.post.duration" not in trace.nodes[0]


def test_an_async_orchestration_of_its_own() -> None:
    """The same for coroutines, nested in a flow of the framework."""

    class WalkAsync(AsyncFlow):
        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            node = self.start_node
            while node:
                node = self.get_next_node(node, await node._run_async(shared))

    class Step(AsyncNode):
        pass

    def program(stage: Stage) -> Any:
        step = Step()
        step >> Step()
        walk = WalkAsync(start=step)
        walk >> Last()
        return stage.run_async(AsyncFlow(start=walk))

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow WalkAsyncFlow",
        "  invoke_workflow WalkAsync",
        "    Step",
        "    Step",
        "  Last",
    ]
    assert trace.node("invoke_workflow WalkAsync")["flow.path"] == ("Step", "Step#2")
    assert trace.node("invoke_workflow WalkAsync")["node.next"] == "Last"


def test_a_parallel_batch_flow_with_an_orchestration_of_its_own() -> None:
    """Its items can't be told apart; their nodes stand below the flow, and all of them end."""

    class Parallel(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            node = self.start_node
            while node:
                node = self.get_next_node(node, await node._run_async(shared))

    class Step(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)

    trace = traced(lambda stage: stage.run_async(Parallel(start=Step())))

    assert trace.lines() == ["invoke_workflow Parallel", "  Step", "  Step"]


def test_a_flow_that_does_not_say_what_follows() -> None:
    """Without get_next_node the route is told by what ran."""

    class Line(Flow):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            for node in (self.start_node, *self.start_node.successors.values()):
                node._run(shared)

    def program(stage: Stage) -> Any:
        first = Last()
        first >> BaseNode()
        return stage.run(Line(start=first))

    trace = traced(program)

    assert trace.nodes[0]["flow.path"] == ("Last", "BaseNode")
    assert trace.node("Last")["node.next"] == "BaseNode"


def test_an_orchestration_around_the_frameworks() -> None:
    """One way through the flow, told as ever."""

    class Noted(Flow):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            note("orch", params)
            return super()._orch(shared, params)

    def program(stage: Stage) -> Any:
        first = Last()
        first >> Replaced()
        return stage.run(Noted(start=first))

    trace = traced(program)

    assert trace.lines() == ["invoke_workflow Noted", "  Last", "  Replaced"]
    assert trace.nodes[0]["flow.path"] == ("Last", "Replaced")
    assert "batch.size" not in trace.nodes[0]


def test_a_next_node_of_its_own() -> None:
    """A flow that decides by itself what follows is told by what ran."""

    class Jump(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            return Replaced() if type(curr) is Last else None

    trace = traced(lambda stage: stage.run(Jump(start=Last())))

    assert trace.lines() == ["invoke_workflow Jump", "  Last", "  Replaced"]
    assert trace.nodes[0]["flow.path"] == ("Last", "Replaced")
    assert trace.node("Last")["node.next"] == "Replaced"


def test_a_next_node_around_the_frameworks() -> None:
    """Asked twice, or overruled: only what runs has a span."""

    class Twice(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            note("next", action)
            super().get_next_node(curr, action)
            return super().get_next_node(curr, action)

    class Overrules(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            chosen = super().get_next_node(curr, action)
            return BaseNode() if type(chosen) is Replaced else chosen

    def program(flow: Any) -> Any:
        first = Last()
        first >> Replaced()
        return flow(start=first)

    trace = traced(lambda stage: stage.run(program(Twice)))
    assert trace.lines() == ["invoke_workflow Twice", "  Last", "  Replaced"]
    trace = traced(lambda stage: stage.run(program(Overrules)))
    assert trace.lines() == ["invoke_workflow Overrules", "  Last", "  BaseNode"]


# --- mixins ---------------------------------------------------------------------------------


def test_a_mixin_before_and_after_the_framework() -> None:
    """Cooperative classes on both sides of the framework's change nothing."""

    class Logged:
        def _run(self, shared: Any) -> Any:
            note("mixin run")
            return super()._run(shared)  # type: ignore[misc]

        def _exec(self, prep_res: Any) -> Any:
            note("mixin exec")
            return super()._exec(prep_res)  # type: ignore[misc]

    class Tail:
        def tail(self) -> str:
            return "tail"

    class Mixed(Logged, Node, Tail):
        def exec(self, prep_res: Any) -> Any:
            return self.tail()

    trace = traced(lambda stage: in_a_flow(stage, Mixed(max_retries=2), Last()))

    assert trace.lines() == [
        "invoke_workflow MixedFlow",
        "  Mixed",
        "    Mixed attempt",
        "  Last",
    ]


def test_a_chain_of_subclasses_that_all_call_super() -> None:
    """However deep the chain, one run is one span."""

    class A(Node):
        def _run(self, shared: Any) -> Any:
            note("A")
            return super()._run(shared)

    class B(A):
        def _run(self, shared: Any) -> Any:
            note("B")
            return super()._run(shared)

    class C(B):
        def _run(self, shared: Any) -> Any:
            note("C")
            return super()._run(shared)

    assert traced(lambda stage: stage.run(C())).lines() == ["C"]
    trace = traced(lambda stage: in_a_flow(stage, C(), C()))
    assert trace.lines() == ["invoke_workflow CFlow", "  C", "  C"]
    assert trace.values("node.id", "C") == ["C", "C#2"]


def test_methods_on_the_instance() -> None:
    """Functions set on a node object are called as before, and seen."""

    class Plain(Node):
        pass

    def program(stage: Stage) -> Any:
        node = Plain(max_retries=2)
        node.exec = lambda prep_res: note("mine") or "answered"
        return stage.run(node)

    trace = traced(program)

    assert trace.lines() == ["Plain", "  Plain attempt"]
    assert trace.node("Plain").json("output.value") == "answered"


def test_a_run_method_on_the_instance() -> None:
    """A `_run` set on the object hides the class's, alone and in a flow."""

    def program(stage: Stage) -> Any:
        node = Last()
        node._run = lambda shared: note("instance run")
        return in_a_flow(stage, BaseNode(), node, BaseNode())

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow BaseNodeFlow",
        "  BaseNode",
        "  Last",
        "  BaseNode",
    ]

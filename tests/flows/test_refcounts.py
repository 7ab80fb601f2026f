"""What a run needs is freed when the run is over: nothing waits for the garbage collector."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
from opentelemetry.instrumentation.pocketflow.capture.watch import StoreWatch
from support.framework import AsyncFlow, AsyncParallelBatchNode, BatchFlow, BatchNode, Flow, Node
from support.tracing import Stage, compared, note, tracing

if TYPE_CHECKING:
    from collections.abc import Callable


class Writes(Node):
    """Changes the store."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """A key."""
        shared["n"] = shared.get("n", 0) + 1


class Retried(Writes):
    """Fails once."""

    def exec(self, prep_res: Any) -> Any:
        """Counts on the framework's own counter."""
        if self.cur_retry == 0:
            raise OSError("once")


class FallsBack(Writes):
    """Fails for good, and has another answer."""

    def exec(self, prep_res: Any) -> Any:
        """An error."""
        raise OSError("always")

    def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
        """The answer."""
        return "instead"


class Items(BatchNode):
    """A batch whose items are tried twice."""

    def prep(self, shared: Any) -> Any:
        """Two items."""
        return [1, 2]

    def exec(self, prep_res: Any) -> Any:
        """Counts on the framework's own counter."""
        if self.cur_retry == 0:
            raise OSError("once")


class Parallel(AsyncParallelBatchNode):
    """Items at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        """Two items."""
        return [1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        """Lets the other go first."""
        await asyncio.sleep(0)


class Each(BatchFlow):
    """Two ways through its nodes."""

    def prep(self, shared: Any) -> Any:
        """The params."""
        return [{"n": 1}, {"n": 2}]


class Walks(Flow):
    """Goes from node to node by itself."""

    def _orch(self, shared: Any, params: Any = None) -> Any:
        node = self.start_node
        while node:
            node = self.get_next_node(node, node._run(shared))


class Hidden(Node):
    """Takes the place of the framework's run."""

    def _run(self, shared: Any) -> Any:
        shared["hidden"] = True


def then_writes(node: Any) -> Any:
    """A flow of that node and another."""
    node >> Writes()
    return Flow(start=node)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "node": lambda: then_writes(Writes()).run({}),
    "retries": lambda: then_writes(Retried(max_retries=2)).run({}),
    "fallback": lambda: then_writes(FallsBack(max_retries=2)).run({}),
    "batch": lambda: then_writes(Items(max_retries=2)).run({}),
    "parallel": lambda: asyncio.run(AsyncFlow(start=Parallel()).run_async({})),
    "batch flow": lambda: Each(start=Writes()).run({}),
    "nested": lambda: Flow(start=then_writes(Writes())).run({}),
    "own route": lambda: Walks(start=Writes()).run({}),
    "hidden": lambda: then_writes(Hidden()).run({}),
}


@pytest.mark.parametrize("option", [None, "phase_spans", "self_report"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_waits_for_the_garbage_collector(name: str, option: str | None) -> None:
    """A collection per node would cost more than the node's span, and keep the program's values."""
    options: dict[str, Any] = {option: True} if option else {}
    with tracing(**options):
        gc.collect()
        gc.disable()
        try:
            PROGRAMS[name]()
            live = map(type, gc.get_objects())
            left = [cls for cls in live if issubclass(cls, (Scope, StoreWatch))]
        finally:
            gc.enable()

    assert left == []


class Holds(Node):
    """Keeps something on itself, which tells when it is let go."""

    def prep(self, shared: Any) -> Any:
        """Takes it."""
        note("begins")
        self.held = Held()


class Held:
    """Is given back when nobody holds it any more, as a connection may be."""

    def __del__(self) -> None:
        note("given back")


@pytest.mark.parametrize("self_report", [False, True])
def test_a_node_is_let_go_when_the_next_one_comes(self_report: bool) -> None:
    """What a node holds is given back when it is without tracing."""

    def program(stage: Stage) -> Any:
        first = Holds()
        first >> Holds() >> Holds()
        return stage.run(Flow(start=first))

    trace = compared(program, self_report=self_report)

    assert trace.result.log == ("begins", "given back") * 3

"""Every PocketFlow there is: old and new ones, and copies of its file under other names."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.framework import Flow as InstalledFlow
from support.framework import Node as InstalledNode
from support.tracing import Stage, note, traced
from support.variants import VARIANTS, load

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=list(VARIANTS))
def pf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A variant of the framework, imported under a name of its own."""
    name = f"flow_{request.param.replace('.', '_')}"
    yield load(name, VARIANTS[request.param], tmp_path_factory.mktemp("variant"))
    del sys.modules[name]


def decide_class(pf: Any) -> Any:
    """A node that loops once, and needs two attempts for each round."""

    class Decide(pf.Node):
        def prep(self, shared: Any) -> Any:
            shared["round"] = shared.get("round", 0) + 1
            return shared["round"]

        def exec(self, prep_res: Any) -> Any:
            note("decide", prep_res, self.cur_retry)
            if self.cur_retry == 0:
                raise ConnectionError("first attempt")
            return prep_res

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return "again" if exec_res < 2 else "on"

    return Decide


def falls_class(pf: Any) -> Any:
    """A node whose fallback answers."""

    class Falls(pf.Node):
        def exec(self, prep_res: Any) -> Any:
            raise ValueError("always")

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            return "fallback"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["answer"] = exec_res

    return Falls


def items_class(pf: Any) -> Any:
    """A batch of two."""

    class Items(pf.BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2]

        def exec(self, prep_res: Any) -> Any:
            return prep_res * 2

    return Items


def test_loops_retries_and_fallbacks(pf: Any) -> None:
    """A sync flow is told alike by all of them."""

    def program(stage: Stage) -> Any:
        decide, falls = decide_class(pf)(max_retries=2), falls_class(pf)()
        decide - "again" >> decide
        decide - "on" >> falls
        falls >> items_class(pf)()
        stage.run(pf.Flow(start=decide), {})

    trace = traced(program, framework=pf)

    failed = "    Decide attempt [ConnectionError, recorded]"
    assert trace.lines() == [
        "invoke_workflow DecideFlow",
        "  Decide",
        failed,
        "    Decide attempt",
        "  Decide",
        failed,
        "    Decide attempt",
        "  Falls [recorded]",
        "  Items",
        "    Items item",
        "    Items item",
    ]
    assert trace.nodes[0]["flow.path"] == ("Decide", "Decide", "Falls", "Items")
    assert trace.nodes[0].json("graph")["edges"] == [
        ["Decide", "again", "Decide"],
        ["Decide", "on", "Falls"],
        ["Falls", "default", "Items"],
    ]
    assert trace.values("node.next") == ["Decide", "Falls", "Items"]
    assert trace.values("node.attempts") == [2, 2, 1, 2, 1, 1]
    assert trace.values("node.fallback") == [True]
    assert trace.node("Falls").writes == [("add", "/answer", "post")]
    assert [item.json("output.value") for item in trace.all("Items item")] == [2, 4]


def async_class(pf: Any, name: str, base: str, prepared: Any, failures: int = 0) -> Any:
    """An async node class on one of the framework's, whose prep returns what it is given.

    Version 0.0.1 insists on its async methods being defined.
    """

    class Made(getattr(pf, base)):
        async def prep_async(self, shared: Any) -> Any:
            self.left = failures
            return prepared

        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            self.left -= 1
            if self.left >= 0:
                raise OSError("again")
            return prep_res

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note(name, exec_res)

    Made.__name__ = name
    return Made


def test_async_flows(pf: Any) -> None:
    """Async nodes, retries, and both kinds of batch."""

    def program(stage: Stage) -> Any:
        flaky = async_class(pf, "Flaky", "AsyncNode", "task", failures=1)(max_retries=3)
        parallel = async_class(pf, "Parallel", "AsyncParallelBatchNode", ["a", "b"])()
        flaky >> parallel >> async_class(pf, "InTurn", "AsyncBatchNode", [1])()
        whole = async_class(pf, "Whole", "AsyncFlow", None)
        return stage.run_async(whole(start=flaky), {})

    trace = traced(program, framework=pf)

    assert trace.lines() == [
        "invoke_workflow Whole",
        "  Flaky",
        "    Flaky attempt [OSError, recorded]",
        "    Flaky attempt",
        "  Parallel",
        "    Parallel item",
        "    Parallel item",
        "  InTurn",
        "    InTurn item",
    ]
    assert trace.nodes[0]["flow.path"] == ("Flaky", "Parallel", "InTurn")


def test_batch_flows(pf: Any) -> None:
    """Sync, async and parallel, with params."""

    class Leaf(pf.Node):
        def exec(self, prep_res: Any) -> Any:
            note(self.params["n"])

    class Batch(pf.BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    lines = ["  Batch item", "    Leaf"] * 2
    trace = traced(lambda stage: stage.run(Batch(start=Leaf())), framework=pf)
    assert trace.lines() == ["invoke_workflow Batch", *lines]
    assert [item.json("node.params") for item in trace.all("Leaf")] == [{"n": 1}, {"n": 2}]

    for base in (pf.AsyncBatchFlow, pf.AsyncParallelBatchFlow):

        class AsyncBatch(base):
            async def prep_async(self, shared: Any) -> Any:
                return [{"n": 1}, {"n": 2}]

            async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
                note("post")

        trace = traced(
            lambda stage, cls=AsyncBatch: stage.run_async(cls(start=Leaf())), framework=pf
        )
        assert trace.tree() == [
            ("invoke_workflow AsyncBatch", [("AsyncBatch item", [("Leaf", [])])] * 2)
        ]


def test_nested_flows_and_exceptions(pf: Any) -> None:
    """The exception is told once through all levels."""

    class Breaks(pf.Node):
        def exec(self, prep_res: Any) -> Any:
            raise LookupError("deep")

    def program(stage: Stage) -> Any:
        return stage.run(pf.Flow(start=pf.Flow(start=Breaks(max_retries=2))))

    trace = traced(program, framework=pf, raises=LookupError)

    assert trace.lines() == [
        "invoke_workflow BreaksFlow [LookupError]",
        "  invoke_workflow BreaksFlow [LookupError]",
        "    Breaks [LookupError]",
        "      Breaks attempt [LookupError, recorded]",
        "      Breaks attempt [LookupError, recorded]",
    ]


def test_own_runs(pf: Any) -> None:
    """Nodes that take the place of `_run` are found as ever."""

    class Instead(pf.Node):
        def _run(self, shared: Any) -> Any:
            note("instead")
            return "on"

    class Around(pf.Node):
        def _run(self, shared: Any) -> Any:
            return super()._run(shared)

    def program(stage: Stage) -> Any:
        instead = Instead()
        instead - "on" >> Around()
        stage.run(pf.Flow(start=instead))

    trace = traced(program, framework=pf)

    assert trace.lines() == ["invoke_workflow InsteadFlow", "  Instead", "  Around"]
    assert trace.node("Instead")["node.next"] == "Around"


def test_only_the_named_module_is_traced(pf: Any) -> None:
    """The installed framework is left alone where a copy is named."""

    class Theirs(InstalledNode):
        pass

    class Ours(pf.Node):
        pass

    def program(stage: Stage) -> Any:
        InstalledFlow(start=Theirs()).run({})
        pf.Flow(start=Ours()).run({})

    assert traced(program, framework=pf).lines() == ["invoke_workflow OursFlow", "  Ours"]
    assert traced(program).lines() == ["invoke_workflow TheirsFlow", "  Theirs"]


def test_flows_of_two_frameworks_in_one_trace(pf: Any) -> None:
    """A program that uses the package and a copy has both traced, one inside the other."""

    class Inner(InstalledNode):
        pass

    class Outer(pf.Node):
        def exec(self, prep_res: Any) -> Any:
            InstalledFlow(start=Inner()).run({})

    def program(stage: Stage) -> Any:
        pf.Flow(start=Outer()).run({})

    trace = traced(program, framework=pf, module=(pf.__name__, "pocketflow"))

    assert trace.lines() == [
        "invoke_workflow OuterFlow",
        "  Outer",
        "    invoke_workflow InnerFlow",
        "      Inner",
    ]

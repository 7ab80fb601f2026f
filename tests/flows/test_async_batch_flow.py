"""AsyncBatchFlow and AsyncParallelBatchFlow: ways through a flow, in turn or all at once."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.framework import AsyncBatchFlow, AsyncNode, AsyncParallelBatchFlow, Node
from support.tracing import note, traced

BOTH = pytest.mark.parametrize("base", [AsyncBatchFlow, AsyncParallelBatchFlow])


class Load(AsyncNode):
    """Loads what the params name."""

    async def exec_async(self, prep_res: Any) -> Any:
        """The name, unless it is bad."""
        await asyncio.sleep(0)
        if self.params["file"] == "bad":
            raise OSError("unreadable")
        return self.params["file"]


class Keep(Node):
    """A sync node: keeps the last name, and all of them."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Writes what every other item writes as well."""
        note("keep", self.params["file"])
        shared["all"].append(self.params["file"])
        shared[self.params["file"]] = True


def files(base: Any, *names: str) -> Any:
    """A batch flow over names, on either base."""

    class Files(base):
        async def prep_async(self, shared: Any) -> Any:
            return [{"file": name} for name in names]

    load = Load()
    load >> Keep()
    return Files(start=load)


@BOTH
def test_each_set_of_params_is_an_item_with_its_own_route(base: Any) -> None:
    """Nodes stand below the item they ran for, whatever ran beside them."""
    trace = traced(lambda stage: stage.run_async(files(base, "a", "b"), {"all": []}))

    item = ("Files item", [("Load", []), ("Keep", [])])
    assert trace.tree() == [("invoke_workflow Files", [item, item])]
    assert [i.json("node.params") for i in trace.all("Files item")] == [
        {"file": "a"},
        {"file": "b"},
    ]
    for span in trace.all("Files item"):
        params = [child.json("node.params") for child in trace.children(span)]
        assert params == [span.json("node.params")] * 2
    assert trace.values("flow.path", "Files item") == [("Load", "Keep")] * 2
    assert trace.nodes[0].pick("batch.size", "batch.failed", "flow.node_runs") == {
        "batch.size": 2,
        "batch.failed": 0,
        "flow.node_runs": 4,
    }


@BOTH
def test_a_sync_post_is_credited_exactly(base: Any) -> None:
    """Nothing else runs during a sync post, so what changes there is its own, also in parallel."""
    trace = traced(lambda stage: stage.run_async(files(base, "a", "b", "c"), {"all": []}))

    for span in trace.all("Keep"):
        name = span.json("node.params")["file"]
        assert ("add", f"/{name}", "post") in span.writes
        assert {value for change in span.patch if (value := change["value"]) is not True} == {name}
    assert not any(span.patch for span in trace.all("Load"))


def test_an_item_that_fails_ends_a_sequential_batch() -> None:
    """Later items do not run; the size is known from prep."""
    flow = AsyncBatchFlow
    trace = traced(
        lambda stage: stage.run_async(files(flow, "a", "bad", "c"), {"all": []}), raises=OSError
    )

    assert trace.lines() == [
        "invoke_workflow Files [OSError]",
        "  Files item",
        "    Load",
        "    Keep",
        "  Files item [OSError]",
        "    Load [OSError, recorded]",
    ]


def test_an_item_that_fails_beside_others() -> None:
    """Only its own item is an error; the flow is one too, and tells no exception again."""
    flow = AsyncParallelBatchFlow
    trace = traced(
        lambda stage: stage.run_async(files(flow, "a", "bad", "c"), {"all": []}),
        nested=False,
        raises=OSError,
    )

    assert trace.lines() == [
        "invoke_workflow Files [OSError]",
        "  Files item",
        "    Load",
        "    Keep",
        "  Files item [OSError]",
        "    Load [OSError, recorded]",
        "  Files item",
        "    Load",
        "    Keep",
    ]
    assert trace.nodes[0]["batch.failed"] == 1


@BOTH
def test_items_beyond_the_cap_have_no_span_of_their_own(base: Any) -> None:
    """Their nodes stay, below the flow."""
    trace = traced(
        lambda stage: stage.run_async(files(base, "a", "b"), {"all": []}), max_batch_items=1
    )

    names = [name for name, _ in trace.tree()[0][1]]
    assert sorted(names) == ["Files item", "Keep", "Load"]
    assert trace.nodes[0]["batch.size"] == 2


def test_parallel_items_that_write_one_key_are_a_conflict() -> None:
    """Both writes are shown, and flagged."""

    class Last(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            await asyncio.sleep(0)
            shared["last"] = self.params["n"]

    class Race(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    trace = traced(lambda stage: stage.run_async(Race(start=Last()), {}))

    assert [change["value"] for change in trace.patches()] == [1, 2]
    assert all(node["shared.concurrent"] for node in trace.all("Last"))
    assert trace.node("Last", 2)["shared.conflicts"] == ("/last",)


def test_nested_parallel_batch_flows() -> None:
    """Every level keeps its items apart."""

    class Outer(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"x": 1}, {"x": 2}]

    class Inner(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"y": 1}, {"y": 2}]

    class Leaf(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)

    trace = traced(lambda stage: stage.run_async(Outer(start=Inner(start=Leaf()))))

    inner = ("invoke_workflow Inner", [("Inner item", [("Leaf", [])])] * 2)
    assert trace.tree() == [("invoke_workflow Outer", [("Outer item", [inner])] * 2)]

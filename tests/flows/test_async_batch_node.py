"""AsyncBatchNode and AsyncParallelBatchNode: async items, in turn or all at once."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.framework import AsyncBatchNode, AsyncParallelBatchNode
from support.tracing import note, traced

BATCH = ("batch.size", "batch.failed", "batch.retried", "batch.fallbacks", "batch.items_traced")


def translator(base: Any) -> Any:
    """A node class on either base: words that begin with a dash fail once, with two always."""

    class Translate(base):
        async def prep_async(self, shared: Any) -> Any:
            self.seen: dict[str, int] = {}
            return shared["words"]

        async def exec_async(self, prep_res: Any) -> Any:
            self.seen[prep_res] = self.seen.get(prep_res, 0) + 1
            await asyncio.sleep(0)
            if prep_res.startswith("--") or (prep_res.startswith("-") and self.seen[prep_res] < 2):
                raise ValueError(prep_res)
            return prep_res.upper()

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post", exec_res)
            shared["translated"] = exec_res

    return Translate


BOTH = pytest.mark.parametrize("base", [AsyncBatchNode, AsyncParallelBatchNode])


@BOTH
def test_each_item_is_a_span_below_the_node(base: Any) -> None:
    """Items tell their place, input and output; the node the whole."""
    words = ["a", "b", "c"]
    trace = traced(lambda stage: stage.run_async(translator(base)(), {"words": words}))

    assert trace.lines() == ["Translate", *["  Translate item"] * 3]
    items = trace.all("Translate item")
    assert [item["item.index"] for item in items] == [0, 1, 2]
    assert [item.json("input.value") for item in items] == ["a", "b", "c"]
    assert [item.json("output.value") for item in items] == ["A", "B", "C"]
    span = trace.node("Translate")
    assert [span[name] for name in BATCH] == [3, 0, 0, 0, 3]
    assert span["node.base"] == base.__name__
    assert span["node.attempts"] == 3
    assert span.json("output.value") == ["A", "B", "C"]


@BOTH
def test_attempts_stand_below_their_item(base: Any) -> None:
    """However items overlap, each attempt is told on its own item."""
    words = ["a", "-b", "-c"]
    program_node = translator(base)
    trace = traced(lambda stage: stage.run_async(program_node(max_retries=3), {"words": words}))

    assert trace.tree()[0][1] == [
        ("Translate item", [("Translate attempt", [])]),
        ("Translate item", [("Translate attempt", []), ("Translate attempt", [])]),
        ("Translate item", [("Translate attempt", []), ("Translate attempt", [])]),
    ]
    assert [trace.node("Translate")[name] for name in BATCH] == [3, 0, 2, 0, 3]
    assert trace.values("node.attempts", "Translate item") == [1, 2, 2]
    assert trace.node("Translate")["node.attempts"] == 5


def test_an_item_that_fails_ends_a_sequential_batch() -> None:
    """Later items do not run."""
    words = ["a", "--b", "c"]
    node = translator(AsyncBatchNode)
    trace = traced(lambda stage: stage.run_async(node(), {"words": words}), raises=ValueError)

    assert trace.lines() == [
        "Translate [ValueError]",
        "  Translate item",
        "  Translate item [ValueError, recorded]",
    ]
    assert [trace.node("Translate")[name] for name in BATCH] == [3, 1, 0, 0, 2]


def test_an_item_that_fails_leaves_its_parallel_siblings_alone() -> None:
    """The exception is told on the item that failed, and once."""
    words = ["a", "--b", "c"]
    node = translator(AsyncParallelBatchNode)
    trace = traced(
        lambda stage: stage.run_async(node(), {"words": words}), nested=False, raises=ValueError
    )

    assert trace.lines() == [
        "Translate [ValueError]",
        "  Translate item",
        "  Translate item [ValueError, recorded]",
        "  Translate item",
    ]
    assert trace.node("Translate")["batch.failed"] == 1


def test_parallel_items_overlap() -> None:
    """All begin before the first one ends."""

    class Meet(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            self.barrier = asyncio.Event()
            self.waiting = 0
            return [0, 1, 2]

        async def exec_async(self, prep_res: Any) -> Any:
            self.waiting += 1
            if self.waiting == 3:
                self.barrier.set()
            await self.barrier.wait()

    trace = traced(lambda stage: stage.run_async(Meet()))

    items = trace.all("Meet item")
    assert max(item.start for item in items) <= min(item.end for item in items)


@BOTH
def test_the_fallback_answers_for_its_item(base: Any) -> None:
    """Items that recovered are counted on the node."""

    class Lenient(translator(base)):
        async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
            return "?"

    words = ["--a", "b"]
    trace = traced(lambda stage: stage.run_async(Lenient(), {"words": words}))

    assert [trace.node("Lenient")[name] for name in BATCH] == [2, 0, 0, 1, 2]
    assert trace.values("node.fallback", "Lenient item") == [True]
    assert trace.lines()[0] == "Lenient"

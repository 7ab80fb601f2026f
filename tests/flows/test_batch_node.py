"""BatchNode: one exec for each item."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

from typing import Any

import pytest

from support.framework import BatchNode
from support.tracing import note, traced


class Square(BatchNode):
    """Squares numbers; negative ones fail, and do so once for each attempt.

    Args:
        items: the batch.
        **options: the node's own.
    """

    def __init__(self, items: Any, **options: Any) -> None:
        super().__init__(**options)
        self.items = items

    def prep(self, shared: Any) -> Any:
        """The batch."""
        return self.items

    def exec(self, prep_res: Any) -> Any:
        """One item."""
        note("exec", prep_res)
        if prep_res < 0:
            raise ValueError(f"negative: {prep_res}")
        return prep_res**2

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the squares."""
        shared["squares"] = exec_res


class Tolerant(Square):
    """Squares what it can."""

    def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
        """Nothing for a number that fails."""
        return None


BATCH = ("batch.size", "batch.failed", "batch.retried", "batch.fallbacks", "batch.items_traced")


def test_each_item_is_a_span_below_the_node() -> None:
    """Items tell their place, input and output; the node the whole."""
    trace = traced(lambda stage: stage.run(Square([1, 2, 3])))

    assert trace.lines() == ["Square", "  Square item", "  Square item", "  Square item"]
    assert trace.values("item.index") == [0, 1, 2]
    assert trace.values("batch.size", "Square item") == [3, 3, 3]
    assert [item.json("input.value") for item in trace.all("Square item")] == [1, 2, 3]
    assert [item.json("output.value") for item in trace.all("Square item")] == [1, 4, 9]
    span = trace.node("Square")
    assert [span[name] for name in BATCH] == [3, 0, 0, 0, 3]
    assert span.json("input.value") == [1, 2, 3]
    assert span.json("output.value") == [1, 4, 9]
    assert span["node.attempts"] == 3
    assert span.writes == [("add", "/squares", "post")]


@pytest.mark.parametrize("items", [[], None])
def test_an_empty_batch_has_no_items(items: Any) -> None:
    """Nothing to do is a batch of size 0."""
    trace = traced(lambda stage: stage.run(Square(items)))

    assert trace.lines() == ["Square"]
    assert trace.node("Square")["batch.size"] == 0


def test_an_item_that_fails_ends_the_batch() -> None:
    """The exception is recorded on the item; the node is an error, and knows how far it got."""
    trace = traced(lambda stage: stage.run(Square([1, -2, 3])), raises=ValueError)

    assert trace.lines() == [
        "Square [ValueError]",
        "  Square item",
        "  Square item [ValueError, recorded]",
    ]
    assert [trace.node("Square")[name] for name in BATCH] == [3, 1, 0, 0, 2]


def test_items_have_attempts_of_their_own() -> None:
    """The retried item shows its attempts, and the node counts it."""
    trace = traced(lambda stage: stage.run(Tolerant([1, -2], max_retries=2)))

    assert trace.lines() == [
        "Tolerant",
        "  Tolerant item",
        "    Tolerant attempt",
        "  Tolerant item",
        "    Tolerant attempt [ValueError, recorded]",
        "    Tolerant attempt [ValueError, recorded]",
    ]
    assert [trace.node("Tolerant")[name] for name in BATCH] == [2, 0, 1, 1, 2]
    assert trace.node("Tolerant")["node.attempts"] == 3
    assert trace.node("Tolerant")["node.fallback"] is True
    assert [item.get("node.fallback") for item in trace.all("Tolerant item")] == [None, True]


def test_an_item_whose_last_attempt_fails_is_told_once() -> None:
    """The exception stands on the attempt; item and node only are errors."""
    trace = traced(lambda stage: stage.run(Square([-1], max_retries=2)), raises=ValueError)

    assert trace.lines() == [
        "Square [ValueError]",
        "  Square item [ValueError]",
        "    Square attempt [ValueError, recorded]",
        "    Square attempt [ValueError, recorded]",
    ]


def test_items_beyond_the_cap_are_counted_only() -> None:
    """The summary on the node counts all items."""
    trace = traced(lambda stage: stage.run(Square(list(range(50)))), max_batch_items=2)

    assert trace.lines() == ["Square", "  Square item", "  Square item"]
    assert [trace.node("Square")[name] for name in BATCH] == [50, 0, 0, 0, 2]


def test_a_failure_beyond_the_cap_is_shown() -> None:
    """What fails gets a span however many there were before it."""
    trace = traced(
        lambda stage: stage.run(Square([1, 2, 3, -4, 5])), max_batch_items=1, raises=ValueError
    )

    assert trace.lines() == [
        "Square [ValueError]",
        "  Square item",
        "  Square item [ValueError, recorded]",
    ]
    assert trace.values("item.index") == [0, 3]
    assert [trace.node("Square")[name] for name in BATCH] == [5, 1, 0, 0, 2]


def test_no_item_has_a_span_where_the_cap_is_zero() -> None:
    """The node alone tells of its batch."""
    trace = traced(lambda stage: stage.run(Tolerant([1, -2], max_retries=2)), max_batch_items=0)

    assert trace.lines() == ["Tolerant"]
    assert [trace.node("Tolerant")[name] for name in BATCH] == [2, 0, 1, 1, 0]


def test_a_generator_is_consumed_by_the_node_alone() -> None:
    """A one-shot batch is not looked into; its size is what came out of it."""

    class Stream(Square):
        def prep(self, shared: Any) -> Any:
            def numbers() -> Any:
                for number in self.items:
                    note("yield", number)
                    yield number

            return numbers()

    trace = traced(lambda stage: stage.run(Stream([3, 4])))

    assert trace.lines() == ["Stream", "  Stream item", "  Stream item"]
    assert trace.node("Stream")["batch.size"] == 2
    assert trace.values("batch.size", "Stream item") == []

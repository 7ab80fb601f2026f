"""AsyncNode: attempts and waits on the event loop."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.framework import AsyncNode
from support.tracing import note, traced


class Fetch(AsyncNode):
    """Fails a number of times, then answers.

    Args:
        failures: how many attempts fail.
        **options: the node's own.
    """

    def __init__(self, failures: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.failures = failures
        self.calls = 0

    async def prep_async(self, shared: Any) -> Any:
        """Something to work on."""
        note("prep")
        return "task"

    async def exec_async(self, prep_res: Any) -> Any:
        """One attempt."""
        await asyncio.sleep(0)
        self.calls += 1
        note("exec", self.calls)
        if self.calls <= self.failures:
            raise ConnectionError(f"attempt {self.calls}")
        return f"done after {self.calls}"

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the answer."""
        note("post", prep_res)
        shared["answer"] = exec_res
        return "fetched"


class Forgiving(Fetch):
    """Answers something else when all attempts have failed."""

    async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
        """The last resort."""
        await asyncio.sleep(0)
        note("fallback", str(exc))
        return "sorry"


def test_one_run_is_one_span() -> None:
    """The span covers the node from its first await to its last."""
    trace = traced(lambda stage: stage.run_async(Fetch(), {}))

    assert trace.lines() == ["Fetch"]
    span = trace.node("Fetch")
    assert span["node.base"] == "AsyncNode"
    assert span["node.action"] == "fetched"
    assert span["node.attempts"] == 1
    assert span.json("input.value") == "task"
    assert span.json("output.value") == "done after 1"
    assert span.writes == [("add", "/answer", "post")]


def test_attempts_and_waits_are_told_as_for_sync_nodes() -> None:
    """Failed attempts keep their exception and the wait that follows."""
    trace = traced(lambda stage: stage.run_async(Fetch(2, max_retries=3, wait=0.002)))

    assert trace.lines() == [
        "Fetch",
        "  Fetch attempt [ConnectionError, recorded]",
        "  Fetch attempt [ConnectionError, recorded]",
        "  Fetch attempt",
    ]
    assert [a.get("attempt.wait") for a in trace.all("Fetch attempt")] == [0.002, 0.002, None]
    assert trace.node("Fetch")["node.attempts"] == 3
    assert trace.node("Fetch")["node.wait.duration"] >= 0.004


def test_the_last_failure_leaves_the_node() -> None:
    """It is told on its attempt only."""
    trace = traced(lambda stage: stage.run_async(Fetch(9, max_retries=2)), raises=ConnectionError)

    assert trace.lines() == [
        "Fetch [ConnectionError]",
        "  Fetch attempt [ConnectionError, recorded]",
        "  Fetch attempt [ConnectionError, recorded]",
    ]


def test_a_fallback_that_answers_is_no_error() -> None:
    """The node says that its fallback answered."""
    trace = traced(lambda stage: stage.run_async(Forgiving(9, max_retries=2)))

    assert trace.lines() == [
        "Forgiving",
        "  Forgiving attempt [ConnectionError, recorded]",
        "  Forgiving attempt [ConnectionError, recorded]",
    ]
    assert trace.node("Forgiving")["node.fallback"] is True
    assert trace.node("Forgiving").json("output.value") == "sorry"


def test_a_fallback_that_raises_is_told_on_the_node() -> None:
    """Both exceptions are there, each where it left."""

    class Worse(Fetch):
        async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
            await asyncio.sleep(0)
            raise RuntimeError("worse")

    trace = traced(lambda stage: stage.run_async(Worse(9)), raises=RuntimeError)

    assert trace.lines() == ["Worse [RuntimeError, recorded, recorded]"]
    types = [event["exception.type"] for event in trace.node("Worse").events]
    assert types == ["ConnectionError", "RuntimeError"]


@pytest.mark.parametrize("phase", ["prep", "post"])
def test_an_exception_of_prep_or_post_is_the_nodes_own(phase: str) -> None:
    """It is recorded on the node's span, once."""

    class Breaks(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            await asyncio.sleep(0)
            self.maybe("prep")

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            self.maybe("post")

        def maybe(self, here: str) -> None:
            if here == phase:
                raise LookupError(here)

    trace = traced(lambda stage: stage.run_async(Breaks(max_retries=2)), raises=LookupError)

    assert trace.lines()[0] == "Breaks [LookupError, recorded]"


def test_running_it_as_a_sync_node_fails_as_before() -> None:
    """The framework's own answer to a sync run of an async node goes on unchanged."""
    trace = traced(lambda stage: stage.run(Fetch()), raises=RuntimeError)

    assert trace.lines() == ["Fetch [RuntimeError, recorded]"]
    assert trace.result.raised[0].args == "('Use run_async.',)"


def test_the_span_begins_when_the_run_is_awaited() -> None:
    """Making the coroutine is not running it."""

    async def program(stage: Any) -> Any:
        first, second = Fetch(), Forgiving()
        waiting = second.run_async(stage.watch(second))
        await stage.run_async(first)
        return await waiting

    trace = traced(program)

    assert trace.lines() == ["Fetch", "Forgiving"]


def test_many_runs_of_one_node_object_at_once() -> None:
    """Each run has its own span and its own attempts, though they share an object."""

    class Shared(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            return shared["n"]

        async def exec_async(self, prep_res: Any) -> Any:
            tries[prep_res] = tries.get(prep_res, 0) + 1
            await asyncio.sleep(0.001 * (5 - prep_res))
            if tries[prep_res] <= prep_res:
                raise ConnectionError(prep_res)
            return prep_res

    tries: dict[int, int] = {}

    async def program(stage: Any) -> Any:
        tries.clear()
        node = Shared(max_retries=4)
        stores = [stage.watch(node, {"n": n}) for n in range(4)]
        await asyncio.gather(*(node.run_async(store) for store in stores))

    trace = traced(program)

    spans = {node.json("input.value"): node for node in trace.all("Shared")}
    assert {n: span["node.attempts"] for n, span in spans.items()} == {0: 1, 1: 2, 2: 3, 3: 4}
    assert {n: len(trace.children(span)) for n, span in spans.items()} == {0: 1, 1: 2, 2: 3, 3: 4}

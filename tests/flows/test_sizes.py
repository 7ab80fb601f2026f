"""However much data a program moves, a span stays within its bytes."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.framework import (
    AsyncNode,
    AsyncParallelBatchFlow,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Stage, Trace, traced

DEFAULT = 6144
LONG = "N" * 150
"""Names of classes, keys and actions are data, too."""


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = "leaf"
    for _ in range(levels):
        value = [value, value]
    return value


HOSTILE: dict[str, Any] = {
    "ascii": "x" * 200_000,
    "umlauts": "\u00fc" * 100_000,
    "emoji": "\U0001f600" * 50_000,
    "quotes": '"\\' * 50_000,
    "control": "\x00\x1f" * 50_000,
    "surrogate": "\ud800" * 20_000,
    "lines": "line\n" * 20_000,
    "many small": {f"key {n}": n for n in range(5_000)},
    "long keys": {"k" * 5_000 + str(n): "v" * 5_000 for n in range(50)},
    "list of dicts": [{"name": f"n{n}", "text": "t" * 300} for n in range(500)],
    "deep": deep(12),
    "numbers": [n * 1.1 for n in range(20_000)],
    "large number": 10**5_000,
    "bytes": b"\xff" * 100_000,
}


class Carries(Node):
    """Takes in and gives out a lot."""

    def prep(self, shared: Any) -> Any:
        """All of the store."""
        return dict(shared)

    def exec(self, prep_res: Any) -> Any:
        """All of it again."""
        return [prep_res, prep_res]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Changes all of it."""
        for key in list(shared):
            shared[key + " again"] = shared[key]
        for key in list(shared)[::3]:
            del shared[key]
        for key in list(shared)[::4]:
            shared[key] = [shared[key], "changed"]
        return "a" * 500


def assert_valid(trace: Trace) -> None:
    """Whatever was cut, JSON is JSON."""
    for node in trace.nodes:
        for name, value in node.attributes.items():
            if name in {"input.value", "output.value"} or (
                isinstance(value, str) and value[:1] in {"{", "["}
            ):
                json.loads(value)


def long_flow(start: Any) -> Any:
    """A flow with params as large as everything else."""
    flow = Flow(start=start)
    flow.set_params(dict(HOSTILE))
    return flow


@pytest.mark.parametrize("limit", [DEFAULT, 20_000])
@pytest.mark.parametrize("key", [*HOSTILE, None])
def test_nodes_and_flows_stay_within_their_bytes(key: str | None, limit: int) -> None:
    """Any kind of large data, alone or together."""
    data = HOSTILE if key is None else {key: HOSTILE[key], "copy": HOSTILE[key]}

    def program(stage: Stage) -> Any:
        long_flow(Carries()).run(dict(data))

    trace = traced(program, max_span_bytes=limit)

    assert_valid(trace)
    assert max(node.size for node in trace.nodes) <= limit


def test_long_names_are_cut() -> None:
    """A class may have any name, and a file stand anywhere; levels go by the whole name."""
    name = "N" * 2_000
    cls: Any = type(name, (Carries,), {})
    flow: Any = type("F" * 2_000, (Flow,), {})
    levels = {name: "timing"}

    trace = traced(lambda stage: stage.run(flow(start=cls())), levels=levels)

    assert max(node.size for node in trace.nodes) <= DEFAULT
    assert [len(node["node.class"]) for node in trace.nodes] == [120, 120]
    assert "shared.diff" not in trace.nodes[1]


def test_a_long_route_stays_within_its_bytes() -> None:
    """Many nodes with long names, actions and runs."""
    cls: Any = type(LONG, (Node,), {"post": lambda *_: "go" * 60})

    def program(stage: Stage) -> Any:
        first = node = cls()
        for _ in range(150):
            following = cls()
            node - ("go" * 60) >> following
            for extra in range(5):
                node - (f"{extra}" * 100) >> first
            node = following
        return stage.run(Flow(start=first), {})

    trace = traced(program)

    assert_valid(trace)
    assert max(node.size for node in trace.nodes) <= DEFAULT


@pytest.mark.parametrize("phase", ["prep", "exec", "post"])
def test_large_exceptions_stay_within_their_bytes(phase: str) -> None:
    """A failed run tells its data and its exception within the same limit."""

    class Fails(Carries):
        def prep(self, shared: Any) -> Any:
            return self.maybe("prep", super().prep(shared))

        def exec(self, prep_res: Any) -> Any:
            return self.maybe("exec", super().exec(prep_res))

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return self.maybe("post", super().post(shared, prep_res, exec_res))

        def maybe(self, here: str, value: Any, depth: int = 30) -> Any:
            if here == phase:
                if depth:
                    return self.maybe(here, value, depth - 1)
                raise ValueError("message " * 10_000) from KeyError("cause" * 10_000)
            return value

    def program(stage: Stage) -> Any:
        Flow(start=Fails()).run(dict(HOSTILE))

    trace = traced(program, raises=ValueError)

    assert_valid(trace)
    assert max(node.size for node in trace.nodes) <= DEFAULT


def test_items_and_attempts_stay_within_their_bytes() -> None:
    """Every span of a batch, whatever its items hold."""

    class Items(BatchNode):
        def prep(self, shared: Any) -> Any:
            self.failed: set[int] = set()
            return list(HOSTILE.values())

        def exec(self, prep_res: Any) -> Any:
            if id(prep_res) not in self.failed:
                self.failed.add(id(prep_res))
                raise ValueError("message " * 10_000)
            return [prep_res, prep_res]

    class Each(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [dict(HOSTILE), dict(HOSTILE)]

    for node in (Items(max_retries=2), Each(start=Node())):
        trace = traced(lambda stage, node=node: stage.run(node))
        assert_valid(trace)
        assert max(node.size for node in trace.nodes) <= DEFAULT


def test_many_conflicts_stay_within_their_bytes() -> None:
    """Branches that overwrite each other's large values."""

    class Writes(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            for number in range(200):
                shared[f"a rather long key, number {number}"] = f"{self.params}" * 10_000

    class Race(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    trace = traced(lambda stage: stage.run_async(Race(start=Writes())))

    assert trace.values("shared.conflicts")
    assert max(node.size for node in trace.nodes) <= DEFAULT


@pytest.mark.parametrize("content", ["keys", "values"])
def test_many_changes_are_counted_where_they_do_not_fit(content: str) -> None:
    """What is left out is said."""

    class Writes(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared.update({f"key {n}": n for n in range(1_000)})

    trace = traced(lambda stage: stage.run(Writes()), content=content)

    span = trace.node("Writes")
    assert span["shared.diff.omitted"] + len(span.patch) == 1_000
    assert any("more)" in name for name in span["shared.added"])
    assert span.size <= DEFAULT

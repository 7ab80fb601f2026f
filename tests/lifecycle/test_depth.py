"""Programs near the recursion limit: they fail where they would, within a margin that is told.

One level of a flow in a flow takes two frames of the framework and two of ours; deeper nesting in
nodes takes relatively less. So at least half of the depth is left, and recursion inside a phase
loses a few frames in all. No call of ours takes room on the C stack, of which there is less than
`sys.setrecursionlimit` may promise: where a program is deep, tracing does not end its process.
"""

from __future__ import annotations

import sys
import typing

import pytest
from lives import ended

from support import programs

if typing.TYPE_CHECKING:
    from pathlib import Path

SOURCE = """\
import asyncio, sys
from pocketflow import AsyncFlow, AsyncNode, Flow, Node

depth = 0

def deeper():
    global depth
    depth += 1

class Nested(Flow):
    def prep(self, shared):
        deeper()

class AsyncNested(AsyncFlow):
    async def prep_async(self, shared):
        deeper()

def nested(flow_class, inmost):
    for _ in range(sys.getrecursionlimit()):
        inmost = flow_class(inmost)
    return inmost

class FlowInExec(Node):
    def exec(self, prep_res):
        deeper()
        Flow(FlowInExec()).run({})

class NodeInExec(Node):
    def exec(self, prep_res):
        deeper()
        NodeInExec().run({})

class AsyncFlowInExec(AsyncNode):
    async def exec_async(self, prep_res):
        deeper()
        await AsyncFlow(AsyncFlowInExec()).run_async({})

def recurse():
    deeper()
    recurse()

class Recursion(Node):
    def exec(self, prep_res):
        recurse()

async def async_recurse():
    deeper()
    await async_recurse()

class AsyncRecursion(AsyncNode):
    async def exec_async(self, prep_res):
        await async_recurse()

shapes = {
    "flow in flow": lambda: nested(Nested, Node()).run({}),
    "async flow in flow": lambda: asyncio.run(nested(AsyncNested, AsyncNode()).run_async({})),
    "flow in exec": lambda: Flow(FlowInExec()).run({}),
    "node in exec": lambda: NodeInExec().run({}),
    "async flow in exec": lambda: asyncio.run(AsyncFlow(AsyncFlowInExec()).run_async({})),
    "recursion in exec": lambda: Flow(Recursion()).run({}),
    "async recursion in exec": lambda: asyncio.run(AsyncFlow(AsyncRecursion()).run_async({})),
}

def reached(shape):
    global depth
    depth = 0
    try:
        shapes[shape]()
    except RecursionError:
        return depth

sys.setrecursionlimit(int(sys.argv[1]))
plain = {shape: reached(shape) for shape in sys.argv[2:]}
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
provider = TracerProvider(shutdown_on_exit=False)
PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False)
traced = {shape: reached(shape) for shape in sys.argv[2:]}
for shape in sys.argv[2:]:
    print(shape, plain[shape], traced[shape], sep=",")
"""

NESTED = [
    "flow in flow",
    "async flow in flow",
    "flow in exec",
    "node in exec",
    "async flow in exec",
]
RECURSION = ["recursion in exec", "async recursion in exec"]

FEW = 10
"""Frames that a hook needs for its own work at the place where the limit is reached."""


def depths(directory: Path, limit: int, shapes: list[str]) -> dict[str, tuple[int, int]]:
    """Return how deep each shape goes in a process of its own: plain, and traced."""
    script = programs.write_program(directory, SOURCE)
    done = ended([sys.executable, script.name, str(limit), *shapes], directory)
    assert (done.stderr, done.exit_code) == ("", 0)
    rows = [line.split(",") for line in done.stdout.splitlines()]
    return {shape: (int(plain), int(traced)) for shape, plain, traced in rows}


def test_nested_runs(tmp_path: Path) -> None:
    """Flows and nodes inside each other go at least half as deep as without us."""
    for shape, (plain, traced) in depths(tmp_path, 1000, NESTED).items():
        assert plain / 2 - FEW <= traced <= plain, shape


def test_recursion_inside_a_node(tmp_path: Path) -> None:
    """A recursion of the program's own loses the same few frames, however deep it goes."""
    for limit in (1000, 3000):
        for shape, (plain, traced) in depths(tmp_path, limit, RECURSION).items():
            assert plain - FEW <= traced <= plain, (shape, limit)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 itself calls through C")
def test_raised_limit(tmp_path: Path) -> None:
    """Where a program has raised the limit, the margin is the same, and the process survives."""
    ((plain, traced),) = depths(tmp_path, 20_000, ["flow in flow"]).values()
    assert plain / 2 - FEW <= traced <= plain

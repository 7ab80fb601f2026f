"""Random PocketFlow programs: graphs of nodes that fail, retry, and change the store in place."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

from hypothesis import strategies as st

from support.framework import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BaseNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import note

KEYS = ("a", "b", "c")
ACTIONS = ("default", "left", "right")
_MAX_RUNS = 25
"""After so many runs everything answers with an action that ends the flow."""


@dataclass(frozen=True)
class Edit:
    """One change of the store; where it does not fit what stands there, nothing happens."""

    phase: str
    kind: str
    key: str
    value: Any

    def apply(self, store: dict[str, Any]) -> None:
        """Changes the store."""
        there = store.get(self.key)
        if self.kind == "set":
            store[self.key] = _copy(self.value)
        elif self.kind == "delete":
            store.pop(self.key, None)
        elif self.kind == "append" and isinstance(there, list):
            there.append(_copy(self.value))
        elif self.kind == "pop" and isinstance(there, list) and there:
            there.pop(0)
        elif self.kind == "nest" and isinstance(there, dict):
            there[self.key] = _copy(self.value)


def _copy(value: Any) -> Any:
    """A value of its own for each time it is written, as programs make them."""
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Step:
    """A node."""

    base: str
    retries: int
    failures: int
    """How many calls of exec fail in each run."""
    fallback: bool
    edits: tuple[Edit, ...]
    actions: tuple[str | None, ...]
    own_run: str
    """`no`, `around` the framework's, or `instead` of it."""


@dataclass(frozen=True)
class Plan:
    """A flow."""

    base: str
    steps: tuple[Step | Plan, ...]
    edges: tuple[tuple[int, str, int], ...]
    items: int
    own_orch: bool
    """Does it go from node to node by itself?"""
    own_run: bool
    """Does it do so around the framework's run?"""


Graph: TypeAlias = "Step | Plan"

SYNC_NODES = {"BaseNode": BaseNode, "Node": Node, "BatchNode": BatchNode}
ASYNC_NODES = {
    "AsyncNode": AsyncNode,
    "AsyncBatchNode": AsyncBatchNode,
    "AsyncParallelBatchNode": AsyncParallelBatchNode,
}
SYNC_FLOWS = {"Flow": Flow, "BatchFlow": BatchFlow}
ASYNC_FLOWS = {
    "AsyncFlow": AsyncFlow,
    "AsyncBatchFlow": AsyncBatchFlow,
    "AsyncParallelBatchFlow": AsyncParallelBatchFlow,
}

# --- strategies -----------------------------------------------------------------------------

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("xy", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=4,
)
stores = st.dictionaries(st.sampled_from(KEYS), _values)
_edits = st.builds(
    Edit,
    st.sampled_from(["prep", "exec", "post"]),
    st.sampled_from(["set", "delete", "append", "pop", "nest"]),
    st.sampled_from(KEYS),
    _values,
)


def _steps(bases: list[str]) -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        st.sampled_from(bases),
        st.integers(1, 3),
        st.sampled_from([0, 0, 0, 1, 2, 5]),
        st.booleans(),
        st.lists(_edits, max_size=3).map(tuple),
        st.lists(st.sampled_from([None, *ACTIONS]), min_size=1, max_size=3).map(tuple),
        st.sampled_from(["no", "no", "around", "instead"]),
    )


def _plans(bases: list[str], steps: st.SearchStrategy[Any]) -> st.SearchStrategy[Plan]:
    edge = st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS), st.integers(0, 3))
    return st.builds(
        Plan,
        st.sampled_from(bases),
        st.lists(steps, min_size=1, max_size=4).map(tuple),
        st.lists(edge, max_size=5).map(tuple),
        st.integers(0, 3),
        st.sampled_from([False, False, True]),
        st.sampled_from([False, False, True]),
    )


_sync_steps = _steps(list(SYNC_NODES))
_sync_plans = _plans(list(SYNC_FLOWS), _sync_steps)
sync_plans = _plans(list(SYNC_FLOWS), _sync_steps | _sync_plans)
_any_steps = _sync_steps | _steps(list(ASYNC_NODES)) | _sync_plans
async_plans = _plans(list(ASYNC_FLOWS), _any_steps | _plans(list(ASYNC_FLOWS), _any_steps))


# --- programs -------------------------------------------------------------------------------


def _may_walk(plan: Plan) -> bool:
    """Nodes that hide their run are not found in a batch flow that hides its way as well."""
    hidden = any(isinstance(step, Step) and step.own_run == "instead" for step in plan.steps)
    return plan.own_orch and not (hidden and "Batch" in plan.base)


class _Build:
    """Makes the nodes of one program; what they count is this program's alone."""

    def __init__(self) -> None:
        self.total = 0

    def node(self, spec: Graph) -> Any:
        """A node or flow."""
        return self.flow(spec) if isinstance(spec, Plan) else self.step(spec)

    def flow(self, plan: Plan) -> Any:
        """A flow with its nodes, connected."""
        nodes = [self.node(step) for step in plan.steps]
        for source, action, target in plan.edges:
            start, end = nodes[source % len(nodes)], nodes[target % len(nodes)]
            if action not in start.successors:
                start.next(end, action)
        cls = _flow_class(plan, self)
        if _may_walk(plan):
            cls = _walking(cls)
        return (_around(cls) if plan.own_run else cls)(start=nodes[0])

    def step(self, step: Step) -> Any:
        """A node that does what its step says."""
        acts = _Acts(step, self)
        cls = _node_class(acts)
        if step.own_run != "no":
            cls = _around(cls) if step.own_run == "around" else _instead(cls, acts)
        return cls() if step.base == "BaseNode" else cls(max_retries=step.retries)


class _Acts:
    """What the methods of one node do, sync or async."""

    def __init__(self, step: Step, build: _Build) -> None:
        self.step = step
        self.runs = 0
        self._build = build
        self._calls: Counter[int] = Counter()

    def prep(self, shared: Any) -> Any:
        """Counts the run; a batch has two items."""
        self._build.total += 1
        self.runs += 1
        note("run", self.step.base)
        self._edit("prep", shared)
        return [shared, shared] if "Batch" in self.step.base else shared

    def exec(self, shared: Any) -> Any:
        """Fails as often as the step says, in each run."""
        self._calls[self.runs] += 1
        call = self._calls[self.runs]
        note("exec", call)
        self._edit("exec", shared)
        if call <= self.step.failures:
            raise ValueError(call)
        return call

    def fall_back(self, exc: Exception) -> Any:
        """Answers, or raises what failed."""
        note("fallback", str(exc))
        if not self.step.fallback:
            raise exc
        return "fallback"

    def post(self, shared: Any) -> Any:
        """The action, which is another one in each round."""
        self._edit("post", shared)
        if self._build.total > _MAX_RUNS:
            return "enough"
        return self.step.actions[self.runs % len(self.step.actions)]

    def _edit(self, phase: str, store: Any) -> None:
        for change in self.step.edits:
            if change.phase == phase:
                change.apply(store)


def _flow_class(plan: Plan, build: _Build) -> Any:
    params = [{"n": n} for n in range(plan.items)]

    class Sync({**SYNC_FLOWS, **ASYNC_FLOWS}[plan.base]):
        def prep(self, shared: Any) -> Any:
            build.total += 1
            note("flow", plan.base)
            return params

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return "enough" if build.total > _MAX_RUNS else exec_res

        async def prep_async(self, shared: Any) -> Any:
            return self.prep(shared)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return self.post(shared, prep_res, exec_res)

    return Sync


def _node_class(acts: _Acts) -> Any:
    class Sync({**SYNC_NODES, **ASYNC_NODES}[acts.step.base]):
        def prep(self, shared: Any) -> Any:
            return acts.prep(shared)

        def exec(self, prep_res: Any) -> Any:
            return acts.exec(prep_res)

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            return acts.fall_back(exc)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return acts.post(shared)

        async def prep_async(self, shared: Any) -> Any:
            return await _later(acts.prep(shared))

        async def exec_async(self, prep_res: Any) -> Any:
            return await _later(acts.exec(prep_res))

        async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
            return await _later(acts.fall_back(exc))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return await _later(acts.post(shared))

    return Sync


async def _later(value: Any) -> Any:
    """Lets other tasks run first."""
    await asyncio.sleep(0)
    return value


def _around(cls: Any) -> Any:
    class Around(cls):
        def _run(self, shared: Any) -> Any:
            return super()._run(shared)

        async def _run_async(self, shared: Any) -> Any:
            return await super()._run_async(shared)

    return Around


def _instead(cls: Any, acts: _Acts) -> Any:
    class Instead(cls):
        def _run(self, shared: Any) -> Any:
            acts.prep(shared)
            return acts.post(shared)

        async def _run_async(self, shared: Any) -> Any:
            await _later(acts.prep(shared))
            return acts.post(shared)

    return Instead


def _walking(cls: Any) -> Any:
    class Own(cls):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            node, action = self.start_node, None
            while node:
                node.set_params(params or self.params)
                action = node._run(shared)
                node = self.get_next_node(node, action)
            return action

        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            node, action = self.start_node, None
            while node:
                node.set_params(params or self.params)
                is_async = isinstance(node, AsyncNode)
                action = await node._run_async(shared) if is_async else node._run(shared)
                node = self.get_next_node(node, action)
            return action

    return Own


def build(plan: Plan) -> Any:
    """A flow that can be run once."""
    return _Build().flow(plan)

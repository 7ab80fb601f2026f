"""Random PocketFlow programs: graphs of nodes that fail, retry, and change the store in place."""

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
            there.append(_copy(self.value))  # pyright: ignore[reportUnknownMemberType] - JSON
        elif self.kind == "pop" and isinstance(there, list) and there:
            there.pop(0)  # pyright: ignore[reportUnknownMemberType] - JSON
        elif self.kind == "nest" and isinstance(there, dict):
            there[self.key] = _copy(self.value)


def _copy(value: Any) -> Any:
    """A value of its own for each time it is written, as programs make them."""
    if isinstance(value, list):
        return [_copy(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - JSON
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType] - JSON
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
        self.runs: Counter[int] = Counter()
        self.calls: Counter[Any] = Counter()
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
        params = [{"n": n} for n in range(plan.items)]
        build = self

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

        class Own(Sync):
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

        base: Any = Own if _may_walk(plan) else Sync

        class Around(base):
            def _run(self, shared: Any) -> Any:
                return super()._run(shared)

            async def _run_async(self, shared: Any) -> Any:
                return await super()._run_async(shared)

        return (Around if plan.own_run else base)(start=nodes[0])

    def step(self, step: Step) -> Any:
        """A node that does what its step says."""
        build, me = self, id(step)

        def edit(phase: str, store: Any) -> None:
            for change in step.edits:
                if change.phase == phase:
                    change.apply(store)

        def prep(shared: Any) -> Any:
            build.total += 1
            build.runs[me] += 1
            note("run", step.base)
            edit("prep", shared)
            return [shared, shared] if "Batch" in step.base else shared

        def execute(shared: Any) -> Any:
            key = (me, build.runs[me])
            build.calls[key] += 1
            note("exec", build.calls[key])
            edit("exec", shared)
            if build.calls[key] <= step.failures:
                raise ValueError(build.calls[key])
            return build.calls[key]

        def fall_back(exc: Exception) -> Any:
            note("fallback", str(exc))
            if not step.fallback:
                raise exc
            return "fallback"

        def post(shared: Any) -> Any:
            edit("post", shared)
            if build.total > _MAX_RUNS:
                return "enough"
            return step.actions[build.runs[me] % len(step.actions)]

        class Sync({**SYNC_NODES, **ASYNC_NODES}[step.base]):
            def prep(self, shared: Any) -> Any:
                return prep(shared)

            def exec(self, prep_res: Any) -> Any:
                return execute(prep_res)

            def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
                return fall_back(exc)

            def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
                return post(shared)

            async def prep_async(self, shared: Any) -> Any:
                made = prep(shared)
                await asyncio.sleep(0)
                return made

            async def exec_async(self, prep_res: Any) -> Any:
                made = execute(prep_res)
                await asyncio.sleep(0)
                return made

            async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
                await asyncio.sleep(0)
                return fall_back(exc)

            async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
                await asyncio.sleep(0)
                return post(shared)

        class Around(Sync):
            def _run(self, shared: Any) -> Any:
                return super()._run(shared)

            async def _run_async(self, shared: Any) -> Any:
                return await super()._run_async(shared)

        class Instead(Sync):
            def _run(self, shared: Any) -> Any:
                prep(shared)
                return post(shared)

            async def _run_async(self, shared: Any) -> Any:
                prep(shared)
                await asyncio.sleep(0)
                return post(shared)

        cls: Any = {"no": Sync, "around": Around, "instead": Instead}[step.own_run]
        return cls() if step.base == "BaseNode" else cls(max_retries=step.retries)


def build(plan: Plan) -> Any:
    """A flow that can be run once."""
    return _Build().flow(plan)

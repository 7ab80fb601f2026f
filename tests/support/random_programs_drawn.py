"""Strategies of hypothesis for random programs, and for how they are traced."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.random_programs import (
    HAS_GROUPS,
    Act,
    Cancel,
    Draw,
    Edit,
    Graph,
    Keep,
    Nest,
    Pause,
    Plan,
    Program,
    Raise,
    Run,
    Shared,
    Step,
    Tracer,
    Warn,
)

KEYS = ("a", "b", "c")
AT = st.sampled_from(["prep", "exec", "post", "exec", "fallback"])
ACTIONS = (None, "default", "left", "right")
SYNC_NODES = ["Node", "BatchNode", "BaseNode"]
ASYNC_NODES = ["AsyncNode", "AsyncBatchNode", "AsyncParallelBatchNode"]
SYNC_FLOWS = ["Flow", "BatchFlow"]
ASYNC_FLOWS = ["AsyncFlow", "AsyncBatchFlow", "AsyncParallelBatchFlow"]

ERRORS = ["ValueError", "Custom", "from", "context", "from none", "KeyError", "StopIteration"]
ERRORS.extend(["noted", "group"] if HAS_GROUPS else [])
ENDINGS = ["KeyboardInterrupt", "SystemExit", "CancelledError", "GeneratorExit", "BaseCustom"]
STORES = [
    "dict",
    "subclass",
    "ordered",
    "defaultdict",
    "userdict",
    "object",
    "slots",
    "list",
    "none",
]

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=4,
)
_content = st.lists(st.tuples(st.sampled_from(KEYS), _values), max_size=3).map(tuple)
_edit_kinds = ["set", "delete", "append", "pop", "nest", "clear", "alias", "token"]
_edits = st.builds(Edit, AT, st.sampled_from(_edit_kinds), st.sampled_from(KEYS), _values)
_raises = st.builds(
    Raise, AT, st.sampled_from([*ERRORS, *ERRORS, *ENDINGS]), st.sampled_from([1, 2, 9])
)
_small_acts = st.one_of(
    _edits,
    _edits,
    _raises,
    st.builds(Warn, AT, st.integers(1, 12)),
    st.builds(Draw, AT),
    st.builds(Keep, AT, st.sampled_from(["node", "params", "variable"])),
)
_async_acts = st.one_of(_small_acts, st.builds(Pause, AT, st.integers(1, 3)), st.builds(Cancel, AT))


def _tuples(of: st.SearchStrategy[Any], least: int = 0, most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(of, min_size=least, max_size=most).map(tuple)


def _steps(bases: list[str], acts: st.SearchStrategy[Act]) -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        st.sampled_from(bases),
        _tuples(acts),
        st.integers(1, 3),
        st.sampled_from([0, 0, 0, 1e-6]) if "Node" in bases else st.just(0),
        st.booleans(),
        st.sampled_from(["store", "list", "tuple", "generator", "token", "none"]),
        st.sampled_from(["number", "list", "generator", "token", "store", "error", "none"]),
        _tuples(st.sampled_from([*ACTIONS, 5, ("x",)]), 1, 3),
        st.sampled_from(["", "", "", "", "around run", "instead of run", "around exec", "copy"]),
    )


def _plans(
    bases: list[str], steps: st.SearchStrategy[Graph], acts: st.SearchStrategy[Act]
) -> st.SearchStrategy[Plan]:
    edge = st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS[1:]), st.integers(0, 3))
    return st.builds(
        Plan,
        st.sampled_from(bases),
        _tuples(steps, 1),
        _tuples(edge, 0, 4),
        st.integers(0, 3),
        st.sampled_from(["list", "list", "tuple", "none"]),
        _tuples(acts, 0, 1),
        st.sampled_from(["", "", "", "around run", "around orch", "copy"]),
    )


_sync_leaves = _steps(SYNC_NODES, _small_acts)
_async_leaves = _sync_leaves | _steps(ASYNC_NODES, _async_acts)
_shared = st.builds(Shared, st.integers(0, 1))
_small_flows = _plans(SYNC_FLOWS, _sync_leaves | _shared, _small_acts)
_small_async_flows = _plans(ASYNC_FLOWS, _async_leaves | _shared, _small_acts)

_sync_nests = st.builds(
    Nest,
    AT,
    _sync_leaves | _small_flows,
    st.sampled_from(["run", "run", "thread", "thread in context", "pool", "pool in context"]),
    st.booleans(),
    st.booleans(),
)
_async_nests = st.builds(
    Nest,
    AT,
    _async_leaves | _small_flows | _small_async_flows,
    st.sampled_from(["run", "run", "gather", "task", "thread", "pool in context"]),
    st.booleans(),
    st.booleans(),
)
_sync_acts = st.one_of(_small_acts, _small_acts, _small_acts, _sync_nests)
_all_acts = st.one_of(_async_acts, _async_acts, _async_acts, _async_nests)

_sync_steps = _steps(SYNC_NODES, _sync_acts)
_async_steps = _sync_steps | _steps(ASYNC_NODES, _all_acts)
sync_graphs = _plans(SYNC_FLOWS, _sync_steps | _shared | _small_flows, _small_acts)
async_graphs = _plans(
    ASYNC_FLOWS, _async_steps | _shared | _small_flows | _small_async_flows, _small_acts
)

# --- programs -------------------------------------------------------------------------------

_SYNC_WAYS = ["run", "run", "run", "keyword", "unbound", "framework"]
_ASYNC_WAYS = [*_SYNC_WAYS, "cancel", "close", "throw", "never"]

sync_runs = st.builds(
    Run, sync_graphs | _sync_steps, st.sampled_from(_SYNC_WAYS), st.just(0), st.booleans()
)
async_runs = st.builds(
    Run,
    async_graphs | _steps(ASYNC_NODES, _all_acts),
    st.sampled_from(_ASYNC_WAYS),
    st.integers(0, 30),
    st.booleans(),
)
cut_runs = st.builds(
    Run, async_graphs, st.sampled_from(["cancel", "close", "throw"]), st.integers(0, 30)
)


def programs(
    runs: st.SearchStrategy[Run],
    *,
    least: int = 1,
    most: int = 1,
    together: bool = False,
    stores: list[str] = STORES[:1],
) -> st.SearchStrategy[Program]:
    """Programs of so many runs, on one of these kinds of store."""
    return st.builds(
        Program,
        _tuples(runs, least, most),
        st.tuples(_sync_leaves, _sync_leaves),
        st.just(together),
        st.sampled_from(stores),
        _content,
        st.sampled_from(["", "", "baggage", "sampled", "unsampled", "suppressed"]),
        st.sampled_from(["always", "always", "default", "error"]),
    )


_levels = st.lists(
    st.tuples(
        st.sampled_from(["*Node*", "*Flow*", "*Batch*", "Async*", "*0", "*"]),
        st.sampled_from(["skip", "timing", "keys", "full", "on_error"]),
    ),
    max_size=2,
).map(tuple)

tracers = st.builds(
    Tracer,
    st.sampled_from([True, True, True, False]),
    st.sampled_from(["on", "on", "off", "ratio", "parent", "only parent"]),
    st.booleans(),
    st.sampled_from(["off", "keys", "values"]),
    _levels,
    st.booleans(),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([1024, 6144, 10_000_000]),
    st.sampled_from([0, 3, 10_000]),
)
full_tracers = st.builds(Tracer, metrics=st.booleans(), phase_spans=st.booleans())
"""Tracers that tell all that happens."""

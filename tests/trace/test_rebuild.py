"""The shared store, rebuilt from a kept run, is what stood in the program's store."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import copy
import json
import typing
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept_programs import about, collected, keep, with_parents

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture.preview import key_text
from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from pocketflow_trace.analysis.patching import Document, is_marker
from pocketflow_trace.analysis.rebuild import History, RebuildError, Rebuilt, store_ids, store_near
from pocketflow_trace.keeping import runfile
from pocketflow_trace.keeping.shelf import read
from pocketflow_trace.record.model import Run, grow, walk
from pocketflow_trace.record.nodes import node_runs
from support.framework import AsyncFlow, AsyncNode, BatchFlow, Flow, Node
from support.random_flows import KEYS, Edit, Plan, async_plans, build, stores, sync_plans
from support.stores import PROGRAMS, Step

if typing.TYPE_CHECKING:
    from pathlib import Path

    from support.tracing import Program, Stage

MANY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROOMY = {"max_span_bytes": 10_000_000}
REDACTOR = Redactor()


def from_file(run: Run) -> Run:
    """Return a run as a reader of its file has it."""
    lines = [runfile.header_line(about())]
    lines += [runfile.end_line(entry, parent) for entry, parent in with_parents(run)]
    return runfile.read([*lines, runfile.done_line(1, run.dropped)]).run


def at_end(run: Run, store: int | None = None) -> Rebuilt:
    """Return the only store, or that one, as it stood at the end."""
    history = History(run, store_ids(run)[0] if store is None else store)
    return history.rebuild(history.at_end())


def after(run: Run, name: str) -> Any:
    """Return the store after a node's run."""
    (entry,) = node_runs(run, name)
    history = History(run, store_near(run, entry) or 0)
    return history.rebuild(history.after(entry)).document


def before(run: Run, name: str) -> Any:
    """Return the store before a node's run."""
    (entry,) = node_runs(run, name)
    history = History(run, store_near(run, entry) or 0)
    return history.rebuild(history.before(entry)).document


# --- At the end -----------------------------------------------------------------------------


def program_of(plan: Plan, store: dict[str, Any], *, is_async: bool) -> Program:
    """Build and run a flow on a store of its own."""

    def program(stage: Stage) -> Any:
        flow, own = build(plan), copy.deepcopy(store)
        return stage.run_async(flow, own) if is_async else stage.run(flow, own)

    return program


@MANY
@given(sync_plans, stores)
def test_any_sync_program(plan: Plan, store: dict[str, Any]) -> None:
    """At the end stands what the program's store held."""
    run, outcome = collected(program_of(plan, store, is_async=False), **ROOMY)
    rebuilt = at_end(from_file(run))
    assert rebuilt.document == outcome.stores[0]
    assert (rebuilt.missing, rebuilt.lost, rebuilt.doubtful) == (0, 0, ())


@MANY
@given(async_plans, stores)
def test_any_async_program(plan: Plan, store: dict[str, Any]) -> None:
    """The same with branches that work on one store at the same time."""
    run, outcome = collected(program_of(plan, store, is_async=True), **ROOMY)
    rebuilt = at_end(from_file(run))
    assert rebuilt.document == outcome.stores[0]
    assert (rebuilt.missing, rebuilt.lost, rebuilt.doubtful) == (0, 0, ())


@MANY
@given(async_plans, stores, st.sampled_from([1024, 1500, 2500, 4000]))
def test_any_program_with_little_room(plan: Plan, store: dict[str, Any], room: int) -> None:
    """Wherever nothing is cut or missing, there stands what the program's store held."""
    run, outcome = collected(program_of(plan, store, is_async=True), max_span_bytes=room)
    assert_right_where_shown(at_end(from_file(run)), outcome.stores[0])


def edits(programs: list[list[Step]]) -> Any:
    """Return a flow whose nodes change the store in every way that a node could."""

    class Edit(Node):
        def __init__(self, steps: list[Step]) -> None:
            super().__init__()
            self.steps = steps

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            for step in self.steps:
                step.apply(shared)

    nodes = [Edit(steps) for steps in programs]
    for node, following in pairwise(nodes):
        node >> following
    return Flow(start=nodes[0])


@MANY
@given(stores, PROGRAMS, st.sampled_from([1024, 2500, 10_000_000]))
def test_any_change(store: dict[str, Any], programs: list[list[Step]], room: int) -> None:
    """With values and keys of all kinds, too."""

    def program(stage: Stage) -> Any:
        return stage.run(edits(copy.deepcopy(programs)), copy.deepcopy(store))

    run, outcome = collected(program, max_span_bytes=room)
    assert_right_where_shown(at_end(from_file(run)), outcome.stores[0])


_long = st.integers(0, 900).map(lambda length: "x" * length)
_large = st.recursive(
    _long, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(KEYS), inner)
)
_large_edits = st.builds(
    Edit,
    st.just("post"),
    st.sampled_from(["set", "set", "delete", "append", "append", "pop", "nest"]),
    st.sampled_from(KEYS),
    _large,
)


@settings(MANY, max_examples=200)
@given(
    st.dictionaries(st.sampled_from(KEYS), _large),
    st.lists(st.lists(_large_edits, max_size=8), min_size=1, max_size=5),
    st.sampled_from([1024, 2500, 6144]),
)
def test_any_changes_that_do_not_fit(
    store: dict[str, Any], programs: list[list[Any]], room: int
) -> None:
    """Where values are cut and changes are missing, nothing wrong is said to be certain."""

    def program(stage: Stage) -> Any:
        return stage.run(edits(programs), copy.deepcopy(store))

    run, outcome = collected(program, max_span_bytes=room)
    assert_right_where_shown(at_end(from_file(run)), outcome.stores[0])


def assert_right_where_shown(rebuilt: Rebuilt, store: dict[Any, Any]) -> None:
    """What is neither a marker nor doubtful must be what the store holds."""
    if rebuilt.doubtful is None or rebuilt.unwatched or is_marker(rebuilt.document):
        return
    document = dict(rebuilt.document)
    cut = document.pop("$cut", None)
    shown = {key_text(key, REDACTOR): value for key, value in store.items()}
    sure = shown.keys() - set(rebuilt.doubtful)
    assert sure >= document.keys() - set(rebuilt.doubtful)
    if cut is None:
        assert sure <= document.keys()
    for key in sure & document.keys():
        assert_agrees(document[key], shown[key])


def assert_agrees(document: Any, value: Any) -> None:
    """Compare what JSON can tell; instances of classes are compared by the core's own tests."""
    if is_marker(document) or type(value) not in {dict, list, str, int, bool, type(None)}:
        return
    if type(value) is dict:
        inside = {key_text(key, REDACTOR): item for key, item in value.items()}
        document = dict(document)
        cut = document.pop("$cut", {"length": len(document)})
        assert cut["length"] == len(inside)
        assert document.keys() <= inside.keys()
        for key, item in document.items():
            assert_agrees(item, inside[key])
    elif type(value) is list:
        cut = bool(document) and type(document[-1]) is dict and list(document[-1]) == ["$cut"]
        is_cut = cut and type(document[-1]["$cut"]) is dict
        items = document[:-1] if is_cut else document
        assert (document[-1]["$cut"]["length"] if is_cut else len(items)) == len(value)
        for item, real in zip(items, value, strict=False):
            assert_agrees(item, real)
    else:
        assert (type(document), document) == (type(value), value)


# --- At a node ------------------------------------------------------------------------------


class Count(Node):
    """Counts up to three, and loops."""

    def prep(self, shared: Any) -> Any:
        """What it works on."""
        shared["seen"] = shared["n"]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        """What it writes, and where it leads."""
        shared["n"] += 1
        shared["log"].append(shared["n"])
        return "again" if shared["n"] < 3 else "done"


class Finish(Node):
    """Removes what is not needed any more."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        """What it writes, and where it leads."""
        del shared["seen"]


def counting() -> Any:
    """Return a flow with a loop."""
    start = Count()
    start - "again" >> start
    start - "done" >> Finish()
    return Flow(start=start)


def test_before_and_after_each_run_of_a_node() -> None:
    """The store can be seen at every border of every run."""
    run, _ = collected(lambda stage: stage.run(counting(), {"n": 0, "log": []}))
    assert before(run, "Count:1") == {"n": 0, "log": []}
    assert after(run, "Count:1") == {"n": 1, "log": [1], "seen": 0}
    assert before(run, "Count:2") == after(run, "Count:1")
    assert after(run, "Count:3") == {"n": 3, "log": [1, 2, 3], "seen": 2}
    assert after(run, "Finish") == {"n": 3, "log": [1, 2, 3]}
    assert before(run, "CountFlow") == {"n": 0, "log": []}
    assert after(run, "CountFlow") == after(run, "Finish")


def test_around_a_nested_flow() -> None:
    """A nested flow's own prep and post are told apart from what its nodes change."""

    class Inner(Flow):
        def prep(self, shared: Any) -> None:
            shared["prepared"] = True

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["posted"] = True
            return exec_res

    def program(stage: Stage) -> Any:
        start = Inner(start=Count())
        start - "again" >> Finish()
        return stage.run(Flow(start=start), {"n": 0, "log": []})

    run, _ = collected(program)
    assert before(run, "Inner") == {"n": 0, "log": []}
    assert before(run, "Count") == {"n": 0, "log": [], "prepared": True}
    assert after(run, "Count") == {"n": 1, "log": [1], "prepared": True, "seen": 0}
    assert after(run, "Inner") == {
        "n": 1, "log": [1], "prepared": True, "seen": 0, "posted": True,
    }  # fmt: skip
    assert before(run, "Finish") == after(run, "Inner")


def test_branches_at_once_are_approximate() -> None:
    """Where another branch was at work, the moment is not exact, and that is said."""

    class Slow(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["slow"] = 1
            shared["quick_done"].set()
            await shared["slow_may_end"].wait()

    class Quick(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            await shared["quick_done"].wait()
            shared["quick"] = 1
            shared["slow_may_end"].set()

    async def program(stage: Stage) -> Any:
        store = {"quick_done": asyncio.Event(), "slow_may_end": asyncio.Event()}
        both = (AsyncFlow(start=Slow()), AsyncFlow(start=Quick()))
        await asyncio.gather(*(stage.run_async(flow, store) for flow in both))

    run, _ = collected(program)
    (quick,) = node_runs(run, "Quick")
    history = History(run, store_near(run, quick) or 0)
    rebuilt = history.rebuild(history.after(quick))
    assert rebuilt.is_approximate
    assert rebuilt.document["quick"] == 1
    assert not history.rebuild(history.at_end()).is_approximate


def test_stores_are_told_apart() -> None:
    """A second run on the same dict, and a run on another one, have histories of their own."""

    def program(stage: Stage) -> Any:
        store = {"n": 0, "log": []}
        for _ in range(2):
            counting().run(store)
            store["n"] = 0

    run, _ = collected(program)
    first, second = store_ids(run)
    assert at_end(run, first).document == {"n": 3, "log": [1, 2, 3]}
    assert at_end(run, second).document == {"n": 3, "log": [1, 2, 3, 1, 2, 3]}
    assert after(run, "Count:4") == {"n": 1, "log": [1, 2, 3, 1], "seen": 0}


def test_a_batch_flow() -> None:
    """Runs are numbered over all items."""

    class Each(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{}, {}]

    run, _ = collected(lambda stage: stage.run(Each(start=Count()), {"n": 0, "log": []}))
    assert after(run, "Count:2")["log"] == [1, 2]
    assert before(run, "Count:2")["log"] == [1]


# --- What is not known ----------------------------------------------------------------------


def killed(run: Run, *names: str) -> Run:
    """Return a run as if the program had been killed before these had ended."""
    entries: dict[str, Any] = {}
    parents: dict[str, str | None] = {}
    for entry, parent in with_parents(run):
        key = runfile.key_of(entry)
        entries[key], parents[key] = entry, parent
        if entry.attributes.get(semconv.NODE_CLASS) in names:
            kept = {semconv.NODE_CLASS, semconv.NODE_ID, semconv.SPAN_KIND}
            told = {name: value for name, value in entry.attributes.items() if name in kept}
            entries[key] = replace(entry, end=None, attributes=told)
    return Run(grow(entries, parents))


def test_a_killed_program() -> None:
    """What the nodes that had ended changed is shown; that the start is not known, is said."""
    run, _ = collected(lambda stage: stage.run(counting(), {"n": 0, "log": [], "old": 1}))
    run = killed(run, "Flow", "Finish")
    rebuilt = at_end(run)
    assert rebuilt.document == {"seen": 2, "n": 3, "$cut": {"length": None}}
    assert not rebuilt.is_start_known
    assert rebuilt.unfinished == ("Flow", "Finish")
    assert rebuilt.doubtful is None
    (finish,) = node_runs(run, "Finish")
    with pytest.raises(RebuildError, match="Finish had not ended"):
        History(run, 1).after(finish)


def test_where_only_keys_were_captured() -> None:
    """Types and sizes stand as markers for values that were not captured."""
    run, _ = collected(lambda stage: stage.run(counting(), {"n": 0, "log": []}), content="keys")
    rebuilt = at_end(run)
    assert rebuilt.document == {
        "n": {"$opaque": "int"},
        "log": {"$opaque": "list", "length": 3},
    }
    assert rebuilt.opaque == ("/n", "/log")


def test_what_is_not_shown_is_listed() -> None:
    """Cuts, classes that are not looked into and secrets are named by their place."""

    class Write(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["text"] = "x" * 100_000
            shared["api_key"] = "sk-0123456789"
            shared["lock"] = object()
            shared["a/b"] = [{"deep": "y" * 100_000}]

    run, _ = collected(lambda stage: stage.run(Flow(start=Write()), {"items": list(range(10_000))}))
    rebuilt = at_end(run)
    assert rebuilt.redacted == ("/api_key",)
    assert rebuilt.opaque == ("/lock",)
    assert "/text" in rebuilt.cut
    assert any(place.startswith("/a~1b") for place in rebuilt.cut)
    assert any(place.startswith("/items/") for place in rebuilt.cut)


def test_changes_that_did_not_fit_make_their_keys_doubtful() -> None:
    """A key is certain again once it was written as a whole."""

    class Many(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            for number in range(60):
                shared[f"k{number}"] = "value" * 10

    class Later(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            for number in range(55, 60):
                shared[f"k{number}"] = number

    def program(stage: Stage) -> Any:
        start = Many()
        start >> Later()
        return stage.run(Flow(start=start), {"start": 1})

    run, outcome = collected(program, max_span_bytes=12_000)
    rebuilt = at_end(run)
    assert rebuilt.missing > 0
    assert rebuilt.doubtful
    assert "start" not in rebuilt.doubtful
    assert not {"k55", "k59"} & set(rebuilt.doubtful)
    assert_right_where_shown(rebuilt, outcome.stores[0])


# --- Cut containers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "operations", "end"),
    [
        (
            [0, 1, {"$cut": {"length": 9}}],
            [("add", "/1", "x")],
            [0, "x", 1, {"$cut": {"length": 10}}],
        ),
        ([0, {"$cut": {"length": 9}}], [("add", "/7", "x")], [0, {"$cut": {"length": 10}}]),
        ([0, {"$cut": {"length": 9}}], [("remove", "/0", None)], [{"$cut": {"length": 8}}]),
        ([0, {"$cut": {"length": 2}}], [("replace", "/1", "x")], [0, "x"]),
        ([0, {"$cut": {"length": 2}}], [("remove", "/1", None)], [0]),
        ({"a": 1, "$cut": {"length": 2}}, [("replace", "/b", 2)], {"a": 1, "b": 2}),
        ({"a": 1, "$cut": {"length": 3}}, [("remove", "/a", None)], {"$cut": "dict", "length": 2}),
        (
            {"a": {"$cut": "list", "length": 5}},
            [("add", "/a/5", 1)],
            {"a": {"$cut": "list", "length": 6}},
        ),
        ({"a": {"$opaque": "C"}}, [("add", "/a/b", 1)], {"a": {"$opaque": "C"}}),
        ({"a/b": {"~": 1}}, [("replace", "/a~1b/~0", 2)], {"a/b": {"~": 2}}),
        ({"a": 1}, [("replace", "", [])], []),
    ],
)
def test_changes_of_what_is_cut(
    start: Any, operations: list[tuple[str, str, Any]], end: Any
) -> None:
    """What is shown stays right, and so do the sizes of what is not."""
    document = Document(start)
    for op, path, value in operations:
        assert document.apply({"op": op, "path": path, "value": value}) != "lost"
    assert document.value == end


@pytest.mark.parametrize(
    ("op", "path"),
    [("remove", "/b"), ("add", "/a/b"), ("replace", "/l/9"), ("add", "/l/x"), ("move", "/a"),
     ("add", None), ("add", "/" + "k" * 298 + "…")],
)  # fmt: skip
def test_changes_that_fit_nowhere(op: str, path: Any) -> None:
    """They are told, and nothing is changed."""
    document = Document({"a": 1, "l": [1]})
    assert document.apply({"op": op, "path": path, "value": 1}) == "lost"
    assert document.value == {"a": 1, "l": [1]}


def test_from_a_file(tmp_path: Path) -> None:
    """A run read from its file leads to the same store."""
    run, outcome = collected(lambda stage: stage.run(counting(), {"n": 0, "log": []}))
    assert at_end(read(keep(run, tmp_path)).run).document == outcome.stores[0]
    assert json.dumps(at_end(run).document)
    assert {entry.kind for entry in walk(run.roots)} == {"flow", "node"}

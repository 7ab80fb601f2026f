"""How span starts and ends become a run."""

from __future__ import annotations

import os
import threading

import pytest
from sample_spans import MILLISECOND, Stage, agent_run, flow, node

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.collector import RunCollector
from pocketflow_trace.record.model import Failure, walk


def names(stage: Stage) -> list[str]:
    """Return the names of all entries, parents first."""
    return [entry.name for entry in walk(stage.run.roots)]


def test_tree() -> None:
    """Entries stand inside each other as their spans do, in the order of their starts."""
    (root,) = agent_run().roots
    search = root.children[1]
    assert [child.name for child in root.children] == ["Decide", "Search", "Decide", "Answer"]
    assert (search.kind, search.start, search.end) == (
        "node",
        310 * MILLISECOND,
        830 * MILLISECOND,
    )
    assert [child.kind for child in search.children] == ["attempt", "attempt"]
    assert search.children[0].failures == (Failure("TimeoutError", "read timed out"),)
    assert search.children[0].status == "error"
    assert search.attributes[semconv.SHARED_CHANGED] == ("context",)
    assert search.children[1].children[0].kind == "other"


def test_ids_are_those_of_the_spans() -> None:
    """Trace and span ids are kept as the hexadecimal text that backends show."""
    stage = Stage()
    with stage.span("Ask", 0, 1, node("Ask")) as span:
        context = span.get_span_context()
    (entry,) = stage.run.roots
    assert entry.trace_id == f"{context.trace_id:032x}"
    assert entry.span_id == f"{context.span_id:016x}"


def test_unfinished() -> None:
    """A run can be read while it runs."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 9, flow("Chat")):
        assert stage.run.roots[0].end is None
    assert stage.run.roots[0].end == 9 * MILLISECOND


def test_spans_outside_are_ignored() -> None:
    """What the program traces around its flows is not part of the run."""
    stage = Stage()
    with stage.span("GET /chat", 0, 9, scope="some.web.framework"):
        stage.leaf("SELECT", 0, 1, scope="some.database")
        with stage.span("invoke_workflow Chat", 1, 9, flow("Chat")):
            stage.leaf("SELECT", 1, 2, scope="some.database")
    assert names(stage) == ["invoke_workflow Chat", "SELECT"]


def test_limit() -> None:
    """Beyond the limit spans are counted, and failed ones kept under the root of their trace."""
    stage = Stage(RunCollector(limit=2, error_limit=1))
    with stage.span("invoke_workflow Chat", 0, 9, flow("Chat")):
        stage.leaf("A", 0, 1, attributes=node("A"))
        with stage.span("B", 1, 4, node("B")):
            stage.leaf("C", 1, 2, attributes=node("C"), error=ValueError("c"))
            stage.leaf("D", 2, 3, attributes=node("D"), error=ValueError("d"))
    (root,) = stage.run.roots
    assert [child.name for child in root.children] == ["A", "C"]
    assert root.end == 9 * MILLISECOND
    assert stage.run.dropped == 2


def test_late_parent_and_child() -> None:
    """A failed child and its failed parent, both beyond the limit, end up inside each other."""
    stage = Stage(RunCollector(limit=1))
    stage.leaf("first", 0, 1, attributes=node("first"))
    with stage.span("outer", 1, 4, node("outer"), error=ValueError("o")):
        stage.leaf("inner", 2, 3, attributes=node("inner"), error=ValueError("i"))
    first, outer = stage.run.roots
    assert (first.name, outer.name, [child.name for child in outer.children]) == (
        "first",
        "outer",
        ["inner"],
    )


def test_clock_that_jumps_back() -> None:
    """A child that seems to start before its parent still stands inside it."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 5, 9, flow("Chat")):
        stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    assert names(stage) == ["invoke_workflow Chat", "Ask"]


def test_values_that_json_lacks() -> None:
    """Numbers that JSON cannot hold become text."""
    stage = Stage()
    attributes = {"a": float("nan"), "b": (1.5, float("inf")), "c": True}
    stage.leaf("Ask", 0, 1, attributes=attributes)
    assert stage.run.roots[0].attributes == {"a": "nan", "b": (1.5, "inf"), "c": True}


def test_threads() -> None:
    """Spans of many threads, read meanwhile, all arrive."""
    stage = Stage()

    def work() -> None:
        for turn in range(200):
            with stage.span("invoke_workflow Chat", turn, turn + 1, flow("Chat")):
                stage.leaf("Ask", turn, turn + 1, attributes=node("Ask"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert all(len(root.children) <= 1 for root in stage.run.roots)
    assert len(stage.run.roots) == 800
    assert all(len(root.children) == 1 for root in stage.run.roots)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_process_adds_nothing() -> None:
    """A forked process can use its inherited collector, even one locked by another thread."""
    stage = Stage()
    with stage.collector._lock:
        pid = os.fork()
        if pid == 0:
            stage.leaf("Ask", 0, 1, attributes=node("Ask"))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert stage.run.roots == ()

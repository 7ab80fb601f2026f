"""BaseNode: prep, exec and post, each once."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

from typing import Any

import pytest

from support.framework import BaseNode
from support.tracing import note, traced


def test_one_run_is_one_span() -> None:
    """The span tells the class, the action, and what went in and came out of each phase."""

    class Greet(BaseNode):
        def prep(self, shared: Any) -> Any:
            note("prep")
            return shared["name"]

        def exec(self, prep_res: Any) -> Any:
            note("exec", prep_res)
            return f"hello {prep_res}"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post", prep_res, exec_res)
            shared["greeting"] = exec_res
            return "greeted"

    trace = traced(lambda stage: stage.run(Greet(), {"name": "Ada"}))

    assert trace.lines() == ["Greet"]
    span = trace.node("Greet")
    assert span.pick("span.kind", "node.class", "node.base", "node.action", "node.attempts") == {
        "span.kind": "node",
        "node.class": "Greet",
        "node.base": "BaseNode",
        "node.action": "greeted",
        "node.attempts": 1,
    }
    assert span.json("input.value") == "Ada"
    assert span.json("output.value") == "hello Ada"
    assert span.json("shared.initial") == {"name": "Ada"}
    assert span.writes == [("add", "/greeting", "post")]
    assert span["shared.added"] == ("greeting",)
    assert "node.max_retries" not in span


def test_the_span_says_where_the_class_stands() -> None:
    """File, line and qualified name lead from a span to the code."""

    class Here(BaseNode):
        def exec(self, prep_res: Any) -> Any:
            return None

    span = traced(lambda stage: stage.run(Here())).node("Here")

    assert span["code.file.path"] == __file__
    assert span["code.function.name"].endswith("<locals>.Here")
    with open(__file__, encoding="utf-8") as source:  # noqa: PTH123 - one line of our own file
        assert "class Here" in source.readlines()[span["code.line.number"] - 1]


def test_a_bare_node_of_the_framework_is_traced_as_well() -> None:
    """A node that overrides nothing runs, and answers None."""
    trace = traced(lambda stage: stage.run(BaseNode()))

    assert trace.lines() == ["BaseNode"]
    assert trace.node("BaseNode")["node.action"] == "default"
    assert "input.value" not in trace.node("BaseNode")


def test_the_phases_durations_add_up_to_the_span() -> None:
    """Prep, exec and post fill the node's time."""
    span = traced(lambda stage: stage.run(BaseNode())).node("BaseNode")

    parts = [span[f"node.{phase}.duration"] for phase in ("prep", "exec", "post")]
    assert all(part >= 0 for part in parts)
    assert sum(parts) <= (span.end - span.start) / 1e9 + 1e-3


@pytest.mark.parametrize(
    ("phase", "known"),
    [
        ("prep", {"prep"}),
        ("exec", {"prep", "exec"}),
        ("post", {"prep", "exec", "post"}),
    ],
)
def test_an_exception_leaves_the_span_of_the_node(phase: str, known: set[str]) -> None:
    """Each phase's exception is recorded once and ends the span as an error."""

    class Breaks(BaseNode):
        def prep(self, shared: Any) -> Any:
            self.maybe("prep")

        def exec(self, prep_res: Any) -> Any:
            self.maybe("exec")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            self.maybe("post")

        def maybe(self, here: str) -> None:
            note(here)
            if here == phase:
                raise LookupError("no such thing", here)

    trace = traced(lambda stage: stage.run(Breaks()), raises=LookupError)

    assert trace.lines() == ["Breaks [LookupError, recorded]"]
    span = trace.node("Breaks")
    event = span.events[0]
    assert event["exception.type"] == "LookupError"
    assert event["exception.message"] == f"('no such thing', '{phase}')"
    assert f'self.maybe("{phase}")' in str(event["exception.stacktrace"])
    measured = {p for p in ("prep", "exec", "post") if f"node.{p}.duration" in span}
    assert measured == known
    assert "node.action" not in span


def test_a_node_with_successors_warns_as_before() -> None:
    """The framework's warning keeps its text, file and line."""

    def program(stage: Any) -> Any:
        first = BaseNode()
        first >> BaseNode()
        return stage.run(first)

    trace = traced(program)

    (warning,) = trace.result.warnings
    assert warning.endswith("UserWarning: Node won't run successors. Use Flow.")
    assert trace.lines() == ["BaseNode"]


@pytest.mark.parametrize("store", [None, 7, "text", (1, 2), object()])
def test_any_store_will_do(store: Any) -> None:
    """A store that can't change has no diff; one that can't be looked into is no trouble."""

    class Look(BaseNode):
        def prep(self, shared: Any) -> Any:
            note(shared is store)

    trace = traced(lambda stage: Look()._run(store))

    assert trace.lines() == ["Look"]

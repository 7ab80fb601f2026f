"""Node: attempts, waits and the fallback."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

from typing import Any

import pytest

from opentelemetry import trace as trace_api
from support.framework import Node
from support.tracing import note, traced


class Flaky(Node):
    """Fails a number of times, then answers.

    Args:
        failures: how many attempts fail.
        **options: the node's own.
    """

    def __init__(self, failures: int, **options: Any) -> None:
        super().__init__(**options)
        self.failures = failures
        self.calls = 0

    def prep(self, shared: Any) -> Any:
        """Something to work on."""
        return "task"

    def exec(self, prep_res: Any) -> Any:
        """One attempt."""
        self.calls += 1
        note("exec", self.calls, self.cur_retry)
        if self.calls <= self.failures:
            raise ConnectionError(f"attempt {self.calls}")
        return f"done after {self.calls}"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the answer."""
        shared["answer"] = exec_res


class Forgiving(Flaky):
    """Answers something else when all attempts have failed."""

    def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
        """The last resort."""
        note("fallback", prep_res, str(exc), self.cur_retry)
        return "sorry"


ATTEMPTS = ("node.attempts", "node.max_retries", "node.fallback")


def test_a_node_that_allows_one_attempt_has_no_attempt_spans() -> None:
    """Where nothing can be retried there is nothing to tell apart."""
    trace = traced(lambda stage: stage.run(Flaky(0)))

    assert trace.lines() == ["Flaky"]
    assert trace.node("Flaky").pick(*ATTEMPTS) == {"node.attempts": 1, "node.max_retries": 1}


def test_a_failed_attempt_is_visible_and_the_node_that_recovers_is_no_error() -> None:
    """The failed attempt keeps its exception; node and later attempt are fine."""
    trace = traced(lambda stage: stage.run(Flaky(1, max_retries=3)))

    assert trace.lines() == [
        "Flaky",
        "  Flaky attempt [ConnectionError, recorded]",
        "  Flaky attempt",
    ]
    assert trace.values("attempt.number") == [1, 2]
    assert trace.node("Flaky").pick(*ATTEMPTS) == {"node.attempts": 2, "node.max_retries": 3}
    event = trace.node("Flaky attempt").events[0]
    assert event["exception.message"] == "attempt 1"
    assert "raise ConnectionError" in str(event["exception.stacktrace"])
    assert "opentelemetry" not in str(event["exception.stacktrace"])


def test_the_first_of_several_allowed_attempts_has_a_span() -> None:
    """A node that may retry shows its attempts even if it never has to."""
    trace = traced(lambda stage: stage.run(Flaky(0, max_retries=2)))

    assert trace.lines() == ["Flaky", "  Flaky attempt"]


def test_the_last_failure_is_recorded_on_its_attempt_only() -> None:
    """The node is an error, but the exception is told once."""
    trace = traced(lambda stage: stage.run(Flaky(9, max_retries=2)), raises=ConnectionError)

    assert trace.lines() == [
        "Flaky [ConnectionError]",
        "  Flaky attempt [ConnectionError, recorded]",
        "  Flaky attempt [ConnectionError, recorded]",
    ]
    assert "node.fallback" not in trace.node("Flaky")
    assert "output.value" not in trace.node("Flaky")


def test_the_single_attempt_of_a_node_without_retries_is_recorded_on_the_node() -> None:
    """Without attempt spans the node's own span holds the exception."""
    trace = traced(lambda stage: stage.run(Flaky(9)), raises=ConnectionError)

    assert trace.lines() == ["Flaky [ConnectionError, recorded]"]


def test_waits_are_told_by_attempt_and_in_sum() -> None:
    """Each failed attempt says what wait follows; the node how long it waited."""
    trace = traced(lambda stage: stage.run(Flaky(2, max_retries=3, wait=0.002)))

    assert [a.get("attempt.wait") for a in trace.all("Flaky attempt")] == [0.002, 0.002, None]
    span = trace.node("Flaky")
    assert 0.004 <= span["node.wait.duration"] <= span["node.exec.duration"]


def test_a_wait_is_not_part_of_the_attempt() -> None:
    """The failed attempt ends before the wait begins."""
    trace = traced(lambda stage: stage.run(Flaky(1, max_retries=2, wait=0.005)))

    first, second = trace.all("Flaky attempt")
    assert second.start - first.end >= 4_000_000


def test_no_wait_follows_the_last_attempt() -> None:
    """The framework does not wait when it gives up."""
    trace = traced(
        lambda stage: stage.run(Flaky(9, max_retries=2, wait=0.001)), raises=ConnectionError
    )

    assert [a.get("attempt.wait") for a in trace.all("Flaky attempt")] == [0.001, None]


def test_a_fallback_that_answers_is_no_error() -> None:
    """All attempts are failed ones, yet the node is fine and says who answered."""
    trace = traced(lambda stage: stage.run(Forgiving(9, max_retries=2)))

    assert trace.lines() == [
        "Forgiving",
        "  Forgiving attempt [ConnectionError, recorded]",
        "  Forgiving attempt [ConnectionError, recorded]",
    ]
    span = trace.node("Forgiving")
    assert span.pick(*ATTEMPTS) == {
        "node.attempts": 2,
        "node.max_retries": 2,
        "node.fallback": True,
    }
    assert span.json("output.value") == "sorry"


def test_a_fallback_without_retries_keeps_the_exception_on_the_node() -> None:
    """There is no attempt span, so the node shows what its fallback answered for."""
    trace = traced(lambda stage: stage.run(Forgiving(9)))

    assert trace.lines() == ["Forgiving [recorded]"]
    assert trace.node("Forgiving")["node.fallback"] is True


def test_a_fallback_that_is_not_needed_is_not_mentioned() -> None:
    """Only an answer of the fallback counts."""
    trace = traced(lambda stage: stage.run(Forgiving(0)))

    assert trace.lines() == ["Forgiving"]
    assert "node.fallback" not in trace.node("Forgiving")


def test_a_fallback_that_raises_something_else_is_recorded_on_the_node() -> None:
    """Both exceptions are told, each where it left."""

    class Worse(Flaky):
        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            raise RuntimeError("worse") from exc

    trace = traced(lambda stage: stage.run(Worse(9, max_retries=2)), raises=RuntimeError)

    assert trace.lines() == [
        "Worse [RuntimeError, recorded]",
        "  Worse attempt [ConnectionError, recorded]",
        "  Worse attempt [ConnectionError, recorded]",
    ]
    assert "direct cause" in str(trace.node("Worse").events[0]["exception.stacktrace"])
    assert "node.fallback" not in trace.node("Worse")


def test_no_attempt_is_made_where_none_is_allowed() -> None:
    """With max_retries=0 the framework answers None without calling exec."""
    trace = traced(lambda stage: stage.run(Flaky(0, max_retries=0)))

    assert trace.lines() == ["Flaky"]
    assert trace.node("Flaky").pick(*ATTEMPTS) == {"node.attempts": 0, "node.max_retries": 0}


def test_an_error_outside_exec_has_no_attempt() -> None:
    """Post's exception is the node's own."""

    class Clumsy(Flaky):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            raise KeyError("gone")

    trace = traced(lambda stage: stage.run(Clumsy(1, max_retries=2)), raises=KeyError)

    assert trace.lines() == [
        "Clumsy [KeyError, recorded]",
        "  Clumsy attempt [ConnectionError, recorded]",
        "  Clumsy attempt",
    ]


def test_spans_made_in_exec_belong_to_the_attempt() -> None:
    """What a client library traces hangs below the attempt that called it."""
    parents: list[int] = []

    class Calls(Node):
        def exec(self, prep_res: Any) -> Any:
            parents.append(trace_api.get_current_span().get_span_context().span_id)
            if len(parents) % 2:
                raise OSError("again")

    trace = traced(lambda stage: stage.run(Calls(max_retries=2)))

    assert parents[2:] == [node.id for node in trace.all("Calls attempt")]


def test_a_node_run_while_an_exception_is_handled_is_not_thought_to_fail() -> None:
    """The exception around the run is none of its attempts' business."""

    def program(stage: Any) -> Any:
        try:
            int("outside")
        except ValueError:
            return stage.run(Flaky(0, max_retries=2))

    trace = traced(program)

    assert trace.lines() == ["Flaky", "  Flaky attempt"]


def test_an_exec_that_handles_exceptions_itself_is_not_thought_to_fail() -> None:
    """Only what leaves exec is a failed attempt."""

    class Careful(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                int("inside")
            except ValueError:
                return "handled"

    trace = traced(lambda stage: stage.run(Careful(max_retries=2)))

    assert trace.lines() == ["Careful", "  Careful attempt"]
    assert trace.node("Careful").json("output.value") == "handled"


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_error_and_not_retried(exception: type[BaseException]) -> None:
    """Node and attempt say that they were cancelled, and the exception goes on."""

    class Interrupted(Node):
        def exec(self, prep_res: Any) -> Any:
            raise exception

    trace = traced(
        lambda stage: stage.run(Interrupted(max_retries=3)),
        raises=exception,
    )

    assert trace.lines() == ["Interrupted [cancelled]", "  Interrupted attempt [cancelled]"]
    assert trace.result.raised[0].type == exception.__name__

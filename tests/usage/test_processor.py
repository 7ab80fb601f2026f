"""Spans of other instrumentations, one inside another: which of them are the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import Status, StatusCode

from support.framework import Flow, Node
from support.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Tracer, TracerProvider

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}


def used(into: int | None = None, out: int | None = None) -> dict[str, int]:
    """What a span says it used."""
    counts = {"gen_ai.usage.input_tokens": into, "gen_ai.usage.output_tokens": out}
    return {name: count for name, count in counts.items() if count is not None}


def roll_up(work: Callable[[Tracer], None]) -> Mapping[str, Any]:
    """What a flow with one node says, in which another instrumentation makes these spans."""

    class Ask(Node):
        def exec(self, prep_res: Any) -> None:
            work(provider.get_tracer("some.agents"))

    with tracing() as running:
        provider: TracerProvider = running.provider
        Flow(start=Ask()).run({})
    attributes = running.trace().nodes[0].attributes
    prefix = "pocketflow.usage."
    return {n.removeprefix(prefix): v for n, v in attributes.items() if n.startswith(prefix)}


def chat(tracer: Tracer, into: int | None = None, out: int | None = None) -> None:
    """A span of one call of a model."""
    with tracer.start_as_current_span("chat m", attributes={**CHAT, **used(into, out)}):
        pass


def test_an_agent_sums_up_its_calls() -> None:
    """The calls count, and not the sums on the span around them."""

    def work(tracer: Tracer) -> None:
        with (
            tracer.start_as_current_span("invoke_agent a", attributes=AGENT) as agent,
            tracer.start_as_current_span("a step of its own"),
        ):
            chat(tracer, 10, 1)
            chat(tracer, 20, 2)
            agent.set_attributes(used(30, 3))

    sums = {"calls": 2, "input_tokens": 30, "output_tokens": 3, "total_tokens": 33}
    assert roll_up(work) == {**sums, "unpriced_models": ("m",)}


def test_an_agent_that_knows_more_than_its_calls() -> None:
    """Where the calls do not say what they used, what is said around them is taken."""

    def work(tracer: Tracer) -> None:
        with tracer.start_as_current_span("invoke_agent a", attributes={**AGENT, **used(30, 3)}):
            chat(tracer)
            chat(tracer)

    told = roll_up(work)
    assert (told["calls"], told["unmetered_calls"]) == (2, 1)
    assert (told["input_tokens"], told["output_tokens"]) == (30, 3)


def test_an_agent_without_spans_for_its_calls() -> None:
    """What it sums up is one call, as nobody tells how many there were."""

    def work(tracer: Tracer) -> None:
        with tracer.start_as_current_span("invoke_agent a", attributes={**AGENT, **used(30, 3)}):
            pass

    assert (roll_up(work)["calls"], roll_up(work)["total_tokens"]) == (1, 33)


def test_two_spans_of_one_call() -> None:
    """The inner one is the call; the outer one adds what that does not say."""

    def work(tracer: Tracer) -> None:
        outer = {**CHAT, **used(11, 2), "gen_ai.usage.cache_read.input_tokens": 4}
        with tracer.start_as_current_span("chat m", attributes=outer):
            chat(tracer, 10, 1)

    told = roll_up(work)
    assert (told["calls"], told["input_tokens"], told["output_tokens"]) == (1, 10, 1)
    assert told["cached_tokens"] == 4


def test_calls_one_after_the_other() -> None:
    """Spans beside each other are calls of their own, also with the same tokens."""

    def work(tracer: Tracer) -> None:
        chat(tracer, 10, 1)
        chat(tracer, 10, 1)

    assert (roll_up(work)["calls"], roll_up(work)["total_tokens"]) == (2, 22)


@pytest.mark.parametrize(("tokens", "calls"), [((), None), ((10, 0), 1)])
def test_a_call_that_failed(tokens: tuple[int, ...], calls: int | None) -> None:
    """It counts only if something was paid for."""

    def work(tracer: Tracer) -> None:
        with tracer.start_as_current_span("chat m", attributes={**CHAT, **used(*tokens)}) as span:
            span.set_status(Status(StatusCode.ERROR))

    assert roll_up(work).get("calls") == calls


def test_other_spans_are_no_calls() -> None:
    """A span of a database or a tool says nothing of tokens, and is none."""

    def work(tracer: Tracer) -> None:
        with tracer.start_as_current_span("SELECT", attributes={"db.system": "sqlite"}):
            pass

    assert roll_up(work) == {}

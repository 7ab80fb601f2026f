"""Conversation, session and user: on every span of a run, ours and those of others inside."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry.baggage.propagation import W3CBaggagePropagator

from opentelemetry import baggage as baggage_api
from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import conversation
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Trace, traced, tracing

ID = "gen_ai.conversation.id"
GIVEN = {
    ID: "c-42",
    "session.id": "s-1",
    "user.id": "u-7",
    "tag.tags": ("beta",),
    "metadata": '{"plan":"pro"}',
}


def block() -> Any:
    """A conversation that has everything."""
    return conversation("c-42", session="s-1", user="u-7", tags=["beta"], metadata={"plan": "pro"})


def carried(trace: Trace) -> dict[str, list[dict[str, Any]]]:
    """What the spans carry of it, by their name."""
    spans: dict[str, list[dict[str, Any]]] = {}
    for span in trace.nodes:
        shown = {name: span[name] for name in GIVEN if name in span}
        spans.setdefault(span.name, []).append(shown)
    return spans


class Tries(Node):
    """Fails once."""

    def exec(self, prep_res: Any) -> Any:
        """The second attempt works."""
        if self.cur_retry == 0:
            raise ValueError("again")


class Items(BatchNode):
    """A batch of two."""

    def prep(self, shared: Any) -> Any:
        """The items."""
        return [1, 2]


class Each(BatchFlow):
    """A batch flow of one."""

    def prep(self, shared: Any) -> Any:
        """The params."""
        return [{"n": 1}]


class Parallel(AsyncParallelBatchNode):
    """A parallel batch."""

    async def prep_async(self, shared: Any) -> Any:
        """The items."""
        return [1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        """An item."""
        await asyncio.sleep(0)


def everything() -> Any:
    """A flow with spans of every kind."""
    first = Tries(max_retries=2)
    first >> Items() >> Each(start=Tries(max_retries=2)) >> Parallel(max_retries=2)
    return AsyncFlow(start=first)


ALL = {
    "invoke_workflow TriesFlow",
    "invoke_workflow Each",
    "Each item",
    "Items",
    "Items item",
    "Parallel",
    "Parallel item",
    "Parallel attempt",
    "Tries",
    "Tries attempt",
    *(f"Tries {phase}" for phase in ("prep", "exec", "post")),
    *(f"TriesFlow {phase}" for phase in ("prep", "post")),
}


@pytest.mark.parametrize("phase_spans", [False, True])
@pytest.mark.parametrize("cap", [0, 1, 100])
def test_every_span_of_a_run_carries_it(phase_spans: bool, cap: int) -> None:
    """Flow, node, item, attempt and phase spans, each with all that was given."""

    async def program(stage: Any) -> None:
        with block():
            await stage.run_async(everything())

    trace = traced(program, phase_spans=phase_spans, max_batch_items=cap)

    if phase_spans and cap == 100:
        assert set(carried(trace)) >= ALL
    for name, shown in carried(trace).items():
        assert [name, *shown] == [name, *[GIVEN] * len(shown)]


def test_outside_of_a_block_nothing_is_carried() -> None:
    """Before it and after it."""

    def program(stage: Any) -> None:
        stage.run(Node())
        with block():
            stage.run(Node())
        stage.run(Node())

    assert carried(traced(program))["Node"] == [{}, GIVEN, {}]


def test_the_store_does_not_carry_it() -> None:
    """The program's data is as it was."""

    def program(stage: Any) -> None:
        with block():
            stage.run(Flow(start=Node()), {"question": "why?"})

    assert traced(program).result.stores == ({"question": "why?"},)


def test_a_block_inside_of_a_node_is_for_what_is_below() -> None:
    """The node's own span began before."""

    class Talks(Node):
        def exec(self, prep_res: Any) -> Any:
            with conversation("inner", tags=["more"]):
                Flow(start=Node()).run({})

    def program(stage: Any) -> None:
        with block():
            stage.run(Flow(start=Talks()))

    shown = carried(traced(program))

    inner = {**GIVEN, ID: "inner", "tag.tags": ("beta", "more")}
    assert shown["Talks"] == [GIVEN]
    assert shown["Node"] == [inner]
    assert shown["invoke_workflow NodeFlow"] == [inner]


def test_spans_of_others_carry_it() -> None:
    """Inside of a run, in its threads and tasks, and outside; not where there is no block."""

    class Client(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            tracer = running.provider.get_tracer("client")
            with tracer.start_as_current_span("outer"):
                tracer.start_span("inner").end()
            work = copy_context().run
            thread = threading.Thread(
                target=work, args=(lambda: tracer.start_span("thread").end(),)
            )
            thread.start()
            thread.join()

    with tracing() as running:
        tracer = running.provider.get_tracer("client")
        with block():
            tracer.start_span("before").end()
            asyncio.run(AsyncFlow(start=Client(max_retries=2)).run_async({}))
        tracer.start_span("after").end()
    shown = carried(running.trace())

    assert shown.pop("after") == [{}]
    assert {"outer", "inner", "thread", "before", "Client", "Client attempt"} <= set(shown)
    assert [value for values in shown.values() for value in values] == [GIVEN] * len(shown)


def test_what_a_span_says_of_itself_is_nearer() -> None:
    """An instrumentation may know a session of its own; what it does not know is added."""
    with tracing() as running, block():
        span = running.provider.get_tracer("client").start_span(
            "call", attributes={"session.id": "of its own"}
        )
        span.end()

    assert carried(running.trace())["call"] == [{**GIVEN, "session.id": "of its own"}]


def test_what_is_hidden_is_hidden_here_too() -> None:
    """By the user's own patterns, on spans of ours and of others."""

    class Client(Node):
        def exec(self, prep_res: Any) -> Any:
            running.provider.get_tracer("client").start_span("call").end()

    with tracing(redact_patterns=["c-4."], redact_keys=["plan"]) as running, block():
        Flow(start=Client()).run({})
    trace = running.trace()

    shown = repr([span.attributes for span in trace.nodes])
    assert trace.values("user.id") == ["u-7"] * 3
    assert "c-42" not in shown
    assert "pro" not in repr([span.get("metadata") for span in trace.nodes])


@pytest.mark.parametrize("in_threads", [False, True])
def test_conversations_that_run_at_once_are_kept_apart(in_threads: bool) -> None:
    """In tasks of one loop, and in threads."""

    class Says(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            for _ in range(3):
                await asyncio.sleep(0)
            with running.provider.get_tracer("client").start_as_current_span("call"):
                await asyncio.sleep(0)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["done"] = True

    async def talk(name: str) -> None:
        with conversation(name, user=f"u-{name}"):
            await AsyncFlow(start=Says(max_retries=2)).run_async({"name": name})

    async def all_of_them() -> None:
        await asyncio.gather(*(talk(f"c-{number}") for number in range(10)))

    with tracing() as running:
        if in_threads:
            run = asyncio.run
            threads = [
                threading.Thread(target=lambda n=number: run(talk(f"c-{n}")))
                for number in range(10)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            asyncio.run(all_of_them())
    trace = running.trace()

    flows = trace.all("invoke_workflow SaysFlow")
    assert sorted(flow[ID] for flow in flows) == [f"c-{number}" for number in range(10)]
    for span in trace.nodes:
        above = trace.parent(span)
        assert span["user.id"] == f"u-{span[ID]}"
        assert above is None or above[ID] == span[ID]


# --- Baggage --------------------------------------------------------------------------------

SENT = {ID: "c-42", "session.id": "s-1", "user.id": "u-7"}


def received() -> Any:
    """The context of a request that another process has sent from inside of a block."""
    carrier: dict[str, str] = {}
    with conversation("c-42", session="s-1", user="u-7", tags=["not sent"], baggage=True):
        W3CBaggagePropagator().inject(carrier)
    return W3CBaggagePropagator().extract(carrier)


def serve(stage: Any) -> Any:
    """Runs a flow for that request."""

    async def request() -> None:
        token = context_api.attach(received())
        try:
            await stage.run_async(everything())
        finally:
            context_api.detach(token)

    return request()


@pytest.mark.parametrize("phase_spans", [False, True])
def test_another_process_is_believed_on_request(phase_spans: bool) -> None:
    """Its ids are on every span of the run."""
    trace = traced(serve, baggage=True, phase_spans=phase_spans)

    assert len(trace.nodes) > 10
    for span in trace.nodes:
        assert (span.name, {name: span.get(name) for name in SENT}) == (span.name, SENT)
    assert trace.values("tag.tags") == []


def test_another_process_is_not_believed_by_default() -> None:
    """Whoever sends requests can say anything."""
    trace = traced(serve)

    assert [span.pick(*SENT) for span in trace.nodes] == [{}] * len(trace.nodes)


def test_a_block_of_ones_own_wins_over_what_was_sent() -> None:
    """What it does not say is taken from the request."""

    def program(stage: Any) -> None:
        token = context_api.attach(received())
        try:
            with conversation("mine"):
                stage.run(Flow(start=Node()))
        finally:
            context_api.detach(token)

    trace = traced(program, baggage=True)

    assert trace.values(ID) == ["mine", "mine"]
    assert trace.values("user.id") == ["u-7", "u-7"]


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    """A node's requests carry the ids only with `baggage=True`."""
    sent: list[Any] = []

    class Sends(Node):
        def exec(self, prep_res: Any) -> Any:
            sent.append(dict(baggage_api.get_all()))

    def program(stage: Any) -> None:
        with block():
            stage.run(Flow(start=Sends()))
        with conversation("c-1", user="u-1", tags=["t"], metadata={"a": 1}, baggage=True):
            stage.run(Flow(start=Sends()))

    traced(program)

    assert sent[2:] == sent[:2] == [{}, {ID: "c-1", "session.id": "c-1", "user.id": "u-1"}]


def test_what_was_received_is_on_spans_of_others_in_the_run() -> None:
    """As on ours."""

    class Client(Node):
        def exec(self, prep_res: Any) -> Any:
            running.provider.get_tracer("client").start_span("call").end()

    with tracing(baggage=True) as running:
        token = context_api.attach(received())
        Flow(start=Client()).run({})
        context_api.detach(token)

    assert running.trace().node("call").pick(*SENT) == SENT

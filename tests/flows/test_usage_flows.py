"""Model calls that no span tells of: found in what nodes return and write, and counted once."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import copy
import logging
import subprocess
import sys
import textwrap
import threading
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry import trace as trace_api
from opentelemetry.instrumentation.pocketflow import (
    ModelCall,
    PocketFlowInstrumentor,
    guard,
    record_usage,
)
from support.framework import AsyncNode, AsyncParallelBatchNode, BatchFlow, BatchNode, Flow, Node
from support.tracing import Recorder, SpanView, Trace, act, traced, tracing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNTS = ("calls", "input_tokens", "output_tokens", "total_tokens")


def response(tokens: int = 10, **more: Any) -> dict[str, Any]:
    """What a program's own `call_llm` may keep of a model's answer."""
    return {
        "model": "my-model",
        "usage": {"input_tokens": tokens, "output_tokens": 5},
        "text": "hi",
        **more,
    }


def usage(span: SpanView) -> tuple[int | None, ...]:
    """Calls, input, output and total of a span."""
    return tuple(span.get(f"usage.{name}") for name in COUNTS)


def wasted(span: SpanView) -> tuple[int | None, ...]:
    """The same of what was wasted."""
    return tuple(span.get(f"usage.wasted.{name}") for name in COUNTS)


def own_input(trace: Trace) -> list[tuple[str, int]]:
    """The spans that say they are a model call, with their input: what backends add up."""
    name = "gen_ai.usage.input_tokens"
    return [(span.name, span[name]) for span in trace.nodes if name in span]


NOTHING = (None, None, None, None)
ONCE = (1, 10, 5, 15)


class Ask(Node):
    """A node that calls a model by hand, and returns what it answers."""

    def exec(self, prep_res: Any) -> Any:
        """The call."""
        return response()

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the text only."""
        shared["text"] = "hi"


class Keeps(Ask):
    """Keeps the whole response."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """As the documentation of PocketFlow does."""
        shared["llm_response"] = exec_res


class Quiet(Node):
    """Calls no model."""


# --- A node that is the call ----------------------------------------------------------------


def test_a_node_that_is_itself_the_call() -> None:
    """It carries the roll-up, and the conventions' names for backends that add up calls."""
    trace = traced(lambda stage: stage.run(Flow(start=Ask())), openinference=False)

    node = trace.node("Ask").attributes
    assert {name: value for name, value in node.items() if "usage" in name or "gen_ai" in name} == {
        "gen_ai.request.model": "my-model",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "pocketflow.usage.calls": 1,
        "pocketflow.usage.input_tokens": 10,
        "pocketflow.usage.output_tokens": 5,
        "pocketflow.usage.total_tokens": 15,
        "pocketflow.usage.unpriced_models": ("my-model",),
    }
    flow = trace.node("invoke_workflow AskFlow").attributes
    assert {name: value for name, value in flow.items() if "usage" in name or "gen_ai" in name} == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "AskFlow",
        "pocketflow.usage.calls": 1,
        "pocketflow.usage.input_tokens": 10,
        "pocketflow.usage.output_tokens": 5,
        "pocketflow.usage.total_tokens": 15,
        "pocketflow.usage.unpriced_models": ("my-model",),
    }


def test_all_that_a_response_tells_is_on_the_span() -> None:
    """Parts of the tokens, provider and price; in OpenInference's words as well."""

    class Paid(Node):
        def exec(self, prep_res: Any) -> Any:
            return {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "model": "gpt-4o-2024-08-06",
                "choices": [],
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 100,
                    "prompt_tokens_details": {"cached_tokens": 400},
                    "completion_tokens_details": {"reasoning_tokens": 60},
                },
            }

    span = traced(lambda stage: stage.run(Paid())).node("Paid").attributes

    told = ("usage", "gen_ai", "llm.", "openinference")
    assert {name: value for name, value in span.items() if any(part in name for part in told)} == {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.reasoning.output_tokens": 60,
        "llm.model_name": "gpt-4o-2024-08-06",
        "llm.token_count.completion": 100,
        "llm.token_count.completion_details.reasoning": 60,
        "llm.token_count.prompt": 1000,
        "llm.token_count.prompt_details.cache_read": 400,
        "openinference.span.kind": "LLM",
        "pocketflow.usage.cached_tokens": 400,
        "pocketflow.usage.calls": 1,
        "pocketflow.usage.cost": 0.003,
        "pocketflow.usage.currency": "USD",
        "pocketflow.usage.input_tokens": 1000,
        "pocketflow.usage.output_tokens": 100,
        "pocketflow.usage.reasoning_tokens": 60,
        "pocketflow.usage.total_tokens": 1100,
    }


def test_a_node_without_a_call_says_nothing() -> None:
    """Absent is not zero."""
    trace = traced(lambda stage: stage.run(Flow(start=Quiet())))

    assert [name for span in trace.nodes for name in span.attributes if "usage" in name] == []
    assert trace.values("openinference.span.kind") == ["CHAIN", "CHAIN"]


def test_several_models_are_told_apart() -> None:
    """By name on the spans that have both; a span of two models names none as its own."""

    class Both(Node):
        def exec(self, prep_res: Any) -> Any:
            return [response(10, model="a"), response(20, model="b"), response(1, model="b")]

    trace = traced(lambda stage: stage.run(Flow(start=Both())))

    for span in trace.nodes:
        assert span.json("usage.by_model") == {
            "b": {"calls": 2, "input_tokens": 21, "output_tokens": 10, "total_tokens": 31},
            "a": {"calls": 1, "input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        }
    assert "gen_ai.request.model" not in trace.node("Both")
    assert own_input(trace) == [("Both", 31)]


def test_models_whose_names_begin_alike_are_told_apart() -> None:
    """Those of Bedrock are long, and differ at their end."""
    names = [f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{n}-model" for n in "ab"]

    class Both(Node):
        def exec(self, prep_res: Any) -> Any:
            return [response(10, model=names[0]), response(20, model=names[1])]

    span = traced(lambda stage: stage.run(Both())).node("Both")

    shown = span.json("usage.by_model")
    assert [sums["input_tokens"] for sums in shown.values()] == [20, 10]
    assert [name[-7:] for name in shown] == ["b-model", "a-model"]
    assert all(len(name) <= 60 for name in shown)
    assert sorted(span["usage.unpriced_models"]) == sorted(shown)


# --- Written to the store -------------------------------------------------------------------


class Writes(Node):
    """Calls a model in post, as a program without exec does."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """The call."""
        shared["llm_response"] = response()


@pytest.mark.parametrize("node", [Keeps, Writes])
def test_what_is_written_counts_once(node: Any) -> None:
    """Whether exec has returned it or not."""
    trace = traced(lambda stage: stage.run(Flow(start=node())))

    assert [usage(span) for span in trace.nodes] == [ONCE, ONCE]
    assert own_input(trace) == [(node.__name__, 10)]


CARRIES: dict[str, Callable[[Any], Any]] = {
    "unchanged": lambda value: value,
    "shallow copy": copy.copy,
    "in a list": lambda value: [value],
    "in a dict": lambda value: {"answer": dict(value), "score": 1},
}


@pytest.mark.parametrize("key", ["llm_response", "result"])
@pytest.mark.parametrize("carry", CARRIES.values(), ids=CARRIES)
@pytest.mark.parametrize("by", ["prep", "exec", "post"])
def test_what_the_next_node_carries_on_is_no_call_of_it(
    by: str, carry: Callable[[Any], Any], key: str
) -> None:
    """Read from the store, and written back by any of its methods, or returned by exec."""

    class Carries(Node):
        def prep(self, shared: Any) -> Any:
            if by == "prep":
                shared[key] = carry(shared["llm_response"])
            return shared["llm_response"]

        def exec(self, prep_res: Any) -> Any:
            return carry(prep_res) if by == "exec" else None

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            if by != "prep":
                shared[key] = exec_res if by == "exec" else carry(prep_res)

    def program(stage: Any) -> Any:
        first = Keeps()
        first >> Carries() >> Carries() if key != "llm_response" else first >> Carries()
        return stage.run(Flow(start=first))

    trace = traced(program)

    assert usage(trace.node("Keeps")) == ONCE
    assert {usage(span) for span in trace.all("Carries")} == {NOTHING}
    assert usage(trace.node("invoke_workflow KeepsFlow")) == ONCE


CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "my-model",
    "choices": [],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}


@pytest.mark.parametrize("by", ["prep", "exec", "post"])
def test_a_deep_copy_of_a_response_with_an_id_is_known_by_it(by: str) -> None:
    """As `model_dump` makes, or a round trip through JSON; also nodes after the call."""

    class Dumps(Node):
        def exec(self, prep_res: Any) -> Any:
            return copy.deepcopy(CHAT)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["response"] = copy.deepcopy(exec_res)

    class Again(Node):
        def prep(self, shared: Any) -> Any:
            if by == "prep":
                shared["response"] = copy.deepcopy(shared["response"])
            return shared["response"]

        def exec(self, prep_res: Any) -> Any:
            return copy.deepcopy(prep_res) if by == "exec" else None

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["kept"] = copy.deepcopy(prep_res) if by == "post" else exec_res

    def program(stage: Any) -> Any:
        first = Dumps()
        first >> Again() >> Again()
        return stage.run(Flow(start=first))

    trace = traced(program)

    assert usage(trace.node("Dumps")) == ONCE
    assert {usage(span) for span in trace.all("Again")} == {NOTHING}
    assert usage(trace.node("invoke_workflow DumpsFlow")) == ONCE


def test_a_dump_without_an_id_is_the_call_of_its_node() -> None:
    """A copy with the same tokens, written by post of the node whose exec has returned it."""

    class Dumps(Ask):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["response"] = copy.deepcopy(exec_res)

    trace = traced(lambda stage: stage.run(Flow(start=Dumps())))

    assert [usage(span) for span in trace.nodes] == [ONCE, ONCE]


def test_what_an_earlier_run_has_left_is_no_call_of_this_one() -> None:
    """The store holds a response; a node of the second run writes it once more."""

    class Rewrites(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["history"] = [*shared.get("history", []), shared["llm_response"]]

    def program(stage: Any) -> Any:
        store: dict[str, Any] = {}
        stage.run(Flow(start=Keeps()), store)
        stage.run(Flow(start=Rewrites()), store)
        stage.run(Flow(start=Keeps()), store)

    trace = traced(program)

    assert usage(trace.node("invoke_workflow RewritesFlow")) == NOTHING
    assert [usage(span) for span in trace.all("invoke_workflow KeepsFlow")] == [ONCE, ONCE]


@pytest.mark.parametrize("many", [3, 1500])
def test_a_long_history_is_no_new_calls(many: int) -> None:
    """A program keeps every response in one list, and makes a new list for each turn."""

    class Turn(Node):
        def exec(self, prep_res: Any) -> Any:
            return response(7)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["history"] = [*shared["history"], exec_res]

    trace = traced(
        lambda stage: stage.run(
            Flow(start=Turn()), {"history": [response(index) for index in range(many)]}
        )
    )

    assert usage(trace.node("Turn")) == (1, 7, 5, 12)


def test_responses_are_found_where_programs_put_them() -> None:
    """In lists, in a tuple beside the text, in what is appended in place."""

    class Lists(Node):
        def exec(self, prep_res: Any) -> Any:
            return [response(1), response(2)]

    class Tuple(Node):
        def exec(self, prep_res: Any) -> Any:
            return "hi", response(4)

    class Appends(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["log"].append({"turn": 1, "raw": response(8)})

    def program(stage: Any) -> Any:
        first = Lists()
        first >> Tuple() >> Appends()
        return stage.run(Flow(start=first), {"log": []})

    trace = traced(program)

    assert usage(trace.node("Lists")) == (2, 3, 10, 13)
    assert usage(trace.node("Tuple")) == (1, 4, 5, 9)
    assert usage(trace.node("Appends")) == (1, 8, 5, 13)
    assert usage(trace.node("invoke_workflow ListsFlow")) == (4, 15, 20, 35)


# --- Batches, attempts, nested flows --------------------------------------------------------


class Each(BatchNode):
    """Calls a model for each item."""

    def prep(self, shared: Any) -> Any:
        """The batch."""
        return [1, 2, 3]

    def exec(self, prep_res: Any) -> Any:
        """A call for each."""
        return response(prep_res)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps all."""
        shared["responses"] = exec_res


class EachAtOnce(AsyncParallelBatchNode):
    """The same, in parallel."""

    async def prep_async(self, shared: Any) -> Any:
        """The batch."""
        return [1, 2, 3]

    async def exec_async(self, prep_res: Any) -> Any:
        """A call for each."""
        await asyncio.sleep(0)
        return response(prep_res)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps all."""
        shared["responses"] = exec_res


def run_each(stage: Any) -> Any:
    """A batch node."""
    return stage.run(Each())


def run_each_at_once(stage: Any) -> Any:
    """A parallel one."""
    return stage.run_async(EachAtOnce())


@pytest.mark.parametrize(
    ("program", "name"), [(run_each, "Each"), (run_each_at_once, "EachAtOnce")]
)
@pytest.mark.parametrize("cap", [0, 2, 100])
def test_items_have_calls_of_their_own(program: Any, name: str, cap: int) -> None:
    """Each on its item; those of items without a span are the node's own."""
    trace = traced(program, max_batch_items=cap)

    shown = [1, 2, 3][:cap]
    assert [usage(item) for item in trace.all(f"{name} item")] == [(1, n, 5, n + 5) for n in shown]
    assert usage(trace.node(name)) == (3, 6, 15, 21)
    expected = [(f"{name} item", n) for n in shown]
    rest = sum([1, 2, 3][cap:])
    assert own_input(trace) == ([(name, rest)] if rest else []) + expected


def test_the_items_of_a_batch_flow() -> None:
    """Each way through the flow has the sums of its nodes, and the flow those of all."""

    class Twice(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    trace = traced(lambda stage: stage.run(Twice(start=Keeps())))

    assert [usage(item) for item in trace.all("Twice item")] == [ONCE, ONCE]
    assert usage(trace.node("invoke_workflow Twice")) == (2, 20, 10, 30)
    assert own_input(trace) == [("Keeps", 10), ("Keeps", 10)]


class Flaky(Node):
    """Calls a model, and fails with what it says, until the last attempt."""

    def exec(self, prep_res: Any) -> Any:
        """The first call is told by `record_usage`, since nothing is returned."""
        if self.cur_retry < self.max_retries - 1:
            record_usage(model="my-model", input_tokens=100 + self.cur_retry, output_tokens=1)
            raise ValueError("not JSON")
        return response()


def test_failed_attempts_are_wasted() -> None:
    """Each attempt has its call; node and flow have the sums, and what was wasted."""
    trace = traced(lambda stage: stage.run(Flow(start=Flaky(max_retries=3))))

    attempts = trace.all("Flaky attempt")
    assert [usage(span) for span in attempts] == [(1, 100, 1, 101), (1, 101, 1, 102), ONCE]
    assert [wasted(span) for span in attempts] == [(1, 100, 1, 101), (1, 101, 1, 102), NOTHING]
    for name in ("Flaky", "invoke_workflow FlakyFlow"):
        assert usage(trace.node(name)) == (3, 211, 7, 218)
        assert wasted(trace.node(name)) == (2, 201, 2, 203)
    assert own_input(trace) == [("Flaky attempt", n) for n in (100, 101, 10)]


def test_the_fallbacks_answer_is_not_wasted() -> None:
    """The attempt before it is; both are of the node."""

    class Falls(Node):
        def exec(self, prep_res: Any) -> Any:
            record_usage(input_tokens=100)
            raise ValueError("no")

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            record_usage(input_tokens=7)
            return response()

    trace = traced(lambda stage: stage.run(Falls()))

    assert trace.node("Falls")["usage.calls"] == 3
    assert trace.node("Falls")["usage.input_tokens"] == 117
    assert trace.node("Falls")["usage.wasted.calls"] == 1
    assert trace.node("Falls")["usage.wasted.input_tokens"] == 100


def test_nested_flows_are_counted_once_at_each_level() -> None:
    """Inner nodes, inner flow, outer flow; a node that runs a flow by itself as well."""

    class RunsFlow(Node):
        def exec(self, prep_res: Any) -> Any:
            store: dict[str, Any] = {}
            Flow(start=Keeps()).run(store)
            return store["llm_response"]

    def program(stage: Any) -> Any:
        inner = Flow(start=Keeps())
        inner >> RunsFlow()
        return stage.run(Flow(start=inner))

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow KeepsFlow",
        "  invoke_workflow KeepsFlow",
        "    Keeps",
        "  RunsFlow",
        "    invoke_workflow KeepsFlow",
        "      Keeps",
    ]
    assert [usage(span) for span in trace.nodes] == [(2, 20, 10, 30), *[ONCE] * 5]
    assert own_input(trace) == [("Keeps", 10), ("Keeps", 10)]


# --- Late -----------------------------------------------------------------------------------


def test_a_stream_that_a_later_node_reads() -> None:
    """Its usage is told when it ends, by the node that reads it."""

    class Opens(Node):
        def exec(self, prep_res: Any) -> Any:
            def stream() -> Any:
                yield "hi"
                record_usage(model="my-model", input_tokens=10, output_tokens=5)

            return stream()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["stream"] = exec_res

    class Reads(Node):
        def prep(self, shared: Any) -> Any:
            return shared.pop("stream")

        def exec(self, prep_res: Any) -> Any:
            return "".join(prep_res)

    def program(stage: Any) -> Any:
        first = Opens()
        first >> Reads()
        return stage.run(Flow(start=first))

    trace = traced(program)

    assert usage(trace.node("Opens")) == NOTHING
    assert usage(trace.node("Reads")) == ONCE
    assert usage(trace.node("invoke_workflow OpensFlow")) == ONCE


def late_program(stage: Any) -> Any:
    """A node starts a thread that tells of its call when a later node lets it."""
    go, threads = threading.Event(), list[threading.Thread]()

    def tell() -> None:
        go.wait(10)
        record_usage(provider="openai", model="my-model", input_tokens=10, output_tokens=5)

    class Starts(Node):
        def exec(self, prep_res: Any) -> Any:
            thread = threading.Thread(target=copy_context().run, args=(tell,))
            thread.start()
            threads.append(thread)

    class Waits(Node):
        def exec(self, prep_res: Any) -> Any:
            go.set()
            threads[0].join()

    first = Starts()
    first >> Waits()
    return stage.run(Flow(start=first))


def test_what_a_thread_tells_late_is_the_flows() -> None:
    """The node that started it is over, the flow is not: it is the call, where none is nearer."""
    trace = traced(late_program)

    assert [usage(span) for span in trace.nodes] == [ONCE, NOTHING, NOTHING]
    flow = trace.node("invoke_workflow StartsFlow")
    names = ("gen_ai.operation.name", "gen_ai.request.model", "gen_ai.provider.name")
    assert [flow[name] for name in names] == ["invoke_workflow", "my-model", "openai"]
    assert own_input(trace) == [("invoke_workflow StartsFlow", 10)]


@pytest.mark.parametrize("tells_before", [True, False])
def test_a_late_span_and_the_node_that_reads_the_stream_tell_of_one_call(
    tells_before: bool,
) -> None:
    """The span began in the node that opened the stream; the reader records what it saw."""
    name = "gen_ai.usage.input_tokens"

    def stream(tracer: Any) -> Any:
        span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        yield "hi"
        if tells_before:
            record_usage(input_tokens=10, output_tokens=5)
        span.set_attributes({name: 10, "gen_ai.usage.output_tokens": 5})
        span.end()
        if not tells_before:
            record_usage(input_tokens=10, output_tokens=5)

    class Opens(Node):
        def exec(self, prep_res: Any) -> Any:
            opened = stream(running.provider.get_tracer("client"))
            return [next(opened), opened]

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["stream"] = exec_res[1]

    class Reads(Node):
        def exec(self, prep_res: Any) -> Any:
            list(prep_res)

        def prep(self, shared: Any) -> Any:
            return shared["stream"]

    first = Opens()
    first >> Reads()
    with tracing() as running:
        Flow(start=first).run({})
    trace = running.trace()

    assert usage(trace.node("invoke_workflow OpensFlow")) == ONCE


# --- Content levels -------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["off", "keys", "values"])
def test_results_are_counted_at_every_content_level(content: str) -> None:
    """How much is shown of the program's data has nothing to do with what it costs."""
    trace = traced(lambda stage: stage.run(Flow(start=Keeps())), content=content)

    assert [usage(span) for span in trace.nodes] == [ONCE, ONCE]


@pytest.mark.parametrize("level", ["timing", "keys", "on_error"])
def test_what_is_written_is_counted_at_every_level(level: str) -> None:
    """A level of a class hides values, not calls."""
    trace = traced(lambda stage: stage.run(Flow(start=Writes())), levels={"*": level})

    assert [usage(span) for span in trace.nodes] == [ONCE, ONCE]


@pytest.mark.parametrize("content", ["off", "keys"])
@pytest.mark.parametrize(
    "model", ["a secret thing", "line\nbreak", "tab\tbed", "\N{GREEK SMALL LETTER ALPHA}"]
)
def test_a_model_that_is_any_text_is_not_shown(content: str, model: str) -> None:
    """A dict that looks like a response may be something else."""

    class Looks(Node):
        def exec(self, prep_res: Any) -> Any:
            return response(model=model, provider=model)

    trace = traced(lambda stage: stage.run(Flow(start=Looks())), content=content)

    assert usage(trace.node("Looks")) == ONCE
    shown = repr([span.attributes for span in trace.nodes])
    assert model not in shown
    assert repr(model)[1:-1] not in shown
    assert trace.values("gen_ai.request.model") == []


# --- Recognisers ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A program's own class."""

    spent: int


def recognise(value: object) -> ModelCall | None:
    """Knows that class."""
    if not isinstance(value, Answer):
        return None
    return ModelCall(provider="mine", model="my-model", input_tokens=value.spent, output_tokens=5)


class Answers(Node):
    """Returns an object of that class, beside its text."""

    def exec(self, prep_res: Any) -> Any:
        """The call."""
        return "hi", Answer(10)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps it, so that it is seen twice."""
        shared["answer"] = exec_res[1]


def test_a_recogniser_of_the_users() -> None:
    """It is asked for what exec returns and post writes; the call counts once."""
    trace = traced(lambda stage: stage.run(Flow(start=Answers())), usage_recognisers=[recognise])

    assert [usage(span) for span in trace.nodes] == [ONCE, ONCE]
    assert trace.node("Answers")["gen_ai.provider.name"] == "mine"


@pytest.mark.parametrize("wrong", [KeyError("no"), 17, "a call"], ids=repr)
def test_a_recogniser_that_fails_is_passed_over(
    wrong: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once; built-in shapes and other recognisers still count."""

    def fails(value: object) -> Any:
        if isinstance(wrong, Exception):
            raise wrong
        return wrong

    def program(stage: Any) -> Any:
        first = Keeps()
        first >> Answers()
        return stage.run(Flow(start=first))

    monkeypatch.setattr(guard, "_reported", set[str]())
    plain = vars(act(program))
    recorder = Recorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider, resource=False, usage_recognisers=[fails, recognise]
    )
    try:
        with caplog.at_level(logging.WARNING):
            outcome = vars(act(program))
    finally:
        instrumentor.uninstrument()

    assert outcome == plain
    assert usage(Trace(recorder).node("invoke_workflow KeepsFlow")) == (2, 20, 10, 30)
    assert len(caplog.messages) == 1


def test_a_recogniser_of_an_installed_package(tmp_path: Path) -> None:
    """By its entry point; one that can't be loaded is passed over."""
    info = tmp_path / "site" / "my_client-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-client\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_pocketflow_usage]\nmine = my_client:recognise\ngone = my_client:nothing\n"
    )
    (tmp_path / "site" / "my_client.py").write_text(
        "from opentelemetry.instrumentation.pocketflow import ModelCall\n"
        "def recognise(value):\n"
        "    return ModelCall(input_tokens=value.spent) if hasattr(value, 'spent') else None\n"
    )
    program = """
        import sys
        sys.path.insert(0, "site")
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
        from pocketflow import Node

        class Answer:
            spent = 10

        class Asks(Node):
            def exec(self, prep_res):
                answer = Answer()
                answer.spent = 10
                return answer

        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False)
        Asks().run({})
        print(exporter.get_finished_spans()[0].attributes["pocketflow.usage.input_tokens"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "10\n", done.stderr
    assert "the program is not affected" in done.stderr


# --- Other spans ----------------------------------------------------------------------------


def test_a_span_of_the_client_is_the_call() -> None:
    """The node that returns its response keeps the roll-up, and leaves the call to the span."""

    class Client(Node):
        def exec(self, prep_res: Any) -> Any:
            attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.response.model": "my-model",
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.output_tokens": 5,
            }
            with running.provider.get_tracer("client").start_as_current_span("chat") as span:
                span.set_attributes(attributes)
            return response()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            record_usage(model="my-model", input_tokens=10, output_tokens=5, cached_tokens=3)
            shared["llm_response"] = exec_res

    with tracing() as running:
        Flow(start=Client()).run({})
    trace = running.trace()

    assert own_input(trace) == [("chat", 10)]
    node = trace.node("Client")
    assert usage(node) == usage(trace.node("invoke_workflow ClientFlow")) == ONCE
    assert node["usage.cached_tokens"] == 3
    assert node["openinference.span.kind"] == "CHAIN"


def test_a_call_that_is_not_made_in_a_run_is_nobodys() -> None:
    """Between two runs, and with other spans around."""

    def program(stage: Any) -> Any:
        with trace_api.get_tracer("mine").start_as_current_span("outside"):
            stage.run(Quiet())
            record_usage(input_tokens=10)
            stage.run(Quiet())

    trace = traced(program)

    assert [usage(span) for span in trace.nodes] == [NOTHING, NOTHING]


def test_an_async_node_tells_of_what_its_tasks_call() -> None:
    """Tasks that exec started and awaited: each call once, in the attempt."""

    class Tasks(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            async def call(tokens: int) -> None:
                await asyncio.sleep(0)
                record_usage(input_tokens=tokens)

            await asyncio.gather(*(call(tokens) for tokens in range(5)))
            await asyncio.to_thread(record_usage, input_tokens=90)

    trace = traced(lambda stage: stage.run_async(Tasks(max_retries=2)))

    assert trace.node("Tasks attempt")["usage.calls"] == 6
    assert trace.node("Tasks")["usage.input_tokens"] == 100

"""What a review of usage, cost, metrics and conversation found, so that it stays found."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from contextvars import Context, copy_context
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry.instrumentation.pocketflow import (
    ModelCall,
    PocketFlowInstrumentor,
    conversation,
    guard,
    record_usage,
)
from support.framework import Flow, Node
from support.tracing import traced

FORKS = """
    import faulthandler, os, sys

    from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, record_usage
    from opentelemetry.sdk.trace import TracerProvider
    from pocketflow import Flow, Node

    class Ask(Node):
        def exec(self, prep_res):
            record_usage(model="gpt-4o", input_tokens=5)

    PocketFlowInstrumentor().instrument(tracer_provider=TracerProvider())
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(10, exit=True)
        import genai_prices
        Flow(start=Ask()).run({})
        os._exit(0)
    sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_that_is_forked_at_once_can_import_and_run() -> None:
    """No lock of a module stays locked by the thread that was loading prices."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tokens", [2**63, 2**64, 10**400], ids=["int64", "uint64", "any float"])
def test_a_count_that_no_exporter_takes_is_left_out(tokens: int) -> None:
    """The other metrics are exported as ever, and the call is still one."""
    reader = InMemoryMetricReader()

    class Ask(Node):
        def exec(self, prep_res: Any) -> Any:
            return {"model": "m", "usage": {"input_tokens": tokens, "output_tokens": 2}}

    span = traced(lambda stage: stage.run(Ask()), meter_provider=MeterProvider([reader])).node(
        "Ask"
    )

    assert (span["usage.calls"], span["usage.output_tokens"]) == (1, 2)
    assert "usage.input_tokens" not in span
    data = reader.get_metrics_data()
    assert data is not None
    assert encode_metrics(data).resource_metrics


@pytest.mark.parametrize(
    ("wrong", "cost"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": "0.25"}, None),
        ({"cost": Decimal("NaN")}, None),
        ({"cost": -1.0}, None),
        ({"output_tokens": "7"}, None),
        ({"output_tokens": -7}, None),
        ({"model": object()}, None),
        ({"provider": 3}, None),
        ({"operation": ["chat"]}, None),
        ({"response_id": {}}, None),
    ],
)
def test_a_recogniser_may_fill_in_anything(wrong: dict[str, Any], cost: float | None) -> None:
    """What is of the wrong type costs that field, and nothing else that the spans tell."""
    told: dict[str, Any] = {"model": "own-model", "input_tokens": 5, **wrong}

    def recognise(value: object) -> ModelCall | None:
        return ModelCall(**told) if type(value) is bytearray else None

    class Ask(Node):
        def exec(self, prep_res: Any) -> Any:
            return bytearray(b"answer")

    def program(stage: Any) -> Any:
        first = Ask()
        first >> Ask()
        return stage.run(Flow(start=first))

    trace = traced(program, usage_recognisers=[recognise])

    flow = trace.nodes[0]
    assert (flow["usage.calls"], flow["usage.input_tokens"]) == (2, 10)
    assert flow.get("usage.cost") == (None if cost is None else 2 * cost)
    assert [node["node.attempts"] for node in trace.nodes[1:]] == [1, 1]


def test_what_is_to_be_hidden_is_hidden_beside_runs_too() -> None:
    """The user's patterns and keys also apply to spans of others, outside of any run."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(resource=Resource({}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider,
        resource=False,
        redact_patterns=["cust-[0-9]+"],
        redact_keys=["badge"],
    )
    Node().run({})  # the framework is there
    with conversation("cust-1", tags=["cust-2"], metadata={"badge": "x17", "of": "cust-3"}):
        provider.get_tracer("web").start_span("GET").end()
    instrumentor.uninstrument()

    attributes = dict(exporter.get_finished_spans()[-1].attributes or {})
    assert attributes["gen_ai.conversation.id"] == "[REDACTED]"
    assert "cust-" not in str(attributes)
    assert "x17" not in str(attributes)


def test_who_is_turned_down_in_the_middle_of_it_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a signal handler tells of a call with a wrong value."""

    class Interrupted(set[str]):
        def add(self, element: str) -> None:
            super().add(element)
            guard.refuse("another option", ValueError("also wrong"))

    monkeypatch.setattr(guard, "_reported", Interrupted())
    monkeypatch.setattr(guard, "strict", False)
    refusing = threading.Thread(
        target=guard.refuse, args=("an option", ValueError("wrong")), daemon=True
    )
    refusing.start()
    refusing.join(10)

    assert not refusing.is_alive()


def test_recognisers_are_asked_while_nothing_is_locked() -> None:
    """One may wait for a thread that works on the same store."""
    shared: dict[str, Any] = {}
    asked: list[object] = []
    waited: list[bool] = []

    class Beside(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["beside"] = 1

    def recognise(value: object) -> None:
        if type(value) is bytearray and not asked:
            asked.append(value)
            beside = threading.Thread(target=Beside().run, args=(shared,), daemon=True)
            beside.start()
            beside.join(10)
            waited.append(not beside.is_alive())

    class Writes(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["written"] = bytearray(b"answer")

    provider = TracerProvider(resource=Resource({}))
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(tracer_provider=provider, resource=False, usage_recognisers=[recognise])
    Writes().run(shared)
    instrumentor.uninstrument()

    assert waited == [True]


@dataclass
class Answer:
    """A response of Ollama, whose counts are its own fields."""

    model: str
    prompt_eval_count: int
    done: bool = True


def test_responses_are_not_kept_while_the_flow_goes_on() -> None:
    """Where a response holds its own counts, it is known again without being kept."""
    answers: list[weakref.ref[Answer]] = []
    alive: list[bool] = []

    class Ask(Node):
        def exec(self, prep_res: Any) -> Any:
            answer = Answer("m", 5)
            answers.append(weakref.ref(answer))
            return answer

    class Looks(Node):
        def exec(self, prep_res: Any) -> Any:
            gc.collect()
            alive.append(answers[-1]() is not None)

    def program(stage: Any) -> Any:
        first = Ask()
        first >> Looks()
        return stage.run(Flow(start=first))

    trace = traced(program)

    assert trace.nodes[0]["usage.input_tokens"] == 5
    assert alive == [False, False]  # not traced, and traced


def test_a_context_that_is_kept_keeps_no_counts() -> None:
    """A task or callback that outlives the run holds its context, but no object of the program."""

    class Counts(dict[str, int]):
        """A dict that can be referred to weakly, as `dict` itself cannot."""

        __slots__ = ("__weakref__",)

    kept: list[Context] = []
    counted: list[weakref.ref[Counts]] = []

    class Ask(Node):
        def exec(self, prep_res: Any) -> Any:
            kept.append(copy_context())
            counts = Counts(input_tokens=5)
            counted.append(weakref.ref(counts))
            return {"model": "m", "usage": counts, "id": "r-1"}

    traced(lambda stage: stage.run(Flow(start=Ask())))
    gc.collect()

    assert kept
    assert [counts() for counts in counted] == [None, None]


def test_a_late_thread_of_a_failed_attempt_tells_of_that_attempt() -> None:
    """What it says while the next attempt runs was wasted, and is no call of that one."""

    class Slow(Node):
        def exec(self, prep_res: Any) -> Any:
            if self.cur_retry == 0:
                self.late = copy_context()
                raise TimeoutError
            told = threading.Thread(target=self.tell)
            told.start()
            told.join()
            record_usage(model="m", input_tokens=1)

        def tell(self) -> None:
            self.late.run(record_usage, model="m", input_tokens=9)

    trace = traced(lambda stage: stage.run(Slow(max_retries=2)))

    run, _, second = trace.nodes
    assert (run["usage.input_tokens"], run["usage.wasted.input_tokens"]) == (10, 9)
    assert second["usage.input_tokens"] == 1

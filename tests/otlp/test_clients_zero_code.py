"""Real clients in processes of their own: global providers, and `opentelemetry-instrument`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support import programs
from support.clients import expected
from support.collector import running_collector
from support.received import one

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.providers import Providers

PROGRAM = """\
import os

from openai import OpenAI
from pocketflow import Flow, Node


class Ask(Node):
    def exec(self, prep_res):
        url = os.environ["PROVIDERS"] + "/v1"
        question = [{"role": "user", "content": "Is it Paris?"}]
        with OpenAI(base_url=url, api_key="test", max_retries=0) as client:
            answer = client.chat.completions.create(model="gpt-4o-mini", messages=question)
        return answer.choices[0].message.content

    def post(self, shared, prep_res, exec_res):
        print(exec_res)


ask = Ask()
ask.next(Ask())
Flow(start=ask).run({})
"""

OURS = """\
import json

from opentelemetry import trace
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()


def make_provider():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider

"""

ANOTHER_PROVIDER = """
trace.set_tracer_provider(make_provider())
PocketFlowInstrumentor().instrument(tracer_provider=make_provider(), resource=False)
OpenAIInstrumentor().instrument()
"""

SET_LATER = """
PocketFlowInstrumentor().instrument(resource=False)
OpenAIInstrumentor().instrument()
trace.set_tracer_provider(make_provider())
"""

TELL = """
for span in exporter.get_finished_spans():
    print(json.dumps([span.name, dict(span.attributes)]))
"""

ANSWERS = "Paris it is.\nParis it is.\n"
FLOW = "invoke_workflow AskFlow"


def roll_up(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a span's roll-up, without the prefix."""
    named = {name.removeprefix("pocketflow.usage."): value for name, value in attributes.items()}
    return {name: named[name] for name in named if name == "calls" or name in TOKENS}


TOKENS = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
)


@pytest.mark.parametrize("setup", [ANOTHER_PROVIDER, SET_LATER], ids=["another", "later"])
def test_a_provider_that_is_not_ours(providers: Providers, tmp_path: Path, setup: str) -> None:
    """The client tells a global provider that is not ours, or that came after us: all counts."""
    script = programs.write_program(tmp_path, OURS + setup + PROGRAM + TELL)

    done = programs.run(script, {"PROVIDERS": providers.url})

    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(ANSWERS), done.stdout
    spans = [json.loads(line) for line in done.stdout.removeprefix(ANSWERS).splitlines()]
    found = [(name, roll_up(attributes)) for name, attributes in spans]
    first, second = providers.served
    assert found == [
        ("chat gpt-4o-mini", {}),
        ("Ask", expected([first])),
        ("chat gpt-4o-mini", {}),
        ("Ask", expected([second])),
        (FLOW, expected([first, second])),
    ]


BY_ITSELF = """\
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

OpenAIInstrumentor().instrument()
"""
OFFICIAL_SCOPE = "opentelemetry.instrumentation.genai.openai"
NOT_OPENAI = "anthropic,google-genai,google_genai,google_generativeai,ollama"


@pytest.mark.parametrize(
    ("before", "disabled", "scopes"),
    [
        (BY_ITSELF, programs.CLIENTS, {OFFICIAL_SCOPE}),
        (
            "",
            NOT_OPENAI,
            {
                OFFICIAL_SCOPE,
                "openinference.instrumentation.openai",
                "opentelemetry.instrumentation.openai.v1",
            },
        ),
    ],
    ids=["official", "all at once"],
)
def test_zero_code(
    providers: Providers, tmp_path: Path, before: str, disabled: str, scopes: set[str]
) -> None:
    """The roll-up arrives at a collector, each call once, however many instrumentations there are.

    All those of OpenAI's client have one entry point name: a user can only have none of them or
    all that are installed, unless the program instruments the client itself.
    """
    script = programs.write_program(tmp_path / "work", before + PROGRAM)
    with running_collector(tmp_path) as collector:
        env = {
            **programs.otlp_environment(collector.http_endpoint, "http/protobuf"),
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled,
            "PROVIDERS": providers.url,
        }
        done = programs.run(script, env, zero_code=True)
        spans = collector.drain()

    assert done.outcome == (ANSWERS, 0), done.stderr
    ours = {"opentelemetry.instrumentation.pocketflow"}
    by_clients = [span for span in spans if span.scope_name.rpartition(".")[2] != "pocketflow"]
    assert {span.scope_name for span in by_clients if "http" not in span.scope_name} == scopes
    assert ours <= {span.scope_name for span in spans}
    assert roll_up(one(spans, FLOW).attributes) == expected(providers.served)
    nodes = sorted((s for s in spans if s.name == "Ask"), key=lambda span: span.start)
    assert [roll_up(node.attributes) for node in nodes] == [
        expected([answer]) for answer in providers.served
    ]

"""Logfire's SDK without an account, and its settings against a stand-in for the service.

The tests of the SDK need an interpreter that has `logfire`, `openai` and this package with its
extras `pocketflow`, `otlp` and `cost`: ours, or `python` in the folder that the environment
variable `POCKETFLOW_STACK_BACKENDS` names; else they are skipped. The service itself is never
asked.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass

import pytest

from support import programs, sample_programs
from support.backends import Page, StandIn, python_having
from support.collector import running_collector
from support.list_prices import list_price
from support.providers import Providers
from support.received import common, one, outline

if typing.TYPE_CHECKING:
    from pathlib import Path

    from support.received import ReceivedSpan

PAGE = Page("logfire.md")

CONFIGURED = "logfire.configure()"
WITHOUT_ACCOUNT = (
    "logfire.configure(send_to_logfire=False, "
    "console=logfire.ConsoleOptions(colors='never', include_timestamps=False))"
)
SETUP = PAGE.code({CONFIGURED: WITHOUT_ACCOUNT})
"""The page's set-up, with its console as plain text and nothing sent to the service."""

MODULES = (
    "genai_prices",
    "logfire",
    "openai",
    "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry.instrumentation.pocketflow",
    "pocketflow",
)

AS_A_CONVERSATION = """
from opentelemetry.instrumentation.pocketflow import conversation

block = conversation("c-42", session="s-7", user="u-9")
block.__enter__()
"""

ASKING = """
import os

from openai import OpenAI
from pocketflow import Flow, Node

logfire.instrument_openai()


class Ask(Node):
    def exec(self, nothing):
        question = [{"role": "user", "content": "Is it Paris?"}]
        with OpenAI(api_key="test", max_retries=0) as client:
            answer = client.chat.completions.create(model="gpt-4o-mini", messages=question)
        return answer.choices[0].message.content


ask = Ask()
ask >> Ask()
Flow(start=ask).run({})
"""


@dataclass(frozen=True)
class Run:
    """What a program printed, and what its spans were at a collector."""

    done: programs.Finished
    spans: list[ReceivedSpan]


def run(directory: Path, source: str, env: dict[str, str] | None = None) -> Run:
    """Run a program on Logfire's SDK, which sends to a real collector beside its console."""
    python = python_having(*MODULES)
    script = programs.write_program(directory / "work", source)
    with running_collector(directory) as collector:
        sending = programs.otlp_environment(collector.http_endpoint, "http/protobuf")
        done = programs.run(script, {**sending, **(env or {})}, python=python)
        return Run(done, collector.drain())


# --- The SDK ----------------------------------------------------------------------------------


def test_its_console_shows_the_tree(tmp_path: Path) -> None:
    """Flows, nodes, attempts and items stand on Logfire's console as they are nested."""
    traced = run(tmp_path, SETUP + sample_programs.RESEARCH)

    assert (traced.done.exit_code, traced.done.stderr) == (0, "")
    shown, _, printed = traced.done.stdout.partition("done {")
    # In parallel, the items of the last node have no order of their own.
    assert shown.splitlines() == sample_programs.RESEARCH_OUTLINE
    assert '"checked": true' in printed


def test_its_provider_makes_the_same_spans(tmp_path: Path) -> None:
    """What leaves Logfire's provider is the tree with our attributes, and Logfire's beside them."""
    spans = run(tmp_path, SETUP + sample_programs.RESEARCH).spans

    assert outline(spans) == sample_programs.RESEARCH_OUTLINE
    flow = one(spans, "invoke_workflow Research")
    assert flow.strings("pocketflow.flow.path")[-1] == "Translate"
    assert flow.attributes["logfire.msg"] == "invoke_workflow Research"
    assert one(spans, "Answer").text("output.value") == '"fact 2 and fact 3"'
    # Logfire's provider takes no more resource attributes: they stand on the root.
    assert "pocketflow.version" not in flow.resource
    assert flow.attributes["pocketflow.version"]


def test_errors_reach_it_once(tmp_path: Path) -> None:
    """An exception is one event, on the innermost span; the spans around it are errors."""
    traced = run(tmp_path, SETUP + sample_programs.FAILING)

    assert traced.done.exit_code == 1
    assert traced.done.stderr.splitlines()[-1].startswith("ValueError: invalid literal")
    assert outline(traced.spans) == sample_programs.FAILING_OUTLINE
    failed = sorted(span.name for span in traced.spans if span.status == "ERROR")
    assert failed == [
        "Parse", "Parse attempt", "Parse attempt", "invoke_workflow Etl",
        "invoke_workflow Transform",
    ]  # fmt: skip
    assert [span.name for span in traced.spans if span.events] == ["Parse attempt"] * 2


def test_its_own_spans_of_model_calls_count(tmp_path: Path) -> None:
    """Tokens and cost of `logfire.instrument_openai()` reach node and flow, each call once."""
    with Providers() as model:
        traced = run(tmp_path, SETUP + ASKING, {"OPENAI_BASE_URL": f"{model.url}/v1"})
        served = model.served

    assert traced.done.exit_code == 0, traced.done.stderr
    call = "Chat Completion with {request_data[model]!r}"
    assert outline(traced.spans) == [
        "invoke_workflow AskFlow", "  Ask", f"    {call}", "  Ask", f"    {call}",
    ]  # fmt: skip
    flow = one(traced.spans, "invoke_workflow AskFlow").attributes
    assert flow["pocketflow.usage.calls"] == 2
    assert flow["pocketflow.usage.input_tokens"] == sum(a.input_tokens for a in served)
    assert flow["pocketflow.usage.output_tokens"] == sum(a.output_tokens for a in served)
    price = float(list_price(served))
    assert flow["pocketflow.usage.cost"] == pytest.approx(price, rel=1e-9)


def test_its_scrubber_takes_the_session(tmp_path: Path) -> None:
    """As the page says, Logfire's SDK removes `session.id` by its name, and leaves the others."""
    spans = run(tmp_path, SETUP + AS_A_CONVERSATION + sample_programs.TINY).spans

    for span in spans:
        assert span.text("session.id").startswith("[Scrubbed")
        assert span.attributes["gen_ai.conversation.id"] == "c-42"
        assert span.attributes["user.id"] == "u-9"


def test_the_pages_callback_keeps_the_session(tmp_path: Path) -> None:
    """With the callback of the page it stays, and what else is scrubbed still is."""
    keeping = PAGE.code({"configure(": "configure(send_to_logfire=False, "}, "keep_session_id")
    setup = keeping + SETUP.replace(WITHOUT_ACCOUNT, "")
    source = sample_programs.TINY.replace('"hello"', '"my password"')

    spans = run(tmp_path, setup + AS_A_CONVERSATION + source).spans

    assert common(spans, "session.id") == "s-7"
    assert "[Scrubbed" in one(spans, "invoke_workflow Tiny").text("output.value")


# --- The service ------------------------------------------------------------------------------


def test_the_pages_settings_send(tmp_path: Path) -> None:
    """Without code, spans and metrics go to the paths that Logfire documents, with the token."""
    with StandIn().serving() as service:
        texts = {"https://logfire-us.pydantic.dev": service.url, "$LOGFIRE_TOKEN": "pylf_v1_us_x"}
        script = programs.write_program(tmp_path, sample_programs.TINY)
        done = programs.run(script, PAGE.settings(texts), zero_code=True)

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    assert {posted.headers["authorization"] for posted in service.posted} == {"pylf_v1_us_x"}
    assert {posted.headers["content-type"] for posted in service.posted} == {
        "application/x-protobuf"
    }
    assert service.to("/v1/metrics")
    spans = [span for posted in service.to("/v1/traces") for span in posted.spans()]
    assert outline(spans) == sample_programs.TINY_OUTLINE

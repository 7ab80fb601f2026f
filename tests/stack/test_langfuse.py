"""What a program sends with the settings of Langfuse's page, to a stand-in for the service.

Langfuse's server needs containers, so it is not run: these tests hold what is sent against what its
OTLP ingestion reads, and prove nothing about what it then shows.
"""

from __future__ import annotations

import base64
import json
import typing

import pytest

from support import backend_programs, programs, sample_programs
from support.backends import Page, StandIn
from support.received import in_order, one, outline

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = Page("langfuse.md")

PATH = "/api/public/otel/v1/traces"
KEYS = "pk-lf-1:sk-lf-2"
AUTHORIZATION = "Basic " + base64.b64encode(KEYS.encode()).decode()


@pytest.fixture
def service() -> Iterator[StandIn]:
    """A stand-in for Langfuse."""
    with StandIn().serving() as standing_in:
        yield standing_in


def settings(service: StandIn) -> dict[str, str]:
    """Return what the page tells a program to set, with address and keys put in."""
    keys = base64.b64encode(KEYS.encode()).decode()
    return PAGE.settings(
        {
            "https://cloud.langfuse.com": service.url,
            'AUTH=$(printf %s "pk-lf-...:sk-lf-..." | base64 -w 0)': "AUTH=in-the-headers",
            "$LANGFUSE_AUTH": keys,
        }
    )


def check_requests(service: StandIn) -> None:
    """All went where Langfuse takes it, as it takes it, with both headers."""
    assert {posted.path for posted in service.posted} == {PATH}
    for posted in service.posted:
        assert posted.headers["content-type"] == "application/x-protobuf"
        assert posted.headers["authorization"] == AUTHORIZATION
        assert posted.headers["x-langfuse-ingestion-version"] == "4"


def test_the_pages_settings_send(service: StandIn, tmp_path: Path) -> None:
    """Without code, spans and nothing else reach Langfuse's path, with keys and version."""
    script = programs.write_program(tmp_path, sample_programs.TINY)

    done = programs.run(script, settings(service), zero_code=True)

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    check_requests(service)
    spans = [span for posted in service.posted for span in posted.spans()]
    assert outline(spans) == sample_programs.TINY_OUTLINE


def test_the_pages_code_sends(service: StandIn, tmp_path: Path) -> None:
    """The set-up that the page shows for programs sends the same way."""
    texts = {"https://cloud.langfuse.com": service.url, "pk-lf-...:sk-lf-...": KEYS}
    source = PAGE.code(texts) + sample_programs.TINY

    done = programs.run(programs.write_program(tmp_path, source))

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    check_requests(service)


def test_what_its_ingestion_reads_is_sent(service: StandIn, tmp_path: Path) -> None:
    """What Langfuse makes types, inputs, tokens, sessions and users of is there."""
    source = (
        "from opentelemetry.instrumentation.pocketflow import conversation\n"
        'conversation("c-42", session="s-7", user="u-9", tags=["beta"]).__enter__()\n'
    ) + backend_programs.COUNTED
    script = programs.write_program(tmp_path, source)

    programs.run(script, settings(service), zero_code=True)

    spans = [span for posted in service.posted for span in posted.spans()]
    assert outline(spans) == backend_programs.COUNTED_OUTLINE
    for span in spans:
        assert (span.attributes["session.id"], span.attributes["user.id"]) == ("s-7", "u-9")
        assert span.strings("tag.tags") == ["beta"]
    # Of two names for one count Langfuse takes one, so they have to agree.
    calls = [*in_order(spans, "Plan attempt"), one(spans, "Sum")]
    for call in calls:
        told = call.attributes
        assert told["openinference.span.kind"] == "LLM"
        assert told["gen_ai.request.model"] == told["llm.model_name"] == "gpt-4o-mini"
        assert told["gen_ai.usage.input_tokens"] == told["llm.token_count.prompt"]
        assert told["gen_ai.usage.output_tokens"] == told["llm.token_count.completion"]
        cached = told["llm.token_count.prompt_details.cache_read"]
        assert told["gen_ai.usage.cache_read.input_tokens"] == cached
    flow = one(spans, "invoke_workflow Ask")
    assert flow.attributes["openinference.span.kind"] == "CHAIN"
    assert json.loads(flow.text("input.value")) == {"question": "Where is it?"}
    assert json.loads(flow.text("output.value"))["answer"] == "Paris"
    failed = in_order(spans, "Plan attempt")[0]
    assert (failed.status, failed.status_message) == ("ERROR", "ValueError")

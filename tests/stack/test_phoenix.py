"""Phoenix, really run: what its public interfaces tell of PocketFlow programs that send to it.

Needs the executable `phoenix` (the distribution `arize-phoenix`) on PATH, or in the folder that the
environment variable `POCKETFLOW_STACK_BACKENDS` names, the `bin` of a virtual environment that has
it; else these tests are skipped. What a program is told comes from `docs/backends/phoenix.md`.
"""

from __future__ import annotations

import itertools
import json
import typing
import urllib.parse
from dataclasses import dataclass
from datetime import datetime

import pytest

from support import backend_programs, programs, sample_programs
from support.backends import Launch, Page, executable, post, running
from support.collector import free_port
from support.list_prices import list_price
from support.providers import TEXT, Providers
from support.received import ReceivedEvent, ReceivedSpan, in_order, one, outline
from support.stack import get, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.providers import Served

PAGE = Page("phoenix.md")

PROJECT = """
query ($name: String!, $condition: String) {
  getProjectByName(name: $name) {
    tokenCountPrompt tokenCountCompletion tokenCountTotal
    costSummary { total { cost } }
    sessions(first: 10) { edges { node {
      sessionId userId numTraces tokenUsage { prompt completion } costSummary { total { cost } }
      firstInput { value } lastOutput { value }
    } } }
    spans(first: 1000, filterCondition: $condition) { edges { node {
      name spanId userId metadata tokenCountPrompt tokenCountCompletion
      cumulativeTokenCountPrompt cumulativeTokenCountCompletion
      costSummary { total { cost } }
      input { value mimeType } output { value mimeType }
      trace { errorCount }
    } } }
  }
}
"""


@dataclass(frozen=True)
class Phoenix:
    """A running Phoenix: where it takes spans, and what it tells of them."""

    url: str
    grpc: str

    def settings(self, project: str, protocol: str = "http/protobuf") -> dict[str, str]:
        """Return what its page tells a program to set, with the address and a project put in."""
        address = self.grpc if protocol == "grpc" else self.url
        texts = {"http://localhost:6006": address, "my-agent": project, "http/protobuf": protocol}
        return PAGE.settings(texts)

    def wait_for(self, project: str, names: int) -> list[ReceivedSpan]:
        """Return a project's spans, once it has as many; it stores them a moment after it has them.

        Raises:
            StackError: They did not come in time.
        """
        wait_until(lambda: len(self.spans(project)) >= names, f"{names} spans of {project}")
        return self.spans(project)

    def spans(self, project: str) -> list[ReceivedSpan]:
        """Return a project's spans; their `kind` is Phoenix's own."""
        answer = get(f"{self.url}/v1/projects/{urllib.parse.quote(project)}/spans?limit=1000")
        return [_span(span) for span in answer.json()["data"]] if answer.status == 200 else []

    def project(self, name: str, condition: str = "") -> typing.Any:
        """Return what `PROJECT` asks for, of the spans that a filter leaves."""
        variables = {"name": name, "condition": condition}
        answer = post(f"{self.url}/graphql", {"query": PROJECT, "variables": variables})
        assert "errors" not in answer, answer["errors"]
        return answer["data"]["getProjectByName"]


def _span(told: Mapping[str, typing.Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=told["name"],
        trace_id=told["context"]["trace_id"],
        span_id=told["context"]["span_id"],
        parent_span_id=told["parent_id"],
        kind=told["span_kind"],
        start=_nanoseconds(told["start_time"]),
        end=_nanoseconds(told["end_time"]),
        attributes=told["attributes"],
        events=tuple(
            ReceivedEvent(event["name"], _nanoseconds(event["timestamp"]), event["attributes"])
            for event in told["events"]
        ),
        status=told["status_code"],
        status_message=told["status_message"],
        resource={},
        scope_name="",
        scope_version="",
        schema_url="",
    )


def _nanoseconds(iso: str) -> int:
    """Phoenix keeps microseconds."""
    return round(datetime.fromisoformat(iso).timestamp() * 1e6) * 1000


def nodes(connection: typing.Any) -> list[typing.Any]:
    """Return what a GraphQL connection holds."""
    return [edge["node"] for edge in connection["edges"]]


def node_called(told: typing.Any, name: str) -> typing.Any:
    """Return the one span of that name."""
    (found,) = (node for node in nodes(told["spans"]) if node["name"] == name)
    return found


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """One Phoenix for all tests here; each program has a project of its own."""
    program = executable("phoenix")
    directory = tmp_path_factory.mktemp("phoenix")
    ports: dict[str, int] = {}

    def launch() -> Launch:
        ports.update(http=free_port(), grpc=free_port())
        environment = {
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_GRPC_PORT": str(ports["grpc"]),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(ports["http"]),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_WORKING_DIR": str(directory / "data"),
        }
        ready = f"http://127.0.0.1:{ports['http']}/healthz"
        return Launch((program, "serve"), environment, ready)

    with running(directory, launch):
        yield Phoenix(f"http://127.0.0.1:{ports['http']}", f"http://127.0.0.1:{ports['grpc']}")


def run(phoenix: Phoenix, directory: Path, project: str, source: str) -> programs.Finished:
    """Run a program text zero-code with the settings of the page."""
    script = programs.write_program(directory, source)
    return programs.run(script, phoenix.settings(project), zero_code=True)


# --- What ran ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_example_arrives(phoenix: Phoenix, protocol: str) -> None:
    """The research agent is one tree of chains, with what went in and what came out."""
    project = f"agent-{protocol[:4]}"
    settings = phoenix.settings(project, protocol)

    done = programs.run(backend_programs.AGENT, settings, zero_code=True)

    assert (done.exit_code, done.stderr) == (0, "")
    spans = phoenix.wait_for(project, len(backend_programs.AGENT_OUTLINE))
    assert outline(spans) == backend_programs.AGENT_OUTLINE
    assert {span.kind for span in spans} == {"CHAIN"}
    assert {span.status for span in spans} == {"UNSET"}
    root = one(spans, "invoke_workflow DecideFlow")
    assert json.loads(root.text("output.value"))["answer"] == backend_programs.AGENT_ANSWER
    assert root.strings("pocketflow.flow.path")[-2:] == ["Decide", "Answer"]
    told = node_called(phoenix.project(project), "Answer")
    assert told["input"]["mimeType"] == told["output"]["mimeType"] == "json"
    assert json.loads(told["output"]["value"]) == backend_programs.AGENT_ANSWER


def test_the_pages_code_sends(phoenix: Phoenix, tmp_path: Path) -> None:
    """The set-up that the page shows for programs works as it stands there."""
    code = PAGE.code({"http://localhost:6006": phoenix.url, "my-agent": "in-code"})

    done = programs.run(programs.write_program(tmp_path, code + sample_programs.TINY))

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    spans = phoenix.wait_for("in-code", len(sample_programs.TINY_OUTLINE))
    assert outline(spans) == sample_programs.TINY_OUTLINE


def test_batches_retries_and_nested_flows_arrive(phoenix: Phoenix, tmp_path: Path) -> None:
    """Items and attempts stand under their nodes, and only the attempts that failed are errors."""
    run(phoenix, tmp_path, "research", sample_programs.RESEARCH)

    spans = phoenix.wait_for("research", len(sample_programs.RESEARCH_OUTLINE))
    assert outline(spans) == sample_programs.RESEARCH_OUTLINE
    failed = [span.name for span in spans if span.status == "ERROR"]
    assert sorted(failed) == ["Answer attempt", "Answer attempt", "Search attempt"]
    # Of a trace, Phoenix counts these, too.
    root = node_called(phoenix.project("research"), "invoke_workflow Research")
    assert root["trace"]["errorCount"] == 3


def test_filters_find_what_is_ours(phoenix: Phoenix, tmp_path: Path) -> None:
    """The filter of the page finds the nodes that went a certain way."""
    run(phoenix, tmp_path, "filtered", sample_programs.RESEARCH)
    phoenix.wait_for("filtered", len(sample_programs.RESEARCH_OUTLINE))

    told = phoenix.project("filtered", 'attributes["pocketflow"]["node"]["next"] == "Answer"')

    assert [node["name"] for node in nodes(told["spans"])] == ["Decide"]


def test_a_failure_arrives(phoenix: Phoenix, tmp_path: Path) -> None:
    """What an exception left is an error with its class; the innermost span tells the traceback."""
    done = run(phoenix, tmp_path, "failing", sample_programs.FAILING)

    assert done.exit_code == 1
    spans = phoenix.wait_for("failing", len(sample_programs.FAILING_OUTLINE))
    assert outline(spans) == sample_programs.FAILING_OUTLINE
    assert {span.name: (span.status, span.status_message) for span in spans} == {
        "Fetch": ("UNSET", ""),
        **dict.fromkeys(
            ("invoke_workflow Etl", "invoke_workflow Transform", "Parse", "Parse attempt"),
            ("ERROR", "ValueError"),
        ),
    }
    with_events = [(span.name, event) for span in spans for event in span.events]
    assert [name for name, _ in with_events] == ["Parse attempt"] * 2
    for _, event in with_events:
        assert event.attributes["exception.message"] == (
            "invalid literal for int() with base 10: 'x'"
        )
        assert "[int(row) for row in rows]" in str(event.attributes["exception.stacktrace"])


def test_content_can_stay_at_home(phoenix: Phoenix, tmp_path: Path) -> None:
    """With content off, the tree arrives and no word of the data does."""
    script = programs.write_program(tmp_path, sample_programs.RESEARCH)
    off = {"OTEL_PYTHON_POCKETFLOW_CONTENT": "off"}

    programs.run(script, {**phoenix.settings("off"), **off}, zero_code=True)

    spans = phoenix.wait_for("off", len(sample_programs.RESEARCH_OUTLINE))
    assert not any("input.value" in span.attributes for span in spans)
    assert "fact 2" not in repr(spans)


# --- What it cost -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Mail:
    """A run of the support mail: what Phoenix has of it, and what the model served."""

    spans: list[ReceivedSpan]
    told: typing.Any
    served: list[Served]
    done: programs.Finished


@pytest.fixture(scope="module")
def mail(phoenix: Phoenix, tmp_path_factory: pytest.TempPathFactory) -> Mail:
    """The support mail, every span in a request of its own: sums must not depend on batches."""
    script = programs.write_program(tmp_path_factory.mktemp("mail"), backend_programs.MAIL)
    with Providers() as model:
        env = {
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
            "POCKETFLOW_EXAMPLES_MODEL": backend_programs.MAIL_MODEL,
        }
        done = programs.run(script, {**phoenix.settings("mail"), **env}, zero_code=True)
        served = model.served
    spans = phoenix.wait_for("mail", len(backend_programs.MAIL_OUTLINE))
    # Costs are reckoned a moment after the spans are stored.
    wait_until(lambda: _priced(phoenix.project("mail")) == len(served), "all calls have a price")
    return Mail(spans, phoenix.project("mail"), served, done)


def _priced(told: typing.Any) -> int:
    return sum(node["costSummary"] is not None for node in nodes(told["spans"]))


def test_model_calls_are_told_from_the_rest(mail: Mail) -> None:
    """The client's spans, under attempts and nodes, are the model's; all others are chains."""
    assert (mail.done.exit_code, mail.done.stderr) == (0, "")
    assert outline(mail.spans) == backend_programs.MAIL_OUTLINE
    assert {(span.name.split()[0] == "chat", span.kind) for span in mail.spans} == {
        (True, "LLM"), (False, "CHAIN"),
    }  # fmt: skip


def test_tokens_and_cost_are_those_that_were_served(mail: Mail) -> None:
    """Phoenix's sums for the project and for the flow are what the provider would bill."""
    read = sum(answer.input_tokens for answer in mail.served)
    written = sum(answer.output_tokens for answer in mail.served)
    price = float(list_price(mail.served))

    assert mail.told["tokenCountPrompt"] == read
    assert mail.told["tokenCountCompletion"] == written
    assert mail.told["tokenCountTotal"] == read + written
    assert mail.told["costSummary"]["total"]["cost"] == pytest.approx(price, rel=1e-9)
    flow = node_called(mail.told, "invoke_workflow ClassifyFlow")
    assert flow["cumulativeTokenCountPrompt"] == read
    assert flow["cumulativeTokenCountCompletion"] == written
    ours = one(mail.spans, "invoke_workflow ClassifyFlow").attributes
    assert ours["pocketflow.usage.cost"] == pytest.approx(price, rel=1e-9)
    assert ours["pocketflow.usage.wasted.calls"] == 3


def test_each_call_is_under_the_node_that_made_it(mail: Mail) -> None:
    """A node's share in Phoenix is what its own calls used; spans that made none have no count."""
    counts = {
        node["spanId"]: node["cumulativeTokenCountPrompt"] for node in nodes(mail.told["spans"])
    }
    tokens = iter([answer.input_tokens for answer in mail.served])
    in_attempts = sum(itertools.islice(tokens, 3))

    assert counts[one(mail.spans, "Classify").span_id] == in_attempts
    drafts, checks = in_order(mail.spans, "Draft"), in_order(mail.spans, "Check")
    for pair in zip(drafts, checks, strict=True):
        assert [counts[span.span_id] for span in pair] == [next(tokens), next(tokens)]
    assert counts[one(mail.spans, "HandOver").span_id] == 0


def test_messages_are_shown_where_the_client_tells_them(mail: Mail) -> None:
    """With the variable of the page, a call has the messages that Phoenix draws as a chat."""
    for call in in_order(mail.spans, "chat gpt-4o-mini"):
        assert call.attributes["llm.input_messages.0.message.role"] == "user"
        assert call.attributes["llm.output_messages.0.message.role"] == "assistant"
        assert TEXT in repr(
            [call.attributes[key] for key in call.attributes if "output_messages" in key]
        )


def test_whose_run_it_was(mail: Mail) -> None:
    """Session, user and metadata of `conversation` are Phoenix's own, with the session's sums."""
    (session,) = nodes(mail.told["sessions"])
    assert (session["sessionId"], session["userId"], session["numTraces"]) == ("s-7", "u-9", 1)
    assert session["tokenUsage"]["prompt"] == mail.told["tokenCountPrompt"]
    assert json.loads(session["firstInput"]["value"])["remarks"] == []
    assert len(json.loads(session["lastOutput"]["value"])["remarks"]) == 2
    assert {node["userId"] for node in nodes(mail.told["spans"])} == {"u-9"}
    assert {node["metadata"] for node in nodes(mail.told["spans"])} == {'{"plan": "pro"}'}
    assert {tuple(span.strings("tag.tags")) for span in mail.spans} == {("beta",)}


def test_the_resource_is_not_shown(mail: Mail) -> None:
    """As the page says, git and process are nowhere to be found."""
    keys = {key for span in mail.spans for key in span.attributes}
    assert not [key for key in keys if key.startswith(("vcs.", "process.", "os."))]


def test_calls_that_only_the_program_tells_of(phoenix: Phoenix, tmp_path: Path) -> None:
    """`record_usage` makes attempts and nodes model calls, with all their tokens' parts."""
    done = run(phoenix, tmp_path, "counted", backend_programs.COUNTED)

    assert (done.exit_code, done.stderr) == (0, "")
    spans = phoenix.wait_for("counted", len(backend_programs.COUNTED_OUTLINE))
    assert outline(spans) == backend_programs.COUNTED_OUTLINE
    kinds = [(span.name, span.kind) for span in sorted(spans, key=lambda span: span.start)]
    assert kinds == [
        ("invoke_workflow Ask", "CHAIN"),
        ("Plan", "CHAIN"),
        ("Plan attempt", "LLM"),
        ("Plan attempt", "LLM"),
        ("Sum", "LLM"),
    ]
    wait_until(lambda: _priced(phoenix.project("counted")) == 3, "all calls have a price")
    told = phoenix.project("counted")
    assert told["tokenCountPrompt"] == backend_programs.COUNTED_TOKENS["input"]
    assert told["tokenCountCompletion"] == backend_programs.COUNTED_TOKENS["output"]
    cost = told["costSummary"]["total"]["cost"]
    assert cost == pytest.approx(float(backend_programs.COUNTED_COST), rel=1e-9)
    assert json.loads(node_called(told, "Sum")["output"]["value"]) == ["Paris"]

"""MLflow's tracking server, really run: what its REST interface tells of PocketFlow programs.

Needs the executable `mlflow` (the distribution of that name) on PATH, or in the folder that the
environment variable `POCKETFLOW_STACK_BACKENDS` names, the `bin` of a virtual environment that has
it; else these tests are skipped. What a program is told comes from `docs/backends/mlflow.md`.
"""

from __future__ import annotations

import json
import typing
import urllib.parse
from dataclasses import dataclass

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support import backend_programs, programs, sample_programs
from support.backends import Launch, Page, executable, post, running
from support.collector import free_port
from support.list_prices import list_price
from support.providers import TEXT, Providers
from support.received import ReceivedSpan, decode, in_order, one, outline, values
from support.stack import get, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.providers import Served

PAGE = Page("mlflow.md")

TYPE = "mlflow.spanType"
INPUTS = "mlflow.spanInputs"
OUTPUTS = "mlflow.spanOutputs"
USED = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"


@dataclass(frozen=True)
class ShownTrace:
    """A trace as MLflow has it: what it says about the whole, and its spans as OTLP."""

    info: typing.Any
    spans: list[ReceivedSpan]

    def said(self, key: str) -> typing.Any:
        """Return a part of the trace's metadata, which are JSON texts."""
        return json.loads(self.info["trace_metadata"][key])

    def types(self) -> dict[str, set[str]]:
        """Return the types that spans of each name have."""
        return {
            name: {span.text(TYPE) for span in in_order(self.spans, name)}
            for name in {span.name for span in self.spans}
        }


@dataclass(frozen=True)
class Mlflow:
    """A running tracking server: experiments, and what it tells of their traces."""

    url: str

    def experiment(self, name: str) -> str:
        """Make an experiment and return its id."""
        made = post(f"{self.url}/api/2.0/mlflow/experiments/create", {"name": name})
        experiment_id: str = made["experiment_id"]
        return experiment_id

    def settings(self, experiment_id: str) -> dict[str, str]:
        """Return what its page tells a program to set, with address and experiment put in."""
        header = "x-mlflow-experiment-id="
        texts = {"http://localhost:5000": self.url, f"{header}0": f"{header}{experiment_id}"}
        return PAGE.settings(texts)

    def infos(self, experiment_id: str, condition: str = "") -> list[typing.Any]:
        """Search an experiment's traces, as MLflow's own pages do."""
        place = {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": experiment_id},
        }
        asked = {"locations": [place], "filter": condition, "max_results": 10}
        answer = post(f"{self.url}/api/3.0/mlflow/traces/search", asked)
        found: list[typing.Any] = answer.get("traces", [])
        return found

    def trace(self, experiment_id: str) -> ShownTrace:
        """Return the one trace of an experiment."""
        (info,) = self.infos(experiment_id)
        asked = urllib.parse.urlencode({"trace_ids": info["trace_id"]})
        answer = get(f"{self.url}/api/3.0/mlflow/traces/batchGet?{asked}").json()
        request = ParseDict(
            {"resource_spans": [{"scope_spans": [{"spans": answer["traces"][0]["spans"]}]}]},
            ExportTraceServiceRequest(),
            ignore_unknown_fields=True,
        )
        return ShownTrace(info, decode(request))

    def wait_for(self, experiment_id: str, spans: int) -> ShownTrace:
        """Return the one trace of an experiment, once it has as many spans.

        Raises:
            StackError: They did not come in time.
        """
        wait_until(
            lambda: self.infos(experiment_id) and len(self.trace(experiment_id).spans) >= spans,
            f"{spans} spans in experiment {experiment_id}",
        )
        return self.trace(experiment_id)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """One tracking server for all tests here; each program has an experiment of its own."""
    program = executable("mlflow")
    directory = tmp_path_factory.mktemp("mlflow")
    ports: list[int] = []

    def launch() -> Launch:
        port = free_port()
        ports.append(port)
        command = (
            program,
            "server",
            "--host=127.0.0.1",
            f"--port={port}",
            "--workers=1",
            f"--backend-store-uri=sqlite:///{directory / 'mlflow.db'}",
            f"--default-artifact-root={directory / 'artifacts'}",
        )
        environment = {
            "DO_NOT_TRACK": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Its background jobs judge traces by models: processes that no test needs.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        return Launch(command, environment, f"http://127.0.0.1:{port}/health")

    with running(directory, launch):
        yield Mlflow(f"http://127.0.0.1:{ports[-1]}")


def run(mlflow: Mlflow, directory: Path, experiment_id: str, source: str) -> programs.Finished:
    """Run a program text zero-code with the settings of the page."""
    script = programs.write_program(directory, source)
    return programs.run(script, mlflow.settings(experiment_id), zero_code=True)


# --- What ran ---------------------------------------------------------------------------------


def test_an_example_arrives(mlflow: Mlflow) -> None:
    """The research agent is one tree of chains, whose request and response are the store's."""
    experiment_id = mlflow.experiment("agent")

    done = programs.run(backend_programs.AGENT, mlflow.settings(experiment_id), zero_code=True)

    assert (done.exit_code, done.stderr) == (0, "")
    trace = mlflow.wait_for(experiment_id, len(backend_programs.AGENT_OUTLINE))
    assert outline(trace.spans) == backend_programs.AGENT_OUTLINE
    assert set(values(trace.spans, TYPE)) == {"CHAIN"}
    assert trace.info["state"] == "OK"
    assert json.loads(trace.info["request_preview"])["notes"] == []
    assert json.loads(trace.info["response_preview"])["answer"] == backend_programs.AGENT_ANSWER
    assert one(trace.spans, "Answer").attributes[OUTPUTS] == backend_programs.AGENT_ANSWER
    root = one(trace.spans, "invoke_workflow DecideFlow")
    assert root.strings("pocketflow.flow.path")[-2:] == ["Decide", "Answer"]


def test_the_pages_code_sends(mlflow: Mlflow, tmp_path: Path) -> None:
    """The set-up that the page shows for programs works as it stands there."""
    experiment_id = mlflow.experiment("in code")
    texts = {
        "http://localhost:5000": mlflow.url,
        '"x-mlflow-experiment-id": "0"': f'"x-mlflow-experiment-id": "{experiment_id}"',
    }
    source = PAGE.code(texts) + sample_programs.TINY

    done = programs.run(programs.write_program(tmp_path, source))

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    trace = mlflow.wait_for(experiment_id, len(sample_programs.TINY_OUTLINE))
    assert outline(trace.spans) == sample_programs.TINY_OUTLINE


@pytest.mark.parametrize(
    ("header", "code"), [("x-mlflow-experiment-id=987654", 404), ("other=1", 422)]
)
def test_a_wrong_experiment_is_refused(
    mlflow: Mlflow, tmp_path: Path, header: str, code: int
) -> None:
    """As the page says, spans for no experiment are refused; the program runs on."""
    script = programs.write_program(tmp_path, sample_programs.TINY)
    settings = {**mlflow.settings("0"), "OTEL_EXPORTER_OTLP_HEADERS": header}

    done = programs.run(script, settings, zero_code=True)

    assert done.outcome == ("{'greeting': 'hello'}\n", 0)
    assert f"Failed to export spans batch code: {code}" in done.stderr


def test_batches_retries_and_nested_flows_arrive(mlflow: Mlflow, tmp_path: Path) -> None:
    """Items and attempts stand under their nodes; a trace that recovered is no error."""
    experiment_id = mlflow.experiment("research")
    run(mlflow, tmp_path, experiment_id, sample_programs.RESEARCH)

    trace = mlflow.wait_for(experiment_id, len(sample_programs.RESEARCH_OUTLINE))
    assert outline(trace.spans) == sample_programs.RESEARCH_OUTLINE
    failed = [span.name for span in trace.spans if span.status == "ERROR"]
    assert sorted(failed) == ["Answer attempt", "Answer attempt", "Search attempt"]
    assert trace.info["state"] == "OK"
    assert one(trace.spans, "Answer").attributes[INPUTS] == ["fact 2", "fact 3"]
    items = in_order(trace.spans, "Translate item")
    assert {str(item.attributes[OUTPUTS])[:3] for item in items} == {"DE:", "FR:", "IT:"}


def test_a_failure_arrives(mlflow: Mlflow, tmp_path: Path) -> None:
    """What an exception left is an error with its class; the innermost span tells the traceback."""
    experiment_id = mlflow.experiment("failing")
    done = run(mlflow, tmp_path, experiment_id, sample_programs.FAILING)

    assert done.exit_code == 1
    trace = mlflow.wait_for(experiment_id, len(sample_programs.FAILING_OUTLINE))
    assert outline(trace.spans) == sample_programs.FAILING_OUTLINE
    assert trace.info["state"] == "ERROR"
    assert {span.name: (span.status, span.status_message) for span in trace.spans} == {
        "Fetch": ("UNSET", ""),
        **dict.fromkeys(
            ("invoke_workflow Etl", "invoke_workflow Transform", "Parse", "Parse attempt"),
            ("ERROR", "ValueError"),
        ),
    }
    with_events = [(span.name, event) for span in trace.spans for event in span.events]
    assert [name for name, _ in with_events] == ["Parse attempt"] * 2
    for _, event in with_events:
        assert event.attributes["exception.message"] == (
            "invalid literal for int() with base 10: 'x'"
        )
        assert "[int(row) for row in rows]" in str(event.attributes["exception.stacktrace"])


def test_content_can_stay_at_home(mlflow: Mlflow, tmp_path: Path) -> None:
    """With content off, the tree arrives and no word of the data does."""
    experiment_id = mlflow.experiment("off")
    script = programs.write_program(tmp_path, sample_programs.RESEARCH)
    off = {"OTEL_PYTHON_POCKETFLOW_CONTENT": "off"}

    programs.run(script, {**mlflow.settings(experiment_id), **off}, zero_code=True)

    trace = mlflow.wait_for(experiment_id, len(sample_programs.RESEARCH_OUTLINE))
    assert not any(INPUTS in span.attributes for span in trace.spans)
    assert "fact 2" not in repr(trace)


# --- What it cost -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Mail:
    """A run of the support mail: what MLflow has of it, and what the model served."""

    experiment_id: str
    trace: ShownTrace
    served: list[Served]
    done: programs.Finished


@pytest.fixture(scope="module")
def mail(mlflow: Mlflow, tmp_path_factory: pytest.TempPathFactory) -> Mail:
    """The support mail, every span in a request of its own: sums must not depend on batches."""
    experiment_id = mlflow.experiment("mail")
    script = programs.write_program(tmp_path_factory.mktemp("mail"), backend_programs.MAIL)
    with Providers() as model:
        env = {
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
            # As the package finds git where a program runs in a repository.
            "OTEL_RESOURCE_ATTRIBUTES": "vcs.ref.head.name=feature-7",
            "POCKETFLOW_EXAMPLES_MODEL": backend_programs.MAIL_MODEL,
        }
        done = programs.run(script, {**mlflow.settings(experiment_id), **env}, zero_code=True)
        served = model.served
    trace = mlflow.wait_for(experiment_id, len(backend_programs.MAIL_OUTLINE))
    return Mail(experiment_id, trace, served, done)


def test_model_calls_are_told_from_the_rest(mail: Mail) -> None:
    """The client's spans, under attempts and nodes, are the model's; all others are chains."""
    assert (mail.done.exit_code, mail.done.stderr) == (0, "")
    assert outline(mail.trace.spans) == backend_programs.MAIL_OUTLINE
    types = mail.trace.types()
    assert types.pop("chat gpt-4o-mini") == {"CHAT_MODEL"}
    assert set(map(tuple, types.values())) == {("CHAIN",)}


def test_tokens_and_cost_are_those_that_were_served(mail: Mail) -> None:
    """MLflow's sums for the trace are what the provider would bill, and what our flow says."""
    read = sum(answer.input_tokens for answer in mail.served)
    written = sum(answer.output_tokens for answer in mail.served)
    price = float(list_price(mail.served))

    used = mail.trace.said("mlflow.trace.tokenUsage")
    assert used["input_tokens"] == read
    assert used["output_tokens"] == written
    assert used["total_tokens"] == read + written
    assert used["cache_read_input_tokens"] == sum(a.cached_tokens or 0 for a in mail.served)
    cost = mail.trace.said("mlflow.trace.cost")["total_cost"]
    assert cost == pytest.approx(price, rel=1e-9)
    ours = one(mail.trace.spans, "invoke_workflow ClassifyFlow").attributes
    assert ours["pocketflow.usage.cost"] == pytest.approx(price, rel=1e-9)


def test_only_calls_have_tokens(mail: Mail) -> None:
    """Each call tells its own tokens to MLflow, and no other span does."""
    calls = [span for span in mail.trace.spans if USED in span.attributes]
    in_turn = in_order(calls, "chat gpt-4o-mini")
    assert len(in_turn) == len(calls)
    told = [typing.cast("dict[str, int]", span.attributes[USED]) for span in in_turn]
    assert [tokens["input_tokens"] for tokens in told] == [a.input_tokens for a in mail.served]
    assert [tokens["output_tokens"] for tokens in told] == [a.output_tokens for a in mail.served]


def test_messages_are_shown_where_the_client_tells_them(mail: Mail) -> None:
    """With the variable of the page, a call's inputs and outputs are its messages."""
    for call in in_order(mail.trace.spans, "chat gpt-4o-mini"):
        assert "Reply" in repr(call.attributes[INPUTS])
        assert TEXT in repr(call.attributes[OUTPUTS])


def test_whose_run_it_was(mlflow: Mlflow, mail: Mail) -> None:
    """Session and user of `conversation` are MLflow's own, and the trace is found by them."""
    metadata = mail.trace.info["trace_metadata"]
    assert metadata["mlflow.trace.session"] == "s-7"
    assert metadata["mlflow.trace.user"] == "u-9"
    by_session = "metadata.`mlflow.trace.session` = 's-7'"
    assert len(mlflow.infos(mail.experiment_id, by_session)) == 1
    assert mlflow.infos(mail.experiment_id, by_session.replace("s-7", "s-8")) == []
    assert {tuple(span.strings("tag.tags")) for span in mail.trace.spans} == {("beta",)}


def test_the_resource_is_tags_of_the_trace(mlflow: Mlflow, mail: Mail) -> None:
    """Git and process can be searched by, as the page says."""
    tags = mail.trace.info["tags"]
    assert tags["vcs.ref.head.name"] == "feature-7"
    assert tags["pocketflow.version"]
    by_branch = "tag.`vcs.ref.head.name` = 'feature-7'"
    assert len(mlflow.infos(mail.experiment_id, by_branch)) == 1
    assert mlflow.infos(mail.experiment_id, by_branch.replace("feature-7", "main")) == []


def test_calls_that_only_the_program_tells_of(mlflow: Mlflow, tmp_path: Path) -> None:
    """`record_usage` makes attempts and nodes model calls, with all their tokens' parts."""
    experiment_id = mlflow.experiment("counted")
    done = run(mlflow, tmp_path, experiment_id, backend_programs.COUNTED)

    assert (done.exit_code, done.stderr) == (0, "")
    trace = mlflow.wait_for(experiment_id, len(backend_programs.COUNTED_OUTLINE))
    assert outline(trace.spans) == backend_programs.COUNTED_OUTLINE
    assert trace.types() == {
        "invoke_workflow Ask": {"CHAIN"},
        "Plan": {"CHAIN"},
        "Plan attempt": {"LLM"},
        "Sum": {"LLM"},
    }
    used = trace.said("mlflow.trace.tokenUsage")
    told = {"input": "input_tokens", "output": "output_tokens", "cached": "cache_read_input_tokens"}
    assert {name: used[key] for name, key in told.items()} == backend_programs.COUNTED_TOKENS
    cost = trace.said("mlflow.trace.cost")["total_cost"]
    assert cost == pytest.approx(float(backend_programs.COUNTED_COST), rel=1e-9)
    assert COST in one(trace.spans, "Sum").attributes
    assert one(trace.spans, "Sum").attributes[OUTPUTS] == ["Paris"]

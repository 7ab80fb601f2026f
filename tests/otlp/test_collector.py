"""What PocketFlow programs emit, as a real collector received it: two protocols, two set-ups."""

from __future__ import annotations

import itertools
import json
import typing
from dataclasses import dataclass

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.version import __version__
from support import programs, sample_programs
from support.collector import Collector, running_collector
from support.received import ReceivedSpan, common, in_order, one, outline, values

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Setup:
    """One way in which a program comes to send its spans to a collector."""

    zero_code: bool
    protocol: str

    def __str__(self) -> str:
        return f"{'zero' if self.zero_code else 'in'} code, {self.protocol}"

    def run(
        self,
        directory: Path,
        source: str,
        collector: Collector,
        env: Mapping[str, str] | None = None,
    ) -> programs.Finished:
        """Run `source` traced, in `directory`."""
        endpoint = collector.endpoint(self.protocol)
        variables = programs.otlp_environment(endpoint, self.protocol) | dict(env or {})
        if not self.zero_code:
            source = programs.in_code(source, self.protocol)
        script = programs.write_program(directory, source)
        return programs.run(script, variables, zero_code=self.zero_code)


SETUPS = [
    Setup(zero_code, protocol)
    for zero_code in (False, True)
    for protocol in ("http/protobuf", "grpc")
]
"""Both ways to instrument, over both protocols."""


@dataclass(frozen=True)
class ResearchRun:
    """A plain and a traced run of `RESEARCH`, and all that the collector received of the latter."""

    plain: programs.Finished
    traced: programs.Finished
    spans: list[ReceivedSpan]


@pytest.fixture(scope="module", params=SETUPS, ids=str)
def research(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ResearchRun:
    """The agent, run once for each set-up: the tests below look at one run from many sides."""
    setup: Setup = request.param
    directory = tmp_path_factory.mktemp("research")
    with running_collector(directory) as collector:
        plain = _plain(directory / "plain", sample_programs.RESEARCH)
        traced = setup.run(directory / "traced", sample_programs.RESEARCH, collector)
        return ResearchRun(plain, traced, collector.drain())


@pytest.fixture(params=SETUPS, ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    """Each set-up, for a test with a program of its own."""
    chosen: Setup = request.param
    return chosen


@pytest.fixture(params=[False, True], ids=["in code", "zero code"])
def http_setup(request: pytest.FixtureRequest) -> Setup:
    """Both ways to instrument, for what cannot depend on the protocol."""
    return Setup(request.param, "http/protobuf")


def _plain(directory: Path, source: str) -> programs.Finished:
    return programs.run(programs.write_program(directory, source))


def _exceptions(spans: list[ReceivedSpan]) -> list[tuple[str, object, object]]:
    """Return (span name, exception type, exception message) of each exception event, in order."""
    ordered = sorted(spans, key=lambda span: span.start)
    return [
        (span.name, event.attributes["exception.type"], event.attributes["exception.message"])
        for span in ordered
        for event in span.events_named("exception")
    ]


def test_the_program_runs_as_without_tracing(research: ResearchRun) -> None:
    """A traced agent prints what it prints alone, ends with its exit code, warns of nothing."""
    assert research.plain.exit_code == 0, research.plain.stderr
    assert research.plain.stdout.startswith("done {")
    assert research.traced.outcome == research.plain.outcome
    assert research.traced.stderr == research.plain.stderr


def test_the_whole_tree_arrives(research: ResearchRun) -> None:
    """Each node, attempt, item and nested flow is one span under its parent, in one trace."""
    spans = research.spans

    assert outline(spans) == sample_programs.RESEARCH_OUTLINE
    assert len({span.trace_id for span in spans}) == 1
    assert {span.kind for span in spans} == {"INTERNAL"}
    assert {(span.scope_name, span.scope_version) for span in spans} == {
        (semconv.SCOPE_NAME, __version__)
    }
    assert {span.schema_url for span in spans} == {semconv.SCHEMA_URL}
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_span_id or "")
        assert span.start <= span.end
        assert parent is None or parent.start <= span.start <= span.end <= parent.end


def test_a_flow_says_what_it_is_and_where_it_went(research: ResearchRun) -> None:
    """A flow's span holds its name, its code, its graph and the path that this run took."""
    flow = one(research.spans, "invoke_workflow Research")

    assert flow.attributes[semconv.GEN_AI_OPERATION_NAME] == "invoke_workflow"
    assert flow.attributes[semconv.GEN_AI_WORKFLOW_NAME] == "Research"
    assert flow.attributes[semconv.OPENINFERENCE_SPAN_KIND] == "CHAIN"
    assert flow.attributes[semconv.SPAN_KIND] == "flow"
    assert flow.attributes[semconv.NODE_CLASS] == "Research"
    assert flow.attributes[semconv.NODE_BASE] == "AsyncFlow"
    assert flow.attributes[semconv.CODE_FUNCTION_NAME] == "__main__.Research"
    assert flow.text(semconv.CODE_FILE_PATH).endswith("main.py")
    assert flow.strings(semconv.FLOW_PATH) == [
        "Decide", "Search", "Decide", "Search", "Decide", "Answer", "Review", "Translate",
    ]  # fmt: skip
    assert flow.attributes[semconv.FLOW_NODE_RUNS] == 8
    graph = json.loads(flow.text(semconv.GRAPH))
    assert graph["start"] == "Decide"
    assert sorted(graph["nodes"]) == ["Answer", "Decide", "Review", "Search", "Translate"]
    assert sorted(graph["edges"]) == [
        ["Answer", "default", "Review"],
        ["Decide", "answer", "Answer"],
        ["Decide", "search", "Search"],
        ["Review", "default", "Translate"],
        ["Search", "decide", "Decide"],
    ]
    assert len(flow.text(semconv.GRAPH_HASH)) == 16


def test_a_nested_flow_is_a_step_of_the_outer_one(research: ResearchRun) -> None:
    """The one span of a nested flow holds both its own path and its place in the outer flow."""
    nested = one(research.spans, "invoke_workflow Review")

    assert nested.strings(semconv.FLOW_PATH) == ["Count", "Check"]
    assert nested.attributes[semconv.GEN_AI_WORKFLOW_NAME] == "Review"
    assert nested.attributes[semconv.NODE_ID] == "Review"
    assert nested.attributes[semconv.NODE_ITERATION] == 1
    assert nested.attributes[semconv.NODE_ACTION] == "default"
    assert nested.attributes[semconv.NODE_NEXT] == "Translate"


def test_a_node_says_which_way_it_sent_the_flow(research: ResearchRun) -> None:
    """Each visit of a node in a loop has its number, its action and the node that followed."""
    spans = research.spans

    visits = in_order(spans, "Decide")
    assert values(visits, semconv.NODE_ITERATION) == [1, 2, 3]
    assert values(visits, semconv.NODE_ACTION) == [
        "search", "search", "answer",
    ]  # fmt: skip
    assert values(visits, semconv.NODE_NEXT) == [
        "Search", "Search", "Answer",
    ]  # fmt: skip
    assert common(visits, semconv.NODE_ID) == "Decide"
    assert common(visits, semconv.NODE_BASE) == "Node"
    assert common(visits, semconv.SPAN_KIND) == "node"
    assert isinstance(common(visits, semconv.CODE_LINE_NUMBER), int)
    for visit, phase in itertools.product(visits, ("prep", "exec", "post")):
        seconds = visit.attributes[f"pocketflow.node.{phase}.duration"]
        assert isinstance(seconds, float), phase
        assert 0 <= seconds <= (visit.end - visit.start) / 1e9
    assert not any(key.startswith("gen_ai.") for visit in visits for key in visit.attributes)
    last = one(spans, "Translate")
    assert last.attributes[semconv.NODE_ACTION] == "done"
    assert semconv.NODE_NEXT not in last.attributes
    assert last.attributes.get(semconv.NODE_DEAD_END) in (None, False)


def test_what_a_node_saw_and_wrote_arrives(research: ResearchRun) -> None:
    """Inputs, outputs and the change of the shared store come as JSON that can be read again."""
    spans = research.spans

    first = in_order(spans, "Search")[0]
    assert first.strings(semconv.SHARED_CHANGED) == ["facts"]
    (change,) = json.loads(first.text(semconv.SHARED_DIFF))
    assert (change["op"], change["value"], change["phase"]) == ("add", "fact 2", "post")
    assert change["path"] in ("/facts/0", "/facts/-")
    answer = one(spans, "Answer")
    assert json.loads(answer.text(semconv.INPUT_VALUE)) == ["fact 2", "fact 3"]
    assert json.loads(answer.text(semconv.OUTPUT_VALUE)) == "fact 2 and fact 3"
    assert answer.attributes[semconv.INPUT_MIME_TYPE] == "application/json"
    assert answer.attributes[semconv.OUTPUT_MIME_TYPE] == "application/json"
    root = one(spans, "invoke_workflow Research")
    assert json.loads(root.text(semconv.SHARED_INITIAL)) == {"question": "why?", "facts": []}


def test_retries_and_a_fallback_arrive(research: ResearchRun) -> None:
    """A failed attempt is an error with its exception; the node that recovered is none."""
    spans = research.spans

    assert _exceptions(spans) == [
        ("Search attempt", "ConnectionError", "search is busy"),
        ("Answer attempt", "TimeoutError", "model overloaded"),
        ("Answer attempt", "TimeoutError", "model overloaded"),
    ]
    assert {span.name for span in spans if span.status == "ERROR"} == {
        "Search attempt", "Answer attempt",
    }  # fmt: skip
    attempts = in_order(spans, "Search attempt")
    assert values(attempts, semconv.ATTEMPT_NUMBER) == [1, 2, 1]
    assert values(attempts, semconv.ERROR_TYPE) == [
        "ConnectionError", None, None,
    ]  # fmt: skip
    searches = in_order(spans, "Search")
    assert values(searches, semconv.NODE_ATTEMPTS) == [2, 1]
    assert common(searches, semconv.NODE_MAX_RETRIES) == 3
    answer = one(spans, "Answer")
    assert answer.attributes[semconv.NODE_ATTEMPTS] == 2
    assert answer.attributes[semconv.NODE_FALLBACK] is True
    assert semconv.ERROR_TYPE not in answer.attributes


def test_batches_arrive(research: ResearchRun) -> None:
    """Items of a plain and of an async parallel batch are numbered, and their node counts them."""
    spans = research.spans

    for name, base, size in (("Count", "BatchNode", 2), ("Translate", "AsyncParallelBatchNode", 3)):
        node = one(spans, name)
        assert node.attributes[semconv.NODE_BASE] == base
        assert node.attributes[semconv.BATCH_SIZE] == size
        assert node.attributes[semconv.BATCH_ITEMS_TRACED] == size
        items = in_order(spans, f"{name} item")
        assert common(items, semconv.SPAN_KIND) == "item"
        indexes = values(items, semconv.ITEM_INDEX)
        assert sorted(indexes, key=str) == list(range(size))
    texts = [json.loads(span.text(semconv.OUTPUT_VALUE)) for span in items]
    assert sorted(texts) == [f"{language}: FACT 2 AND FACT 3" for language in ("DE", "FR", "IT")]


def test_an_exception_is_recorded_once(collector: Collector, setup: Setup, workdir: Path) -> None:
    """What leaves two flows is an event on the innermost span, and an error type on all of them."""
    plain = _plain(workdir / "plain", sample_programs.FAILING)
    traced = setup.run(workdir / "traced", sample_programs.FAILING, collector)

    spans = collector.drain()

    assert traced.outcome == plain.outcome == ("fetched\n", 1)
    assert traced.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]
    assert outline(spans) == sample_programs.FAILING_OUTLINE
    message = "invalid literal for int() with base 10: 'x'"
    assert _exceptions(spans) == [("Parse attempt", "ValueError", message)] * 2
    failed = [span for span in spans if span.status == "ERROR"]
    assert {span.name for span in failed} == {
        "invoke_workflow Etl", "invoke_workflow Transform", "Parse", "Parse attempt",
    }  # fmt: skip
    assert common(failed, semconv.ERROR_TYPE) == "ValueError"
    # Neither `post` nor a way on exists where `exec` failed.
    parse = one(spans, "Parse")
    for key in (semconv.POST_DURATION, semconv.NODE_ACTION, semconv.NODE_NEXT):
        assert key not in parse.attributes
    stacktrace = in_order(spans, "Parse attempt")[-1].events[0].attributes["exception.stacktrace"]
    assert "[int(row) for row in rows]" in str(stacktrace)
    assert "opentelemetry" not in str(stacktrace)


def test_a_node_that_ends_the_process(collector: Collector, setup: Setup, workdir: Path) -> None:
    """`sys.exit` in a node keeps its exit code; its spans arrive, cancelled and without error."""
    plain = _plain(workdir / "plain", sample_programs.LEAVING)
    traced = setup.run(workdir / "traced", sample_programs.LEAVING, collector)

    spans = collector.drain()

    assert traced.outcome == plain.outcome == ("leaving\n", 3)
    assert outline(spans) == ["invoke_workflow Main", "  Leave"]
    assert common(spans, semconv.OUTCOME) == "cancelled"
    assert {span.status for span in spans} == {"UNSET"}
    assert _exceptions(spans) == []


def test_instrumenting_twice_makes_no_second_span(collector: Collector, workdir: Path) -> None:
    """A program that instruments itself can be run under `opentelemetry-instrument` as well."""
    source = (
        "from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor\n"
        "PocketFlowInstrumentor().instrument()\n" + sample_programs.TINY
    )
    Setup(zero_code=True, protocol="http/protobuf").run(workdir, source, collector)

    assert outline(collector.drain()) == sample_programs.TINY_OUTLINE


def test_a_provider_that_is_not_the_global_one(collector: Collector, workdir: Path) -> None:
    """`instrument(tracer_provider=...)` sends to that provider alone, which the program flushes."""
    source = (
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "from opentelemetry.sdk.resources import Resource\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor\n"
        "provider = TracerProvider(resource=Resource({'service.name': 'its own'}))\n"
        "provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))\n"
        "PocketFlowInstrumentor().instrument(tracer_provider=provider)\n" + sample_programs.TINY
    )
    script = programs.write_program(workdir, source)
    env = programs.otlp_environment(collector.http_endpoint, "http/protobuf")

    done = programs.run(script, env)

    assert done.outcome == ("{'greeting': 'hello'}\n", 0), done.stderr
    spans = collector.drain()
    assert outline(spans) == sample_programs.TINY_OUTLINE
    assert all(span.resource["service.name"] == "its own" for span in spans)


def test_spans_of_the_program_itself_hang_in_the_tree(
    collector: Collector, http_setup: Setup, workdir: Path
) -> None:
    """A span around the run is the flow's parent, and one inside a node is the node's child."""
    source = (
        "from opentelemetry import trace\n"
        "tracer = trace.get_tracer('own')\n"
        + sample_programs.TINY.replace(
            "        shared[", "        tracer.start_span('inner').end()\n        shared["
        ).replace("Tiny(start", "with tracer.start_as_current_span('outer'):\n    Tiny(start")
    )
    if not http_setup.zero_code:
        source = source.replace("trace.get_tracer", "provider.get_tracer")
    done = http_setup.run(workdir, source, collector)

    assert done.exit_code == 0, done.stderr
    assert outline(collector.drain()) == [
        "outer",
        "  invoke_workflow Tiny",
        "    Greet",
        "      inner",
    ]


def test_the_distros_defaults_suffice(collector: Collector, workdir: Path) -> None:
    """With nothing set but the endpoint, `opentelemetry-instrument` sends by grpc, and it works."""
    script = programs.write_program(workdir, sample_programs.TINY)

    done = programs.run(
        script, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint}, zero_code=True
    )

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    assert outline(collector.drain()) == sample_programs.TINY_OUTLINE


@pytest.mark.parametrize(
    "switch",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": f"{programs.CLIENTS},pocketflow"},
    ],
    ids=["SDK off", "instrumentation off"],
)
def test_the_standard_switches_turn_it_off(
    collector: Collector, workdir: Path, switch: dict[str, str]
) -> None:
    """OpenTelemetry's own ways to say no are heard: the program runs and nothing is sent."""
    source = (
        sample_programs.TINY
        + "from opentelemetry import trace\ntrace.get_tracer('own').start_span('own').end()\n"
    )

    done = Setup(zero_code=True, protocol="grpc").run(workdir, source, collector, switch)

    assert (done.outcome, done.stderr) == (("{'greeting': 'hello'}\n", 0), "")
    own = [] if "OTEL_SDK_DISABLED" in switch else ["own"]
    assert outline(collector.drain()) == own

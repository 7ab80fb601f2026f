"""What flows record on meters: by name, attributes and value, whatever the sampler does."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard, record_usage
from opentelemetry.instrumentation.pocketflow.capture import execs, metering, routes, runs
from opentelemetry.instrumentation.pocketflow.capture.usage import ledger
from opentelemetry.instrumentation.pocketflow.emit import metrics, spans
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Program, act, note, traced, tracing

Points = list[tuple[dict[str, Any], Any]]


class Meters:
    """A real meter provider, and what was recorded on it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(
            [self.reader], exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        self._collected: dict[str, list[Any]] | None = None

    @property
    def collected(self) -> dict[str, list[Any]]:
        """The points of all metrics by name, collected when first asked for."""
        if self._collected is None:
            data = self.reader.get_metrics_data()
            self._collected = {
                metric.name: list(metric.data.data_points)
                for resource in (data.resource_metrics if data else ())
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
        return self._collected

    def forget(self) -> None:
        """Collects again when next asked."""
        self._collected = None

    def points(self, name: str) -> Points:
        """Attributes and value of each point; of a histogram, how many were recorded."""
        return [
            (
                dict(point.attributes),
                point.count if isinstance(point, HistogramDataPoint) else point.value,
            )
            for point in self.collected.get(name, [])
        ]

    def exemplars(self, name: str) -> list[int]:
        """The spans that the points of a metric lead to."""
        points = self.collected.get(name, [])
        return [exemplar.span_id for point in points for exemplar in point.exemplars]


@pytest.fixture
def meters() -> Meters:
    """Meters of its own for each test."""
    return Meters()


FLOW = "gen_ai.workflow.name"
NODE = "pocketflow.node.class"
ACTION = "pocketflow.node.action"
OUTCOME = "pocketflow.outcome"
MODEL = "gen_ai.request.model"
PROVIDER = "gen_ai.provider.name"
TYPE = "gen_ai.token.type"
NODES = "pocketflow.node.duration"
FLOWS = "gen_ai.invoke_workflow.duration"
ITEMS = "pocketflow.batch.items"
RUNS = "pocketflow.active_runs"


class First(Node):
    """Goes on."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """A wired action."""
        return "next"


class Second(Node):
    """Ends the flow with an action that nobody has wired."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Any text."""
        return "something a model said"


class Fails(Node):
    """Fails in every attempt."""

    def exec(self, prep_res: Any) -> Any:
        """The error."""
        record_usage(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=10)
        raise ValueError("no")


class Waits(AsyncNode):
    """Is cancelled while it waits."""

    async def exec_async(self, prep_res: Any) -> Any:
        """Waits for ever."""
        await asyncio.Event().wait()


def two_nodes() -> Any:
    """A flow of two nodes."""
    first = First()
    first - "next" >> Second()
    return Flow(start=first)


async def cancelled(stage: Any, node: Any) -> Any:
    """Runs a node or flow until it waits, and cancels it."""
    task = asyncio.create_task(stage.run_async(node))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- Runs -----------------------------------------------------------------------------------


def test_each_flow_and_node_is_timed(meters: Meters) -> None:
    """A wired action is named; what nobody wired may be any text, and is not."""
    traced(lambda stage: stage.run(two_nodes()), meter_provider=meters.provider)

    assert meters.points(FLOWS) == [({FLOW: "FirstFlow"}, 1)]
    assert meters.points(NODES) == [
        ({NODE: "First", FLOW: "FirstFlow", ACTION: "next"}, 1),
        ({NODE: "Second", FLOW: "FirstFlow", ACTION: "_OTHER"}, 1),
    ]


def test_durations_are_those_of_the_spans(meters: Meters) -> None:
    """In seconds: what the span of a node shows is what its meter shows."""
    trace = traced(lambda stage: stage.run(two_nodes()), meter_provider=meters.provider)

    (point,) = meters.collected[FLOWS]
    flow = trace.node("invoke_workflow FirstFlow")
    assert point.sum == pytest.approx((flow.end - flow.start) / 1e9, abs=0.01)


def test_a_node_that_runs_alone_is_in_no_flow(meters: Meters) -> None:
    """It has no flow to name; its default action is one that all have."""

    def program(stage: Any) -> Any:
        stage.run(Node())
        stage.run(Second())

    traced(program, meter_provider=meters.provider)

    assert meters.points(NODES) == [
        ({NODE: "Node", ACTION: "default"}, 1),
        ({NODE: "Second", ACTION: "_OTHER"}, 1),
    ]
    assert RUNS not in meters.collected


def test_nodes_of_a_flow_that_is_skipped_are_counted(meters: Meters) -> None:
    """A flow without a span has no metrics; its nodes are the outermost runs then, and have."""
    options: Any = {"levels": {"Flow": "skip"}, "meter_provider": meters.provider}
    traced(lambda stage: stage.run(two_nodes()), **options)

    assert FLOWS not in meters.collected
    assert meters.points(NODES) == [
        ({NODE: "First", ACTION: "next"}, 1),
        ({NODE: "Second", ACTION: "_OTHER"}, 1),
    ]


def test_a_dead_end_is_an_action_outside_the_graph(meters: Meters) -> None:
    """A model that answers with an action of its own makes no series of its own."""

    class Decides(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return f"invented {shared['n']}"

    def program(stage: Any) -> Any:
        for number in range(5):
            node = Decides()
            node - "known" >> Node()
            stage.run(Flow(start=node), {"n": number})

    traced(program, meter_provider=meters.provider)

    assert meters.points(NODES) == [({NODE: "Decides", FLOW: "DecidesFlow", ACTION: "_OTHER"}, 5)]


def test_an_error_is_named_by_its_class(meters: Meters) -> None:
    """On node and flow; retries are the attempts beyond the first."""
    traced(
        lambda stage: stage.run(Flow(start=Fails(max_retries=3))),
        raises=ValueError,
        meter_provider=meters.provider,
    )

    error = {"error.type": "ValueError"}
    assert meters.points(FLOWS) == [({FLOW: "FailsFlow", **error}, 1)]
    assert meters.points(NODES) == [({NODE: "Fails", FLOW: "FailsFlow", **error}, 1)]
    assert meters.points("pocketflow.node.retries") == [({NODE: "Fails", FLOW: "FailsFlow"}, 2)]
    assert meters.points(RUNS) == [({FLOW: "FailsFlow"}, 0)]


def test_a_cancelled_flow_is_no_error(meters: Meters) -> None:
    """It has an outcome, and is no longer active."""
    traced(lambda stage: cancelled(stage, AsyncFlow(start=Waits())), meter_provider=meters.provider)

    assert meters.points(FLOWS) == [({FLOW: "WaitsFlow", OUTCOME: "cancelled"}, 1)]
    assert meters.points(NODES) == [({NODE: "Waits", FLOW: "WaitsFlow", OUTCOME: "cancelled"}, 1)]
    assert meters.points(RUNS) == [({FLOW: "WaitsFlow"}, 0)]


def test_a_run_is_active_while_it_runs(meters: Meters) -> None:
    """Outermost flows only; each one once."""
    seen: list[Points] = []

    class Looks(Node):
        def exec(self, prep_res: Any) -> Any:
            seen.append(meters.points(RUNS))

    inner = Flow(start=Looks())
    with tracing(meter_provider=meters.provider):
        Flow(start=inner).run({})

    meters.forget()
    assert seen == [[({FLOW: "LooksFlow"}, 1)]]
    assert meters.points(RUNS) == [({FLOW: "LooksFlow"}, 0)]
    assert meters.points(FLOWS) == [({FLOW: "LooksFlow"}, 2)]


# --- Batches --------------------------------------------------------------------------------


class Items(BatchNode):
    """Fails for negative numbers, and is interrupted at zero."""

    def prep(self, shared: Any) -> Any:
        """The batch."""
        return shared["items"]

    def exec(self, prep_res: Any) -> Any:
        """An item."""
        if prep_res < 0:
            raise ValueError("negative")
        if prep_res == 0:
            raise KeyboardInterrupt


class Saved(Items):
    """Goes on where an item fails."""

    def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
        """Nothing."""


@pytest.mark.parametrize("cap", [0, 1, 100])
@pytest.mark.parametrize(
    ("cls", "items", "raises", "outcomes"),
    [
        (Items, [1, 2, 3], None, {"success": 3}),
        (Items, [1, -2, 3], ValueError, {"success": 1, "error": 1}),
        (Items, [1, 2, 0], KeyboardInterrupt, {"success": 2, "cancelled": 1}),
        (Saved, [1, -2, 3], None, {"success": 3}),
        (Items, [], None, {}),
    ],
)
def test_items_by_outcome(
    cls: Any, items: list[int], raises: Any, outcomes: dict[str, int], cap: int, meters: Meters
) -> None:
    """However many of them have spans."""
    traced(
        lambda stage: stage.run(cls(), {"items": items}),
        raises=raises,
        meter_provider=meters.provider,
        max_batch_items=cap,
    )

    assert meters.points(ITEMS) == [
        ({NODE: cls.__name__, OUTCOME: outcome}, count) for outcome, count in outcomes.items()
    ]


def test_items_of_a_parallel_batch_that_is_cancelled(meters: Meters) -> None:
    """What was done before is done; the others were cancelled."""

    class Parallel(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> Any:
            if prep_res > 1:
                await asyncio.Event().wait()

    traced(lambda stage: cancelled(stage, Parallel()), meter_provider=meters.provider)

    assert meters.points(ITEMS) == [
        ({NODE: "Parallel", OUTCOME: "success"}, 1),
        ({NODE: "Parallel", OUTCOME: "cancelled"}, 2),
    ]


def test_items_of_a_batch_flow_are_named_by_the_flow(meters: Meters) -> None:
    """Its name is that of its class; one that fails is an error."""

    class Each(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": -1}]

    class Checks(Node):
        def exec(self, prep_res: Any) -> Any:
            if self.params["n"] < 0:
                raise ValueError("negative")

    traced(
        lambda stage: stage.run(Each(start=Checks())),
        raises=ValueError,
        meter_provider=meters.provider,
    )

    assert [(attributes[OUTCOME], count) for attributes, count in meters.points(ITEMS)] == [
        ("success", 1),
        ("error", 1),
    ]
    assert {attributes[FLOW] for attributes, _ in meters.points(ITEMS)} == {"Each"}


# --- Model calls ----------------------------------------------------------------------------


class Pays(Node):
    """Calls a model by hand."""

    def exec(self, prep_res: Any) -> Any:
        """The call."""
        record_usage(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=10)


PAID = {PROVIDER: "openai", MODEL: "gpt-4o"}


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "dropped"])
def test_tokens_and_cost(sampler: Any, meters: Meters) -> None:
    """By model and node; also of what no span shows."""
    trace = traced(
        lambda stage: stage.run(Flow(start=Pays())),
        meter_provider=meters.provider,
        sampler=sampler,
    )

    assert bool(trace.nodes) == (sampler is ALWAYS_ON)
    by_node = {**PAID, NODE: "Pays", FLOW: "PaysFlow"}
    assert meters.points("pocketflow.usage.tokens") == [
        ({**by_node, TYPE: "input"}, 1000),
        ({**by_node, TYPE: "output"}, 10),
    ]
    assert meters.points("pocketflow.cost") == [
        ({**by_node, "pocketflow.usage.currency": "USD"}, 0.0026)
    ]
    assert [
        (point.attributes, point.sum) for point in meters.collected["gen_ai.client.token.usage"]
    ] == [
        ({**PAID, TYPE: "input"}, 1000),
        ({**PAID, TYPE: "output"}, 10),
    ]
    assert "pocketflow.usage.wasted_tokens" not in meters.collected
    assert meters.points(RUNS) == [({FLOW: "PaysFlow"}, 0)]


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "dropped"])
def test_what_was_wasted(sampler: Any, meters: Meters) -> None:
    """Failed attempts, one by one, are in the sums and beside them; items' retries as well."""

    class Each(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [[1, 2], [4]]

        def exec(self, prep_res: Any) -> Any:
            record_usage(model="gpt-4o", input_tokens=prep_res.pop(0), output_tokens=0)
            if prep_res:
                raise ValueError("again")

    traced(
        lambda stage: stage.run(Each(max_retries=2)),
        meter_provider=meters.provider,
        sampler=sampler,
    )

    origin = {MODEL: "gpt-4o", NODE: "Each", TYPE: "input"}
    assert meters.points("pocketflow.usage.tokens")[0] == (origin, 7)
    assert meters.points("pocketflow.usage.wasted_tokens")[0] == (origin, 1)
    assert meters.points("pocketflow.node.retries") == [({NODE: "Each"}, 1)]
    ((_, cost),) = meters.points("pocketflow.cost")
    ((_, wasted),) = meters.points("pocketflow.wasted_cost")
    assert (cost, wasted) == (pytest.approx(7 * 2.5e-6), pytest.approx(2.5e-6))


def test_a_nested_flow_does_not_count_twice(meters: Meters) -> None:
    """A call is counted where it was made, by its nearest flow."""
    traced(
        lambda stage: stage.run(Flow(start=Flow(start=Flow(start=Pays())))),
        meter_provider=meters.provider,
    )

    assert [count for _, count in meters.points("pocketflow.usage.tokens")] == [1000, 10]


@pytest.mark.parametrize(
    ("scope", "recorded"),
    [
        ("opentelemetry.instrumentation.genai.openai", False),
        ("openinference.instrumentation", True),
    ],
)
def test_the_metric_of_the_conventions_is_not_recorded_twice(
    scope: str, recorded: bool, meters: Meters
) -> None:
    """Where the client's instrumentation records it, ours leaves it; by node it is counted."""

    class Client(Node):
        def exec(self, prep_res: Any) -> Any:
            attributes = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 9}
            tracer = running.provider.get_tracer(scope)
            tracer.start_span("chat", attributes=attributes).end()

    with tracing(meter_provider=meters.provider) as running:
        Client().run({})

    assert ("gen_ai.client.token.usage" in meters.collected) == recorded
    assert meters.points("pocketflow.usage.tokens") == [({NODE: "Client", TYPE: "input"}, 9)]


# --- Exemplars ------------------------------------------------------------------------------


def test_exemplars_lead_to_the_span(meters: Meters) -> None:
    """Each point of a node to the node, of the flow to the flow."""
    trace = traced(
        lambda stage: stage.run(Flow(start=Pays(max_retries=2))), meter_provider=meters.provider
    )

    node, flow = trace.node("Pays").id, trace.node("invoke_workflow PaysFlow").id
    assert meters.exemplars(FLOWS) == [flow]
    assert meters.exemplars(NODES) == [node]
    for name in ("pocketflow.usage.tokens", "pocketflow.cost", "gen_ai.client.token.usage"):
        assert set(meters.exemplars(name)) == {node}, name


def test_what_is_not_sampled_has_no_exemplars(meters: Meters) -> None:
    """There is no span to lead to."""
    traced(
        lambda stage: stage.run(Flow(start=Pays())),
        meter_provider=meters.provider,
        sampler=ALWAYS_OFF,
    )

    assert [name for name in meters.collected if meters.exemplars(name)] == []
    assert len(meters.collected) > 4


# --- Nobody listens -------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "dropped"])
def test_without_a_meter_provider_nothing_is_recorded(
    sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No meter is asked; where nothing is sampled either, no attempt and no item is followed."""
    work: list[str] = []

    def spy(owner: Any, name: str) -> None:
        before = getattr(owner, name)

        def seen(*args: Any, **kwargs: Any) -> Any:
            work.append(name)
            return before(*args, **kwargs)

        monkeypatch.setattr(owner, name, seen)

    spy(metering, "PricedCall")
    for method in (
        "flow_began",
        "flow_left",
        "flow_ended",
        "node_ended",
        "batch_items",
        "model_call",
    ):
        spy(metrics.Metrics, method)
    if sampler is ALWAYS_OFF:
        for owner, name in (
            (execs.ExecScope, "enter"),
            (execs.ItemScope, "enter"),
            (execs.TracedAttempts, "on_begin"),
            (routes.RouteScope, "enter"),
            (runs.NodeRun, "_stop_clock"),
            (ledger.Account, "__init__"),
        ):
            spy(owner, name)

    def program(stage: Any) -> Any:
        first = Pays(max_retries=2)
        first >> Items()
        return stage.run(Flow(start=first), {"items": [1, 2]})

    traced(program, sampler=sampler)

    assert work == []


# --- Faults of ours -------------------------------------------------------------------------


def broken(*args: Any, **kwargs: Any) -> Any:
    """What stands in place of a part of the tracer."""
    raise RuntimeError("a fault of ours")


def everything(stage: Any) -> Any:
    """Retries, items, calls, nested flows, an error that is caught."""

    class Tries(Pays):
        def exec(self, prep_res: Any) -> Any:
            super().exec(prep_res)
            note("exec", self.cur_retry)
            if self.cur_retry == 0:
                raise OSError("once")

    first = Tries(max_retries=2)
    first >> Flow(start=Saved(max_retries=2)) >> Second()
    stage.run(Flow(start=first), {"items": [1, -2]})
    stage.run(Flow(start=Fails()))


FAULTS: list[tuple[Any, str]] = [
    (execs.ExecScope, "_end"),
    (execs.ItemScope, "_end_attempts"),
    (execs.TracedAttempts, "on_failure"),
    (ledger.Account, "begin_attempt"),
    (ledger.Account, "charge"),
    (ledger.Account, "close"),
    (ledger.Account, "usage"),
    (ledger.Account, "_totals"),
    (ledger.Ledger, "__init__"),
    (metering, "PricedCall"),
    (metrics.Metrics, "batch_items"),
    (metrics.Metrics, "flow_began"),
    (metrics.Metrics, "flow_ended"),
    (metrics.Metrics, "node_ended"),
    (metrics.Metrics, "model_call"),
    (metrics.Metrics, "retried"),
    (routes.RouteScope, "holds"),
    (runs, "Account"),
    (runs, "find_calls"),
    (runs, "action_text"),
    (runs.FlowRun, "meter"),
    (runs.NodeRun, "_stop_clock"),
    (runs.NodeRun, "_to_record"),
    (runs.NodeRun, "_open_watch"),
    (spans, "finish_run"),
]


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "dropped"])
@pytest.mark.parametrize(
    ("owner", "name"), FAULTS, ids=[f"{o.__name__.rpartition('.')[2]}.{n}" for o, n in FAULTS]
)
def test_a_fault_of_ours_leaves_no_run_active(
    owner: Any,
    name: str,
    sampler: Any,
    meters: Meters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor does it reach the program."""
    program: Program = everything
    plain = vars(act(program))
    monkeypatch.setattr(guard, "_reported", set[str]())
    monkeypatch.setattr(owner, name, broken)
    provider = TracerProvider(sampler=sampler, resource=Resource({}), shutdown_on_exit=False)
    instrumentor = PocketFlowInstrumentor()
    with caplog.at_level(logging.WARNING):
        instrumentor.instrument(
            tracer_provider=provider, meter_provider=meters.provider, resource=False
        )
        try:
            assert vars(act(program)) == plain
        finally:
            instrumentor.uninstrument()

    assert {value for _, value in meters.points(RUNS)} <= {0}

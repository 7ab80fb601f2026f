"""The instruments and what is recorded on them, with the real SDK and its in-memory reader."""

from __future__ import annotations

import logging
import typing
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider as ApiMeterProvider
from opentelemetry.metrics import NoOpMeterProvider, get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import Span, set_span_in_context

from opentelemetry.instrumentation.pocketflow.emit.metrics import Metrics, is_recording
from opentelemetry.instrumentation.pocketflow.record import PricedCall

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.metrics.export import Metric

    Point: typing.TypeAlias = "NumberDataPoint | HistogramDataPoint"

NOWHERE = Context()
"""A context without a span."""

SECONDS_OF_FLOWS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
SECONDS_OF_CALLS = tuple(0.01 * 2**power for power in range(14))
TOKEN_COUNTS = tuple(4**power for power in range(14))

PAID = PricedCall("openai", "gpt-5", "chat", 1200, 30, Decimal("0.0042"))
PAID_FROM = {
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "pocketflow.node.class": "Answer",
    "gen_ai.workflow.name": "Research",
}


class Meters:
    """`Metrics` on a real SDK, and what came of it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(
            [self._reader], exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        self.metrics = Metrics(self.provider.get_meter("test"))

    def collected(self) -> dict[str, Metric]:
        """Return the metrics with data, by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Point]:
        """Return the points of one metric, in the order in which their attributes were first."""
        metric = self.collected().get(name)
        return [] if metric is None else points_of(metric)

    def sums(self, name: str) -> list[tuple[Mapping[str, object], int | float]]:
        """Return the attributes and the value of each point of a counter."""
        return [(dict(point.attributes or {}), value(point)) for point in self.points(name)]


@pytest.fixture
def meters() -> Meters:
    """Fresh instruments for each test."""
    return Meters()


def points_of(metric: Metric) -> list[Point]:
    """Return a metric's points."""
    assert isinstance(metric.data, (Sum, Histogram))
    return list(metric.data.data_points)


def exemplars(meters: Meters) -> dict[str, set[tuple[int | None, int | None]]]:
    """Return by metric the (trace id, span id) of its exemplars, which one collection takes."""
    return {
        name: {
            (exemplar.trace_id, exemplar.span_id)
            for point in points_of(metric)
            for exemplar in point.exemplars
        }
        for name, metric in meters.collected().items()
    }


def value(point: Point) -> int | float:
    """Return a sum's value; of a histogram, the sum of what was measured."""
    return point.sum if isinstance(point, HistogramDataPoint) else point.value


def measured(meters: Meters, name: str) -> list[Mapping[str, object]]:
    """Return the attributes of each point of a histogram."""
    return [dict(point.attributes or {}) for point in meters.points(name)]


def record_everything(metrics: Metrics, context: Context = NOWHERE) -> None:
    """Call each method once, so that each instrument has a point."""
    metrics.flow_began("Research", context)
    metrics.flow_ended("Research", 42.5, None, cancelled=False, context=context)
    metrics.node_ended("Answer", "Research", "default", 0.5, None, cancelled=False, context=context)
    metrics.retried("Answer", "Research", 2, context)
    metrics.batch_items("Answer", "Research", succeeded=3, failed=0, cancelled=0, context=context)
    metrics.model_call(PAID, "Answer", "Research", own_metric=True, context=context)
    metrics.wasted(PAID, "Answer", "Research", context)


# --- The instruments ------------------------------------------------------------------------


def test_each_instrument_has_its_name_unit_and_kind(meters: Meters) -> None:
    """A dashboard finds the ten metrics, under the names and units that the README lists."""
    record_everything(meters.metrics)

    found = {
        name: (
            metric.unit,
            metric.data.is_monotonic if isinstance(metric.data, Sum) else "histogram",
        )
        for name, metric in meters.collected().items()
    }

    assert found == {
        "gen_ai.client.token.usage": ("{token}", "histogram"),
        "gen_ai.invoke_workflow.duration": ("s", "histogram"),
        "pocketflow.active_runs": ("{run}", False),
        "pocketflow.batch.items": ("{item}", True),
        "pocketflow.cost": ("{currency}", True),
        "pocketflow.node.duration": ("s", "histogram"),
        "pocketflow.node.retries": ("{retry}", True),
        "pocketflow.usage.tokens": ("{token}", True),
        "pocketflow.usage.wasted_tokens": ("{token}", True),
        "pocketflow.wasted_cost": ("{currency}", True),
    }
    assert all(metric.description for metric in meters.collected().values())


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("gen_ai.invoke_workflow.duration", SECONDS_OF_FLOWS),
        ("pocketflow.node.duration", SECONDS_OF_CALLS),
        ("gen_ai.client.token.usage", TOKEN_COUNTS),
    ],
)
def test_histograms_have_the_buckets_of_the_conventions(
    meters: Meters, name: str, bounds: tuple[float, ...]
) -> None:
    """Seconds and tokens fall into buckets made for them, not into the SDK's for milliseconds."""
    record_everything(meters.metrics)

    for point in meters.points(name):
        assert isinstance(point, HistogramDataPoint)
        assert tuple(point.explicit_bounds) == bounds


def test_instruments_can_be_made_again(meters: Meters, caplog: pytest.LogCaptureFixture) -> None:
    """Instrumenting again adds to the same metrics; the SDK warns of no conflict."""
    with caplog.at_level(logging.WARNING):
        again = Metrics(meters.provider.get_meter("test"))

    meters.metrics.retried("Answer", None, 1, NOWHERE)
    again.retried("Answer", None, 1, NOWHERE)

    assert meters.sums("pocketflow.node.retries") == [({"pocketflow.node.class": "Answer"}, 2)]
    assert caplog.records == []


def test_nothing_is_there_before_anything_ran(meters: Meters) -> None:
    """Making the instruments records nothing."""
    assert meters.collected() == {}


# --- Flows and nodes ------------------------------------------------------------------------


def test_active_runs_rise_and_fall(meters: Meters) -> None:
    """Runs in progress are counted by flow, and come back to zero."""
    name = {"gen_ai.workflow.name": "Research"}
    for _ in range(3):
        meters.metrics.flow_began("Research", NOWHERE)
    meters.metrics.flow_began("Other", NOWHERE)
    meters.metrics.flow_left("Research", NOWHERE)
    assert meters.sums("pocketflow.active_runs") == [
        (name, 2),
        ({"gen_ai.workflow.name": "Other"}, 1),
    ]

    for _ in range(2):
        meters.metrics.flow_left("Research", NOWHERE)
    assert (name, 0) in meters.sums("pocketflow.active_runs")


@pytest.mark.parametrize(
    ("error_type", "cancelled", "ending"),
    [
        (None, False, {}),
        ("ValueError", False, {"error.type": "ValueError"}),
        (None, True, {"pocketflow.outcome": "cancelled"}),
    ],
)
def test_runs_tell_how_they_ended(
    meters: Meters, error_type: str | None, cancelled: bool, ending: Mapping[str, str]
) -> None:
    """Success, error and cancellation of flows and nodes can be told apart, and only by these."""
    meters.metrics.flow_ended("Research", 42.5, error_type, cancelled=cancelled, context=NOWHERE)
    meters.metrics.node_ended(
        "Answer", "Research", None, 0.25, error_type, cancelled=cancelled, context=NOWHERE
    )

    (flow,) = meters.points("gen_ai.invoke_workflow.duration")
    assert dict(flow.attributes or {}) == {"gen_ai.workflow.name": "Research", **ending}
    assert (value(flow), type(value(flow))) == (42.5, float)
    (node,) = meters.points("pocketflow.node.duration")
    assert dict(node.attributes or {}) == {
        "pocketflow.node.class": "Answer",
        "gen_ai.workflow.name": "Research",
        **ending,
    }
    assert value(node) == 0.25


def test_durations_fall_into_their_buckets(meters: Meters) -> None:
    """A node of 0.3 s counts between 0.16 and 0.32 s, one of two minutes beyond the last."""
    for seconds in (0.3, 120.0):
        meters.metrics.node_ended(
            "Answer", None, "default", seconds, None, cancelled=False, context=NOWHERE
        )

    (point,) = meters.points("pocketflow.node.duration")
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 2
    filled = [index for index, count in enumerate(point.bucket_counts) if count]
    assert filled == [SECONDS_OF_CALLS.index(0.32), len(SECONDS_OF_CALLS)]


def test_a_node_tells_its_action_and_its_flow_where_it_has_them(meters: Meters) -> None:
    """One series for each action; a node run alone has no flow, and one that failed no action."""
    for flow, action in (("Research", "search"), ("Research", "answer"), (None, None)):
        meters.metrics.node_ended(
            "Decide", flow, action, 1.0, None, cancelled=False, context=NOWHERE
        )

    decide = {"pocketflow.node.class": "Decide"}
    research = {**decide, "gen_ai.workflow.name": "Research"}
    assert measured(meters, "pocketflow.node.duration") == [
        {**research, "pocketflow.node.action": "search"},
        {**research, "pocketflow.node.action": "answer"},
        decide,
    ]


def test_retries_add_up(meters: Meters) -> None:
    """Retries are counted by node and flow; a node without any makes no series."""
    meters.metrics.retried("Answer", "Research", 2, NOWHERE)
    meters.metrics.retried("Answer", "Research", 1, NOWHERE)
    meters.metrics.retried("Search", "Research", 0, NOWHERE)

    assert meters.sums("pocketflow.node.retries") == [
        ({"pocketflow.node.class": "Answer", "gen_ai.workflow.name": "Research"}, 3)
    ]


def test_batch_items_are_counted_by_outcome(meters: Meters) -> None:
    """Each outcome is a series of its own; an outcome that no item had is none."""
    meters.metrics.batch_items("Map", "Etl", succeeded=7, failed=2, cancelled=1, context=NOWHERE)
    meters.metrics.batch_items("Map", "Etl", succeeded=3, failed=0, cancelled=0, context=NOWHERE)
    meters.metrics.batch_items("Each", None, succeeded=0, failed=1, cancelled=0, context=NOWHERE)
    meters.metrics.batch_items("Empty", None, succeeded=0, failed=0, cancelled=0, context=NOWHERE)

    mapped = {"pocketflow.node.class": "Map", "gen_ai.workflow.name": "Etl"}
    assert meters.sums("pocketflow.batch.items") == [
        ({**mapped, "pocketflow.outcome": "success"}, 10),
        ({**mapped, "pocketflow.outcome": "error"}, 2),
        ({**mapped, "pocketflow.outcome": "cancelled"}, 1),
        ({"pocketflow.node.class": "Each", "pocketflow.outcome": "error"}, 1),
    ]


# --- Model calls ----------------------------------------------------------------------------


def test_a_model_call_is_counted_with_where_it_came_from(meters: Meters) -> None:
    """Tokens in and out and the price add up by provider, model, node and flow."""
    for _ in range(2):
        meters.metrics.model_call(PAID, "Answer", "Research", own_metric=False, context=NOWHERE)

    assert meters.sums("pocketflow.usage.tokens") == [
        ({**PAID_FROM, "gen_ai.token.type": "input"}, 2400),
        ({**PAID_FROM, "gen_ai.token.type": "output"}, 60),
    ]
    ((attributes, cost),) = meters.sums("pocketflow.cost")
    assert attributes == {**PAID_FROM, "pocketflow.usage.currency": "USD"}
    assert (cost, type(cost)) == (pytest.approx(0.0084), float)
    assert set(meters.collected()) == {"pocketflow.usage.tokens", "pocketflow.cost"}


def test_the_conventions_metric_is_recorded_where_nobody_else_does(meters: Meters) -> None:
    """Each call is one measurement of input and one of output, without our own attributes."""
    for _ in range(2):
        meters.metrics.model_call(PAID, "Answer", "Research", own_metric=True, context=NOWHERE)

    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
    }
    points = meters.points("gen_ai.client.token.usage")
    assert [dict(point.attributes or {}) for point in points] == [
        {**call, "gen_ai.token.type": "input"},
        {**call, "gen_ai.token.type": "output"},
    ]
    counted = [point for point in points if isinstance(point, HistogramDataPoint)]
    assert [(point.count, point.sum) for point in counted] == [(2, 2400), (2, 60)]


def test_wasted_calls_are_counted_apart(meters: Meters) -> None:
    """What a failed attempt used goes to the wasted sums, and by `wasted` alone to no others."""
    meters.metrics.wasted(PAID, "Answer", "Research", NOWHERE)

    assert meters.sums("pocketflow.usage.wasted_tokens") == [
        ({**PAID_FROM, "gen_ai.token.type": "input"}, 1200),
        ({**PAID_FROM, "gen_ai.token.type": "output"}, 30),
    ]
    assert meters.sums("pocketflow.wasted_cost") == [
        ({**PAID_FROM, "pocketflow.usage.currency": "USD"}, 0.0042)
    ]
    assert len(meters.collected()) == 2


def test_what_nobody_told_is_not_recorded(meters: Meters) -> None:
    """A call of which nothing is known leaves no point, so that averages are not drawn to zero."""
    meters.metrics.model_call(PricedCall(), None, None, own_metric=True, context=NOWHERE)
    meters.metrics.wasted(PricedCall(), None, None, NOWHERE)

    assert meters.collected() == {}


def test_zero_is_recorded(meters: Meters) -> None:
    """No output tokens and a price of nothing, where told, are facts like any other."""
    free = PricedCall(model="local", output_tokens=0, cost=Decimal(0), currency="EUR")
    meters.metrics.model_call(free, None, None, own_metric=True, context=NOWHERE)

    local = {"gen_ai.request.model": "local"}
    output = {**local, "gen_ai.token.type": "output"}
    assert meters.sums("pocketflow.usage.tokens") == [(output, 0)]
    assert meters.sums("pocketflow.cost") == [({**local, "pocketflow.usage.currency": "EUR"}, 0.0)]
    (point,) = meters.points("gen_ai.client.token.usage")
    assert isinstance(point, HistogramDataPoint)
    assert (point.attributes, point.count, point.sum) == (output, 1, 0)


COUNTS = st.none() | st.integers(0, 10**9)
CALLS = st.builds(
    PricedCall,
    provider=st.none() | st.sampled_from(["openai", "anthropic"]),
    model=st.none() | st.sampled_from(["a", "b"]),
    operation=st.none() | st.just("chat"),
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cost=st.none() | st.decimals(0, 1000, places=4),
)


@given(st.lists(CALLS, max_size=20))
def test_sums_over_all_series_are_those_of_the_calls(calls: list[PricedCall]) -> None:
    """Whatever is known of each call, nothing is lost between the series or counted in two."""
    meters = Meters()
    for call in calls:
        meters.metrics.model_call(call, "Answer", None, own_metric=True, context=NOWHERE)

    for kind, counts in (
        ("input", [call.input_tokens for call in calls]),
        ("output", [call.output_tokens for call in calls]),
    ):
        known = [count for count in counts if count is not None]
        for name in ("pocketflow.usage.tokens", "gen_ai.client.token.usage"):
            points = [
                point
                for point in meters.points(name)
                if (point.attributes or {})["gen_ai.token.type"] == kind
            ]
            assert sum(value(point) for point in points) == sum(known)
            assert bool(points) == bool(known)
    cost = sum(amount for _, amount in meters.sums("pocketflow.cost"))
    assert cost == pytest.approx(float(sum(call.cost or 0 for call in calls)))


# --- Exemplars ------------------------------------------------------------------------------


def span_of(sampler: Sampler) -> Span:
    """Return a span of a real SDK that is nowhere current."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    return provider.get_tracer("test").start_span("run")


def test_exemplars_lead_to_the_span_of_the_context(meters: Meters) -> None:
    """From each metric one gets to the sampled span, though it is not the current one."""
    running = span_of(ALWAYS_ON)
    record_everything(meters.metrics, set_span_in_context(running))
    span = running.get_span_context()

    found = exemplars(meters)
    assert len(found) == 10
    assert all(spans == {(span.trace_id, span.span_id)} for spans in found.values())


def test_a_span_that_is_not_sampled_is_no_exemplar(meters: Meters) -> None:
    """Nobody could open it."""
    record_everything(meters.metrics, set_span_in_context(span_of(ALWAYS_OFF)))

    assert set().union(*exemplars(meters).values()) == set()


# --- Providers ------------------------------------------------------------------------------


def test_the_providers_of_the_api_record_nothing() -> None:
    """Neither the no-op provider nor the proxy that stands in until one is set."""
    assert is_recording(NoOpMeterProvider()) is False
    assert type(get_meter_provider()).__name__ == "_ProxyMeterProvider"
    assert is_recording(get_meter_provider()) is False


def test_any_other_provider_may_record(meters: Meters) -> None:
    """The SDK's, and one of somebody else's that builds on the API's classes."""

    class Own(NoOpMeterProvider):
        """A provider of another implementation."""

    assert is_recording(meters.provider) is True
    assert is_recording(typing.cast("ApiMeterProvider", Own())) is True


def test_every_call_is_safe_without_an_sdk() -> None:
    """On the API's own meters, real proxies included, recording does nothing and raises nothing."""
    record_everything(Metrics(NoOpMeterProvider().get_meter("test")))
    record_everything(Metrics(get_meter_provider().get_meter("test")))

"""Metrics as a real OTLP collector, a real scrape and a real Prometheus received them."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import subprocess
import threading
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
from decimal import Decimal

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.emit.metrics import FLOW_SECONDS, Metrics
from opentelemetry.instrumentation.pocketflow.record import PricedCall
from support.collector import free_port, wait_for_port
from support.received import ReceivedExemplar, points
from support.stack import required

if typing.TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
    from opentelemetry.trace import SpanContext
    from prometheus_client.metrics_core import Metric

    from support.collector import Collector
    from support.received import ReceivedPoint

RESOURCE = Resource({"service.name": "research"})
CALL = PricedCall("openai", "gpt-5", "chat", 1200, 30, Decimal("0.0042"))

FLOW = {"gen_ai.workflow.name": "Research"}
NODE = {"pocketflow.node.class": "Answer", **FLOW}
MODEL = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5"}
ORIGIN = {**MODEL, **NODE}
INPUT = {"gen_ai.token.type": "input"}
OUTPUT = {"gen_ai.token.type": "output"}
USD = {"pocketflow.usage.currency": "USD"}

SUMS: list[tuple[str, str, str, Mapping[str, str], int | float]] = [
    ("pocketflow.active_runs", "{run}", "updowncounter", FLOW, 1),
    ("pocketflow.batch.items", "{item}", "counter", {**NODE, "pocketflow.outcome": "success"}, 7),
    ("pocketflow.batch.items", "{item}", "counter", {**NODE, "pocketflow.outcome": "error"}, 2),
    ("pocketflow.cost", "{currency}", "counter", {**ORIGIN, **USD}, 0.0084),
    ("pocketflow.node.retries", "{retry}", "counter", NODE, 2),
    ("pocketflow.usage.tokens", "{token}", "counter", {**ORIGIN, **INPUT}, 2400),
    ("pocketflow.usage.tokens", "{token}", "counter", {**ORIGIN, **OUTPUT}, 60),
    ("pocketflow.usage.wasted_tokens", "{token}", "counter", {**ORIGIN, **INPUT}, 1200),
    ("pocketflow.usage.wasted_tokens", "{token}", "counter", {**ORIGIN, **OUTPUT}, 30),
    ("pocketflow.wasted_cost", "{currency}", "counter", {**ORIGIN, **USD}, 0.0042),
]
"""Name, unit, instrument, attributes and value of what `run_once` adds up."""

CHAT = {"gen_ai.operation.name": "chat", **MODEL}
MEASURED: list[tuple[str, str, Mapping[str, str], int, float]] = [
    ("gen_ai.client.token.usage", "{token}", {**CHAT, **INPUT}, 2, 2400),
    ("gen_ai.client.token.usage", "{token}", {**CHAT, **OUTPUT}, 2, 60),
    ("gen_ai.invoke_workflow.duration", "s", FLOW, 1, 42.5),
    (
        "pocketflow.node.duration",
        "s",
        {**NODE, "pocketflow.node.action": "done", "error.type": "ValueError"},
        1,
        0.25,
    ),
]
"""Name, unit, attributes, count and sum of what `run_once` measures."""

PROMETHEUS_NAMES = {
    "gen_ai.client.token.usage": "gen_ai_client_token_usage",
    "gen_ai.invoke_workflow.duration": "gen_ai_invoke_workflow_duration_seconds",
    "pocketflow.active_runs": "pocketflow_active_runs",
    "pocketflow.batch.items": "pocketflow_batch_items_total",
    "pocketflow.cost": "pocketflow_cost_total",
    "pocketflow.node.duration": "pocketflow_node_duration_seconds",
    "pocketflow.node.retries": "pocketflow_node_retries_total",
    "pocketflow.usage.tokens": "pocketflow_usage_tokens_total",
    "pocketflow.usage.wasted_tokens": "pocketflow_usage_wasted_tokens_total",
    "pocketflow.wasted_cost": "pocketflow_wasted_cost_total",
}
"""How Prometheus shows each name; of a histogram, `_bucket`, `_count` and `_sum` follow."""


def run_once(reader: MetricReader) -> tuple[MeterProvider, SpanContext]:
    """Record what a flow with a retried model call and a batch does, while another flow runs.

    Returns:
        The provider, to shut down, and the span of the flow.
    """
    tracing = TracerProvider(shutdown_on_exit=False)
    span = tracing.get_tracer("test").start_span("flow")
    context = set_span_in_context(span)
    provider = MeterProvider([reader], RESOURCE, shutdown_on_exit=False)
    metrics = Metrics(provider.get_meter(semconv.SCOPE_NAME, "1.2.3", semconv.SCHEMA_URL))
    for _ in range(2):
        metrics.flow_began("Research", context)
        metrics.model_call(CALL, "Answer", "Research", own_metric=True, context=context)
    metrics.wasted(CALL, "Answer", "Research", context)
    metrics.retried("Answer", "Research", 2, context)
    metrics.batch_items("Answer", "Research", succeeded=7, failed=2, cancelled=0, context=context)
    metrics.node_ended(
        "Answer", "Research", "done", 0.25, "ValueError", cancelled=False, context=context
    )
    metrics.flow_ended("Research", 42.5, None, cancelled=False, context=context)
    metrics.flow_left("Research", context)
    return provider, span.get_span_context()


def in_order(rows: Iterable[tuple[typing.Any, ...]]) -> list[tuple[typing.Any, ...]]:
    """Return rows in an order that does not depend on that of their attributes."""
    return sorted(rows, key=functools.partial(json.dumps, sort_keys=True))


# --- A collector ----------------------------------------------------------------------------


def _exporter(collector: Collector, protocol: str) -> MetricExporter:
    if protocol == "grpc":
        return GrpcExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return HttpExporter(endpoint=f"{collector.http_endpoint}/v1/metrics")


@pytest.fixture
def received(collector: Collector, protocol: str) -> tuple[list[ReceivedPoint], SpanContext]:
    """What the collector received of one run, exported once; and the flow's span."""
    reader = PeriodicExportingMetricReader(_exporter(collector, protocol), math.inf)
    provider, span = run_once(reader)
    provider.force_flush()
    provider.shutdown()
    return collector.drain_metrics(), span


def test_metrics_arrive_at_a_collector(
    received: tuple[list[ReceivedPoint], SpanContext],
) -> None:
    """Each point comes with its name, unit, instrument, attributes and value, under our scope."""
    arrived, _ = received

    sums = [point for point in arrived if point.instrument != "histogram"]
    assert in_order(
        (point.name, point.unit, point.instrument, point.attributes, point.value) for point in sums
    ) == in_order(SUMS)
    assert {point.name for point in sums if isinstance(point.value, float)} == {
        "pocketflow.cost",
        "pocketflow.wasted_cost",
    }
    histograms = [point for point in arrived if point.instrument == "histogram"]
    assert in_order(
        (point.name, point.unit, point.attributes, point.count, point.value) for point in histograms
    ) == in_order(MEASURED)
    assert {(point.scope_name, point.scope_version, point.schema_url) for point in arrived} == {
        (semconv.SCOPE_NAME, "1.2.3", semconv.SCHEMA_URL)
    }
    assert all(point.resource["service.name"] == "research" for point in arrived)
    assert {point.temporality for point in arrived} == {"CUMULATIVE"}
    assert all(point.description for point in arrived)


def test_buckets_and_exemplars_arrive_at_a_collector(
    received: tuple[list[ReceivedPoint], SpanContext],
) -> None:
    """The advised boundaries go out, and the way from a slow bucket to the run's trace."""
    arrived, span = received

    (point,) = points(arrived, "gen_ai.invoke_workflow.duration")
    assert point.bounds == FLOW_SECONDS
    assert point.buckets == tuple(int(bound == 60) for bound in (*FLOW_SECONDS, math.inf))
    assert point.exemplars == (
        ReceivedExemplar(42.5, format(span.trace_id, "032x"), format(span.span_id, "016x")),
    )


# --- A scrape -------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Generator[str]:
    """The URL at which one run's metrics can be scraped."""
    registry = CollectorRegistry()
    provider, _ = run_once(PrometheusMetricReader(registry=registry))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        provider.shutdown()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our loopback
        body: bytes = response.read()
        return body.decode()


def _labels(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return attributes as Prometheus names them."""
    return {key.replace(".", "_"): value for key, value in attributes.items()}


def _own(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels without the scope's and the scrape's, and without those that are empty.

    A family gives all its series the same labels, empty where a point has no such attribute.
    """
    others = ("__name__", "instance", "job", "le")
    return {
        key: value
        for key, value in labels.items()
        if value and key not in others and not key.startswith("otel_scope_")
    }


def _expected() -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every series but the buckets."""
    rows = [
        (PROMETHEUS_NAMES[name], _labels(attributes), float(value))
        for name, _, _, attributes, value in SUMS
    ]
    for name, _, attributes, count, total in MEASURED:
        rows.append((f"{PROMETHEUS_NAMES[name]}_count", _labels(attributes), float(count)))
        rows.append((f"{PROMETHEUS_NAMES[name]}_sum", _labels(attributes), float(total)))
    return rows


def _families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_a_scrape_shows_names_with_units_labels_and_values(endpoint: str) -> None:
    """Seconds and totals stand in the names, braces in none; labels are the attributes."""
    families = _families(_get(endpoint))

    samples = [
        sample
        for family in families.values()
        for sample in family.samples
        if sample.name != "target_info" and not sample.name.endswith("_bucket")
    ]
    found = [(sample.name, _own(sample.labels), sample.value) for sample in samples]
    assert in_order(found) == in_order(_expected())
    assert {sample.labels["otel_scope_name"] for sample in samples} == {semconv.SCOPE_NAME}


def test_a_scrape_shows_types_and_buckets(endpoint: str) -> None:
    """Sums are counters, runs in progress a gauge, and the buckets the advised ones."""
    families = _families(_get(endpoint))

    kinds = {name: family.type for name, family in families.items()}
    histograms = {"gen_ai_client_token_usage", "gen_ai_invoke_workflow_duration_seconds",
                  "pocketflow_node_duration_seconds"}  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "histogram"} == histograms
    assert kinds["pocketflow_active_runs"] == "gauge"
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        name.removesuffix("_total") for name in PROMETHEUS_NAMES.values() if "_total" in name
    }
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in families["gen_ai_invoke_workflow_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert buckets == {bound: float(bound >= 60) for bound in (*FLOW_SECONDS, math.inf)}


# --- Prometheus -----------------------------------------------------------------------------

START_ATTEMPTS = 3
"""A port that was free a moment ago can be taken by the time Prometheus binds it."""

START_TIMEOUT = 30.0
"""Seconds that Prometheus may take to open its port; it takes about one."""

SCRAPE_TIMEOUT = 30.0
"""Seconds until a scrape can be queried; Prometheus takes about five to look for targets."""


def _start(binary: str, directory: Path, port: int) -> subprocess.Popen[bytes]:
    command = [
        binary,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        return subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


@contextlib.contextmanager
def _running_prometheus(binary: str, directory: Path, target: str) -> Generator[str]:
    """Run Prometheus, which scrapes `target` five times a second, until the block ends."""
    scrape = {
        "job_name": "programs",
        "scrape_interval": "200ms",
        "scrape_timeout": "200ms",
        "static_configs": [{"targets": [urllib.parse.urlsplit(target).netloc]}],
    }
    # JSON is YAML.
    config = json.dumps({"scrape_configs": [scrape]})
    (directory / "prometheus.yml").write_text(config, encoding="utf-8")
    for _ in range(START_ATTEMPTS):
        port = free_port()
        process = _start(binary, directory, port)
        try:
            if wait_for_port(port, START_TIMEOUT, functools.partial(_is_running, process)):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait(30)
    log = (directory / "prometheus.log").read_text(encoding="utf-8", errors="replace")
    pytest.fail(f"Prometheus did not open its port; its log:\n{log}")


def _query(server: str, expression: str) -> list[tuple[str, dict[str, str], float]]:
    """Return name, labels and value of each series that Prometheus finds."""
    parameters = urllib.parse.urlencode({"query": expression})
    answer = json.loads(_get(f"{server}/api/v1/query?{parameters}"))
    assert answer["status"] == "success", answer
    return [
        (series["metric"].get("__name__", ""), _own(series["metric"]), float(series["value"][1]))
        for series in answer["data"]["result"]
    ]


def _wait_for_scrape(server: str) -> None:
    """Poll until Prometheus can answer about a scrape; it has no way to tell by itself."""
    deadline = time.monotonic() + SCRAPE_TIMEOUT
    pause = threading.Event()
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.HTTPError):  # 503 until its storage is open
            if _query(server, 'up{job="programs"} == 1'):
                return
        pause.wait(0.05)
    pytest.fail(f"nothing was scraped within {SCRAPE_TIMEOUT} s")


@pytest.fixture
def prometheus(endpoint: str, tmp_path: Path) -> Generator[str]:
    """The base URL of a Prometheus that has scraped one run's metrics."""
    with _running_prometheus(str(required("prometheus")), tmp_path, endpoint) as server:
        _wait_for_scrape(server)
        yield server


def test_prometheus_stores_every_series(prometheus: str) -> None:
    """Names, labels and values can be queried as the scrape showed them."""
    found = _query(prometheus, '{__name__=~"(gen_ai|pocketflow)_.*",le=""}')

    assert in_order(found) == in_order(_expected())


def test_prometheus_answers_what_a_dashboard_asks(prometheus: str) -> None:
    """Quantiles come out of the buckets, and sums out of the labels."""
    by_flow = "sum by (gen_ai_workflow_name) (pocketflow_cost_total)"
    quantile = "histogram_quantile(0.5, gen_ai_invoke_workflow_duration_seconds_bucket)"

    assert _query(prometheus, by_flow) == [("", {"gen_ai_workflow_name": "Research"}, 0.0084)]
    ((_, _, seconds),) = _query(prometheus, quantile)
    assert 30 <= seconds <= 60

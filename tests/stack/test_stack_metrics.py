"""What Prometheus answers after the programs have run: sums over processes, routes, exemplars."""

from __future__ import annotations

import collections
import typing

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from support.stack import get, settled
from support.stack_runs import SERVICES

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

    from support.stack_runs import Ran

PROBLEMS = 'job="problems"'

every_service = pytest.mark.parametrize("service", SERVICES)


def _sums(ran: Ran, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the values of an expression by some of its labels; an absent label is empty."""
    found: dict[tuple[str, ...], float] = {}
    for series in ran.stack.query(expression):
        key = tuple(series["metric"].get(label, "") for label in labels)
        assert key not in found, f"{expression} has more than one series for {key}"
        found[key] = float(series["value"][1])
    return found


def _assert_sums(
    ran: Ran, expression: str, labels: tuple[str, ...], wanted: Mapping[tuple[str, ...], float]
) -> None:
    """Compare `_sums` with what they must be once the last flush and scrape are through."""
    assert settled(lambda: _sums(ran, expression, *labels), wanted) == wanted


def test_sums_are_those_of_all_processes(ran: Ran) -> None:
    """Three processes count as one program that did it three times, in one series each."""
    times = ran.runs["problems"]
    nodes = f"pocketflow_node_duration_seconds_count{{{PROBLEMS}}}"

    assert times > 1
    _assert_sums(
        ran,
        nodes,
        ("pocketflow_node_class", "error_type"),
        {
            ("Charge", "KeyError"): times,
            ("Check", ""): times,
            ("Draft", ""): times,
            ("Weigh", ""): times,
        },
    )
    retries = f"pocketflow_node_retries_total{{{PROBLEMS}}}"
    _assert_sums(ran, retries, ("pocketflow_node_class",), {("Draft",): times})
    items = f"pocketflow_batch_items_total{{{PROBLEMS}}}"
    # The third item of each batch was answered by its fallback.
    outcomes = {("Weigh", "success"): 3 * times}
    _assert_sums(ran, items, ("pocketflow_node_class", "pocketflow_outcome"), outcomes)


def test_cost_and_waste(ran: Ran) -> None:
    """What calls cost is credited to node, flow and model, and half of it was thrown away."""
    times = ran.runs["problems"]
    labels = ("gen_ai_request_model", "pocketflow_node_class", "gen_ai_workflow_name")
    origin = ("gpt-5", "Draft", "DraftFlow")

    _assert_sums(ran, f"pocketflow_cost_total{{{PROBLEMS}}}", labels, {origin: 0.5 * times})
    wasted = f"pocketflow_wasted_cost_total{{{PROBLEMS}}}"
    _assert_sums(ran, wasted, labels, {origin: 0.25 * times})
    tokens = f"pocketflow_usage_tokens_total{{{PROBLEMS}}}"
    used = {("input",): 2000 * times, ("output",): 400 * times}
    _assert_sums(ran, tokens, ("gen_ai_token_type",), used)


def test_nothing_runs_any_more(ran: Ran) -> None:
    """Runs in progress are told by process, and each ended process says none."""
    active = ran.stack.query(f"pocketflow_active_runs{{{PROBLEMS}}}", ran.told_at)

    assert {series["value"][1] for series in active} == {"0"}
    processes = {series["metric"]["service_instance_id"] for series in active}
    assert len(processes) == ran.runs["problems"]


@every_service
def test_every_metric_names_the_commit(ran: Ran, service: str) -> None:
    """Time and cost can be compared by commit, whatever told of them."""
    for metric in ("pocketflow_node_duration_seconds_count", "pocketflow_spans_calls_total"):
        nodes = f'sum by (vcs_ref_head_revision) ({metric}{{job="{service}"}}) > bool 0'
        _assert_sums(ran, nodes, ("vcs_ref_head_revision",), {(ran.commit,): 1})


@every_service
def test_routes_are_those_that_were_taken(ran: Ran, service: str) -> None:
    """Each step from a node by an action to the next is counted as often as it was made."""
    names = (semconv.NODE_ID, semconv.NODE_ACTION, semconv.NODE_NEXT)
    taken = collections.Counter(
        tuple(str(entry.attributes.get(name, "")) for name in names)
        for entry in ran.spans[service]
        if semconv.NODE_ID in entry.attributes
    )
    labels = [name.replace(".", "_") for name in names]

    routes = f'sum by ({",".join(labels)}) (pocketflow_routes_calls_total{{job="{service}"}})'
    _assert_sums(ran, routes, tuple(labels), taken)


def test_dead_ends_are_told(ran: Ran) -> None:
    """A node whose action leads nowhere can be asked for."""
    dead_ends = f'pocketflow_routes_calls_total{{{PROBLEMS},pocketflow_node_dead_end="true"}}'

    labels = ("pocketflow_node_id", "pocketflow_node_action")
    _assert_sums(ran, dead_ends, labels, {("Check", "rewrite"): ran.runs["problems"]})


@every_service
def test_exemplars_lead_to_their_trace(ran: Ran, service: str) -> None:
    """Behind each kind of span's duration stands a trace that Jaeger has, with such a span."""
    durations = f'pocketflow_spans_duration_seconds_bucket{{job="{service}"}}'
    made = {entry.name for entry in ran.spans[service]}

    def named() -> set[str]:
        found = ran.stack.exemplar_series(durations)
        return {each["seriesLabels"]["span_name"] for each in found}

    assert settled(named, made) == made
    for each in ran.stack.exemplar_series(durations):
        for exemplar in each["exemplars"]:
            trace = ran.stack.trace(exemplar["labels"]["trace_id"])
            spans = {span["spanID"]: span for span in trace["spans"]}
            span = spans[exemplar["labels"]["span_id"]]
            assert span["operationName"] == each["seriesLabels"]["span_name"]
            assert span["duration"] / 1e6 == pytest.approx(float(exemplar["value"]), abs=2e-6)


def test_who_runs_it_is_no_label(ran: Ran) -> None:
    """Neither the process nor its command line makes a series of its own."""
    series = ran.stack.query('{__name__=~"(gen_ai|pocketflow)_.*"}')
    labels = {label for each in series for label in each["metric"]}

    assert series
    assert [label for label in labels if label.startswith(("process_", "host_"))] == []
    assert set(SERVICES) <= {each["metric"]["job"] for each in series}


def test_every_target_is_up(ran: Ran) -> None:
    """Prometheus scrapes the programs' metrics, the collector's own and Jaeger's own."""
    wanted = {(pool, "up") for pool in ("pocketflow", "pocketflow-now", "collector", "jaeger")}

    def health() -> set[tuple[str, str]]:
        answer = get(f"{ran.stack.url('prometheus')}/api/v1/targets").json()
        targets = answer["data"]["activeTargets"]
        return {(each["scrapePool"], each["health"]) for each in targets}

    assert settled(health, wanted) == wanted

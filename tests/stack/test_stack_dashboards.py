"""Each panel's and each rule's query, asked of the Prometheus and the Jaeger that saw the runs."""

from __future__ import annotations

import json
import re
import time
import typing
import urllib.parse

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from support.stack import ROOT, get, settled, wait_until
from support.stack_runs import SERVICES

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from support.stack import Stack
    from support.stack_runs import Ran

Json: typing.TypeAlias = "dict[str, typing.Any]"

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"

CHOSEN = {
    "job": "|".join(SERVICES),
    "flow": ".*",
    "commit": ".*",
    "__range": "1h",
    "__interval": "15s",
    "__rate_interval": "1m",
}
"""What Grafana would put in: everything of these programs, over the last hour.

Other tests send other programs to the same stack.
"""

ONE = {"job": "problems", "service": "problems", "flow": "ChargeFlow"}
"""Jaeger searches in one program."""

LATE = 30.0
"""Seconds that an answer may still take after the runs: twice a flush, scrape and evaluation."""


def _panels(panels: list[Json]) -> Iterator[Json]:
    for panel in panels:
        yield from _panels(panel.get("panels", []))
        yield panel


def _targets(source: str, type_: str = "") -> list[tuple[str, str, Json]]:
    """Return dashboard, panel's title and query of all panels of a type that ask a source."""
    return [
        (file.stem, panel["title"], target)
        for file in sorted(DASHBOARDS.glob("*.json"))
        for panel in _panels(json.loads(file.read_text(encoding="utf-8"))["panels"])
        for target in panel.get("targets", [])
        if target.get("datasource", panel.get("datasource"))["uid"] == source
        if type_ in ("", panel["type"])
    ]


def _filled(text: str, chosen: Mapping[str, str] = CHOSEN) -> str:
    # What is no variable is a group of label_replace().
    return re.sub(r"\$(\w+)", lambda match: chosen.get(match[1], match[0]), text)


def _ask(stack: Stack, target: Json, at: float | None = None) -> Json:
    """Ask a panel's query as Grafana does: for a moment, or for the hour before it."""
    now = time.time() if at is None else at
    asked = {"query": _filled(target["expr"]), "time": str(now)}
    path = "query"
    if target["range"]:
        asked |= {"start": str(now - 3600), "end": str(now), "step": "15"}
        path = "query_range"
    url = f"{stack.url('prometheus')}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
    answer = get(url).json()
    assert answer["status"] == "success", answer
    data: Json = answer["data"]
    return data


def _has_numbers(data: Json) -> bool:
    """Tell whether there are series, and in each of them at least one number."""
    lines = [series.get("values", [series.get("value")]) for series in data["result"]]
    return bool(lines) and all(any(value != "NaN" for _, value in line) for line in lines)


def _id(case: tuple[str, str, Json]) -> str:
    return f"{case[0]}: {case[1]} {case[2]['refId']}"


@pytest.mark.parametrize("case", _targets("prometheus"), ids=_id)
def test_a_panel_has_an_answer(ran: Ran, case: tuple[str, str, Json]) -> None:
    """Numbers for the present are a vector, those along the time a matrix; none is empty."""
    target = case[2]

    wait_until(lambda: _has_numbers(_ask(ran.stack, target)), f"numbers: {target['expr']}", LATE)

    assert _ask(ran.stack, target)["resultType"] == ("matrix" if target["range"] else "vector")


@pytest.mark.parametrize("case", _targets("jaeger"), ids=_id)
def test_a_search_finds_traces(ran: Ran, case: tuple[str, str, Json]) -> None:
    """The lists of traces are those with an error: of each run the one that crashed, at least."""
    target = case[2]
    asked = {"tags": json.dumps(dict(each.split("=") for each in target["tags"].split()))}
    if target["operation"]:
        asked["operation"] = _filled(target["operation"], ONE)

    def crashes() -> int:
        found = ran.stack.traces(_filled(target["service"], ONE), **asked)
        names = [span["operationName"] for trace in found for span in trace["spans"]]
        return names.count("invoke_workflow ChargeFlow")

    wanted = ran.runs["problems"]
    assert settled(crashes, wanted, LATE) == wanted


def _number(stack: Stack, dashboard: str, title: str, at: float | None = None) -> float | None:
    """Return the number of a panel, None where it has none yet."""
    (target,) = (
        target
        for name, panel, target in _targets("prometheus", "stat")
        if (name, panel) == (dashboard, title)
    )
    values = [float(series["value"][1]) for series in _ask(stack, target, at)["result"]]
    assert len(values) <= 1, target["expr"]
    return values[0] if values else None


def test_totals_are_true(ran: Ran) -> None:
    """Runs, retries, dead ends and cost are what the programs did, to the last one."""
    entries = [entry for spans in ran.spans.values() for entry in spans]
    kinds = [entry.attributes[semconv.SPAN_KIND] for entry in entries]
    dead_ends = [entry for entry in entries if semconv.NODE_DEAD_END in entry.attributes]
    wanted = {
        ("runs", "Flow runs"): kinds.count("flow"),
        ("runs", "Failed"): pytest.approx(ran.runs["problems"] / kinds.count("flow")),
        ("flow", "Dead ends"): len(dead_ends),
        ("models", "Cost"): pytest.approx(0.5 * ran.runs["problems"]),
        ("models", "Wasted cost"): pytest.approx(0.5),
    }

    def totals() -> dict[tuple[str, str], float | None]:
        return {panel: _number(ran.stack, *panel) for panel in wanted}

    assert settled(totals, wanted) == wanted
    assert _number(ran.stack, "runs", "Running now", ran.told_at) == 0


def test_alerts_that_fire(ran: Ran) -> None:
    """A dead end is told at once, a flow at its third failure; nothing else is wrong enough.

    Half of the cost was wasted, but less than 1 in all; and 3 retries are no storm.
    """
    wanted = [("PocketFlowDeadEnd", "Check"), ("PocketFlowErrors", "ChargeFlow")]

    def firing() -> list[tuple[str, str]]:
        found = ran.stack.query('ALERTS{alertstate="firing", job="problems"}')
        labels = [series["metric"] for series in found]
        return sorted((each["alertname"], _whom(each)) for each in labels)

    assert settled(firing, wanted) == wanted


def _whom(labels: Mapping[str, str]) -> str:
    """Return the flow or the node that an alert is about."""
    return labels.get("gen_ai_workflow_name") or labels.get("pocketflow_node_id", "")


def test_every_rule_is_evaluated(ran: Ran) -> None:
    """Prometheus has evaluated each rule without an error, and every record has a value."""
    names = [rule["name"] for rule in _rules(ran.stack)]
    records = {rule["name"] for rule in _rules(ran.stack) if rule["type"] == "recording"}
    wanted = [(name, "ok", None) for name in names]

    def health() -> list[tuple[str, str, str | None]]:
        rules = _rules(ran.stack)
        return [(rule["name"], rule["health"], rule.get("lastError")) for rule in rules]

    assert settled(health, wanted, LATE) == wanted
    assert records
    assert settled(lambda: _missing(ran.stack, records), [], LATE) == []


def _rules(stack: Stack) -> list[Json]:
    """Ask Prometheus for its rules and how they are."""
    answer = get(f"{stack.url('prometheus')}/api/v1/rules").json()
    return [rule for group in answer["data"]["groups"] for rule in group["rules"]]


def _missing(stack: Stack, metrics: Iterable[str]) -> list[str]:
    """Return which metrics had no value in the last hour; some are forgotten after 5 minutes."""
    return [each for each in sorted(metrics) if not stack.query(f"last_over_time({each}[1h])")]


def test_every_alert_asks_for_something_that_exists(ran: Ran) -> None:
    """An alert is silent because all is well, not because its metrics are misspelt."""
    rules = _rules(ran.stack)
    alerts = {rule["name"]: rule["query"] for rule in rules if rule["type"] == "alerting"}
    labels = re.compile(r"\b(?:by|on) \([^)]*\)")
    names = re.compile(r"\b(?:pocketflow[:_][a-z_:]+|otelcol_[a-z_]+|up)\b(?=[{\[)])")

    metrics = {alert: set(names.findall(labels.sub("", query))) for alert, query in alerts.items()}
    assert metrics
    assert [alert for alert, asked in metrics.items() if not asked] == []
    assert "pocketflow_active_runs" in metrics["PocketFlowStuckRuns"]
    known = set[str]().union(*metrics.values())
    assert settled(lambda: _missing(ran.stack, known), [], LATE) == []

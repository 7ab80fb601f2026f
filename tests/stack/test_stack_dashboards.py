"""Each panel's and each rule's query, asked of the Prometheus and the Jaeger that saw the runs."""

from __future__ import annotations

import json
import re
import time
import typing
import urllib.parse

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from support.stack import ROOT, get, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.stack import Stack
    from support.stack_runs import Ran

Json: typing.TypeAlias = "dict[str, typing.Any]"

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"

CHOSEN = {
    "job": ".*",
    "flow": ".*",
    "commit": ".*",
    "__range": "1h",
    "__interval": "15s",
    "__rate_interval": "1m",
}
"""What Grafana would put in: everything, over the last hour."""

ONE = {"job": "problems", "service": "problems", "flow": "ChargeFlow"}
"""Jaeger searches in one program."""

NOTHING_TO_SHOW = {
    ("Flow runs by how they ended", "cancelled"),  # no run was
    ("Alerts now", "__auto"),  # each waits before it fires
}
"""Panel and legend of the queries that have no answer after these runs."""


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


def _ask(stack: Stack, target: Json) -> Json:
    """Ask a panel's query as Grafana does: for the present, or along the time."""
    asked = {"query": _filled(target["expr"])}
    path = "query"
    if target["range"]:
        now = time.time()
        asked |= {"start": str(now - 300), "end": str(now), "step": "5"}
        path = "query_range"
    url = f"{stack.url('prometheus')}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
    answer = get(url).json()
    assert answer["status"] == "success", answer
    data: Json = answer["data"]
    return data


def _id(case: tuple[str, str, Json]) -> str:
    return f"{case[0]}: {case[1]} {case[2]['refId']}"


@pytest.mark.parametrize("case", _targets("prometheus"), ids=_id)
def test_a_panel_has_an_answer(ran: Ran, case: tuple[str, str, Json]) -> None:
    """Numbers for the present are a vector, those along the time a matrix; none is empty."""
    _, title, target = case

    data = _ask(ran.stack, target)

    assert data["resultType"] == ("matrix" if target["range"] else "vector")
    if (title, target["legendFormat"]) in NOTHING_TO_SHOW:
        return
    assert data["result"], target["expr"]
    for series in data["result"]:
        points = series["values"] if target["range"] else [series["value"]]
        assert any(value != "NaN" for _, value in points), series


@pytest.mark.parametrize("case", _targets("jaeger"), ids=_id)
def test_a_search_finds_traces(ran: Ran, case: tuple[str, str, Json]) -> None:
    """The lists of traces are those with an error: of each run the one that crashed, at least."""
    target = case[2]
    asked = {"tags": json.dumps(dict(each.split("=") for each in target["tags"].split()))}
    if target["operation"]:
        asked["operation"] = _filled(target["operation"], ONE)

    found = ran.stack.traces(_filled(target["service"], ONE), **asked)

    roots = [span["operationName"] for trace in found for span in trace["spans"]]
    assert roots.count("invoke_workflow ChargeFlow") == ran.runs["problems"]


def _number(stack: Stack, dashboard: str, title: str) -> float:
    (target,) = (
        target
        for name, panel, target in _targets("prometheus", "stat")
        if (name, panel) == (dashboard, title)
    )
    ((_, value),) = (series["value"] for series in _ask(stack, target)["result"])
    return float(value)


def test_totals_are_true(ran: Ran) -> None:
    """Runs, retries, dead ends and cost are what the programs did, to the last one."""
    entries = [entry for spans in ran.spans.values() for entry in spans]
    kinds = [entry.attributes[semconv.SPAN_KIND] for entry in entries]
    dead_ends = [entry for entry in entries if semconv.NODE_DEAD_END in entry.attributes]
    failed = ran.runs["problems"] / kinds.count("flow")

    def settled() -> bool:
        return _number(ran.stack, "runs", "Flow runs") == kinds.count("flow")

    wait_until(settled, "the increases of the last program are recorded", timeout=20)
    assert _number(ran.stack, "runs", "Failed") == pytest.approx(failed)
    assert _number(ran.stack, "flow", "Dead ends") == len(dead_ends)
    assert _number(ran.stack, "models", "Cost") == pytest.approx(0.5 * ran.runs["problems"])
    assert _number(ran.stack, "models", "Wasted cost") == pytest.approx(0.5)
    assert _number(ran.stack, "runs", "Running now") == 0


def test_every_rule_is_evaluated(ran: Ran) -> None:
    """Prometheus has evaluated each rule without an error, and every record has a value."""
    answer = get(f"{ran.stack.url('prometheus')}/api/v1/rules").json()
    rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in rules} == {
        (rule["name"], "ok", None) for rule in rules
    }
    records = {rule["name"] for rule in rules if rule["type"] == "recording"}
    assert records
    assert [record for record in sorted(records) if not ran.stack.query(record)] == []


def test_every_alert_asks_for_something_that_exists(ran: Ran) -> None:
    """An alert is silent because all is well, not because its metrics are misspelt.

    What it compares has a value, but for what begins to be there with the first that was lost.
    """
    answer = get(f"{ran.stack.url('prometheus')}/api/v1/rules").json()
    alerts = {
        rule["name"]: rule["query"]
        for group in answer["data"]["groups"]
        for rule in group["rules"]
        if rule["type"] == "alerting"
    }
    names = re.compile(r"\b(?:pocketflow[:_][a-z_:]+|otelcol_[a-z_]+|up)\b(?=[{\[])")
    later = {"otelcol_exporter_enqueue_failed_spans_total"}

    assert alerts
    for alert, query in alerts.items():
        metrics = set(names.findall(query))
        assert metrics, alert
        missing = [each for each in sorted(metrics - later) if not ran.stack.query(each)]
        assert missing == [], alert

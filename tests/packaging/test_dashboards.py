"""The dashboards of Grafana: whole, readable, and asking for nothing that does not exist.

What a query may name is taken from where it is made: `semconv.py`, the collector's connectors, the
records of Prometheus. No stack is needed; that the queries have answers is tests/stack's to prove.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import yaml

from opentelemetry.instrumentation.pocketflow import semconv
from support.stack import required

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

Json: typing.TypeAlias = dict[str, typing.Any]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
PROMETHEUS = ROOT / "deploy" / "prometheus"
NAMES = ("runs", "flow", "models")
WIDTH = 24

# --- What there is ----------------------------------------------------------------------------

EVERYWHERE = {"job", "instance", "vcs_ref_head_revision", "deployment_environment_name"}
"""Labels that the collector or Prometheus gives to every series."""

OWN = {
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate", "severity"},
    "otelcol_receiver_accepted_spans_total": {"receiver", "transport"},
    "otelcol_receiver_refused_spans_total": {"receiver", "transport"},
    "otelcol_receiver_refused_metric_points_total": {"receiver", "transport"},
    "otelcol_exporter_sent_spans_total": {"exporter"},
    "otelcol_exporter_send_failed_spans_total": {"exporter"},
    "otelcol_exporter_enqueue_failed_spans_total": {"exporter"},
    "otelcol_exporter_queue_size": {"exporter", "data_type"},
    "otelcol_exporter_queue_capacity": {"exporter", "data_type"},
}
"""Prometheus's and the collector's own metrics, as collector 0.140.1 names them."""


def label(attribute: str) -> str:
    """An attribute's name as Prometheus has it."""
    return attribute.replace(".", "_")


def documented() -> Iterator[tuple[str, str]]:
    """Each metric of `semconv.py` with the docstring under it."""
    body = ast.parse(Path(semconv.__file__).read_text(encoding="utf-8")).body
    for constant, below in itertools.pairwise(body):
        if isinstance(constant, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            if text.startswith("metric: "):
                yield ast.literal_eval(constant.value or below.value), text


def own_metrics() -> dict[str, set[str]]:
    """The metrics of the instrumentation as Prometheus names them, with their labels."""
    found: dict[str, set[str]] = {}
    labels: set[str] = set()
    for name, text in documented():
        kind = text.removeprefix("metric: ").partition(",")[0]
        told = text.partition("Attributes: ")[2]
        if "as above" not in told:
            known = re.findall(r"`([a-z_.]+)`", told)
            labels = {label(attribute) for attribute in known if "." in attribute}
        base = label(name) + ("_seconds" if ", s." in text else "")
        if kind == "histogram":
            found |= {f"{base}_{part}": labels for part in ("count", "sum")}
            found[f"{base}_bucket"] = labels | {"le"}
        elif kind == "counter":
            found[f"{base}_total"] = labels
        else:
            found[base] = labels | {"service_instance_id"}
    return found


def connector_metrics() -> dict[str, set[str]]:
    """The metrics that the collector makes of spans, with their labels."""
    collector = yaml.safe_load((ROOT / "collector-config.yaml").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for name, connector in collector["connectors"].items():
        if not name.startswith("spanmetrics"):
            continue
        base = label(connector["namespace"])
        labels = {label(each["name"]) for each in connector["dimensions"]}
        labels |= {"service_name", "span_name", "span_kind", "status_code"}
        labels -= {label(each) for each in connector["exclude_dimensions"]}
        found[f"{base}_calls_total"] = labels
        if not connector["histogram"].get("disable"):
            found |= {f"{base}_duration_seconds_{part}": labels for part in ("count", "sum")}
            found[f"{base}_duration_seconds_bucket"] = labels | {"le"}
    return found


def rules(name: str) -> list[Json]:
    """All rules of a file of Prometheus."""
    loaded = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


RAW = own_metrics() | connector_metrics() | OWN
METRIC = re.compile(r"\b(?:pocketflow|gen_ai|otelcol)[a-z_]*_[a-z_]+\b")


def record_metrics() -> dict[str, set[str]]:
    """What Prometheus records, with the labels of what it is made of."""
    found: dict[str, set[str]] = {"pocketflow:watching": set()}
    for rule in rules("recording.yml"):
        if rule["record"] not in found:
            found[rule["record"]] = set[str]().union(
                *(RAW[name] for name in raw_names(rule["expr"]))
            )
    return found


def raw_names(expr: str) -> set[str]:
    """The metrics of the instrumentation and the collector that a query names."""
    plain = re.sub(r'"[^"]*"|pocketflow:[\w:]+', "", expr)
    return {name for name in METRIC.findall(plain) if name in RAW}


KNOWN = RAW | record_metrics()

# --- What is asked ----------------------------------------------------------------------------

DASHBOARDS: dict[str, Json] = {
    name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]


TABLES = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel.get("transformations")
]
"""Those that Prometheus fills; a search has the columns that Jaeger gives it."""


def queries() -> dict[str, str]:
    """Every query of dashboards, variables and rules, by where it stands."""
    found: dict[str, str] = {}
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                if "expr" in target:
                    found[f"{name}: {panel['title']} {target['refId']}"] = target["expr"]
        for choice in dashboard["templating"]["list"]:
            metric, _, wanted = choice["definition"].rpartition(", ")
            metric = metric.removeprefix("label_values(")
            found[f"{name}: ${choice['name']}"] = f"count by ({wanted.rstrip(')')}) ({metric})"
    for file in ("recording.yml", "alerts.yml"):
        for rule in rules(file):
            found[f"{file}: {rule.get('record') or rule['alert']}"] = rule["expr"]
    return found


QUERIES = queries()
each_query = pytest.mark.parametrize("expr", QUERIES.values(), ids=QUERIES.keys())

WORDS = {
    "absent", "and", "bool", "by", "count", "group_left", "histogram_quantile", "ignoring",
    "increase", "label_replace", "max", "offset", "on", "or", "rate", "sum", "sum_over_time",
    "topk", "unless", "without",
}  # fmt: skip
"""Words of PromQL."""

LEVEL = re.compile(r"\b(?:by|on|group_left|without)\s*\(([^()]*)\)")


def bare(expr: str) -> str:
    """A query without its strings, windows and durations."""
    return re.sub(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\b\d+[smhd]\b', "", expr)


def metrics_of(expr: str) -> set[str]:
    """Every name in a query that is neither a label nor a word of the language."""
    plain = LEVEL.sub("", re.sub(r"\{[^}]*\}", "", bare(expr)))
    return set(re.findall(r"[a-zA-Z_:][\w:]*", plain)) - WORDS


def selectors(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric with the labels that it is selected by."""
    for name, inside in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", bare(expr)):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))


def levels(expr: str) -> set[str]:
    """All labels that a query groups or joins by."""
    return {part.strip() for inside in LEVEL.findall(bare(expr)) for part in inside.split(",")} - {
        ""
    }


def made(expr: str) -> set[str]:
    """The labels that a query makes itself."""
    return set(re.findall(r'label_replace\(.*, "(\w+)", "\$1"', expr))


# --- Tests ------------------------------------------------------------------------------------


def test_the_files_are_what_the_script_describes() -> None:
    """Who changes a dashboard in Grafana changes the description, too."""
    command = [sys.executable, "scripts/dashboards.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    """The check above can fail."""
    for folder in ("scripts", "deploy/grafana/dashboards"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("dashboards.py", "dashboard_queries.py", "grafana_panels.py"):
        (tmp_path / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    for name in NAMES:
        text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
        target = tmp_path / "deploy/grafana/dashboards" / f"{name}.json"
        target.write_text(text.replace('"now-1h"', '"now-2h"', name == "flow"), encoding="utf-8")
    command = [sys.executable, "scripts/dashboards.py", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("flow.json is not as described")


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_found_under_its_address(name: str) -> None:
    """Links and bookmarks name it by its uid, and Grafana gives it an id of its own."""
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"pocketflow-{name}"
    assert dashboard["id"] is None
    assert dashboard["title"]
    assert dashboard["description"]
    assert dashboard["tags"] == ["pocketflow"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_a_place_and_a_number_of_their_own(name: str) -> None:
    """Grafana moves panels that overlap, and mixes up those of one id."""
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: Json) -> None:
    """A title, a sentence in plain words, a unit; and what no data means, where that needs it."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert len(panel["description"].split()) > 5
    if panel["datasource"]["type"] == "prometheus":
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] in {"table", "bargauge"}:
        assert panel["fieldConfig"]["defaults"]["noValue"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_a_data_source_that_is_provisioned(panel: Json) -> None:
    """Data sources are named by uid, so that no one has to choose them after an import."""
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/datasources.yml").read_text("utf-8"))
    known = {(each["type"], each["uid"]) for each in provisioned["datasources"]}
    assert panel["targets"]
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert (source["type"], source["uid"]) in known


@pytest.mark.parametrize("panel", TABLES)
def test_a_table_names_columns_that_its_queries_have(panel: Json) -> None:
    """A rename or a link of a column that is not there does nothing, and nobody is told."""
    organized = panel["transformations"][-1]["options"]
    columns = organized["renameByName"]
    last = panel["targets"][0]["expr"]
    values = [column for column in columns if column.startswith("Value")]
    assert len(values) == len(panel["targets"])
    assert {column for column in columns if column not in values} <= levels(last)
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["options"] in columns.values()
    links = re.findall(r"__data\.fields\.(\w+)", json.dumps(panel["fieldConfig"]))
    assert set(links) <= set(columns.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_query_uses_only_variables_that_can_be_chosen(name: str) -> None:
    """Grafana sends an unknown variable as it stands, and the query finds nothing."""
    dashboard = DASHBOARDS[name]
    chosen = {choice["name"] for choice in dashboard["templating"]["list"]}
    given = {"__range", "__interval", "__rate_interval"}
    text = json.dumps([panel.get("targets") for panel in dashboard["panels"]])
    assert set(re.findall(r"\$([a-z_]+)", text)) <= chosen | given


@each_query
def test_a_query_names_metrics_that_exist(expr: str) -> None:
    """A metric that was renamed leaves a panel empty, and an alert silent."""
    assert metrics_of(expr) <= set(KNOWN)
    assert metrics_of(expr)


@each_query
def test_a_query_names_labels_that_its_metrics_have(expr: str) -> None:
    """A label that no series has selects nothing, and groups all together."""
    for metric, used in selectors(expr):
        assert used <= KNOWN[metric] | EVERYWHERE, metric
    scope = {"otel_scope_name", "otel_scope_schema_url", "otel_scope_version", "service_name"}
    possible = set[str]().union(EVERYWHERE, scope, *(KNOWN[name] for name in metrics_of(expr)))
    assert levels(expr) - made(expr) <= possible


def test_counts_are_made_of_recorded_increases_alone() -> None:
    """increase() and rate() miss the first run of a process; recording.yml says why."""
    for where, expr in QUERIES.items():
        if re.search(r"\b(rate|increase)\(", bare(expr)):
            assert metrics_of(expr) <= set(OWN), where


def test_durations_lead_to_traces() -> None:
    """The diamonds in a graph of durations come from series that have exemplars."""
    with_traces = [
        target["expr"]
        for dashboard in DASHBOARDS.values()
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        if target.get("exemplar")
    ]
    assert len(with_traces) == 3
    for expr in with_traces:
        assert "pocketflow_spans_duration_seconds_bucket" in metrics_of(expr)


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """As rules, promtool parses them; Grafana's variables are put in as Grafana would."""
    given = {"__range": "1h", "__interval": "15s", "__rate_interval": "20s"}
    records = [
        {
            "record": f"query:{at}",
            "expr": re.sub(r"\$([a-z_]+)", lambda found: given.get(found[1], ".*"), expr),
        }
        for at, expr in enumerate(QUERIES.values())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": records}]}), encoding="utf-8")
    command = [str(required("promtool")), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

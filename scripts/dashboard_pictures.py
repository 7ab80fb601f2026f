"""Draws the dashboards for the README, `docs/dashboards-*.svg`, from a stack that runs.

    python scripts/dashboard_pictures.py --prometheus http://localhost:9090 \
        --jaeger http://localhost:16686 --minutes 30

It reads `deploy/grafana/dashboards/*.json`, asks each panel's queries as Grafana would, and draws
the answers at the panel's place. It is no picture of Grafana, and says so; the numbers are the
same.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import typing
import urllib.parse
import urllib.request
from pathlib import Path

from drawn_panels import (
    FAINT,
    INK,
    NAMED,
    PALETTE,
    TITLE,
    Box,
    Cell,
    Curve,
    Span,
    bars,
    diamonds,
    frame,
    graph,
    nothing,
    rect,
    stats,
    table,
    text,
)
from grafana_panels import EMPTY

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json: typing.TypeAlias = dict[str, typing.Any]

ROOT = Path(__file__).resolve().parents[1]
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
DOCS = ROOT / "docs"

UNIT = 54
"""Width of one of the 24 columns, in pixels."""
LEVEL = 30
"""Height of one level of the grid."""
GAP = 8
HEAD = 44
FOOT = 34
STEPS = 72
"""Values of a curve."""
EXEMPLARS = 40
CAPTION = (
    "Drawn from the panels' own queries to a running Prometheus and Jaeger by"
    " scripts/dashboard_pictures.py, not by Grafana: the numbers are the same, the looks are not."
)


class Stack:
    """Where to ask, for which time, and what the variables are."""

    def __init__(self, prometheus: str, jaeger: str, minutes: int, end: float) -> None:
        self._prometheus = prometheus.rstrip("/")
        self._jaeger = jaeger.rstrip("/")
        seconds = minutes * 60
        self.span = Span(end - seconds, end, max(seconds / STEPS, 5))
        self._values = {
            "commit": ".*",
            "flow": ".*",
            "job": ".*",
            "__range": f"{seconds}s",
            "__interval": f"{self.span.step:.0f}s",
            "__rate_interval": f"{max(4 * 5, self.span.step + 5):.0f}s",
        }

    def choose(self, **values: str) -> None:
        """Set variables of the dashboard."""
        self._values |= values

    def filled(self, words: str) -> str:
        """A query with the variables put in; `$1` and the like belong to the query."""
        return re.sub(r"\$([a-z_]+)", lambda found: self._values[found[1]], words)

    def now(self, expr: str) -> list[Json]:
        """What a query gives at the end of the time, each with `metric` and `value`."""
        return self._ask("query", query=self.filled(expr), time=str(self.span.end))["result"]

    def over_time(self, expr: str) -> list[Json]:
        """What a query gives over the time, each with `metric` and `values`."""
        span = self.span
        return self._ask(
            "query_range",
            query=self.filled(expr),
            start=str(span.start),
            end=str(span.end),
            step=str(span.step),
        )["result"]

    def exemplars(self, expr: str) -> list[tuple[float, float]]:
        """Time and value of some of the exemplars of a query's series, evenly chosen."""
        found = self._ask(
            "query_exemplars",
            query=self.filled(expr),
            start=str(self.span.start),
            end=str(self.span.end),
        )
        points = sorted(
            {(one["timestamp"], float(one["value"])) for each in found for one in each["exemplars"]}
        )
        return points[:: max(len(points) // EXEMPLARS, 1)]

    def traces(self, target: Json) -> list[Json]:
        """What Jaeger finds."""
        asked = {
            "service": self.filled(target["service"]),
            "limit": str(target["limit"]),
            "start": str(int(self.span.start * 1e6)),
            "end": str(int(self.span.end * 1e6)),
            "tags": json.dumps(dict(pair.split("=") for pair in target["tags"].split())),
        }
        if target["operation"]:
            asked["operation"] = self.filled(target["operation"])
        return fetched(f"{self._jaeger}/api/traces?{urllib.parse.urlencode(asked)}")["data"]

    def _ask(self, what: str, **asked: str) -> typing.Any:
        return fetched(f"{self._prometheus}/api/v1/{what}?{urllib.parse.urlencode(asked)}")["data"]


def fetched(url: str) -> Json:
    """The JSON that a URL answers with."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the user names the server
        return json.load(answer)


# --- Numbers ----------------------------------------------------------------------------------


def shown(value: float, unit: str) -> str:
    """A number as Grafana would write it."""
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return seconds(value)
    return short(value)


def seconds(value: float) -> str:
    """A duration: 0 s, 230 µs, 32 ms, 1.5 s, 4.2 min."""
    if value >= 60:  # noqa: PLR2004 - a minute
        return f"{value / 60:.3g} min"
    scale, name = next(
        (step for step in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if value >= step[0]), (1, "s")
    )
    return f"{value / scale:.3g} {name}"


def short(value: float) -> str:
    """A count: 12, 3.4 K, 1.2 Mil; of small ones, three digits."""
    for size, name in ((1e9, "Bil"), (1e6, "Mil"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g}" if value != round(value) else f"{value:.0f}"


def color_of(value: float, steps: Sequence[Json]) -> str:
    """The color of the last threshold that a value has reached."""
    reached = [step["color"] for step in steps if value >= step["value"]]
    return NAMED[reached[-1] if reached else "green"]


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A legend with the labels put in."""
    if legend == "__auto":
        return " ".join(labels.values())
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


# --- Panels -----------------------------------------------------------------------------------


def drawn(panel: Json, box: Box, stack: Stack) -> Iterator[str]:
    """A panel: its frame, and what its kind shows."""
    if panel["type"] == "row":
        yield text(box.left + 4, box.bottom - 8, panel["title"], size=14, bold=True)
        return
    yield from frame(box, panel["title"])
    inner = box.inside(12, TITLE, 12, 10)
    drawing = list(KINDS[panel["type"]](panel, inner, stack))
    yield from drawing or nothing(inner, panel["fieldConfig"]["defaults"].get("noValue", ""))


def drawn_values(panel: Json, box: Box, stack: Stack) -> Iterator[str]:
    """Numbers, or bars."""
    defaults = panel["fieldConfig"]["defaults"]
    found = [
        (named(target["legendFormat"], labels), value)
        for target in panel["targets"]
        for labels, value in numbers(stack.now(target["expr"]))
    ]
    most = max((value for _, value in found), default=0) or 1
    steps = defaults["thresholds"]["steps"]
    cells = [
        (name, Cell(shown(value, defaults["unit"]), color_of(value, steps), value / most))
        for name, value in sorted(found, key=lambda one: -one[1])
    ]
    if cells:
        yield from (bars if panel["type"] == "bargauge" else stats)(box, cells)


def numbers(results: Sequence[Json]) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of each result that is a number."""
    for one in results:
        value = float(one["value"][1])
        if math.isfinite(value):
            yield one["metric"], value


def drawn_graph(panel: Json, box: Box, stack: Stack) -> Iterator[str]:
    """Curves, and exemplars where the panel shows them."""
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    curves = list(curves_of(panel, stack))
    if not curves:
        return
    unit = panel["fieldConfig"]["defaults"]["unit"]
    yield from graph(box, curves, stack.span, lambda value: shown(value, unit), stacked=stacked)
    for target in panel["targets"]:
        if target.get("exemplar"):
            yield from diamonds(box, stack.exemplars(target["expr"]), curves, stack.span)


def curves_of(panel: Json, stack: Stack) -> Iterator[Curve]:
    """All results of a panel, in colors of its own choice or of the palette."""
    fixed = {
        override["matcher"]["options"]: NAMED[each["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "color"
    }
    at = 0
    for target in panel["targets"]:
        for one in stack.over_time(target["expr"]):
            points = [(when, float(value)) for when, value in one["values"]]
            points = [point for point in points if math.isfinite(point[1])]
            name = named(target["legendFormat"], one["metric"])
            if points:
                yield Curve(name, fixed.get(name, PALETTE[at % len(PALETTE)]), points)
                at += 1


def drawn_table(panel: Json, box: Box, stack: Stack) -> Iterator[str]:
    """Rows of labels and values; of a search, the traces."""
    if panel["datasource"]["type"] == "jaeger":
        rows = [trace_row(trace) for trace in stack.traces(panel["targets"][0])]
        names = ["Trace", "Its root", "Start (UTC)", "Duration"]
    else:
        names, rows = joined(panel, stack)
    if rows:
        yield from table(box, names, rows)


def trace_row(trace: Json) -> list[Cell]:
    """A trace as Grafana lists it."""
    first = min(trace["spans"], key=lambda span: span["startTime"])
    service = trace["processes"][first["processID"]]["serviceName"]
    end = max(span["startTime"] + span["duration"] for span in trace["spans"])
    return [
        Cell(trace["traceID"][:16], NAMED["blue"]),
        Cell(f"{service}: {first['operationName']}"),
        Cell(time.strftime("%H:%M:%S", time.gmtime(first["startTime"] / 1e6))),
        Cell(seconds((end - first["startTime"]) / 1e6)),
    ]


def joined(panel: Json, stack: Stack) -> tuple[list[str], list[list[Cell]]]:
    """All results of a panel as one table, named and ordered as its transformations say."""
    organized = panel["transformations"][-1]["options"]
    order = sorted(organized["indexByName"], key=organized["indexByName"].get)
    names = [organized["renameByName"][column] for column in order]
    labels = [column for column in order if not column.startswith("Value")]
    values: dict[tuple[str, ...], dict[str, float]] = {}
    for target in panel["targets"]:
        column = f"Value #{target['refId']}" if len(panel["targets"]) > 1 else "Value"
        for found, value in numbers(stack.now(target["expr"])):
            key = tuple(found.get(label, "") for label in labels)
            values.setdefault(key, {})[organized["renameByName"][column]] = value
    looks = {name: look(panel, name) for name in names}
    rows = ordered(panel, values)
    most = {name: max((row.get(name, 0) for _, row in rows), default=0) or 1 for name in names}
    return (
        names,
        [
            [
                *(Cell(label or EMPTY) for label in key),
                *(looks[name].cell(row.get(name), most[name]) for name in names[len(labels) :]),
            ]
            for key, row in rows
        ],
    )


def ordered(
    panel: Json, values: Mapping[tuple[str, ...], dict[str, float]]
) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    """The rows, sorted as the panel says."""
    by = panel["options"]["sortBy"]
    rows = sorted(values.items())
    return sorted(rows, key=lambda row: -row[1].get(by[0]["displayName"], -1.0)) if by else rows


class Look(typing.NamedTuple):
    """How a column looks."""

    unit: str
    steps: Sequence[Json]
    bar: bool

    def cell(self, value: float | None, most: float) -> Cell:
        """A cell for a value, and an empty one for none."""
        if value is None:
            return Cell(EMPTY)
        if self.bar:
            return Cell(shown(value, self.unit), NAMED["blue"], max(value, 0) / most)
        color = color_of(value, self.steps) if len(self.steps) > 1 else INK
        return Cell(shown(value, self.unit), color)


def look(panel: Json, name: str) -> Look:
    """How a panel wants a column."""
    defaults = panel["fieldConfig"]["defaults"]
    properties = {
        each["id"]: each["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == name
        for each in override["properties"]
    }
    steps = properties.get("thresholds", defaults["thresholds"])["steps"]
    gauge = properties.get("custom.cellOptions", {}).get("type") == "gauge"
    return Look(properties.get("unit", defaults["unit"]), steps, gauge)


KINDS = {
    "bargauge": drawn_values,
    "stat": drawn_values,
    "table": drawn_table,
    "timeseries": drawn_graph,
}

# --- Pictures ---------------------------------------------------------------------------------


def picture(dashboard: Json, stack: Stack, chosen: str) -> str:
    """A dashboard as SVG."""
    levels = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    width, height = 24 * UNIT + 2 * GAP, HEAD + levels * LEVEL + FOOT
    size = f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        rect(Box(0, 0, width, height), "#f6f8fa", round_=6),
        text(GAP + 6, 29, dashboard["title"], size=18, bold=True),
        text(width - GAP - 6, 29, chosen, anchor="end", size=12, color=FAINT),
    ]
    for panel in dashboard["panels"]:
        parts += drawn(panel, placed(panel["gridPos"]), stack)
    parts += [text(GAP + 6, height - 12, CAPTION, size=11.5, color=FAINT), "</svg>"]
    return "\n".join(parts) + "\n"


def placed(grid: Mapping[str, int]) -> Box:
    """Where a place in the grid is."""
    left, top = GAP + grid["x"] * UNIT, HEAD + grid["y"] * LEVEL
    return Box(left, top, grid["w"] * UNIT, grid["h"] * LEVEL).inside(GAP / 2, 0, GAP / 2, GAP)


def busiest(stack: Stack) -> tuple[str, str]:
    """The program and flow that ran most.

    Raises:
        SystemExit: none ran, so that there is nothing to draw.
    """
    runs = "pocketflow:invoke_workflow_duration_seconds_count:increase"
    found = stack.now(
        f"topk(1, sum by (job, gen_ai_workflow_name) (sum_over_time({runs}[$__range])))"
    )
    if not found:
        sys.exit("Prometheus knows of no run in this time")
    return found[0]["metric"]["job"], found[0]["metric"]["gen_ai_workflow_name"]


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description="Draw the dashboards from a stack that runs.")
    parser.add_argument("--prometheus", default="http://localhost:9090")
    parser.add_argument("--jaeger", default="http://localhost:16686")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--until", type=float, default=time.time(), help="seconds since the epoch")
    said = parser.parse_args()
    stack = Stack(said.prometheus, said.jaeger, said.minutes, said.until)
    job, flow = busiest(stack)
    stack.choose(service=job)
    time_shown = f"{said.minutes} minutes"
    for name in ("runs", "models", "flow"):
        if name == "flow":
            stack.choose(job=job, flow=flow)
        dashboard = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
        chosen = f"{f'{job}: {flow}' if name == 'flow' else 'all programs'}, {time_shown}"
        file = DOCS / f"dashboards-{name}.svg"
        file.write_text(picture(dashboard, stack, chosen), encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()

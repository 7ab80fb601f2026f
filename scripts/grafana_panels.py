"""Grafana's dashboard JSON out of a short description: what a user of Grafana 12 would export.

A dashboard is rows of panels; a panel says what it asks and how it looks, and has its place by the
order. It is a module of our own, because the JSON that we need is small: two libraries for it exist
on PyPI, one not maintained for years, the other with a version of its own for each of Grafana's and
thousands of classes.
"""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json: typing.TypeAlias = dict[str, typing.Any]

GRAFANA = "12.4.5"
"""That of docker-compose.yml; a panel says which version has written it."""
SCHEMA = 42
"""Of the dashboards of this version. Older ones read it, too."""
COLUMNS = 24
"""The width of Grafana's grid."""

PROMETHEUS: Json = {"type": "prometheus", "uid": "prometheus"}
JAEGER: Json = {"type": "jaeger", "uid": "jaeger"}
TAG = "pocketflow"
"""What the dashboards find each other by."""

Steps: typing.TypeAlias = tuple[tuple[float, str], ...]
"""From which value on which color; below the first, it is green."""


@dataclass(frozen=True)
class Ask:
    """One query of Prometheus.

    Args:
        expr: The query.
        name: What its result is called: a legend, in which `{{label}}` is put in, or a column.
        unit: Of a column, where it is not the panel's.
        steps: Colors of a column's values.
        bar: Draw a column's values as bars.
        exemplars: Show the traces behind the numbers; `expr` must hold a series that has them.
        color: Of its line or bars, where the order of the palette would mislead.
    """

    expr: str
    name: str = ""
    unit: str = ""
    steps: Steps = ()
    bar: bool = False
    exemplars: bool = False
    color: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; `options` and the like are made by its kind."""

    title: str
    description: str
    width: int
    unit: str
    asks: tuple[Ask, ...] = ()
    height: int = 8
    steps: Steps = ()
    nothing: str = ""
    """What stands there when there is no data."""
    links: tuple[Json, ...] = ()

    kind: typing.ClassVar[str]
    datasource: typing.ClassVar[Json] = PROMETHEUS

    def json(self, number: int, left: int, top: int) -> Json:
        """Return it as Grafana keeps it, at a place in the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": self.datasource,
            "gridPos": {"h": self.height, "w": self.width, "x": left, "y": top},
            "pluginVersion": GRAFANA,
            "targets": self.targets(),
            "fieldConfig": {"defaults": self.defaults(), "overrides": list(self.overrides())},
            "options": self.options(),
            "transformations": self.transformations(),
        }

    def targets(self) -> list[Json]:
        """The queries, named A, B, C ..."""
        return [self.target(ask, chr(ord("A") + at)) for at, ask in enumerate(self.asks)]

    def target(self, ask: Ask, ref: str) -> Json:
        """One query, asked for the end of the time shown."""
        return {
            "datasource": self.datasource,
            "editorMode": "code",
            "expr": ask.expr,
            "format": "time_series",
            "instant": True,
            "legendFormat": ask.name or "__auto",
            "range": False,
            "refId": ref,
        }

    def defaults(self) -> Json:
        """What holds for all fields."""
        found: Json = {
            "color": {"mode": "thresholds"},
            "mappings": [],
            "thresholds": thresholds(self.steps),
        }
        if self.unit:
            found["unit"] = self.unit
        if self.nothing:
            found["noValue"] = self.nothing
        if self.links:
            found["links"] = list(self.links)
        return found

    def overrides(self) -> Iterator[Json]:
        """What holds for some fields."""
        yield from ()

    def options(self) -> Json:
        """How this kind of panel looks."""
        return {}

    def transformations(self) -> list[Json]:
        """What is done with the results before they are shown."""
        return []


class Stat(Panel):
    """One number, or one for each result."""

    kind = "stat"

    def options(self) -> Json:
        """As a user would get it, with names where there are several numbers."""
        return {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": LAST,
            "showPercentChange": False,
            "textMode": "value_and_name" if any("{{" in ask.name for ask in self.asks) else "value",
            "wideLayout": True,
        }


class Bars(Panel):
    """A horizontal bar for each result."""

    kind = "bargauge"

    def options(self) -> Json:
        """Names left, values right."""
        return {
            "displayMode": "basic",
            "legend": {
                "calcs": [],
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": False,
            },
            "maxVizHeight": 40,
            "minVizHeight": 16,
            "minVizWidth": 8,
            "namePlacement": "auto",
            "orientation": "horizontal",
            "reduceOptions": LAST,
            "showUnfilled": True,
            "sizing": "auto",
            "valueMode": "color",
        }


class Graph(Panel):
    """Lines over time."""

    kind = "timeseries"
    custom: typing.ClassVar[Json] = {"drawStyle": "line", "fillOpacity": 10, "stacking": "none"}

    def target(self, ask: Ask, ref: str) -> Json:
        """One query, asked for each step."""
        found = super().target(ask, ref) | {"instant": False, "range": True}
        return found | {"exemplar": True} if ask.exemplars else found

    def defaults(self) -> Json:
        """Lines are told apart by color; a threshold is a line of its own."""
        stacking = {"group": "A", "mode": self.custom["stacking"]}
        return super().defaults() | {
            "color": {"mode": "palette-classic"},
            "custom": CURVE
            | self.custom
            | {"stacking": stacking}
            | {"thresholdsStyle": {"mode": "dashed" if self.steps else "off"}},
            "min": 0,
        }

    def overrides(self) -> Iterator[Json]:
        """Colors that mean something."""
        for ask in self.asks:
            if ask.color:
                fixed = {"fixedColor": ask.color, "mode": "fixed"}
                yield override(ask.name, color=fixed)

    def options(self) -> Json:
        """A legend below, and all values of a moment in the tooltip."""
        return {
            "legend": {
                "calcs": [],
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"hideZeros": True, "mode": "multi", "sort": "desc"},
        }


class Stack(Graph):
    """Bars over time, one upon the other: what was counted in each stretch of time."""

    custom: typing.ClassVar[Json] = {"drawStyle": "bars", "fillOpacity": 80, "stacking": "normal"}


@dataclass(frozen=True)
class Table(Panel):
    """A row for each set of labels, a column for each label and each query."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Label to the column's name, in order."""
    label_links: Mapping[str, tuple[Json, ...]] = field(
        default_factory=dict[str, "tuple[Json, ...]"]
    )
    """Links of a column of labels, by its name."""
    sort: str = ""
    """The column whose largest values come first."""

    kind = "table"

    def target(self, ask: Ask, ref: str) -> Json:
        """One query, its result as columns."""
        return super().target(ask, ref) | {"format": "table", "legendFormat": "__auto"}

    def defaults(self) -> Json:
        """Plain cells."""
        cells = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
        return super().defaults() | {"custom": cells}

    def overrides(self) -> Iterator[Json]:
        """Units, colors and bars of columns, and links of labels."""
        for name in self.labels.values():
            links = self.label_links.get(name, ())
            yield override(name, noValue=EMPTY, **({"links": list(links)} if links else {}))
        for ask in self.asks:
            yield override(ask.name, noValue=EMPTY, **dict(self.column(ask)))

    def column(self, ask: Ask) -> Iterator[tuple[str, typing.Any]]:
        """What is particular about a column."""
        if ask.unit:
            yield "unit", ask.unit
        if ask.steps:
            yield "thresholds", thresholds(ask.steps)
            yield "custom.cellOptions", {"type": "color-text"}
        if ask.bar:
            yield (
                "custom.cellOptions",
                {"mode": "basic", "type": "gauge", "valueDisplayMode": "text"},
            )
            yield "min", 0
            yield "color", {"fixedColor": "blue", "mode": "fixed"}

    def options(self) -> Json:
        """Small rows, the largest first."""
        return {
            "cellHeight": "sm",
            "footer": {"countRows": False, "fields": "", "reducer": ["sum"], "show": False},
            "showHeader": True,
            "sortBy": [{"desc": True, "displayName": self.sort}] if self.sort else [],
        }

    def transformations(self) -> list[Json]:
        """One table of all results, without the time, its columns named and in order."""
        return [{"id": "merge", "options": {}}, {"id": "organize", "options": self.organized()}]

    def organized(self) -> Json:
        """Names and order of the columns. Grafana calls a lone result `Value`, else `Value #A`."""
        values = [f"Value #{target['refId']}" for target in self.targets()]
        if len(values) == 1:
            values = ["Value"]
        columns = [*self.labels, *values]
        names = [*self.labels.values(), *(ask.name for ask in self.asks)]
        return {
            "excludeByName": {"Time": True},
            "includeByName": {},
            "indexByName": {column: at for at, column in enumerate(columns)},
            "renameByName": dict(zip(columns, names, strict=True)),
        }


@dataclass(frozen=True)
class Traces(Panel):
    """Traces that Jaeger finds; each row leads to one."""

    service: str = ""
    operation: str = ""
    tags: str = ""
    """As logfmt."""

    kind = "table"
    datasource = JAEGER

    def targets(self) -> list[Json]:
        """One search, the latest twenty."""
        return [
            {
                "datasource": self.datasource,
                "limit": 20,
                "operation": self.operation,
                "queryType": "search",
                "refId": "A",
                "service": self.service,
                "tags": self.tags,
            }
        ]

    def options(self) -> Json:
        """Small rows, the latest first, as Jaeger gives them."""
        return {"cellHeight": "sm", "showHeader": True}


QUERY_EDITOR = "PrometheusVariableQueryEditor-VariableQuery"
"""Who has written the query of a variable."""
EMPTY = "-"
"""What stands in an empty cell; without it, what stands for an empty panel would."""

LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}

CURVE: Json = {
    "axisBorderShow": False,
    "axisCenteredZero": False,
    "axisColorMode": "text",
    "axisLabel": "",
    "axisPlacement": "auto",
    "barAlignment": 0,
    "barWidthFactor": 0.6,
    "gradientMode": "none",
    "hideFrom": {"legend": False, "tooltip": False, "viz": False},
    "insertNulls": False,
    "lineInterpolation": "linear",
    "lineWidth": 1,
    "pointSize": 5,
    "scaleDistribution": {"type": "linear"},
    # A value between two gaps would not be seen without.
    "showPoints": "auto",
    # Where nothing ran there is no line.
    "spanNulls": False,
}


def thresholds(steps: Steps) -> Json:
    """Green, and from each step's value on its color."""
    above = [{"color": color, "value": value} for value, color in steps]
    return {"mode": "absolute", "steps": [{"color": "green", "value": 0}, *above]}


def override(name: str, **properties: object) -> Json:
    """What holds for the field of a name."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def link(title: str, url: str) -> Json:
    """A link of a value; `${__data.fields.NAME}` in it is the value of another column."""
    return {"targetBlank": False, "title": title, "url": url}


def jaeger_link(title: str, service: str, operation: str) -> Json:
    """A link to the traces of an operation, in Grafana's Explore.

    Args:
        title: What the reader is offered.
        service: A service, or Grafana's expression for one.
        operation: A span's name, or an expression for it.
    """
    query = {
        "datasource": JAEGER,
        "limit": 20,
        "operation": operation,
        "queryType": "search",
        "refId": "A",
        "service": service,
    }
    span = {"from": "${__from}", "to": "${__to}"}
    panes = {"traces": {"datasource": "jaeger", "queries": [query], "range": span}}
    # Grafana replaces its expressions in this text, so that they must not be escaped.
    text = json.dumps(panes, separators=(",", ":"))
    for character, escaped in (("%", "%25"), (" ", "%20"), ('"', "%22"), ("#", "%23")):
        text = text.replace(character, escaped)
    return link(title, f"/explore?schemaVersion=1&orgId=1&panes={text}")


@dataclass(frozen=True)
class Choice:
    """A variable that the reader chooses: a value of a label, or several, or all."""

    name: str
    title: str
    metric: str
    label: str
    several: bool = True

    def json(self) -> Json:
        """Return it as Grafana keeps it."""
        query = f"label_values({self.metric}, {self.label})"
        return {
            # Matches series without the label, too.
            "allValue": ".*" if self.several else None,
            "current": {"text": ["All"], "value": ["$__all"]} if self.several else {},
            "datasource": PROMETHEUS,
            "definition": query,
            "includeAll": self.several,
            "label": self.title,
            "multi": self.several,
            "name": self.name,
            "options": [],
            "query": {"qryType": 1, "query": query, "refId": QUERY_EDITOR},
            # When the time changes, as programs come and go.
            "refresh": 2,
            "regex": "",
            "sort": 1,
            "type": "query",
        }


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels under a title."""

    uid: str
    title: str
    description: str
    choices: tuple[Choice, ...]
    rows: Mapping[str, Sequence[Panel]]
    """Title to the panels below it; they wrap like text."""

    def json(self) -> Json:
        """Return it as Grafana exports it."""
        return {
            "annotations": {"list": []},
            "description": self.description,
            "editable": True,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "id": None,
            "links": [LINKS],
            "panels": list(self.placed()),
            "preload": False,
            "refresh": "10s",
            "schemaVersion": SCHEMA,
            "tags": [TAG],
            "templating": {"list": [choice.json() for choice in self.choices]},
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
            "weekStart": "",
        }

    def placed(self) -> Iterator[Json]:
        """The panels, numbered and placed."""
        number, top = 0, 0
        for title, panels in self.rows.items():
            number += 1
            yield row(number, title, top)
            top += 1
            for left, offset, panel in wrapped(panels):
                number += 1
                yield panel.json(number, left, top + offset)
            top += sum(max(panel.height for panel in line) for line in lines(panels))

    def text(self) -> str:
        """The file: keys in order, so that a change is a small difference."""
        return json.dumps(self.json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def row(number: int, title: str, top: int) -> Json:
    """A line with a title between panels."""
    return {
        "collapsed": False,
        "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
        "id": number,
        "panels": [],
        "title": title,
        "type": "row",
    }


def lines(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels of each line of the grid."""
    found: list[list[Panel]] = []
    width = COLUMNS
    for panel in panels:
        if width + panel.width > COLUMNS:
            found.append([])
            width = 0
        found[-1].append(panel)
        width += panel.width
    return found


def wrapped(panels: Sequence[Panel]) -> Iterator[tuple[int, int, Panel]]:
    """Each panel with its column and how far below its row it is."""
    top = 0
    for line in lines(panels):
        left = 0
        for panel in line:
            yield left, top, panel
            left += panel.width
        top += max(panel.height for panel in line)


LINKS: Json = {
    "asDropdown": False,
    "icon": "external link",
    "includeVars": True,
    "keepTime": True,
    "tags": [TAG],
    "targetBlank": False,
    "title": "",
    "tooltip": "",
    "type": "dashboards",
    "url": "",
}

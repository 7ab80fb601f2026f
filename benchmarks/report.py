"""What was found, as a page of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import overhead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.growth import Point
    from benchmarks.overhead import Row
    from benchmarks.results import Results

_RUN = 100
"""Nodes in the run whose beginning and end are shared out."""

_INTRODUCTION = """\
# What tracing costs

Written by `make bench`; do not edit.

The unit is the *floor*: what one bare OpenTelemetry span with ten attributes and a batch processor,
whose exporter discards, adds to a node. It is measured in the same rounds as everything that is
given in it. Time is CPU time of the thread that runs the nodes, in slices of a few nodes that
follow one another in random order; a number is the median of the ratios of all rounds.
`benchmarks/laps.py` tells the details.

![Floors per node by store and tracer, and by size of the store](overhead.svg)"""


def page(results: Results) -> str:
    """The whole page."""
    sections = (
        _INTRODUCTION,
        _machine(results),
        _per_node(results),
        _per_run(results),
        _units(results),
        _comparison(results),
        *_growth(results),
        _lengths(results),
        _imports(results),
        _exported(results),
        _self_reports(results),
        _left_out(results),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def store_table(stores: dict[str, Row]) -> str:
    """What each configuration adds to a node, by store."""
    names = next(iter(stores.values())).per_node
    rows = [(name, *(number(row.per_node[name]) for row in stores.values())) for name in names]
    rows.append(("*one floor, µs of CPU*", *(f"{row.floor_us:.1f}" for row in stores.values())))
    return table(("overhead per node, in floors", *stores), rows)


def unit_table(units: dict[str, float]) -> str:
    """What each further unit adds."""
    return table(("unit", "floors"), [(name, number(value)) for name, value in units.items()])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; all columns but the first are numbers."""
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def number(value: float) -> str:
    """As many digits as mean something."""
    if abs(value) < 0.005:  # noqa: PLR2004 - half of the last digit: there is no minus zero
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"  # noqa: PLR2004 - three digits


def _section(title: str, *parts: str) -> str:
    return "\n\n".join((f"## {title}", *parts))


def _machine(results: Results) -> str:
    facts = table(("measured on", ""), list(results.machine.items()))
    return f"{facts}\n\n{results.rounds} rounds."


def _per_node(results: Results) -> str:
    text = (
        "A node reads one key and writes one small key (in the chat it also appends a message), in"
        " a run that goes on for long. The other values in the store stay unchanged."
    )
    return _section("By store", text, store_table(results.stores))


def _per_run(results: Results) -> str:
    names = overhead.CONFIGURATIONS
    rows = [
        (name, *(number(row.per_run[name]) for row in results.stores.values())) for name in names
    ]
    shared = [
        (
            name,
            *(number(row.per_node[name] + row.per_run[name] / _RUN) for row in _rows(results)),
        )
        for name in names
    ]
    return _section(
        "The beginning and the end of a run",
        "What a run costs besides its nodes: its span, the first look at the store, its graph.",
        table(("per run, in floors", *results.stores), rows),
        f"Shared out among the nodes of a run of {_RUN}:",
        table((f"per node of {_RUN}, in floors", *results.stores), shared),
    )


def _rows(results: Results) -> Iterable[Row]:
    return results.stores.values()


def _units(results: Results) -> str:
    text = "On the small store, with the default configuration, beyond what the unit costs without."
    return _section("Other units", text, unit_table(results.units))


def _comparison(results: Results) -> str:
    found = results.comparison
    ways = next(iter(found.floors.values()))
    rows = [(way, *(number(floors[way]) for floors in found.floors.values())) for way in ways]
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    text = (
        "Those with deep copies tell what a node changed, as this project does. The others write"
        " what a step is given, the store, into every span, and not what changed in it."
    )
    parts = [text, table(("overhead per node, in floors", *found.floors), rows)]
    if versions:
        parts.append(f"Versions: {versions}.")
    if found.missing:
        parts.append(f"Not installed, and so left out: {', '.join(found.missing)}.")
    return _section("Beside other ways to trace", *parts)


def _growth(results: Results) -> Iterable[str]:
    yield _section(
        "As the store grows",
        "Below the top level, `max_store_items` bounds what is looked at (10,000 items by default):"
        " there the cost stops growing. The memory is what Python allocates at most during a run of"
        " five nodes, beyond that of the same run without tracing.",
    )
    for name, points in results.curves.items():
        yield table((name, "floors per node", "floors per run", "MiB"), map(_point, points))


def _point(point: Point) -> Sequence[str]:
    return (
        f"{point.size:,}",
        number(point.per_node),
        number(point.per_run),
        f"{point.peak_mib:.2f}",
    )


def _lengths(results: Results) -> str:
    rows = [
        (f"{length.nodes:,}", f"{length.us_per_node:.1f}", f"{length.mib:.1f}")
        for length in results.lengths
    ]
    return _section(
        "As the run grows",
        "What tracing adds: CPU time for each node, and to the memory of the whole process at its"
        " peak (at most 2,048 spans wait for the exporter).",
        table(("nodes in one run", "µs per node", "MiB"), rows),
    )


def _imports(results: Results) -> str:
    rows = [(name, f"{spent:.0f}") for name, spent in results.imports.items()]
    text = "CPU time of a new process, beyond that of one that imports nothing."
    return _section("Imports", text, table(("import", "ms"), rows))


def _exported(results: Results) -> str:
    stores = list(results.exported)
    names = next(iter(results.exported.values()))
    rows: list[Sequence[Any]] = [
        (name, *(f"{results.exported[store][name].node:,.0f}" for store in stores))
        for name in names
    ]
    rows += [
        (f"{name}: the largest span", *(f"{sizes[name].largest:,}" for sizes in _sizes(results)))
        for name in names
    ]
    text = "OTLP as the SDK's exporters encode it, in runs of 20 nodes."
    return _section("Bytes exported for a node", text, table(("bytes", *stores), rows))


def _sizes(results: Results) -> Iterable[Any]:
    return results.exported.values()


def _self_reports(results: Results) -> str:
    stores = list(next(iter(results.self_reports.values())))
    rows: list[Sequence[str]] = []
    for level, reports in results.self_reports.items():
        told = (number(reports[store].told) for store in stores)
        extra = (number(reports[store].extra) for store in stores)
        rows += [(f"content `{level}`: told", *told), (f"content `{level}`: extra", *extra)]
    text = (
        "With `self_report`, a run tells what tracing took. *Told* is that as a part of what is"
        " measured: what such a run takes longer than one that is not traced. What it leaves out is"
        " the call into each wrapper, to make a context current, the end of its own span, and half"
        " of what it costs to look at the clock. *Extra* is what the report itself adds, as a part"
        " of what tracing adds without it. Real time, in runs of eight nodes."
    )
    return _section("The self-report, checked", text, table(("", *stores), rows))


def _left_out(results: Results) -> str:
    if not results.left_out:
        return ""
    return _section("Not measured", "\n".join(f"- {what}" for what in results.left_out))

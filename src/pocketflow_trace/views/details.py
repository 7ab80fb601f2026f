"""All that a run tells of one run of a node, as styled lines.

Pure. Nothing is shortened that the trace holds, since this is asked for to see all of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record import facts
from pocketflow_trace.record.usage import rolled_up
from pocketflow_trace.text import duration, plural, printable
from pocketflow_trace.views.lines import Line, changes, is_failed, number, title, usage_lines
from pocketflow_trace.views.pretty import pretty
from pocketflow_trace.views.verbosity import Detail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pocketflow_trace.record.model import Entry, Failure, Value

MAX_ITEMS: Final = 20
"""Items of a batch, failed ones first, and spans of model clients that are told of, each."""

_ALL: Final = Detail(value=10_000, changes=10_000)
_NANOS: Final = 1_000_000_000
_INDENT: Final = "  "

_PHASES: Final = (
    ("prep", semconv.PREP_DURATION),
    ("exec", semconv.EXEC_DURATION),
    ("post", semconv.POST_DURATION),
    ("waited", semconv.WAIT_DURATION),
    ("tracing", semconv.INSTRUMENTATION_DURATION),
)
_VALUES: Final = (
    ("params", semconv.NODE_PARAMS),
    ("input", semconv.INPUT_VALUE),
    ("output", semconv.OUTPUT_VALUE),
)


def details_of(entry: Entry, place: int, total: int) -> list[Line]:
    """Return all that is told of one run of a node or flow.

    Args:
        entry: The run.
        place: Which one it is of those that are shown or that there are, from 1.
        total: How many there are.
    """
    return [
        [*title(entry), (f"  (run {place:,} of {total:,})" if total > 1 else "", "quiet")],
        *_indented([*_origin(entry), *_body(entry), *_inside(entry)]),
    ]


def _body(entry: Entry) -> list[Line]:
    """Return what any entry may tell: times, values, changes, usage, exceptions."""
    usage = rolled_up(entry.attributes)
    return [
        *_times(entry),
        *(line for label, name in _VALUES for line in _value(label, facts.text(entry, name))),
        *_block("store", changes(entry, _ALL)),
        *_block("usage", [] if usage is None else usage_lines(usage)),
        *(line for failure in entry.failures for line in _failure(failure)),
    ]


def _origin(entry: Entry) -> Iterator[Line]:
    """Yield where the class is, and the ids of the span."""
    name, file = (
        facts.text(entry, key) for key in (semconv.CODE_FUNCTION_NAME, semconv.CODE_FILE_PATH)
    )
    if name or file:
        line = facts.count(entry, semconv.CODE_LINE_NUMBER)
        where = f" ({printable(file)}{f':{line}' if line else ''})" if file else ""
        yield [("class ", "quiet"), (printable(name) + where, "")]
    yield [
        ("span ", "quiet"),
        (f"{printable(entry.span_id)} of trace {printable(entry.trace_id)}", ""),
    ]


def _times(entry: Entry) -> Iterator[Line]:
    times = [(label, entry.attributes.get(name)) for label, name in _PHASES]
    told = [
        f"{label} {duration(round(seconds * _NANOS))}"
        for label, seconds in times
        if isinstance(seconds, int | float)
    ]
    if told:
        yield [("time ", "quiet"), (", ".join(told), "")]


def _value(label: str, text: str) -> list[Line]:
    """Return a JSON attribute; one that a limit of the SDK's cut, as it is."""
    if not text:
        return []
    value: Any = facts.parsed(text)
    is_cut = isinstance(value, str) and value == text
    lines = [printable(text)] if is_cut else pretty(value).split("\n")
    if len(lines) == 1:
        return [[(f"{label} ", "quiet"), (lines[0], "")]]
    return _block(label, [[(line, "")] for line in lines])


def _failure(failure: Failure) -> list[Line]:
    message = f": {printable(failure.message)}" if failure.message else ""
    stack = (failure.stacktrace or "").rstrip("\n").split("\n")
    lines: list[Line] = [[(printable(line), "")] for line in stack if line]
    return [[(printable(failure.type) + message, "bad")], *_indented(lines)]


def _inside(entry: Entry) -> Iterator[Line]:
    """Yield attempts and items with all they tell, and the calls of model clients."""
    allowed = number(entry, semconv.NODE_MAX_RETRIES)
    attempts = [child for child in entry.children if child.kind in {"attempt", "phase"}]
    for attempt in attempts:
        yield from _part(attempt, allowed)
    items = [child for child in entry.children if child.kind == "item"]
    yield from _bounded(sorted(items, key=lambda item: not is_failed(item)), "item")
    yield from _bounded([c for c in entry.children if c.kind == "other"], "other span")
    nodes = [child for child in entry.children if child.kind in {"node", "flow"}]
    if nodes:
        yield [(f"{plural(len(nodes), 'run')} of nodes and flows inside", "quiet")]


def _bounded(entries: list[Entry], noun: str) -> Iterator[Line]:
    for entry in entries[:MAX_ITEMS]:
        yield from _part(entry, 0)
    if (rest := len(entries) - MAX_ITEMS) > 0:
        yield [(f"… {plural(rest, f'more {noun}')}", "quiet")]


def _part(entry: Entry, allowed: int) -> list[Line]:
    """Return an attempt, an item or the like; it may have attempts and calls of its own."""
    inside = [*_attributes(entry), *_body(entry), *_inside(entry)]
    return [title(entry, allowed), *_indented(inside)]


def _attributes(entry: Entry) -> list[Line]:
    """Return what a span of another instrumentation tells."""
    if entry.kind != "other":
        return []
    return [
        line
        for name in sorted(entry.attributes)
        for line in _attribute(name, entry.attributes[name])
    ]


def _attribute(name: str, value: Value) -> list[Line]:
    if isinstance(value, str) and value[:1] in {"{", "["}:
        return _value(printable(name), value)
    if isinstance(value, tuple):
        return _value(printable(name), json.dumps(value))
    text = printable(value) if isinstance(value, str) else str(value)
    return [[(f"{printable(name)} ", "quiet"), (text, "")]]


def _block(label: str, lines: list[Line]) -> list[Line]:
    return [[(label, "quiet")], *_indented(lines)] if lines else []


def _indented(lines: list[Line]) -> list[Line]:
    return [[(_INDENT, ""), *line] for line in lines]

"""Reads an entry's attributes as what they mean: names, routes, patches, JSON.

Pure. An attribute that is absent or of another type was not told, and reads as None or empty.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.instrumentation.pocketflow import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pocketflow_trace.record.model import Entry, Run

UNITS: Final = frozenset({"flow", "node", "item"})
"""What runs as such; attempts, phases and model calls are parts of it."""

_CUT: Final = "… ("
"""How an element begins that stands for what was cut out of a list."""


def text(entry: Entry, name: str) -> str:
    """Return a text attribute; empty where it is absent."""
    value = entry.attributes.get(name)
    return value if isinstance(value, str) else ""


def count(entry: Entry, name: str) -> int | None:
    """Return a whole-number attribute; None where it is absent."""
    value = entry.attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def seconds(entry: Entry, name: str) -> float | None:
    """Return a duration that is not negative; None where it is absent."""
    value = entry.attributes.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if value >= 0 else None


def texts(entry: Entry, name: str) -> tuple[str, ...]:
    """Return a list attribute; empty where it is absent."""
    value = entry.attributes.get(name)
    items = value if isinstance(value, tuple) else ()
    return tuple(item for item in items if isinstance(item, str))


def is_told(entry: Entry, name: str) -> bool:
    """Tell whether a flag is set."""
    return entry.attributes.get(name) is True


def parsed(value: str) -> Any:
    """Return JSON text as data, and text that is no JSON, since a limit cut it, as it is."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def patch(entry: Entry) -> list[Mapping[str, Any]]:
    """Return the changes of the store first seen here; nothing where their text was cut."""
    found: object = parsed(text(entry, semconv.SHARED_DIFF) or "[]")
    if not isinstance(found, list):
        return []
    items = cast("list[object]", found)
    return [cast("Mapping[str, Any]", item) for item in items if isinstance(item, dict)]


def workflow(flow: Entry) -> str:
    """Return the name of a flow."""
    name = text(flow, semconv.GEN_AI_WORKFLOW_NAME) or text(flow, semconv.NODE_CLASS)
    return name or flow.name


def class_name(unit: Entry) -> str:
    """Return the class of a node, the name of a flow; of anything else its span's name."""
    if unit.kind == "flow":
        return workflow(unit)
    return text(unit, semconv.NODE_CLASS) or unit.name


def place(unit: Entry) -> str:
    """Return the id that a node has in its flow's graph; its name where it has none."""
    return text(unit, semconv.NODE_ID) or class_name(unit)


def steps(owner: Entry) -> tuple[Entry, ...]:
    """Return the nodes and nested flows that ran right inside a flow or an item."""
    return tuple(child for child in owner.children if child.kind in {"node", "flow"})


def path(owner: Entry) -> tuple[str, ...]:
    """Return the ids of the nodes that ran in a flow or an item, in their order.

    The path that it tells itself is the better source: it knows of nodes without a span.
    """
    told = texts(owner, semconv.FLOW_PATH)
    if told and not any(part.startswith(_CUT) for part in told):
        return told
    return tuple(place(step) for step in steps(owner))


def with_flows(run: Run) -> Iterator[tuple[Entry, str]]:
    """Yield all entries, parents first, each with the name of the flow around it, or empty."""
    pending = [(root, "") for root in reversed(run.roots)]
    while pending:
        entry, flow = pending.pop()
        yield entry, flow
        inner = workflow(entry) if entry.kind == "flow" else flow
        pending.extend((child, inner) for child in reversed(entry.children))


def pointer_text(pointer: str) -> str:
    """Return a JSON pointer without its leading slash; `~1` in a key stays as it is."""
    return pointer.removeprefix("/") or "the whole store"

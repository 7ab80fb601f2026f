"""The record of one traced run: a tree of entries, which saves as versioned JSON.

Views read this and nothing else, so that a run that happens now, one from a file and one from a
test look the same to them. In JSON the tree is a list in which each entry names its parent's
position: deep trees neither nest deeply nor recurse, and a writer can append to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSION: Final = 1
"""Version of the JSON form; raised when a reader of the older form would misread it."""

Kind: TypeAlias = Literal["flow", "node", "item", "attempt", "phase", "other"]
"""What an entry stands for; `other` is a span of another instrumentation, such as an LLM client."""

Status: TypeAlias = Literal["unset", "ok", "error"]

Scalar: TypeAlias = str | bool | int | float
Value: TypeAlias = Scalar | tuple[Scalar, ...]
"""The value of an attribute. Floats are finite."""

T = TypeVar("T")


class ModelError(ValueError):
    """What should be a saved run is none, or has a version that this program does not know."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that a span recorded.

    Attributes:
        type: Class of the exception.
        message: Its message; None where it was not captured.
        stacktrace: Its traceback as text; None where it was not captured.
    """

    type: str
    message: str | None = None
    stacktrace: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One span.

    Attributes:
        kind: What it stands for.
        name: The span's name.
        start: Unix time in nanoseconds.
        end: Unix time in nanoseconds; None where the span had not ended.
        status: Status of the span.
        message: Description of the status; empty where it has none.
        attributes: Attributes of the span, by the names of `semconv.py`.
        failures: Exceptions recorded on this span, in order.
        children: Entries inside this one, by start.
        trace_id: 32 hex digits; empty where unknown.
        span_id: 16 hex digits; empty where unknown.
    """

    kind: Kind
    name: str
    start: int
    end: int | None = None
    status: Status = "unset"
    message: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])
    failures: tuple[Failure, ...] = ()
    children: tuple[Entry, ...] = ()
    trace_id: str = ""
    span_id: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What a run is a run of.

    Attributes:
        id: Tells runs apart; empty for one that was not kept.
        program: Name of the program.
        started: Unix time in nanoseconds at which tracing began.
        ended: The same of the program's end; None where it has not said that it ended.
        resource: Attributes of the resource: git, process, versions.
    """

    id: str = ""
    program: str = ""
    started: int = 0
    ended: int | None = None
    resource: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(frozen=True, slots=True)
class Run:
    """All that one program run left.

    Attributes:
        roots: Outermost entries, by start.
        dropped: Spans that were not kept because there were too many.
        about: Which program, when and where.
        version: Version of the JSON form.
    """

    roots: tuple[Entry, ...] = ()
    dropped: int = 0
    about: About = About()
    version: int = VERSION


def walk(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield the entries and all that are inside them, parents first, without recursion."""
    pending = list(reversed(entries))
    while pending:
        entry = pending.pop()
        yield entry
        pending.extend(reversed(entry.children))


def assemble(entries: Sequence[Entry], parents: Sequence[int | None]) -> tuple[Entry, ...]:
    """Build the tree from entries without children.

    Args:
        entries: The entries, each after its parent; siblings by start.
        parents: For each entry the position of its parent, or None for a root.

    Returns:
        The roots.
    """
    roots: list[Entry] = []
    children: list[list[Entry]] = [[] for _ in entries]
    # From the last to the first, so that an entry's children are complete when it is made.
    for position in range(len(entries) - 1, -1, -1):
        parent = parents[position]
        siblings = roots if parent is None else children[parent]
        siblings.append(replace(entries[position], children=tuple(reversed(children[position]))))
    return tuple(reversed(roots))


def grow(entries: Mapping[str, Entry], parents: Mapping[str, str | None]) -> tuple[Entry, ...]:
    """Build the tree from entries in any order.

    Args:
        entries: The entries without children, by a key of each.
        parents: The key of each entry's parent; None, or a key that is not there, for a root.

    Returns:
        The roots.
    """
    by_start = sorted(entries, key=lambda key: entries[key].start)
    kept = {key: up if (up := parents[key]) in entries else None for key in by_start}
    order = _parents_first(kept)
    position = {key: index for index, key in enumerate(order)}
    return assemble(
        [entries[key] for key in order],
        [None if (up := kept[key]) is None else position[up] for key in order],
    )


def _parents_first(parents: Mapping[str, str | None]) -> list[str]:
    """Return the keys in their order, but each after its parent: clocks can jump back."""
    order: dict[str, None] = {}
    for key in parents:
        chain: dict[str, None] = {}
        current: str | None = key
        # In a file that was damaged, a chain may lead back to itself.
        while current is not None and current not in order and current not in chain:
            chain[current] = None
            current = parents[current]
        order.update(dict.fromkeys(reversed(chain)))
    return list(order)


def to_json(run: Run) -> dict[str, Any]:
    """Return the run as plain JSON data.

    Its shape is `{"version", "dropped", "about": {...}, "entries": [{"parent", ...}]}`.
    """
    rows: list[dict[str, Any]] = []
    pending: list[tuple[int | None, Entry]] = [(None, root) for root in reversed(run.roots)]
    while pending:
        parent, entry = pending.pop()
        pending.extend((len(rows), child) for child in reversed(entry.children))
        rows.append({"parent": parent, **entry_to_json(entry)})
    about = about_to_json(run.about)
    return {"version": run.version, "dropped": run.dropped, "about": about, "entries": rows}


def about_to_json(about: About) -> dict[str, Any]:
    """Return what a run is a run of as plain JSON data."""
    return {
        "id": about.id,
        "program": about.program,
        "started": about.started,
        "ended": about.ended,
        "resource": _attributes_to_json(about.resource),
    }


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry, without what is inside it, as plain JSON data."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "start": entry.start,
        "end": entry.end,
        "status": entry.status,
        "message": entry.message,
        "attributes": _attributes_to_json(entry.attributes),
        "failures": [
            {"type": failure.type, "message": failure.message, "stacktrace": failure.stacktrace}
            for failure in entry.failures
        ],
        "trace_id": entry.trace_id,
        "span_id": entry.span_id,
    }


def _attributes_to_json(attributes: Mapping[str, Value]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in attributes.items()
    }


def from_json(data: object) -> Run:
    """Read what `to_json` made.

    Raises:
        ModelError: The version is unknown, or the data has another shape.
    """
    saved = _mapping(data, "a run")
    version = saved.get("version")
    if version != VERSION:
        raise ModelError(f"a run of version {version!r}; this program reads version {VERSION}")
    rows = [_mapping(row, "an entry") for row in _get(saved, "entries", list[object])]
    parents = [_row_parent(row, position) for position, row in enumerate(rows)]
    entries = [entry_from_json(row) for row in rows]
    return Run(
        roots=assemble(entries, parents),
        dropped=_get(saved, "dropped", int),
        about=about_from_json(saved.get("about")),
    )


def about_from_json(data: object) -> About:
    """Read what `about_to_json` made.

    Raises:
        ModelError: The data has another shape.
    """
    row = _mapping(data, "what the run is a run of")
    return About(
        id=_get(row, "id", str),
        program=_get(row, "program", str),
        started=_get(row, "started", int),
        ended=None if row.get("ended") is None else _get(row, "ended", int),
        resource=_attributes_from_json(row.get("resource"), "resource"),
    )


def dumps(run: Run) -> str:
    """Return the run as JSON text on one line."""
    return json.dumps(to_json(run), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def loads(text: str) -> Run:
    """Read what `dumps` made.

    Raises:
        ModelError: The text is not JSON, the version is unknown, or the data has another shape.
    """
    try:
        return from_json(json.loads(text))
    except json.JSONDecodeError as exc:
        raise ModelError(f"not JSON: {exc}") from exc


def _row_parent(row: Mapping[str, object], position: int) -> int | None:
    parent = row.get("parent")
    if parent is None or (type(parent) is int and 0 <= parent < position):
        return parent
    raise ModelError(f"entry {position} has the parent {parent!r}")


def entry_from_json(data: object) -> Entry:
    """Read what `entry_to_json` made.

    Raises:
        ModelError: The data has another shape.
    """
    row = _mapping(data, "an entry")
    return Entry(
        kind=_choice(row, "kind", get_args(Kind)),
        name=_get(row, "name", str),
        start=_get(row, "start", int),
        end=None if row.get("end") is None else _get(row, "end", int),
        status=_choice(row, "status", get_args(Status)),
        message=_get(row, "message", str),
        attributes=_attributes_from_json(row.get("attributes"), "attributes"),
        failures=tuple(_failure(item) for item in _get(row, "failures", list[object])),
        trace_id=_get(row, "trace_id", str),
        span_id=_get(row, "span_id", str),
    )


def _attributes_from_json(data: object, what: str) -> dict[str, Value]:
    return {name: _value(name, value) for name, value in _mapping(data, what).items()}


def _failure(data: object) -> Failure:
    item = _mapping(data, "a failure")
    return Failure(
        type=_get(item, "type", str),
        message=None if item.get("message") is None else _get(item, "message", str),
        stacktrace=None if item.get("stacktrace") is None else _get(item, "stacktrace", str),
    )


def _value(name: str, value: object) -> Value:
    if isinstance(value, list):
        return tuple(_scalar(name, item) for item in cast("list[object]", value))
    return _scalar(name, value)


def _scalar(name: str, value: object) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelError(f"attribute {name} is {value!r}")
    if isinstance(value, str | bool | int | float):
        return value
    raise ModelError(f"attribute {name} is {value!r}")


def _choice(row: Mapping[str, object], name: str, allowed: tuple[Any, ...]) -> Any:
    value = row.get(name)
    if value not in allowed:
        raise ModelError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    return value


def _mapping(data: object, what: str) -> Mapping[str, object]:
    if not isinstance(data, Mapping):
        raise ModelError(f"expected {what}, got {type(data).__name__}")
    return cast("Mapping[str, object]", data)


def _get(row: Mapping[str, object], name: str, kind: type[T]) -> T:
    """Return a member of the expected type; a bool is no number."""
    value = row.get(name)
    expected = list if kind == list[object] else kind
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ModelError(f"{name} is {value!r}")
    return cast("T", value)

"""Compares two runs: what took another way, came to something else, or cost more.

Pure. What runs in both is found by where it stands: the flows around it, its place in the graph and
its iteration there, or the index of an item. Times and prices always differ a little, so they count
only beyond a threshold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record import facts
from pocketflow_trace.record.usage import rolled_up
from pocketflow_trace.views.lines import is_cancelled, is_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry, Run

Aspect: TypeAlias = Literal[
    "failure",
    "graph",
    "input",
    "route",
    "runs",
    "items",
    "output",
    "writes",
    "attempts",
    "time",
    "tokens",
    "cost",
]
"""What can differ."""

Where: TypeAlias = tuple[str, ...]
"""The way to a unit from outside, such as `("Agent", "Search[2]")`: `[2]` is its second run."""

FACTS: Final[Mapping[str, str]] = {
    "commit": semconv.VCS_REF_HEAD_REVISION,
    "uncommitted changes": semconv.VCS_DIRTY,
    "branch": semconv.VCS_REF_HEAD_NAME,
    "command": semconv.PROCESS_COMMAND_ARGS,
    "working directory": semconv.PROCESS_WORKING_DIRECTORY,
    "Python": semconv.PROCESS_RUNTIME_VERSION,
    "PocketFlow": semconv.POCKETFLOW_VERSION,
    "pocketflow-trace": semconv.INSTRUMENTATION_VERSION,
}
"""What a run tells of its surroundings: its name, and the attribute of the resource."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a number counts as another one.

    Attributes:
        time_ratio: The longer time divided by the shorter one.
        time_floor: Nanoseconds that they must differ by, too.
        cost_ratio: The same as `time_ratio`, for tokens and cost.
    """

    time_ratio: float = 1.5
    time_floor: int = 50_000_000
    cost_ratio: float = 1.1


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs.

    Attributes:
        aspect: What.
        where: Which unit; for `runs` without the iteration.
        a: How it is in the first run, as JSON data: `{"action", "next"}` of a route, a count of
            runs or attempts, `{path: value}` of writes, seconds, tokens, `{currency: text}` of a
            cost, `{"type", "message"}` of a failure. None where there is nothing.
        b: The same of the second run.
        start: When it began in the first run, in nanoseconds from the run's start.
    """

    aspect: Aspect
    where: Where
    a: Any
    b: Any
    start: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two runs.

    Attributes:
        differences: What the program did differently, by the time of the first run.
        facts: What is told of the surroundings and differs: name, and the value in each.
        compared: Units that ran in both.
    """

    differences: tuple[Difference, ...]
    facts: tuple[tuple[str, Any, Any], ...]
    compared: int


def compare(a: Run, b: Run, thresholds: Thresholds | None = None) -> Comparison:
    """Compare two runs."""
    first, second = _units(a), _units(b)
    both = [where for where in first if where in second]
    limits = thresholds or Thresholds()
    found = [*_counts(first, second)]
    for where in both:
        found += _differences(where, first[where], second[where], limits)
    found.sort(key=lambda difference: difference.start)
    return Comparison(tuple(found), tuple(_facts(a, b)), len(both))


def _facts(a: Run, b: Run) -> Iterator[tuple[str, Any, Any]]:
    if a.about.program != b.about.program:
        yield "program", a.about.program, b.about.program
    for name, attribute in FACTS.items():
        one, other = a.about.resource.get(attribute), b.about.resource.get(attribute)
        if one != other:
            yield name, one, other


# --- Alignment ------------------------------------------------------------------------------


def _units(run: Run) -> dict[Where, Entry]:
    """Return flows, nodes and items by where they stand."""
    units: dict[Where, Entry] = {}
    pending: list[tuple[Entry, Where]] = [(root, ()) for root in reversed(run.roots)]
    seen: Counter[Where] = Counter()
    while pending:
        entry, outer = pending.pop()
        where = outer
        if entry.kind in facts.UNITS:
            seen[(*outer, _name(entry))] += 1
            where = (*outer, _numbered(entry, seen[(*outer, _name(entry))]))
            units[where] = entry
        pending.extend((child, where) for child in reversed(entry.children))
    return units


def _name(unit: Entry) -> str:
    """Return what a unit is called, whichever of its runs it is."""
    if unit.kind == "item":
        return f"item {facts.count(unit, semconv.ITEM_INDEX)}"
    return facts.place(unit)


def _numbered(unit: Entry, times: int) -> str:
    return _name(unit) if times == 1 else f"{_name(unit)}:{times}"


def _unnumbered(name: str) -> str:
    head, _, times = name.rpartition(":")
    return head if head and times.isdigit() else name


def _counts(first: Mapping[Where, Entry], second: Mapping[Where, Entry]) -> Iterator[Difference]:
    """Yield which nodes ran more or less often; not those inside of what did."""
    a, b = _by_node(first), _by_node(second)
    start = _start_of(first)
    differing: set[Where] = set()
    for node in sorted({*a, *b}, key=len):
        numbers = len(a.get(node, ())), len(b.get(node, ()))
        if numbers[0] == numbers[1]:
            continue
        differing.add(node)
        if not any(node[:length] in differing for length in range(1, len(node))):
            entries = a.get(node) or b[node]
            base = start if node in a else _start_of(second)
            yield Difference("runs", node, *numbers, entries[-1].start - base)


def _by_node(units: Mapping[Where, Entry]) -> dict[Where, list[Entry]]:
    """Return the runs of each flow and node, those in all items and iterations together."""
    nodes: dict[Where, list[Entry]] = {}
    for where, entry in units.items():
        if entry.kind != "item":
            node = tuple(_unnumbered(name) for name in where if not name.startswith("item "))
            nodes.setdefault(node, []).append(entry)
    return nodes


def _start_of(units: Mapping[Where, Entry]) -> int:
    return min((entry.start for entry in units.values()), default=0)


# --- One unit -------------------------------------------------------------------------------


def _differences(where: Where, a: Entry, b: Entry, limits: Thresholds) -> Iterator[Difference]:
    is_root = len(where) == 1
    for aspect, tell in _TELLERS.items():
        one, other = tell(a), tell(b)
        if one == other or (aspect in _NEEDS_BOTH and None in {one, other}):
            continue
        if (aspect == "input" and not is_root) or (aspect == "output" and a.kind == "flow"):
            continue  # What goes in and comes out inside is told of where it was written.
        yield Difference(aspect, where, one, other, a.start)
    if a.kind != "flow" or is_root:
        yield from _amounts(where, a, b, limits)
    yield from _writes(where, a, b)


def _failure(unit: Entry) -> str | None:
    if is_cancelled(unit):
        return "cancelled"
    if unit.end is None:
        return "unfinished"
    if not is_failed(unit):
        return None
    return facts.text(unit, semconv.ERROR_TYPE) or "failed"


def _route(unit: Entry) -> str | None:
    """Return the action and the node that follows, as one text."""
    action, following = (
        facts.text(unit, semconv.NODE_ACTION),
        facts.text(unit, semconv.NODE_NEXT),
    )
    return f"{action} → {following or 'end'}" if action else None


def _content(name: str) -> Callable[[Entry], str | None]:
    return lambda unit: facts.text(unit, name) or None


def _count(name: str) -> Callable[[Entry], int | None]:
    return lambda unit: facts.count(unit, name)


_TELLERS: Final[Mapping[Aspect, Callable[[Entry], Any]]] = {
    "failure": _failure,
    "graph": _content(semconv.GRAPH_HASH),
    "input": _content(semconv.INPUT_VALUE),
    "route": _route,
    "items": _count(semconv.BATCH_SIZE),
    "output": _content(semconv.OUTPUT_VALUE),
    "attempts": _count(semconv.NODE_ATTEMPTS),
}

_NEEDS_BOTH: Final = frozenset({"graph", "input", "route", "items", "output", "attempts"})
"""What is absent where it was not captured, or the unit did not get so far: no difference."""


def _writes(where: Where, a: Entry, b: Entry) -> Iterator[Difference]:
    """Yield the changes of the store that only one of them made, or with other values."""
    one, other = _written(a), _written(b)
    if one == other:
        return
    only_one = {path: value for path, value in one.items() if other.get(path) != value}
    only_other = {path: value for path, value in other.items() if one.get(path) != value}
    yield Difference("writes", where, only_one, only_other, a.start)


def _written(unit: Entry) -> dict[str, dict[str, Any]]:
    """Return what a unit changed: `{path: {"op", "value"}}`, or `{key: {"op"}}` without values."""
    changes = facts.patch(unit)
    if changes:
        return {
            facts.pointer_text(str(change.get("path"))): {
                name: change[name] for name in ("op", "value") if name in change
            }
            for change in changes
        }
    if unit.kind == "flow":
        return {}  # Its keys sum up what its nodes changed.
    return {
        key: {"op": op}
        for op, name in (
            ("add", semconv.SHARED_ADDED),
            ("replace", semconv.SHARED_CHANGED),
            ("remove", semconv.SHARED_REMOVED),
        )
        for key in facts.texts(unit, name)
    }


# --- Time, tokens and cost ------------------------------------------------------------------


def _amounts(where: Where, a: Entry, b: Entry, limits: Thresholds) -> Iterator[Difference]:
    times = _nanos(a), _nanos(b)
    if _is_other_time(*times, limits):
        yield Difference("time", where, _seconds(times[0]), _seconds(times[1]), a.start)
    tokens = _tokens(a), _tokens(b)
    if _is_other(*tokens, limits.cost_ratio):
        yield Difference("tokens", where, *tokens, a.start)
    costs = _costs(a), _costs(b)
    if any(
        _is_other(costs[0][currency], costs[1][currency], limits.cost_ratio)
        for currency in costs[0].keys() & costs[1].keys()
    ):
        yield Difference("cost", where, *costs, a.start)


def _nanos(unit: Entry) -> int | None:
    return None if unit.end is None else unit.end - unit.start


def _seconds(nanos: int | None) -> float:
    return (nanos or 0) / 1_000_000_000


def _tokens(unit: Entry) -> int | None:
    usage = rolled_up(unit.attributes)
    return None if usage is None else usage.total.tokens


def _costs(unit: Entry) -> dict[str, float]:
    usage = rolled_up(unit.attributes)
    return {} if usage is None else {name: float(cost) for name, cost in usage.total.costs}


def _is_other_time(a: int | None, b: int | None, limits: Thresholds) -> bool:
    if a is None or b is None or abs(a - b) < limits.time_floor:
        return False
    return _is_other(a, b, limits.time_ratio)


def _is_other(a: float | None, b: float | None, ratio: float) -> bool:
    """Tell whether one is greater by the ratio; what is not told is not other."""
    if a is None or b is None:
        return False
    low, high = sorted((a, b))
    return high > low and high >= low * ratio


# --- The essence ----------------------------------------------------------------------------


def essence(comparison: Comparison) -> str:
    """Return in one line what differs, the gravest first."""
    if not comparison.differences:
        return f"no difference in {comparison.compared} flows, nodes and items"
    counts = Counter(map(_effect, comparison.differences))
    parts = [
        f"{_listed(comparison.differences, effect)} {words}"
        for effect, words in _EFFECTS.items()
        if counts[effect]
    ]
    more = len(parts) - _MAX_PARTS
    return "; ".join([*parts[:_MAX_PARTS], *([f"and {more} more kinds"] if more > 0 else [])])


_MAX_PARTS: Final = 5

_EFFECTS: Final[Mapping[str, str]] = {
    "new failure": "fails now",
    "failure gone": "fails no longer",
    "graph": "has another graph",
    "input": "began with another store",
    "route": "took another route",
    "runs": "ran another number of times",
    "items": "has another number of items",
    "output": "came to another result",
    "writes": "wrote something else",
    "attempts": "took another number of attempts",
    "slower": "became slower",
    "faster": "became faster",
    "dearer": "became dearer",
    "cheaper": "became cheaper",
}


def _effect(difference: Difference) -> str:
    """Return what a difference comes to, by a name in `_EFFECTS`."""
    match difference.aspect:
        case "failure":
            return "new failure" if difference.b else "failure gone"
        case "time":
            return "slower" if difference.b > difference.a else "faster"
        case "tokens":
            return "dearer" if difference.b > difference.a else "cheaper"
        case "cost":
            return "dearer" if _sum(difference.b) > _sum(difference.a) else "cheaper"
        case other:
            return other


def _sum(costs: Mapping[str, float]) -> float:
    return sum(costs.values())


def _listed(differences: Sequence[Difference], effect: str) -> str:
    """Return which units an effect is on: `Search`, or `Search and 2 more`; the innermost ones."""
    wheres = dict.fromkeys(each.where for each in differences if _effect(each) == effect)
    outer = {where[:length] for where in wheres for length in range(1, len(where))}
    inner = [where for where in wheres if where not in outer]
    first, more = _last_name(inner[0]), len(inner) - 1
    return f"{first} and {more} more" if more else first


def _last_name(where: Where) -> str:
    """Return the innermost name; an item's with that of its batch."""
    return " ".join(where[-2:]) if where[-1].startswith("item ") else where[-1]

"""What a test asks of the runs of nodes and flows: path, writes, retries, errors, usage.

Pure views of a run's entries, for `pocketflow_trace.testing`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record import facts
from pocketflow_trace.record.model import Run, walk
from pocketflow_trace.text import printable
from pocketflow_trace.views.lines import details, is_cancelled, is_failed, title
from pocketflow_trace.views.totals import totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry, Failure


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls used. None is not told, which is not zero.

    Attributes:
        calls: Model calls.
        input_tokens: With cached ones.
        output_tokens: With reasoning.
        total_tokens: Input and output.
        cost: Price of the calls whose price is known.
        unmetered_calls: Calls whose tokens nobody told.
        unpriced_models: Models of calls whose price is not known.
    """

    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost: float | None = None
    unmetered_calls: int = 0
    unpriced_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """An exception that ended a flow, a node or an item, where it began.

    Attributes:
        where: Id of the node; name of the flow.
        type: Class of the exception.
        message: Its message; None where it was not captured.
    """

    where: str
    type: str
    message: str | None = None


class _Unit:
    """What nodes and flows have in common."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        """The entry of the model: all attributes, and what is inside."""

    @property
    def id(self) -> str:
        """Its place in the graph: the class, with `#2` for a second node of that class."""
        return facts.place(self.entry)

    @property
    def action(self) -> str | None:
        """The action that led on from it; None where there was none."""
        return facts.text(self.entry, semconv.NODE_ACTION) or None

    @property
    def next(self) -> str | None:
        """Id of the node that followed; None where the flow ended."""
        return facts.text(self.entry, semconv.NODE_NEXT) or None

    @property
    def params(self) -> Any:
        """The params it ran with; an empty dict where there were none."""
        return facts.parsed(facts.text(self.entry, semconv.NODE_PARAMS) or "{}")

    @property
    def failed(self) -> bool:
        """Did an exception leave it?"""
        return is_failed(self.entry)

    @property
    def cancelled(self) -> bool:
        """Did a cancellation or an interrupt end it?"""
        return is_cancelled(self.entry)

    @property
    def errors(self) -> list[Failed]:
        """The exceptions that ended it or something inside it, each where it began."""
        return errors_in([self.entry])

    @property
    def usage(self) -> Usage:
        """What the model calls in it used."""
        return usage_of([self.entry])

    def __str__(self) -> str:
        """Return the tree of what ran in it."""
        return tree([self.entry])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {brief(self.entry)}>"


class NodeTrace(_Unit):
    """One run of a node."""

    @property
    def name(self) -> str:
        """Its class."""
        return facts.class_name(self.entry)

    @property
    def iteration(self) -> int:
        """How often this place in the graph had run, from 1."""
        return facts.count(self.entry, semconv.NODE_ITERATION) or 1

    @property
    def input(self) -> Any:
        """What `prep` returned, as the trace shows it; None where it shows nothing."""
        return _content(self.entry, semconv.INPUT_VALUE)

    @property
    def output(self) -> Any:
        """What `exec` returned, as the trace shows it; None where it shows nothing."""
        return _content(self.entry, semconv.OUTPUT_VALUE)

    @property
    def diff(self) -> list[Mapping[str, Any]]:
        """Its changes of the store as a JSON Patch."""
        return facts.patch(self.entry)

    @property
    def writes(self) -> dict[str, Any]:
        """What it wrote, by key; by a path such as `log/0` what it changed in place."""
        return {
            facts.pointer_text(change["path"]): change.get("value")
            for change in self.diff
            if change.get("op") != "remove"
        }

    @property
    def removed(self) -> list[str]:
        """Keys, or paths, that it removed."""
        removals = [change for change in self.diff if change.get("op") == "remove"]
        return [facts.pointer_text(change["path"]) for change in removals]

    @property
    def attempts(self) -> int | None:
        """Attempts made, in a batch those of all items; None where it cannot be known."""
        return facts.count(self.entry, semconv.NODE_ATTEMPTS)

    @property
    def retries(self) -> int:
        """Attempts beyond the first; in a batch, beyond the first of each item."""
        if self.entry.kind == "item":
            return max((self.attempts or 0) - 1, 0)
        return totals(Run(roots=(self.entry,))).retries

    @property
    def fallback(self) -> bool:
        """Did `exec_fallback` answer?"""
        return facts.is_told(self.entry, semconv.NODE_FALLBACK)

    @property
    def failed_attempts(self) -> list[Failure]:
        """The exceptions of attempts that failed, also of those that were followed by another."""
        attempts = [entry for entry in walk([self.entry]) if entry.kind == "attempt"]
        return [failure for attempt in attempts for failure in attempt.failures]

    @property
    def items(self) -> list[NodeTrace]:
        """The items of a batch, in their order."""
        return [NodeTrace(item) for item in self._items()]

    def _items(self) -> list[Entry]:
        return _items_of(self.entry)


class FlowTrace(_Unit):
    """One run of a flow, or of one item of a BatchFlow."""

    @property
    def name(self) -> str:
        """Its class, or its configured name; a plain `Flow` is called after its start node."""
        return facts.class_name(self.entry)

    @property
    def path(self) -> list[str]:
        """Ids of the nodes in the order they ran; of a BatchFlow, see its `items`."""
        return list(facts.path(self.entry))

    @property
    def items(self) -> list[FlowTrace]:
        """The items of a BatchFlow, in their order."""
        return [FlowTrace(item) for item in _items_of(self.entry)]

    @property
    def nodes(self) -> list[NodeTrace]:
        """The runs of nodes in it, also in nested flows and items, in the order they began."""
        inside = walk(self.entry.children)
        return [NodeTrace(entry) for entry in inside if entry.kind == "node"]


# --- How it is found ------------------------------------------------------------------------


def _items_of(entry: Entry) -> list[Entry]:
    items = [child for child in entry.children if child.kind == "item"]
    return sorted(items, key=lambda item: facts.count(item, semconv.ITEM_INDEX) or 0)


def _content(entry: Entry, name: str) -> Any:
    value = entry.attributes.get(name)
    return facts.parsed(value) if isinstance(value, str) else None


def errors_in(entries: Sequence[Entry]) -> list[Failed]:
    """Return the exceptions that ended units, each where it began."""
    return [_failed(entry) for entry in walk(entries) if _is_origin(entry)]


def _is_origin(entry: Entry) -> bool:
    """Tell whether an exception began here, rather than in a node or an item inside."""
    return entry.kind in facts.UNITS and is_failed(entry) and not _has_failed_unit(entry)


def _has_failed_unit(entry: Entry) -> bool:
    return any(child.kind in facts.UNITS and is_failed(child) for child in walk(entry.children))


def _failed(unit: Entry) -> Failed:
    failures = [failure for entry in walk([unit]) for failure in entry.failures]
    last = failures[-1] if failures else None
    kind = last.type if last else facts.text(unit, semconv.ERROR_TYPE) or "Exception"
    return Failed(facts.place(unit), kind, last.message if last else None)


def usage_of(entries: Iterable[Entry]) -> Usage:
    """Add up what the outermost entries tell; what is inside them they have in their sums."""
    tellers = list(_tellers(entries))
    return Usage(
        calls=_sum(tellers, semconv.USAGE_CALLS) or 0,
        input_tokens=_sum(tellers, semconv.USAGE_INPUT_TOKENS),
        output_tokens=_sum(tellers, semconv.USAGE_OUTPUT_TOKENS),
        total_tokens=_sum(tellers, semconv.USAGE_TOTAL_TOKENS),
        cost=_cost(tellers),
        unmetered_calls=_sum(tellers, semconv.USAGE_UNMETERED_CALLS) or 0,
        unpriced_models=_unpriced(tellers),
    )


def _tellers(entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if semconv.USAGE_CALLS in entry.attributes:
            yield entry
        else:
            yield from _tellers(entry.children)


def _sum(entries: Iterable[Entry], name: str) -> int | None:
    told = [value for entry in entries if (value := facts.count(entry, name)) is not None]
    return sum(told) if told else None


def _cost(entries: Iterable[Entry]) -> float | None:
    values = [entry.attributes.get(semconv.USAGE_COST) for entry in entries]
    told = [Decimal(str(value)) for value in values if isinstance(value, int | float)]
    return float(sum(told)) if told else None


def _unpriced(entries: Iterable[Entry]) -> tuple[str, ...]:
    names = (facts.texts(entry, semconv.USAGE_UNPRICED_MODELS) for entry in entries)
    return tuple(dict.fromkeys(itertools.chain.from_iterable(names)))


# --- How it is shown ------------------------------------------------------------------------


def brief(entry: Entry) -> str:
    """Return `Agent: Decide → Search → Answer (failed: TimeoutError)` on one line."""
    name = facts.place(entry) if entry.kind == "node" else facts.class_name(entry)
    steps = _shorter(facts.path(entry)) if entry.kind == "flow" else ""
    kinds = Counter(error.type for error in errors_in([entry]))
    failed = f" (failed: {', '.join(kinds)})" if kinds else ""
    return printable(f"{name}{': ' if steps else ''}{steps}{failed}")


def _shorter(path: Sequence[str]) -> str:
    if len(path) > 12:  # noqa: PLR2004 - what fits into one line
        return " → ".join((*path[:6], "…", *path[-5:]))
    return " → ".join(path)


def tree(roots: Iterable[Entry]) -> str:
    """Return entries as text, one a line, with what they changed."""
    lines: list[str] = []
    pending = [(root, 0) for root in reversed(list(roots))]
    while pending:
        entry, depth = pending.pop()
        indented = [[("  ", ""), *line] for line in details(entry)]
        lines += [
            "  " * depth + "".join(piece for piece, _ in line) for line in (title(entry), *indented)
        ]
        pending.extend((child, depth + 1) for child in reversed(entry.children))
    return "\n".join(lines) or "nothing ran"

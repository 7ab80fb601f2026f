"""Rebuilds a shared store as it stood at some moment of a run, from its first state and patches.

Pure. What a trace holds of a store is bounded, so the result says what it is without: where it is
cut, which changes are missing, and which keys may therefore have had another value.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.analysis.patching import (
    CUT,
    CYCLE,
    OPAQUE,
    Document,
    is_marker,
    opaque_shape,
    pointer,
    tokens,
)
from pocketflow_trace.record.facts import count, parsed, patch, place, text, texts
from pocketflow_trace.record.model import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry, Run

REDACTED: Final = "[REDACTED]"
"""What the core writes in place of a credential."""

_MORE: Final = "… ("
"""How the core's marker in a list of names begins."""

_ELSEWHERE: Final = "elsewhere"
"""The phase of what others had changed, which is found when a run begins."""

_EARLY: Final = frozenset({"prep", _ELSEWHERE})
"""Phases in which a flow changes a store before its nodes run."""

_NO_END: Final = 2**63


class RebuildError(Exception):
    """What is asked for cannot be rebuilt; the message says why."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A store as it stood at some moment.

    Attributes:
        store: Its id.
        document: What stood in it, as JSON data with the core's markers for what is not shown.
        applied: Changes that led to it.
        missing: Changes before that moment that the trace does not tell of, as far as it shows.
        lost: Changes that it tells of but that fit nowhere, because of missing ones.
        is_start_known: Does the trace tell what was in the store at first? If not, only what was
            changed is in the document.
        unfinished: Nodes and flows that had not ended when the trace did: what they changed last
            is not known. Only for the end of a run.
        is_approximate: Did another branch work on the store at that moment, so that its changes
            may have come before or after?
        doubtful: Keys of the first level that a missing change may be about; None for any key.
        cut: JSON pointers to what is cut.
        opaque: The same to values of classes that are not looked into, or that were not captured.
        redacted: The same to what was hidden.
        unwatched: Containers of which only identity and length were compared.
    """

    store: int
    document: Any
    applied: int
    missing: int
    lost: int
    is_start_known: bool
    unfinished: tuple[str, ...]
    is_approximate: bool
    doubtful: tuple[str, ...] | None
    cut: tuple[str, ...]
    opaque: tuple[str, ...]
    redacted: tuple[str, ...]
    unwatched: int


class Moment(NamedTuple):
    """A moment in the life of a store: what has been told of it by then.

    Attributes:
        seq: Number of the last change that had been seen.
        told: The nodes and flows that had told of all their changes.
        is_approximate: As in `Rebuilt`.
        unfinished: As in `Rebuilt`.
    """

    seq: int
    told: Sequence[Entry]
    is_approximate: bool
    unfinished: tuple[str, ...]


def store_ids(run: Run) -> list[int]:
    """Return the ids of the stores that a run tells of, in order of appearance."""
    found = (store_of(entry) for entry in walk(run.roots))
    return list(dict.fromkeys(store for store in found if store is not None))


def store_of(entry: Entry) -> int | None:
    """Return the id of the store that an entry ran on; None where it does not tell."""
    return count(entry, semconv.SHARED_ID)


def store_near(run: Run, entry: Entry) -> int | None:
    """Return the store that an entry most likely ran on: one that has not ended does not tell.

    That of what ended last before it in the same trace; else the only one that there is.
    """
    if (own := store_of(entry)) is not None:
        return own
    ended = [
        other
        for other in walk(run.roots)
        if other.trace_id == entry.trace_id
        and other.end is not None
        and other.end <= entry.start
        and store_of(other) is not None
    ]
    if ended:
        return store_of(max(ended, key=lambda other: other.end or 0))
    ids = store_ids(run)
    return ids[0] if len(ids) == 1 else None


class History:
    """All that a run tells of one store.

    Args:
        run: The run.
        store: Id of the store.
    """

    def __init__(self, run: Run, store: int) -> None:
        self.store = store
        self._order = list(walk(run.roots))
        self._position = {id(entry): position for position, entry in enumerate(self._order)}
        self._parents = {id(child): entry for entry in self._order for child in entry.children}
        self.entries = [entry for entry in self._order if store_of(entry) == store]
        self._operations = {id(entry): operations_of(entry) for entry in self.entries}
        self._all = _by_seq(self._operations.values())
        self._is_whole = run.dropped == 0

    @property
    def first(self) -> Entry | None:
        """The run that told what was in the store at first, which is the outermost one on it."""
        return next((e for e in self.entries if text(e, semconv.SHARED_INITIAL)), None)

    @property
    def changes(self) -> int:
        """How many changes are told of."""
        return len(self._all)

    def at_end(self) -> Moment:
        """Return the moment at which the trace ends."""
        last = max(self._all, default=0)
        running = [e for e in self._order if e.end is None and e.kind in {"flow", "node"}]
        return Moment(
            seq=last,
            told=self.entries,
            is_approximate=False,
            unfinished=tuple(map(place, running)),
        )

    def after(self, entry: Entry) -> Moment:
        """Return the moment at which a node or flow ended.

        Raises:
            RebuildError: It has not ended.
        """
        if entry.end is None:
            raise RebuildError(
                f"{place(entry)} had not ended, so what it changed is not known; "
                "ask for the store as it stood before it"
            )
        return self._moment(entry, entry.end, is_after=True)

    def before(self, entry: Entry) -> Moment:
        """Return the moment at which a node or flow began."""
        return self._moment(entry, entry.start, is_after=False)

    def rebuild(self, moment: Moment) -> Rebuilt:
        """Return the store as it stood at a moment."""
        operations = [(seq, row) for seq, row in self._all.items() if seq <= moment.seq]
        document = Document(self._initial(operations))
        lost = sum(document.apply(row) == "lost" for _, row in operations)
        gaps = moment.seq - len(operations)
        omitted = sum(count(entry, semconv.SHARED_DIFF_OMITTED) or 0 for entry in moment.told)
        places = list(_places(document.value))
        return Rebuilt(
            store=self.store,
            document=document.value,
            applied=len(operations) - lost,
            missing=max(gaps, omitted),
            lost=lost,
            is_start_known=self.first is not None,
            unfinished=moment.unfinished,
            is_approximate=moment.is_approximate,
            doubtful=self._doubtful(moment, operations, omitted, document.value),
            cut=_pointers(places, "cut"),
            opaque=_pointers(places, "opaque"),
            redacted=_pointers(places, "redacted"),
            unwatched=max(
                (count(e, semconv.SHARED_UNWATCHED) or 0 for e in moment.told), default=0
            ),
        )

    # --- When -------------------------------------------------------------------------------

    def _moment(self, entry: Entry, time: int, *, is_after: bool) -> Moment:
        inside = {id(inner) for inner in walk([entry])}
        told = [
            other
            for other in self.entries
            if (is_after if id(other) in inside else self._had_ended(other, entry, time))
        ]
        seqs = [seq for e in told for seq in self._seqs(e)]
        for around in self._around(entry):
            seqs += self._leading(around, _EARLY)
        overlapping = [e for e in self.entries if self._overlaps(e, entry, time, inside)]
        if not is_after and not overlapping:
            seqs += self._leading(entry, frozenset({_ELSEWHERE}))
        return Moment(max(seqs, default=0), told, is_approximate=bool(overlapping), unfinished=())

    def _had_ended(self, other: Entry, entry: Entry, time: int) -> bool:
        """Tell whether an entry that is not inside another one had ended by then."""
        if other.end is None or other.end > time:
            return False
        # With a coarse clock the next node may seem to have ended at the very same time.
        return self._position[id(other)] < self._position[id(entry)] or other.start < time

    def _around(self, entry: Entry) -> Iterator[Entry]:
        current = self._parents.get(id(entry))
        while current is not None:
            yield current
            current = self._parents.get(id(current))

    def _overlaps(self, other: Entry, entry: Entry, time: int, inside: set[int]) -> bool:
        """Tell whether another branch was at work at that time."""
        end = _NO_END if other.end is None else other.end
        if id(other) in inside or not other.start < time < end:
            return False
        return all(other is not around for around in self._around(entry))

    # --- Changes ----------------------------------------------------------------------------

    def _seqs(self, entry: Entry) -> list[int]:
        return [row["seq"] for row in self._operations[id(entry)]]

    def _leading(self, entry: Entry, phases: frozenset[str]) -> list[int]:
        """Return the first changes that an entry tells of, as long as they are of these phases."""
        # Where branches overlap, what is found in `exec` is called `elsewhere`, too.
        if entry.attributes.get(semconv.SHARED_CONCURRENT):
            phases -= {_ELSEWHERE}
        rows = self._operations.get(id(entry), [])
        return [row["seq"] for row in takewhile(lambda row: row.get("phase") in phases, rows)]

    def _initial(self, operations: Sequence[tuple[int, Mapping[str, Any]]]) -> Any:
        """Return what was in the store at first; where that is not known, an object that is cut."""
        first = self.first
        value = parsed(text(first, semconv.SHARED_INITIAL)) if first is not None else None
        if not isinstance(value, dict | list):
            return {CUT: {"length": None}}
        row = cast("Any", value)
        if any(_has_no_content(operation) for _, operation in operations) and _are_shapes(row):
            return _as_markers(row)
        return row

    def _doubtful(
        self,
        moment: Moment,
        operations: Sequence[tuple[int, Mapping[str, Any]]],
        omitted: int,
        document: Any,
    ) -> tuple[str, ...] | None:
        """Return the keys that a change which is not told of may be about."""
        seen = {seq for seq, _ in operations}
        gaps = [seq for seq in range(1, moment.seq + 1) if seq not in seen]
        if moment.unfinished or not self._is_whole or len(gaps) > omitted:
            return None
        names = _names_with_omissions(moment.told)
        if names and (any(n.startswith(_MORE) for n in names) or not isinstance(document, dict)):
            return None
        # Changes that were left out may be the last ones.
        last = max(gaps, default=0) if len(gaps) == omitted else _NO_END
        certain = {
            steps[0]
            for seq, row in operations
            if seq > last and len(steps := tokens(str(row.get("path", "")))) == 1
        }
        return tuple(name for name in names if name not in certain)


def operations_of(entry: Entry) -> list[Mapping[str, Any]]:
    """Return the changes that an entry tells of; none where a limit of the SDK's cut their text."""
    return [row for row in patch(entry) if type(row.get("seq")) is int]


def _by_seq(patches: Iterable[Sequence[Mapping[str, Any]]]) -> dict[int, Mapping[str, Any]]:
    rows = [row for patch in patches for row in patch]
    return {row["seq"]: row for row in sorted(rows, key=lambda row: row["seq"])}


def _names_with_omissions(entries: Sequence[Entry]) -> list[str]:
    """Return the keys that those entries changed that could not tell of all changes."""
    lists = (semconv.SHARED_ADDED, semconv.SHARED_CHANGED, semconv.SHARED_REMOVED)
    names: dict[str, None] = {}
    for entry in entries:
        if not count(entry, semconv.SHARED_DIFF_OMITTED):
            continue
        names.update((name, None) for kind in lists for name in texts(entry, kind))
    return list(names)


# --- Where only keys were captured ----------------------------------------------------------


def _has_no_content(operation: Mapping[str, Any]) -> bool:
    return ("was" if operation.get("op") == "remove" else "value") not in operation


def _are_shapes(value: Any) -> bool:
    """Tell whether all members are `{"type", "size"}`, as they are where no content is captured."""
    return all(
        isinstance(item, dict) and cast("dict[str, Any]", item).keys() <= {"type", "size", CUT}
        for _, item in _named(value)
    )


def _as_markers(shapes: Any) -> Any:
    if isinstance(shapes, list):
        return [_as_marker(item) for item in cast("list[Any]", shapes)]
    return {name: item if name == CUT else _as_marker(item) for name, item in shapes.items()}


def _as_marker(item: Any) -> Any:
    return item if CUT in item else opaque_shape(item)


def _named(value: Any) -> list[tuple[str, Any]]:
    """Return what is in a list or an object, by the steps of a JSON pointer."""
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).items())
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [(str(index), item) for index, item in enumerate(items)]


# --- What is not shown ----------------------------------------------------------------------


def _places(document: Any) -> Iterator[tuple[str, str]]:
    """Yield what is not shown of a document: `cut`, `opaque` or `redacted`, and where."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), document)]
    while pending:
        path, value = pending.pop()
        if kind := _kind(value):
            yield kind, pointer(path)
        if not is_marker(value):
            pending += [((*path, name), item) for name, item in reversed(_named(value))]


def _kind(value: Any) -> str:
    """Return how a value is not shown; nothing where it is. A list's marker is its own."""
    if isinstance(value, str):
        return "redacted" if REDACTED in value else ""
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        return "opaque" if OPAQUE in row else "cut" if CUT in row or CYCLE in row else ""
    return ""


def _pointers(places: Sequence[tuple[str, str]], kind: str) -> tuple[str, ...]:
    return tuple(where for its_kind, where in places if its_kind == kind)

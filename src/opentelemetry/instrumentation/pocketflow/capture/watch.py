"""One run's view of its shared store: what changed at its borders, as bounded text."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow.capture import journal as journals
from opentelemetry.instrumentation.pocketflow.capture.journal import Branch, Credited
from opentelemetry.instrumentation.pocketflow.capture.preview import (
    cut_text,
    is_behind_secret_flag,
    is_beside_secret_name,
    is_count,
    is_plain_name,
    is_secret_field,
    is_secret_flag,
    preview_text,
    quoted,
    shape_text,
    shown_key,
    size_in_bytes,
    takes_no_flag,
)
from opentelemetry.instrumentation.pocketflow.capture.reading import Kind, kind_of
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED
from opentelemetry.instrumentation.pocketflow.record import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
    from opentelemetry.instrumentation.pocketflow.capture.snapshot import Change, Node, Path
    from opentelemetry.instrumentation.pocketflow.config import Content
    from opentelemetry.instrumentation.pocketflow.emit.budget import Shares

_MAX_PATH_CHARS: Final = 300
_FRAME_BYTES: Final = 96
"""What a change takes at most besides its path and its values."""
_MIN_CHANGE_BYTES: Final = 60
"""Room that a change needs to say anything."""
_MARKER_BYTES: Final = 40
"""What tells that more was left out takes at most that."""
_PUNCTUATION_BYTES: Final = 3
"""Of a member of a JSON object, and of the object."""
_ATOMS: Final = frozenset({Kind.ATOM, Kind.TEXT})
_WAS: Final = f',"was":"{REDACTED}"'
_VALUE: Final = f',"value":"{REDACTED}"'
_HIDDEN: Final = {"add": _VALUE, "replace": _WAS + _VALUE, "remove": _WAS}
"""What operations show of what must not be shown."""


class StoreWatch:
    """Collects the changes that one run finds at its borders.

    Args:
        store: the shared store.
        content: what may be shown of it.
        redactor: what must not be shown of it.
        shares: bytes for what is shown.
        max_items: how many of its items may be watched.
        around: the watch of the run around this one, which may be on another store.
        on_written: told of each value that this run has added or put in the place of another.
    """

    def __init__(
        self,
        store: object,
        content: Content,
        redactor: Redactor,
        shares: Shares,
        max_items: int,
        around: StoreWatch | None,
        on_written: Callable[[object], None] | None = None,
    ) -> None:
        self._journal, is_new = journals.acquire(store, max_items)
        self._content = content
        self._redactor = redactor
        self._shares = shares
        self._operations: list[str] = []
        self._left = shares.diff - 1  # the brackets; each operation counts with a comma
        self._omitted = 0
        self._names: dict[str, str] = {}
        self._on_written = on_written
        self._written: list[object] = []
        """Of which is yet to be told."""
        self._flagged: set[tuple[int, object]] = set()
        """Places behind secret flags that are gone, by the id of their list."""
        self.around = around
        self.branch = Branch(self._branch_around())
        self.is_outermost = is_new
        self.initial = self._show_store(shares.initial) if is_new else None
        self._record: Store | None = None

    @property
    def id(self) -> int:
        """Tells the store from others in this process."""
        return self._journal.id

    def is_open_on(self, journal: journals.Journal) -> bool:
        """Does it watch that very store still?"""
        return self._journal is journal and self._record is None

    def mark(self, phase: str) -> None:
        """A border: credits what has changed since the last one to the phase that ends here."""
        self._journal.mark(self.branch, phase, self._render)
        if self._written and self._on_written is not None:
            written, self._written = self._written, []
            # Not earlier: the program's own functions are asked, and the journal was locked.
            for value in written:
                self._on_written(value)

    def follows(self, before: Branch | None) -> bool:
        """Has only that run, which is over, been at work on the store up to now?

        Its last mark then is as good as one that is made now.
        """
        is_last = before is not None and self._journal.marked_by is before
        return is_last and not self.branch.is_concurrent()

    def show(self, budget: int) -> str | None:
        """The store as it is now, as JSON; None where nothing may be shown of it."""
        return self._show_store(budget)

    def close(self) -> None:
        """The run is over. What was seen stays in `record`; the store is let go."""
        if self._record is not None:
            return
        concurrent = self.branch.is_concurrent()
        self.branch.close()
        conflicts = self.branch.conflicts
        self._record = Store(
            id=self._journal.id,
            patch=f"[{','.join(self._operations)}]",
            omitted=self._omitted,
            added=self._names_that("added"),
            changed=self._names_that("changed"),
            removed=self._names_that("removed"),
            concurrent=concurrent,
            conflicts=self._fit([self._pointer(path) for path in conflicts.values()]),
            unwatched=self._journal.unwatched,
            initial=self.initial,
        )
        conflicts.clear()  # its paths hold keys of the store
        journals.release(self._journal)

    @property
    def record(self) -> Store | None:
        """What was seen; None before `close`, and where nothing may be shown."""
        return None if self._content == "off" else self._record

    def _branch_around(self) -> Branch:
        watch = self.around
        while watch is not None:
            if watch.is_open_on(self._journal):
                return watch.branch
            watch = watch.around
        return self._journal.root

    def _show_store(self, budget: int) -> str | None:
        if self._content == "off":
            return None
        store = self._journal.recorded()
        if self._content == "values":
            return preview_text(store.value, self._redactor, budget, store)
        return self._shapes(store, budget)

    def _shapes(self, store: Node, budget: int) -> str:
        """Types and sizes of what is in the store as JSON: an object by name, or a list."""
        shapes: dict[str, str] = {}
        left = budget - _MARKER_BYTES
        for index, item in enumerate(store.items or ()):
            name = quoted(shown_key(store.step_to(index), self._redactor).text)
            shown = shape_text(item)
            left -= size_in_bytes(name) + size_in_bytes(shown) + _PUNCTUATION_BYTES
            if left < 0:
                shapes['"$cut"'] = f'{{"length":{store.length}}}'
                break
            shapes[name] = shown
        if store.keys is not None:
            return f"{{{','.join(f'{name}:{shown}' for name, shown in shapes.items())}}}"
        cut = shapes.pop('"$cut"', None)
        shown_items = [*shapes.values(), *([f'{{"$cut":{cut}}}'] if cut is not None else ())]
        return f"[{','.join(shown_items)}]"

    def _render(self, changes: list[Credited]) -> None:
        self._flagged = self._behind_gone_flags(changes)
        for position, credited in enumerate(changes):
            self._note_name(credited.change)
            self._keep_written(credited)
            room = self._left // min(len(changes) - position, 4)
            if self._content == "off" or room < _MIN_CHANGE_BYTES:
                self._omitted += 1
                continue
            text = self._operation(credited, room)
            size = size_in_bytes(text) + 1
            if size > self._left:
                self._omitted += 1
                continue
            self._operations.append(text)
            self._left -= size

    def _keep_written(self, credited: Credited) -> None:
        own = credited.phase != journals.ELSEWHERE and credited.change.op != "remove"
        if own and self._on_written is not None:
            self._written.append(credited.change.value)

    def _operation(self, credited: Credited, room: int) -> str:
        """A change as JSON, put together of parts that are encoded once each."""
        change = credited.change
        pointer = quoted(self._pointer(change.path))
        shown = ""
        if self._content == "values":
            shown = self._values(change, room - size_in_bytes(pointer) - _FRAME_BYTES)
        elif change.op != "remove":
            shown = f",{shape_text(change.value)[1:-1]}"
        ends = f'"phase":"{credited.phase}","seq":{credited.seq}'
        return f'{{"op":"{change.op}","path":{pointer}{shown},{ends}}}'

    def _values(self, change: Change, room: int) -> str:
        """The members of an operation that show what was there and what is."""
        if self._is_secret(change):
            return _HIDDEN[change.op]
        hide, around, shown = self._redactor, change.around, ""
        if change.op != "add":
            was_room = room if change.op == "remove" else room // 3
            was = preview_text(
                change.was, hide, was_room, change.was_node, around=around, past=True
            )
            shown = f',"was":{was}'
            room -= size_in_bytes(was)
        if change.op != "remove":
            value = preview_text(change.value, hide, room, change.node, around=around)
            shown += f',"value":{value}'
        return shown

    def _is_secret(self, change: Change) -> bool:
        if any(shown_key(step, self._redactor).is_secret for step in change.path):
            return True
        if all(map(is_plain_name, change.path)):
            return False
        # From the end: of a change deep in the store, the store itself may not be among them.
        places = list(zip(reversed(change.around), reversed(change.path), strict=False))
        if any(is_secret_field(*place, self._redactor) for place in places):
            return True
        counts = is_count(change.value) and is_count(change.was)
        no_values = takes_no_flag(change.value) and takes_no_flag(change.was)
        return any(
            is_beside_secret_name(*place, self._redactor) for place in places[counts:]
        ) or any(map(self._is_behind_flag, places[no_values:]))

    def _is_behind_flag(self, place: tuple[object, object]) -> bool:
        container, step = place
        # Of a key of another type, the hash may be the program's own.
        if type(step) is int and (id(container), step) in self._flagged:
            return True
        return is_behind_secret_flag(container, step, self._redactor)

    def _behind_gone_flags(self, changes: list[Credited]) -> set[tuple[int, object]]:
        """Places whose values may have gone together with the secret flags before them."""
        return {
            (id(change.around[-1]), step + 1)
            for change, *_ in changes
            if is_secret_flag(change.was, self._redactor)
            and change.around
            and type(step := change.path[-1]) is int
        }

    def _pointer(self, path: Path) -> str:
        """JSON Pointer (RFC 6901)."""
        steps = [shown_key(step, self._redactor).pointer for step in path]
        return cut_text("".join(steps), _MAX_PATH_CHARS)

    def _note_name(self, change: Change) -> None:
        """Keeps what became of each top-level key over the whole run."""
        if not change.path:
            return
        name = shown_key(change.path[0], self._redactor).text
        state = self._names.get(name)
        if len(change.path) > 1 or change.op == "replace":
            self._names[name] = state or "changed"
        elif change.op == "add":
            self._names[name] = "changed" if state == "removed" else "added"
        elif state == "added":
            del self._names[name]
        else:
            self._names[name] = "removed"

    def _names_that(self, state: str) -> tuple[str, ...]:
        return self._fit([name for name, its in self._names.items() if its == state])

    def _fit(self, names: list[str]) -> tuple[str, ...]:
        return fit(tuple(names), self._shares.names) if names else ()


class Trail:
    """The ids of the nodes that ran, in order: of a run without end, the first and the last.

    Args:
        budget: bytes that may be shown of it; as many ids are kept from each end.
    """

    __slots__ = ("_budget", "_first", "_last", "length")

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=budget)
        self.length = 0

    def add(self, node_id: str) -> None:
        """A node runs."""
        self.length += 1
        (self._first if len(self._first) < self._budget else self._last).append(node_id)

    def shown(self) -> tuple[str, ...]:
        """What fits of it."""
        return fit((*self._first, *self._last), self._budget, self.length)


def fit(names: tuple[str, ...], budget: int, total: int | None = None) -> tuple[str, ...]:
    """As many of the names as fit, the first and the last of them, with a marker between.

    Args:
        names: any number of them.
        budget: bytes for all of them, without the marker.
        total: how many there are, if those in the middle are left out already.
    """
    total = len(names) if total is None else total
    keep = _how_many(names, budget)
    if keep == total:
        return names
    head, tail = (keep + 1) // 2, keep // 2
    return (*names[:head], f"… ({total - keep} more)", *names[len(names) - tail :])


def _how_many(names: tuple[str, ...], budget: int) -> int:
    """How many fit, taken from the start and from the end by turns."""
    for taken in range(len(names)):
        budget -= size_in_bytes(names[-1 - taken // 2 if taken % 2 else taken // 2])
        if budget < 0:
            return taken
    return len(names)


def can_watch(store: object) -> bool:
    """Is there anything in a store that could change?"""
    return store is not None and kind_of(store) not in _ATOMS

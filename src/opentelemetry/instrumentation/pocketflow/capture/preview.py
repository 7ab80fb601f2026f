"""Bounded, redacted JSON out of any value, at the cost of the preview and not of the value.

Pure: no OpenTelemetry, and no code of the user's classes runs. What does not fit or cannot be
shown is replaced by an object with one of these members:

* ``{"$cut": "str", "length": 1048576, "head": "Once upon"}``: a long text;
* ``{"$cut": "list", "length": 1000}``: a container of which nothing is shown. Where a part of it
  is, a list ends with an element ``{"$cut": {"length": 1000}}``, and an object has such a member;
* ``{"$opaque": "threading.Lock"}``: a value of a class that is not looked into;
* ``{"$cycle": "dict"}``: a container inside itself.

A key of the user's that is one of these names is shown with one more ``$`` in front, so that a
reader can always tell a cut from a value.
"""

from __future__ import annotations

import enum
import json
import math
from bisect import bisect_right
from json.encoder import encode_basestring  # pyright: ignore[reportUnknownVariableType] - untyped
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, cast

from opentelemetry.instrumentation.pocketflow.capture import reading, redact
from opentelemetry.instrumentation.pocketflow.capture.reading import CONTAINERS, Kind
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH: Final = 20
"""Deeper containers are cut: recursion stays far from the interpreter's limit."""

MIN_BYTES: Final = 48
"""No budget is smaller: a marker always fits, with at least the beginning of a class name."""

_MAX_KEY_CHARS: Final = 80
_MAX_KNOWN_KEYS: Final = 1000
"""Keys of which is kept how they are shown."""
_MAX_KEY_PARTS: Final = 4
"""Of a tuple that is a key."""
_MAX_INT_BITS: Final = 256
"""Larger integers are cut: writing them is quadratic, and the interpreter may refuse to."""
_SHORT_INT_BITS: Final = 128
"""Integers up to that fit into `MIN_BYTES`."""
LOOK_AHEAD: Final = 256
"""Characters beyond a cut that redaction sees, so that a secret at the border is recognised."""
_FAIR_SHARES: Final = 4
"""The first of many items may take a fourth of what is left, so that others find room,"""
_TELLING_BYTES: Final = 128
"""but at least that: few items that say something are better than many that don't."""

_SHOWN_BYTES: Final = 100
"""Of a value in a message."""

_PAIR: Final = 2
_NAME_NAMES: Final = frozenset({"Key", "Name", "header", "key", "name", "variable"})
_VALUE_NAMES: Final = frozenset({"Value", "val", "value"})
"""Keys of a record of a name and a value, as headers and variables are often written."""
_COUNT_TYPE_IDS: Final = frozenset(map(id, (bool, float, int, type(None))))
_MAX_RECORD: Final = 32
"""Items that are looked at for a name."""
_SEQUENCES: Final = frozenset({Kind.LIST, Kind.TUPLE, Kind.DEQUE})

_MARKERS: Final = frozenset({"cut", "opaque", "cycle"})

_quote: Final[Callable[[str], str]] = encode_basestring


class Recorded(Protocol):
    """What a container held when it was recorded, in place of what it holds now."""

    @property
    def keys(self) -> list[Any] | None:
        """Its keys, or field names; None for sequences."""
        ...

    @property
    def items(self) -> list[Any] | None:
        """Its items; None where they were not recorded."""
        ...

    @property
    def length(self) -> int:
        """How many items it had."""
        ...

    @property
    def is_cycle(self) -> bool:
        """Did it stand inside itself?"""
        ...

    @property
    def children(self) -> Mapping[int, Recorded]:
        """The recorded containers among its items, by position."""
        ...


# `json.dumps` makes an encoder for each call that asks for anything but its defaults.
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ":")
).encode


def dumps(value: Json) -> str:
    """Compact JSON that any exporter can encode."""
    text = _encode(value)
    # A lone surrogate, which UTF-8 cannot carry, stands in a JSON string: an escape means the same.
    return encodable(text)


@guarded("…")
def shown(value: object) -> str:
    """A value as it stands in a message, such as one about a wrong argument.

    Its `repr` would run the program's code, and might show what is to be hidden.
    """
    if not redact.shows_values:
        return shape_text(value)
    return dumps(preview(value, redact.in_use, _SHOWN_BYTES))


def encodable(text: str) -> str:
    """The text with an escape in place of each lone surrogate, which UTF-8 cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def size_in_bytes(text: str) -> int:
    """Length in UTF-8, once `encodable`."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))


def preview(
    value: object,
    redactor: Redactor,
    budget: int,
    recorded: Recorded | None = None,
    *,
    around: Sequence[object] = (),
    past: bool = False,
) -> Json:
    """A JSON-able picture of a value.

    Args:
        value: anything.
        redactor: what must not be shown.
        budget: bytes of UTF-8 that the picture takes at most once serialised by `dumps`; what is
            less than `MIN_BYTES` counts as that.
        recorded: what the value held when it was recorded, to be shown in place of what it holds.
        around: the containers around the value, outermost first.
        past: leave out what was not recorded, rather than show it as it is now.
    """
    return _Preview(redactor, around, past=past).show(value, budget, recorded)[0]


def preview_text(
    value: object,
    redactor: Redactor,
    budget: int,
    recorded: Recorded | None = None,
    *,
    around: Sequence[object] = (),
    past: bool = False,
) -> str:
    """What `dumps` makes of a `preview`, which takes the same arguments."""
    text = _atom_text(value, redactor, max(budget, MIN_BYTES)) if recorded is None else None
    if text is not None:
        return text
    return dumps(preview(value, redactor, budget, recorded, around=around, past=past))


def _atom_text(value: object, redactor: Redactor, budget: int) -> str | None:
    """The usual small values as JSON, without a walk; None for what may take one."""
    if type(value) is str:
        text = _quote(encodable(redactor.text(value))) if len(value) <= budget else ""
        return text if text and size_in_bytes(text) <= budget else None
    if type(value) is int:
        return str(value) if value.bit_length() <= _SHORT_INT_BITS else None
    if type(value) is bool:
        return "true" if value else "false"
    return "null" if value is None else None


def quoted(text: str) -> str:
    """A text as JSON."""
    return encodable(_quote(text))


def shape_text(value: object) -> str:
    """Type and size of a value as JSON, without anything of the value itself."""
    size = reading.size_of(value)
    named = _type_member(type(value))
    return f"{{{named}}}" if size is None else f'{{{named},"size":{size}}}'


def _name_type(cls: type) -> str:
    return f'"type":{quoted(cut_text(reading.qualified_name(cls), _MAX_KEY_CHARS))}'


_type_member: Final = reading.PerClass(_name_type)


class ShownKey(NamedTuple):
    """How a dict key, or a step of a path, is shown."""

    text: str
    """As JSON would name it; keys that JSON has no name for, by their type."""
    size: int
    """Bytes of that before the value in a JSON object."""
    pointer: str
    """As a step of a JSON Pointer (RFC 6901)."""
    is_secret: bool
    """Must the value under this key never be shown?"""


def shown_key(key: object, redactor: Redactor) -> ShownKey:
    """How a dict key, or a step of a path, is shown."""
    if type(key) is not str or len(key) > _MAX_KEY_CHARS:
        return _show_key(key, redactor)
    # Programs use the same few keys again and again.
    known: ShownKey | None = redactor.shown_keys.get(key)
    if known is None:
        known = _show_key(key, redactor)
        if len(redactor.shown_keys) < _MAX_KNOWN_KEYS:
            redactor.shown_keys[key] = known
    return known


def _show_key(key: object, redactor: Redactor) -> ShownKey:
    text = encodable(_text_of_key(key, redactor))
    if text[:1] == "$" and text.lstrip("$") in _MARKERS:
        text = f"${text}"  # a name of ours in the user's data
    step = text.replace("~", "~0").replace("/", "~1")
    size = size_in_bytes(_quote(text)) + 1
    return ShownKey(text, size, f"/{step}", _is_secret_key(key, redactor))


def _is_secret_key(key: object, redactor: Redactor) -> bool:
    if type(key) is str:
        return redactor.secret_key(key)
    if type(key) is int:
        return False
    if reading.is_instance(key, str) and redactor.secret_key(_tail(cast("str", key))):
        return True
    return redactor.secret_key(_text_of_key(key, redactor))


def is_plain_name(step: object) -> bool:
    """Is it a key by which alone is to be told whether what stands there is secret?"""
    return type(step) is str and step not in _VALUE_NAMES


def is_beside_secret_name(container: object, step: object, redactor: Redactor) -> bool:
    """Is what stands, or stood, there secret by what stands beside it?

    As in ``["Authorization", "..."]`` and ``{"name": "token", "value": "..."}``.

    Args:
        container: a list, dict or the like.
        step: position or key in it.
        redactor: what must not be shown.
    """
    if is_plain_name(step):
        return False
    kind = reading.kind_of(container)
    if (type(step) is not int and type(step) is not str) or step == 0 or kind not in CONTAINERS:
        return False
    try:
        keys, items = reading.first_contents(container, kind, _MAX_RECORD)
    except RuntimeError:  # another thread changes it just now
        return True
    if keys is None:
        return 0 < len(items) <= _PAIR and _is_secret_name(items[0], redactor)
    return _names_secret(keys, items, redactor)


def is_behind_secret_flag(container: object, step: object, redactor: Redactor) -> bool:
    """Is what stands there the value of a flag, as in ``["--password", "..."]``?"""
    kind = reading.kind_of(container)
    if type(step) is not int or step == 0 or kind not in _SEQUENCES:
        return False
    back = reading.length_of(container, kind) - step + 1
    try:
        return back > 0 and is_secret_flag(reading.last_of(container, kind, back), redactor)
    except IndexError:  # another thread has made it shorter just now
        return True


def is_secret_flag(value: object, redactor: Redactor) -> bool:
    """Does what follows in a list belong to a flag that makes it secret, as `--password`?"""
    return type(value) is str and value[:1] == "-" and _is_secret_name(value, redactor)


def takes_no_flag(value: object) -> bool:
    """Is it nothing that a flag before it would make secret: a number, or the next flag?"""
    return is_count(value) or (type(value) is str and value.startswith("--"))


def is_secret_field(container: object, step: object, redactor: Redactor) -> bool:
    """Is what stands there secret by the name that a named tuple has for that place?"""
    return type(step) is int and step in _secret_fields(container, redactor)


def _secret_fields(value: object, redactor: Redactor) -> list[int]:
    """Places in a named tuple whose names are secret."""
    if type(value) is tuple or reading.kind_of(value) is not Kind.TUPLE:
        return []
    names = _tuple_names(type(value))
    if len(names) != reading.length_of(value, Kind.TUPLE):
        return []
    return [place for place, name in enumerate(names) if redactor.secret_key(name)]


def _find_tuple_names(cls: type) -> tuple[str, ...]:
    """The names that a named tuple has for its items; none for another tuple."""
    for _, namespace in reading.namespaces(cls):
        if "_fields" in namespace:
            names: Any = namespace["_fields"]
            if type(names) is not tuple:
                return ()
            names = cast("tuple[Any, ...]", names)
            return names if all(type(name) is str for name in names) else ()
    return ()


_tuple_names: Final = reading.PerClass(_find_tuple_names)


def _names_secret(keys: list[Any], items: list[Any], redactor: Redactor) -> bool:
    """Does a record say by a name that its value is secret?"""
    return any(
        type(key) is str and key in _NAME_NAMES and _is_secret_name(item, redactor)
        for key, item in zip(keys, items, strict=False)
    )


def is_count(value: object) -> bool:
    """Beside a name, does it tell how often or how much, rather than what?"""
    return id(type(value)) in _COUNT_TYPE_IDS


def _is_secret_name(value: object, redactor: Redactor) -> bool:
    return type(value) is str and len(value) <= _MAX_KEY_CHARS and redactor.secret_key(value)


def key_text(key: object, redactor: Redactor) -> str:
    """A dict key as JSON would name it; keys that JSON has no name for, by their type."""
    return shown_key(key, redactor).text


def cut_text(text: str, limit: int) -> str:
    """The text, or its head and an ellipsis where it is longer than `limit` characters."""
    return encodable(text if len(text) <= limit else f"{text[: limit - 1]}…")


def shortened(text: str, limit: int, redactor: Redactor) -> str:
    """The text, redacted; its head and an ellipsis where it is longer than `limit` characters."""
    head = redacted_head(text, limit, redactor)
    return cut_text(head if len(text) <= limit + LOOK_AHEAD else f"{head}…", limit)


def cut_middle(text: str, budget: int, whole: int | None = None) -> str:
    """The text within `budget` bytes: its beginning and end, and between them its true size.

    Args:
        text: what may be shown.
        budget: bytes of UTF-8.
        whole: the characters of the text that this one was cut from, if it was.
    """
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= budget and whole is None:
        return raw.decode()
    size = f"{len(raw)} bytes" if whole is None else f"{whole} characters"
    marker = f"\n… ({size} in all) …\n"
    room = budget - size_in_bytes(marker)
    if room < 0:
        return raw[: max(budget, 0)].decode(errors="ignore")
    head, tail = raw[: room // 3], raw[len(raw) - (room - room // 3) :]
    return head.decode(errors="ignore") + marker + tail.decode(errors="ignore")


class _DoesNotFitError(Exception):
    """Something would have to be cut, where a value is to be shown whole or not at all."""


class _Preview:
    """One walk through one value. `show` returns the picture and the bytes it takes."""

    def __init__(self, redactor: Redactor, around: Sequence[object], *, past: bool) -> None:
        self._redactor = redactor
        self._past = past
        self._path = [id(container) for container in around]
        """Of the containers being shown, to notice cycles."""
        self._whole = False
        """Is nothing to be cut, for now?"""

    def show(self, value: object, budget: int, recorded: Recorded | None) -> tuple[Json, int]:
        is_tight = budget < MIN_BYTES and bool(self._path)
        budget = max(budget, MIN_BYTES)
        if type(value) is str:
            return self._show_text(value, budget)
        kind = reading.kind_of(value)
        if kind in CONTAINERS or recorded is not None:
            return self._show_container(value, kind, budget, recorded, is_tight=is_tight)
        return self._show_other(value, kind, budget)

    def _show_text(self, value: str, budget: int, length: int | None = None) -> tuple[Json, int]:
        is_seen = len(value) <= budget + LOOK_AHEAD
        if self._whole and not is_seen:
            raise _DoesNotFitError
        text = redacted_head(value, budget, self._redactor)
        if is_seen and (size := size_in_bytes(_quote(text))) <= budget:
            return text, size
        if self._whole:
            raise _DoesNotFitError
        true_length = len(value) if length is None else length
        cut: dict[str, Json] = {"$cut": "str", "length": true_length, "head": ""}
        room = budget - _size(cut) + 2
        cut["head"] = head = _quoted_head(text, room)
        return cut, budget - room + size_in_bytes(_quote(head))

    def _show_other(self, value: Any, kind: Kind, budget: int) -> tuple[Json, int]:
        if value is None or type(value) is bool:
            return value, 5 if value is False else 4
        if type(value) is int:
            return self._show_int(value, budget)
        if type(value) is float:
            shown = value if math.isfinite(value) else str(value)
            return _sized(shown)
        if type(value) is bytes:
            return _sized({"$opaque": "bytes", "length": len(value)})
        if kind is Kind.TEXT or type(value) is complex:
            text = reading.text_of(value)
            if text is not None:
                return self._show_text(text, budget)
        return self._show_instance(value, budget)

    def _show_int(self, value: int, budget: int) -> tuple[Json, int]:
        if value.bit_length() <= _MAX_INT_BITS:
            size = len(str(value))
            if size <= budget:
                return value, size
        return _sized({"$cut": "int", "bits": value.bit_length()})

    def _show_instance(self, value: object, budget: int) -> tuple[Json, int]:
        name = _enum_text(value)
        if name is not None:
            return self._show_text(name, budget)
        # A subclass's own methods are passed over: the base's return the plain builtin.
        if reading.is_instance(value, str):
            return self._show_text(*_plain_head(cast("str", value), budget))
        if reading.is_instance(value, int):
            return self._show_int(int.__int__(cast("int", value)), budget)
        if reading.is_instance(value, float):
            return self._show_other(float.__float__(cast("float", value)), Kind.ATOM, budget)
        return _named("$opaque", reading.qualified_name(type(value)), budget)

    def _show_container(
        self, value: object, kind: Kind, budget: int, recorded: Recorded | None, *, is_tight: bool
    ) -> tuple[Json, int]:
        name = reading.class_name(type(value))
        # What is around a value may be other than what was around it when it was recorded.
        if recorded.is_cycle if recorded is not None else id(value) in self._path:
            return _named("$cycle", name, MIN_BYTES)
        if recorded is not None and recorded.items is None and not self._past:
            recorded = None  # it was not looked into, but can be now
        length = recorded.length if recorded is not None else reading.length_of(value, kind)
        if self._whole and 2 * length > budget:
            raise _DoesNotFitError  # at a byte and a comma for each item
        contents = None
        if len(self._path) < MAX_DEPTH:
            contents = _contents(value, kind, recorded, budget)
        if contents is None:
            return _cut_whole(name, length)
        for place in _secret_fields(value, self._redactor):
            if place < len(contents[1]):
                contents[1][place] = REDACTED
        self._path.append(id(value))
        try:
            children: Mapping[int, Recorded] = {} if recorded is None else recorded.children
            shown = self._show_contents(*contents, length, budget, children, is_tight=is_tight)
        finally:
            self._path.pop()
        return shown or _cut_whole(name, length)

    def _show_contents(
        self,
        keys: list[Any] | None,
        items: list[Any],
        length: int,
        budget: int,
        children: Mapping[int, Recorded],
        *,
        is_tight: bool,
    ) -> tuple[Json, int] | None:
        """First without shares for the items: what is small enough is shown whole.

        Where room is tight, a part is not tried: of lists in lists, each more than once inside
        the other, so many would be looked at that it never ends.
        """
        if not self._whole and len(items) == length:
            self._whole = True
            try:
                return self._show_items(keys, items, length, budget, children)
            except _DoesNotFitError:
                pass
            finally:
                self._whole = False
        if is_tight and not self._whole:
            return None
        return self._show_items(keys, items, length, budget, children)

    def _show_items(
        self,
        keys: list[Any] | None,
        items: list[Any],
        length: int,
        budget: int,
        children: Mapping[int, Recorded],
    ) -> tuple[Json, int] | None:
        space = _Space(budget, length, shares=not self._whole)
        if keys is None:
            return self._show_sequence(items, length, space, children)
        return self._show_mapping(keys, items, length, space, children)

    def _show_sequence(
        self, items: list[Any], length: int, space: _Space, children: Mapping[int, Recorded]
    ) -> tuple[Json, int] | None:
        shown: list[Json] = []
        is_pair = length == _PAIR == len(items) and _is_secret_name(items[0], self._redactor)
        follows_flag = False
        for index, item in enumerate(items):
            hide = (is_pair and index and not is_count(item)) or (
                follows_flag and not takes_no_flag(item)
            )
            if hide:
                child, size = _sized(REDACTED)
            else:
                child, size = self.show(item, space.share(), children.get(index))
            follows_flag = not hide and is_secret_flag(item, self._redactor)
            if not space.take(size):
                break
            shown.append(child)
        if len(shown) < length:
            marker: Json = {"$cut": {"length": length}}
            del shown[space.make_room(_size(marker)) :]
            if not shown:
                return None
            shown.append(marker)
        return shown, space.used

    def _show_mapping(
        self,
        keys: list[Any],
        items: list[Any],
        length: int,
        space: _Space,
        children: Mapping[int, Recorded],
    ) -> tuple[Json, int] | None:
        shown: list[tuple[str, Json]] = []
        for index, (key, item) in enumerate(zip(keys, items, strict=True)):
            name = shown_key(key, self._redactor)
            if name.is_secret or (
                name.text in _VALUE_NAMES
                and not is_count(item)
                and _names_secret(keys, items, self._redactor)
            ):
                child, size = _sized(REDACTED)
            else:
                child, size = self.show(item, space.share(name.size), children.get(index))
            if not space.take(name.size + size):
                break
            shown.append((name.text, child))
        if len(dict(shown)) < length:
            marker: Json = {"length": length}
            del shown[space.make_room(_size({"$cut": marker}) - 2) :]
            if not shown:
                return None
            shown.append(("$cut", marker))
        return dict(shown), space.used


class _Space:
    """The bytes of one list or object, as they are taken.

    Args:
        budget: bytes for all of it.
        items: how many items it has in all.
        shares: may an item take only its share of what is left? Else all items have to fit.
    """

    __slots__ = ("_budget", "_items", "_shares", "_sizes", "_sum")

    def __init__(self, budget: int, items: int, *, shares: bool) -> None:
        self._budget = budget
        self._items = items
        self._shares = shares
        self._sizes: list[int] = []
        self._sum = 1  # the opening bracket; each item has a comma or the closing bracket

    @property
    def used(self) -> int:
        """Bytes of the whole."""
        return max(self._sum, 2)

    def share(self, name_size: int = 0) -> int:
        """Bytes that the next item may take after its name."""
        items_left = self._items - len(self._sizes)
        left = self._budget - self._sum - name_size - 1
        if not self._shares or items_left <= 1:
            return left
        left -= MIN_BYTES  # for a marker
        return max(left // min(items_left, _FAIR_SHARES), min(left, _TELLING_BYTES))

    def take(self, size: int) -> bool:
        """Takes the bytes of one more item, if there are as many.

        Raises:
            _DoesNotFitError: there are not, and all items have to fit.
        """
        if self._sum + size + 1 > self._budget:
            if not self._shares:
                raise _DoesNotFitError
            return False
        self._sizes.append(size)
        self._sum += size + 1
        return True

    def make_room(self, size: int) -> int:
        """Gives up the last items until a marker of that size fits; returns how many are left."""
        while self._sizes and self._sum + size + 1 > self._budget:
            self._sum -= self._sizes.pop() + 1
        self._sum += size + 1
        return len(self._sizes)


def _contents(
    value: Any, kind: Kind, recorded: Recorded | None, budget: int
) -> tuple[list[Any] | None, list[Any]] | None:
    """Keys and items to show, no more than can fit into the budget; None where they are unknown."""
    most = budget // 2 + 1  # the shortest item takes two bytes
    if recorded is not None:
        keys, items = recorded.keys, recorded.items
        return None if items is None else (keys and keys[:most], items[:most])
    try:
        return reading.first_contents(value, kind, most)
    except RuntimeError:  # another thread changes it just now
        return None


def _sized(value: Json) -> tuple[Json, int]:
    return value, _size(value)


def _size(value: Json) -> int:
    return size_in_bytes(dumps(value))


def _cut_whole(name: str, length: int) -> tuple[Json, int]:
    """A marker in place of a container."""
    rest: dict[str, Json] = {"length": length}
    shown, size = _named("$cut", name, MIN_BYTES - _size(rest) + 1)
    return {**cast("dict[str, Json]", shown), **rest}, size + _size(rest) - 1


def _plain_head(value: str, budget: int) -> tuple[str, int, int]:
    """What `_show_text` is to show of a subclass's text: a plain copy of all would be as long."""
    head = str.__getitem__(value, slice(budget + LOOK_AHEAD + 1))
    return head, budget, str.__len__(value)


def _tail(value: str) -> str:
    """The end of a subclass's text, where the meaning of a name stands; a plain str."""
    return str.__getitem__(value, slice(-LOOK_AHEAD, None))


def _named(marker: str, name: str, budget: int) -> tuple[Json, int]:
    """A marker that names a class, or the end of a long name: there the class stands."""
    shown: Json = {marker: name}
    size = _size(shown)
    if size > budget:
        room = budget - _size({marker: "…"}) + 2
        shown = {marker: f"…{_quoted_head(name[::-1], room)[::-1]}"}
        size = _size(shown)
    return shown, size


def redacted_head(text: str, limit: int, redactor: Redactor) -> str:
    """The first `limit` characters of a text or somewhat more, redacted; the text if it is short.

    However long the text is, no more than these are looked at.
    """
    if len(text) <= limit + LOOK_AHEAD:
        return encodable(redactor.text(text))
    seen = redactor.text(text[: limit + LOOK_AHEAD])
    # The end may hold the first part of a secret, which has no shape. What was hidden made the
    # text shorter, so that it is not enough to take the first `limit` characters.
    return encodable(seen[: max(len(seen) - LOOK_AHEAD, 0)])


def _quoted_head(text: str, room: int) -> str:
    """As much from the start of a text as takes `room` bytes as a JSON string."""
    head = text[: max(room - 2, 0)]
    if size_in_bytes(_quote(head)) <= room:
        return head
    lengths = range(1, len(head) + 1)
    return head[: bisect_right(lengths, room, key=lambda n: size_in_bytes(_quote(head[:n])))]


def _text_of_key(key: object, redactor: Redactor) -> str:
    if type(key) is str:
        return shortened(key, _MAX_KEY_CHARS, redactor)
    if key is None or type(key) is bool or type(key) is float:
        return dumps(key)
    if type(key) is int:
        return _text_of_int(key)
    if type(key) is tuple:
        return _text_of_tuple(cast("tuple[object, ...]", key), redactor)
    return shortened(_text_of_other(key), _MAX_KEY_CHARS, redactor)


def _text_of_int(key: int) -> str:
    return str(key) if key.bit_length() <= _MAX_INT_BITS else "<int>"


def _text_of_tuple(key: tuple[object, ...], redactor: Redactor) -> str:
    parts = [
        "(…)" if type(part) is tuple else key_text(part, redactor) for part in key[:_MAX_KEY_PARTS]
    ]
    if len(key) > _MAX_KEY_PARTS:
        parts.append("…")
    return cut_text(f"({', '.join(parts)})", _MAX_KEY_CHARS)


def _text_of_other(key: object) -> str:
    name = _enum_text(key)
    if name is not None:
        return name
    if type(key) is bytes:
        return repr(key[: _MAX_KEY_CHARS + LOOK_AHEAD])
    if (text := reading.text_of(key)) is not None:
        return text
    if reading.is_instance(key, str):
        return str.__getitem__(cast("str", key), slice(_MAX_KEY_CHARS + LOOK_AHEAD + 1))
    if reading.is_instance(key, int):
        return _text_of_int(int.__int__(cast("int", key)))
    return f"<{reading.class_name(type(key))}>"


def _enum_text(value: object) -> str | None:
    """`Color.RED` for a member of an enumeration."""
    if not reading.is_instance(value, enum.Enum):
        return None
    name = (reading.instance_dict(value) or {}).get("_name_")
    return f"{reading.class_name(type(value))}.{name}" if type(name) is str else None

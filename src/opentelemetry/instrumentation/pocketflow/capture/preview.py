"""Bounded, redacted JSON out of any value, at the cost of the preview and not of the value.

Pure: no OpenTelemetry, and no code of the user's classes runs. What does not fit or cannot be
shown is replaced by an object with one of these members, so that a reader can always tell a cut
from a value:

* ``{"$cut": "str", "length": 1048576, "head": "Once upon"}``: a long text; lists end with such an
  element and objects get such a member ``"$cut"``, which tell the true number of items;
* ``{"$opaque": "threading.Lock"}``: a value of a class that is not looked into;
* ``{"$cycle": "dict"}``: a container inside itself.
"""

from __future__ import annotations

import enum
import json
import math
from json.encoder import encode_basestring  # pyright: ignore[reportUnknownVariableType] - untyped
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.reading import CONTAINERS, Kind
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH: Final = 20
"""Deeper containers are cut: recursion stays far from the interpreter's limit."""

_MARKER_BYTES: Final = 48
"""What a cut marker takes, kept free in every container."""
_MIN_CHILD_BYTES: Final = 24
_MAX_KEY_CHARS: Final = 80
_MAX_INT_BITS: Final = 256
"""Larger integers are cut: writing them is quadratic, and the interpreter may refuse to."""
_LOOK_AHEAD: Final = 256
"""Characters beyond a cut that redaction sees, so that a secret at the border is recognised."""

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
    def children(self) -> Mapping[int, Recorded]:
        """The recorded containers among its items, by position."""
        ...


def dumps(value: Json) -> str:
    """Compact JSON that any exporter can encode."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot carry
        return json.dumps(value, separators=(",", ":"))
    return text


def size_in_bytes(text: str) -> int:
    """Length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def preview(
    value: object, redactor: Redactor, budget: int, recorded: Recorded | None = None
) -> Json:
    """A JSON-able picture of a value of at most about `budget` bytes once serialised.

    Args:
        value: anything.
        redactor: what must not be shown.
        budget: bytes of UTF-8.
        recorded: what the value held at an earlier time, to be shown in place of what it holds now.
    """
    return _Preview(redactor).show(value, budget, recorded, 0)[0]


def shape(value: object, recorded: Recorded | None = None) -> dict[str, Json]:
    """Type and size of a value, without anything of the value itself."""
    result: dict[str, Json] = {"type": reading.qualified_name(type(value))}
    size = recorded.length if recorded is not None else reading.size_of(value)
    if size is not None:
        result["size"] = size
    return result


def key_text(key: object, redactor: Redactor) -> str:
    """A dict key as JSON would name it; keys that JSON has no name for, by their type."""
    if type(key) is str:
        return cut_text(redactor.text(key[: _MAX_KEY_CHARS + _LOOK_AHEAD]), _MAX_KEY_CHARS)
    if key is None or type(key) is bool or type(key) is float:
        return dumps(key)
    if type(key) is int:
        return str(key) if key.bit_length() <= _MAX_INT_BITS else "<int>"
    if type(key) is tuple:
        parts = cast("tuple[object, ...]", key)
        texts = [key_text(part, redactor) for part in parts[:4] if type(part) is not tuple]
        return f"({', '.join(texts)})"
    return _enum_text(key) or f"<{reading.class_name(type(key))}>"


def cut_text(text: str, limit: int) -> str:
    """The text, or its head and an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def cut_middle(text: str, budget: int) -> str:
    """The text within `budget` bytes: its beginning and end, and between them what was left out."""
    size = size_in_bytes(text)
    if size <= budget:
        return text
    marker = f"\n… ({size} bytes in all) …\n"
    room = max(budget - size_in_bytes(marker), 0)
    raw = text.encode("utf-8", "replace")
    head, tail = raw[: room // 3], raw[len(raw) - (room - room // 3) :]
    return head.decode(errors="ignore") + marker + tail.decode(errors="ignore")


class _Preview:
    """One walk through one value. `show` returns the picture and the bytes it takes."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._path: list[int] = []  # ids of the containers being shown, to notice cycles

    def show(
        self, value: object, budget: int, recorded: Recorded | None, depth: int
    ) -> tuple[Json, int]:
        kind = reading.kind_of(value)
        if kind in CONTAINERS:
            return self._show_container(value, kind, budget, recorded, depth)
        if type(value) is str:
            return self._show_text(value, budget)
        return self._show_other(value, kind, budget)

    def _show_text(self, value: str, budget: int) -> tuple[Json, int]:
        head = value[: max(budget, 0) + _LOOK_AHEAD] if len(value) > budget else value
        text = self._redactor.text(head)
        if len(head) == len(value):
            size = size_in_bytes(_quote(text))
            if size <= max(budget, _MARKER_BYTES):
                return text, size
        # An escape takes up to six bytes for a character: measure what is left after a first cut.
        text = text[: max(budget - _MARKER_BYTES, 8)]
        size = size_in_bytes(_quote(text))
        if size > budget - _MARKER_BYTES:
            text = text[: max(len(text) * max(budget - _MARKER_BYTES, 8) // size, 4)]
            size = size_in_bytes(_quote(text))
        return {"$cut": "str", "length": len(value), "head": text}, size + _MARKER_BYTES

    def _show_other(self, value: Any, kind: Kind, budget: int) -> tuple[Json, int]:
        if value is None or type(value) is bool:
            return value, 5
        if type(value) is int:
            return self._show_int(value)
        if type(value) is float:
            shown = value if math.isfinite(value) else str(value)
            return shown, len(str(shown)) + 2
        if type(value) is bytes:
            return {"$opaque": "bytes", "length": len(value)}, _MARKER_BYTES
        if kind is Kind.TEXT or type(value) is complex:
            return self._show_text(_text_of(value), budget)
        return self._show_instance(value, budget)

    def _show_int(self, value: int) -> tuple[Json, int]:
        if value.bit_length() > _MAX_INT_BITS:
            return {"$cut": "int", "bits": value.bit_length()}, _MARKER_BYTES
        return value, value.bit_length() // 3 + 2

    def _show_instance(self, value: Any, budget: int) -> tuple[Json, int]:
        cls = cast("type", type(value))
        name = _enum_text(value)
        if name is not None:
            return self._show_text(name, budget)
        for base, namespace in reading.namespaces(cls):
            del namespace
            # A subclass's own methods are passed over: the base's return the plain builtin.
            if base is str:
                return self._show_text(str.__str__(value), budget)
            if base is int:
                return self._show_int(int.__int__(value))
            if base is float:
                return self._show_other(float.__float__(value), Kind.ATOM, budget)
        text = cut_text(reading.qualified_name(cls), _MAX_KEY_CHARS)
        return {"$opaque": text}, len(text) + 14

    def _show_container(
        self, value: object, kind: Kind, budget: int, recorded: Recorded | None, depth: int
    ) -> tuple[Json, int]:
        name = reading.class_name(type(value))
        if id(value) in self._path:
            return {"$cycle": name}, len(name) + 14
        length = recorded.length if recorded is not None else reading.length_of(value, kind)
        if depth >= MAX_DEPTH or (length and budget < _MARKER_BYTES):
            return {"$cut": name, "length": length}, _MARKER_BYTES
        contents = _contents(value, kind, recorded, budget)
        if contents is None:
            return {"$cut": name, "length": length}, _MARKER_BYTES
        self._path.append(id(value))
        try:
            keys, items = contents
            children: Mapping[int, Recorded] = recorded.children if recorded is not None else {}
            if keys is None:
                return self._show_sequence(items, length, budget, children, depth)
            return self._show_mapping(keys, items, length, budget, children, depth)
        finally:
            self._path.pop()

    def _show_sequence(
        self,
        items: list[Any],
        length: int,
        budget: int,
        children: Mapping[int, Recorded],
        depth: int,
    ) -> tuple[Json, int]:
        shown: list[Json] = []
        used = 2
        for index, item in enumerate(items):
            room = self._room(budget - used, length - index)
            if room is None:
                break
            child, size = self.show(item, room, children.get(index), depth + 1)
            shown.append(child)
            used += size + 1
        if len(shown) < length:
            shown.append({"$cut": "list", "length": length})
            used += _MARKER_BYTES
        return shown, used

    def _show_mapping(
        self,
        keys: list[Any],
        items: list[Any],
        length: int,
        budget: int,
        children: Mapping[int, Recorded],
        depth: int,
    ) -> tuple[Json, int]:
        shown: dict[str, Json] = {}
        used = 2
        for index, (key, item) in enumerate(zip(keys, items, strict=True)):
            name = key_text(key, self._redactor)
            key_size = size_in_bytes(_quote(name)) + 2
            room = self._room(budget - used - key_size, length - index)
            if room is None:
                break
            if self._redactor.secret_key(name):
                child, size = REDACTED, len(REDACTED) + 2
            else:
                child, size = self.show(item, room, children.get(index), depth + 1)
            shown[name] = child
            used += size + key_size
        if len(shown) < length:
            shown["$cut"] = {"length": length}
            used += _MARKER_BYTES
        return shown, used

    @staticmethod
    def _room(left: int, items_left: int) -> int | None:
        """Bytes for the next item: a fair share, so that one large item leaves room for others."""
        if items_left > 1:
            left -= _MARKER_BYTES
        room = left // min(items_left, 4)
        if room >= _MIN_CHILD_BYTES:
            return room
        return _MIN_CHILD_BYTES if left >= _MIN_CHILD_BYTES else None


def _contents(
    value: Any, kind: Kind, recorded: Recorded | None, budget: int
) -> tuple[list[Any] | None, list[Any]] | None:
    """Keys and items to show, no more than can fit into the budget; None where they are unknown."""
    most = budget // 2 + 1  # the shortest item takes two bytes
    if recorded is not None:
        return (
            None if recorded.items is None else (_head(recorded.keys, most), recorded.items[:most])
        )
    try:
        return reading.first_contents(value, kind, most)
    except RuntimeError:  # another thread changes it just now
        return None


def _head(keys: list[Any] | None, most: int) -> list[Any] | None:
    return None if keys is None else keys[:most]


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # digits limit of a Fraction or Decimal
        return reading.class_name(cast("type", type(value)))


def _enum_text(value: object) -> str | None:
    """`Color.RED` for a member of an enumeration."""
    if not any(base is enum.Enum for base, _ in reading.namespaces(type(value))):
        return None
    name = (reading.instance_dict(value) or {}).get("_name_")
    return f"{reading.class_name(type(value))}.{name}" if type(name) is str else None

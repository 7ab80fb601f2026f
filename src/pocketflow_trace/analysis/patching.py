"""Applies the patches of a shared store to a picture of it, of which parts may be cut.

Pure. An operation on a part that is shown is applied as JSON Patch (RFC 6902) says. Of a part that
is cut away only the size is kept right, since nobody knows more. The markers are those of the
core's previews: `{"$cut": "str", ...}`, `{"$cut": "list", "length": 9}`, an element or a member
`{"$cut": {"length": 9}}` at the end of a container that is shown in part, and `{"$opaque": ...}`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CUT: Final = "$cut"
OPAQUE: Final = "$opaque"
CYCLE: Final = "$cycle"

Effect: TypeAlias = Literal["applied", "hidden", "lost"]
"""What became of an operation: applied; hidden, as it is about a part that is cut away; or lost, as
it does not fit what stands there."""

_MAX_PATH: Final = 300
"""The core cuts longer paths, and puts an ellipsis at their end."""


def tokens(pointer: str) -> list[str]:
    """Return the steps of a JSON pointer (RFC 6901)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def pointer(steps: Sequence[str]) -> str:
    """Return steps as a JSON pointer."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def is_marker(value: object) -> bool:
    """Tell whether an object stands for a value that is not shown, rather than for itself."""
    if not isinstance(value, dict):
        return False
    row = cast("dict[str, Any]", value)
    return OPAQUE in row or CYCLE in row or isinstance(row.get(CUT), str)


def value_of(operation: Mapping[str, Any]) -> Any:
    """Return the value that an operation writes; a marker with its type where it was not captured.

    Where only keys are captured, an operation has the members `type` and `size` in place of it.
    """
    if "value" in operation:
        return copy.deepcopy(operation["value"])
    return opaque_shape(operation)


def opaque_shape(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"type", "size"}` as a marker: `{"$opaque": "list", "length": 3}`."""
    size = {"length": shape["size"]} if "size" in shape else {}
    return {OPAQUE: str(shape.get("type", "")), **size}


class Document:
    """A picture of a store that changes.

    Attributes:
        value: The picture; JSON data.
    """

    def __init__(self, value: Any) -> None:
        self.value: Any = copy.deepcopy(value)

    def apply(self, operation: Mapping[str, Any]) -> Effect:
        """Apply one operation; one that makes no sense here changes nothing."""
        path, op = operation.get("path"), operation.get("op")
        if not isinstance(path, str) or op not in {"add", "replace", "remove"}:
            return "lost"
        if len(path) >= _MAX_PATH and path.endswith("…"):
            return "lost"
        if not path:
            self.value = value_of(operation)
            return "applied"
        *around, last = tokens(path)
        parent: Any = self.value
        for step in around:
            effect, parent = _inner(parent, step)
            if effect != "applied":
                return effect
        return _change(parent, last, str(op), operation)


def _inner(container: Any, step: str) -> tuple[Effect, Any]:
    """Return what stands at a step inside a container."""
    if isinstance(container, dict):
        row = cast("dict[str, Any]", container)
        if is_marker(row):
            return "hidden", None
        if step in row and step != CUT:
            return "applied", row[step]
        return ("hidden" if CUT in row else "lost"), None
    if isinstance(container, list) and step.isdecimal():
        shown = _Items(cast("list[Any]", container))
        index = int(step)
        if index < shown.count:
            return "applied", shown.items[index]
        return ("hidden" if shown.is_cut else "lost"), None
    return "lost", None


def _change(parent: Any, step: str, op: str, operation: Mapping[str, Any]) -> Effect:
    if is_marker(parent):
        _resize(parent, op)
        return "hidden"
    if isinstance(parent, dict):
        return _change_member(cast("dict[str, Any]", parent), step, op, operation)
    if isinstance(parent, list) and step.isdecimal():
        return _change_item(_Items(cast("list[Any]", parent)), int(step), op, operation)
    return "lost"


def _resize(holder: Any, op: str) -> None:
    """Keep the length in a marker right; some lengths are not known."""
    if isinstance(holder.get("length"), int):
        holder["length"] += {"add": 1, "remove": -1}.get(op, 0)


def _change_member(row: dict[str, Any], name: str, op: str, operation: Mapping[str, Any]) -> Effect:
    was_there = name in row and name != CUT
    cut = row.pop(CUT, None)
    if op == "remove":
        row.pop(name, None)
    else:
        row[name] = value_of(operation)
    if cut is not None:
        _resize(cut, op)
        _mark_rest(row, cut)
        return "applied" if was_there or op != "remove" else "hidden"
    return "lost" if op != "add" and not was_there else "applied"


def _mark_rest(row: dict[str, Any], cut: dict[str, Any]) -> None:
    """Put the marker of a cut object back, unless all of its members are known by now."""
    if not row and isinstance(cut.get("length"), int):
        # At the end of a list, `{"$cut": {...}}` alone would be the list's own marker.
        row.update({CUT: "dict", **cut} if cut["length"] > 0 else {})
    elif cut.get("length") != len(row):
        row[CUT] = cut


class _Items:
    """A list, and apart from its items the marker at its end."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        last: Any = items[-1] if items else None
        is_cut = isinstance(last, dict) and list(cast("dict[str, Any]", last)) == [CUT]
        self.is_cut = is_cut and isinstance(last[CUT], dict)
        self.count = len(items) - self.is_cut

    def resize(self, op: str) -> None:
        """Keep the marker right; it goes once all items are known."""
        if self.is_cut:
            cut = self.items[-1][CUT]
            _resize(cut, op)
            if cut.get("length") == len(self.items) - 1:
                self.items.pop()


def _change_item(shown: _Items, index: int, op: str, operation: Mapping[str, Any]) -> Effect:
    # What is written right behind the items that are shown is known as well.
    within = index < shown.count or (index == shown.count and (op == "add" or shown.is_cut))
    if op == "add" and within:
        shown.items.insert(index, value_of(operation))
    elif op == "replace" and within:
        shown.items[index : index + (index < shown.count)] = [value_of(operation)]
    elif op == "remove" and index < shown.count:
        del shown.items[index]
    elif not shown.is_cut:
        return "lost"
    shown.resize(op)
    return "applied" if within else "hidden"

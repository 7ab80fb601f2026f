"""What a JSON Patch makes of a value."""

from __future__ import annotations

import copy
from typing import Any, cast


def applied(initial: Any, patch: list[dict[str, Any]]) -> Any:
    """What a JSON Patch makes of a value (RFC 6902; no escapes among these keys)."""
    value = copy.deepcopy(initial)
    for operation in patch:
        *path, last = operation["path"].split("/")[1:]
        place = value
        for step in path:
            place = place[int(step) if isinstance(place, list) else step]
        key: Any = int(last) if isinstance(place, list) else last
        if "was" in operation:
            assert place[key] == operation["was"]
        if operation["op"] == "remove":
            del place[key]
        elif operation["op"] == "add" and isinstance(place, list):
            cast("list[Any]", place).insert(key, copy.deepcopy(operation["value"]))
        else:
            assert (key in place) == (operation["op"] == "replace") or isinstance(place, list)
            place[key] = copy.deepcopy(operation["value"])
    return value

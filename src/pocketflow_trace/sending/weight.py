"""Estimates how large spans are once encoded, so that no request becomes too large.

gRPC servers take 4 MiB unless told otherwise, and refuse all of a request that is larger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

MOST_BYTES: Final = 3 * 1024 * 1024
"""Of one request, unless a single span has more: the estimate is rough, so there is room left."""

_SPAN: Final = 256
"""Bytes of a span without its attributes, events and links: ids, times, name."""
_ITEM: Final = 16
"""Bytes around each value."""


def count_that_fits(spans: Sequence[ReadableSpan]) -> int:
    """Return how many of the first spans one request can hold; at least one, if there is one."""
    total = 0
    for count, span in enumerate(spans):
        total += weight(span)
        if total > MOST_BYTES:
            return max(count, 1)
    return len(spans)


def weight(span: ReadableSpan) -> int:
    """Return about how many bytes a span has in a request: rather too many than too few."""
    parts = [span.attributes, *(part.attributes for part in (*span.events, *span.links))]
    return _SPAN * (1 + len(parts)) + sum(map(_weight, parts))


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return _ITEM + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return _ITEM + sum(_weight(key) + _weight(each) for key, each in pairs)
    if isinstance(value, bytes):
        return _ITEM + len(value)
    if isinstance(value, Sequence):
        return _ITEM + sum(map(_weight, cast("Sequence[Any]", value)))
    return _ITEM

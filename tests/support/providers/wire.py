"""What every provider's wire format is made of: a request asked, tokens to tell, a reply."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORDS = ("Paris", " it", " is.")
"""What every model answers; streams send it word by word."""

TEXT = "".join(WORDS)

CREATED = 1_760_000_000
"""When every answer was made, in seconds since the epoch."""


@dataclass(frozen=True)
class Tokens:
    """What one answer uses, in OpenTelemetry's meaning; None is not told, where a provider can.

    Input includes cached and cache-write tokens, output includes reasoning.
    """

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True)
class Served:
    """One answer that a provider gave, and would bill for."""

    provider: str
    """`gen_ai.provider.name`."""
    model: str
    """The model as the answer names it."""
    operation: str
    """`gen_ai.operation.name`."""
    input_tokens: int
    """All input, cached or not."""
    output_tokens: int
    """All output, reasoning included."""
    cached_tokens: int | None
    """None where the wire format, or the script, does not tell it; so are the following two."""
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    response_id: str | None = None
    """None where the wire format has none."""
    told: bool = True
    """Whether the answer tells its tokens; OpenAI's chat streams do so only when asked to."""


@dataclass(frozen=True)
class Asked:
    """One request, and what to answer."""

    model: str
    """The model as the request names it."""
    body: Mapping[str, Any]
    tokens: Tokens
    number: int
    """Counts the requests of all providers, from 1."""

    @property
    def streams(self) -> bool:
        """Whether the body asks for a stream."""
        return bool(self.body.get("stream"))


@dataclass(frozen=True)
class Reply:
    """What goes back: one piece, or one after the other where it is a stream."""

    served: Served
    content_type: str
    pieces: tuple[bytes, ...]
    streamed: bool = False


def whole(served: Served, document: Mapping[str, Any]) -> Reply:
    """Reply with one JSON document."""
    return Reply(served, "application/json", (json.dumps(document).encode(),))


def lines(served: Served, documents: Iterable[Mapping[str, Any]]) -> Reply:
    """Reply with one JSON document a line."""
    pieces = (json.dumps(document).encode() + b"\n" for document in documents)
    return Reply(served, "application/x-ndjson", tuple(pieces), streamed=True)


def data_events(
    served: Served, documents: Iterable[Mapping[str, Any]], last: bytes | None = None
) -> Reply:
    """Reply with server-sent events that have no names, and the raw data of the `last` one."""
    events = [_event(json.dumps(document).encode()) for document in documents]
    if last is not None:
        events.append(_event(last))
    return Reply(served, "text/event-stream", tuple(events), streamed=True)


def named_events(served: Served, documents: Iterable[Mapping[str, Any]]) -> Reply:
    """Reply with server-sent events, each named by the `type` of its document."""
    events = (
        b"event: " + document["type"].encode() + b"\n" + _event(json.dumps(document).encode())
        for document in documents
    )
    return Reply(served, "text/event-stream", tuple(events), streamed=True)


def known(**counts: int | None) -> dict[str, int]:
    """Return only those counts that are told."""
    return {name: count for name, count in counts.items() if count is not None}


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"

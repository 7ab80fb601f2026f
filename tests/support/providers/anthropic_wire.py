"""The wire format of Anthropic: messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.providers.wire import TEXT, WORDS, Asked, Reply, Served, known, named_events, whole

if TYPE_CHECKING:
    from collections.abc import Iterator


def messages(asked: Asked) -> Reply:
    """Answer POST /v1/messages."""
    served = _served(asked)
    if asked.streams:
        return named_events(served, _events(served))
    text = {"type": "text", "text": TEXT}
    usage = _usage(served, served.output_tokens)
    document = {**_head(served), "content": [text], "stop_reason": "end_turn", "usage": usage}
    return whole(served, document)


def _served(asked: Asked) -> Served:
    tokens = asked.tokens
    return Served(
        provider="anthropic",
        model=asked.model,
        operation="chat",
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_write,
        reasoning_tokens=tokens.reasoning,
        response_id=f"msg_{asked.number}",
    )


def _head(served: Served) -> dict[str, Any]:
    return {
        "id": served.response_id,
        "type": "message",
        "role": "assistant",
        "model": served.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(served: Served, output: int) -> dict[str, Any]:
    """Return the usage; Anthropic's input does not include what the cache was asked for."""
    cached, written = served.cached_tokens, served.cache_write_tokens
    usage: dict[str, Any] = {
        "input_tokens": served.input_tokens - (cached or 0) - (written or 0),
        "output_tokens": output,
        **known(cache_read_input_tokens=cached, cache_creation_input_tokens=written),
    }
    if served.reasoning_tokens is not None and output == served.output_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": served.reasoning_tokens}
    return usage


def _events(served: Served) -> Iterator[dict[str, Any]]:
    """Yield the events; the first one tells a single output token, the one at the end all."""
    yield {"type": "message_start", "message": {**_head(served), "usage": _usage(served, 1)}}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "ping"}
    for word in WORDS:
        delta = {"type": "text_delta", "text": word}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": _usage(served, served.output_tokens)}
    yield {"type": "message_stop"}

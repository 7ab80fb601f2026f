"""The wire format of OpenAI: chat completions, responses and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.providers.wire import (
    CREATED,
    TEXT,
    WORDS,
    Asked,
    Reply,
    Served,
    data_events,
    known,
    named_events,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DATED = "-2024-07-18"
"""Asked for `gpt-4o-mini`, OpenAI answers as `gpt-4o-mini-2024-07-18`."""


def chat(asked: Asked) -> Reply:
    """Answer POST /v1/chat/completions."""
    options: Mapping[str, Any] = asked.body.get("stream_options") or {}
    told = not asked.streams or bool(options.get("include_usage"))
    served = _served(asked, f"chatcmpl-{asked.number}", told=told)
    if asked.streams:
        return data_events(served, _chunks(served), last=b"[DONE]")
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    head = _chat_head(served, "chat.completion")
    return whole(served, {**head, "choices": [choice], "usage": _chat_usage(served)})


def responses(asked: Asked) -> Reply:
    """Answer POST /v1/responses."""
    served = _served(asked, f"resp_{asked.number}", told=True)
    if asked.streams:
        return named_events(served, _numbered(_response_events(served)))
    return whole(served, _response(served, "completed"))


def embeddings(asked: Asked) -> Reply:
    """Answer POST /v1/embeddings, with one vector for each text."""
    texts = asked.body["input"]
    count = 1 if isinstance(texts, str) else len(texts)
    used = asked.tokens.input
    served = Served("openai", asked.model, "embeddings", used, 0, None, None, None)
    vectors = [
        {"object": "embedding", "index": index, "embedding": [0.25, -0.5]} for index in range(count)
    ]
    usage = {"prompt_tokens": used, "total_tokens": used}
    document = {"object": "list", "model": served.model, "data": vectors, "usage": usage}
    return whole(served, document)


def _served(asked: Asked, response_id: str, *, told: bool) -> Served:
    tokens = asked.tokens
    return Served(
        provider="openai",
        model=_dated(asked.model),
        operation="chat",
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_write,
        reasoning_tokens=tokens.reasoning,
        response_id=response_id,
        told=told,
    )


def _dated(model: str) -> str:
    return model if model.endswith(DATED) else model + DATED


def _chat_head(served: Served, kind: str) -> dict[str, Any]:
    return {
        "id": served.response_id,
        "object": kind,
        "created": CREATED,
        "model": served.model,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }


def _chat_usage(served: Served) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": served.input_tokens,
        "completion_tokens": served.output_tokens,
        "total_tokens": served.input_tokens + served.output_tokens,
    }
    cached = known(cached_tokens=served.cached_tokens, cache_write_tokens=served.cache_write_tokens)
    if cached:
        usage["prompt_tokens_details"] = cached
    if served.reasoning_tokens is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": served.reasoning_tokens}
    return usage


def _chunks(served: Served) -> Iterator[dict[str, Any]]:
    """Yield the words, the reason to end, and the usage where it is told."""
    head = _chat_head(served, "chat.completion.chunk")
    if served.told:
        head["usage"] = None  # so is every chunk but the last, once usage is asked for
    for index, word in enumerate(WORDS):
        delta = {"role": "assistant", "content": word} if index == 0 else {"content": word}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if served.told:
        yield {**head, "choices": [], "usage": _chat_usage(served)}


def _response(served: Served, status: str) -> dict[str, Any]:
    done = status == "completed"
    return {
        "id": served.response_id,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": served.model,
        "output": [_output_message("completed", TEXT)] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _response_usage(served) if done else None,
    }


def _response_usage(served: Served) -> dict[str, Any]:
    """Return the usage; here its parts are always told, as zero where there are none."""
    return {
        "input_tokens": served.input_tokens,
        "input_tokens_details": {
            "cached_tokens": served.cached_tokens or 0,
            "cache_write_tokens": served.cache_write_tokens or 0,
        },
        "output_tokens": served.output_tokens,
        "output_tokens_details": {"reasoning_tokens": served.reasoning_tokens or 0},
        "total_tokens": served.input_tokens + served.output_tokens,
    }


def _output_message(status: str, text: str | None = None) -> dict[str, Any]:
    content = [] if text is None else [_output_text(text)]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _response_events(served: Served) -> Iterator[dict[str, Any]]:
    item: dict[str, Any] = {"output_index": 0}
    part: dict[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    started = _response(served, "in_progress")
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    yield {"type": "response.output_item.added", **item, "item": _output_message("in_progress")}
    yield {"type": "response.content_part.added", **part, "part": _output_text("")}
    for word in WORDS:
        yield {"type": "response.output_text.delta", **part, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **part, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **part, "part": _output_text(TEXT)}
    done = _output_message("completed", TEXT)
    yield {"type": "response.output_item.done", **item, "item": done}
    yield {"type": "response.completed", "response": _response(served, "completed")}


def _numbered(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}

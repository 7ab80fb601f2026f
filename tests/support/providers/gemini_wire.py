"""The wire format of Gemini: generateContent, whole and streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.providers.wire import TEXT, WORDS, Asked, Reply, Served, data_events, known, whole

if TYPE_CHECKING:
    from collections.abc import Iterator


def generate(asked: Asked) -> Reply:
    """Answer POST /v1/models/{model}:generateContent."""
    served = _served(asked)
    return whole(served, _document(served, TEXT, _usage(served), "STOP"))


def stream(asked: Asked) -> Reply:
    """Answer POST /v1/models/{model}:streamGenerateContent?alt=sse."""
    served = _served(asked)
    return data_events(served, _chunks(served))


def _served(asked: Asked) -> Served:
    tokens = asked.tokens
    return Served(
        provider="gcp.gemini",
        model=asked.model,
        operation="generate_content",
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cached,
        cache_write_tokens=None,
        reasoning_tokens=tokens.reasoning,
        response_id=f"gemini-{asked.number}",
    )


def _document(
    served: Served, text: str, usage: dict[str, int], finish: str | None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": text}]},
        "index": 0,
    }
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": served.model,
        "responseId": served.response_id,
    }


def _usage(served: Served) -> dict[str, int]:
    """Return the usage; Gemini's candidates do not include its thoughts."""
    return {
        "promptTokenCount": served.input_tokens,
        "candidatesTokenCount": served.output_tokens - (served.reasoning_tokens or 0),
        "totalTokenCount": served.input_tokens + served.output_tokens,
        **known(
            cachedContentTokenCount=served.cached_tokens,
            thoughtsTokenCount=served.reasoning_tokens,
        ),
    }


def _chunks(served: Served) -> Iterator[dict[str, Any]]:
    """Yield a chunk for each word; every chunk tells usage, and only the last one all of it."""
    begun = {"promptTokenCount": served.input_tokens, "totalTokenCount": served.input_tokens}
    for word in WORDS[:-1]:
        yield _document(served, word, begun, None)
    yield _document(served, WORDS[-1], _usage(served), "STOP")

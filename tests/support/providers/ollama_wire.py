"""The wire format of Ollama: chat and embeddings. It has neither response ids nor cached tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.providers.wire import TEXT, WORDS, Asked, Reply, Served, lines, whole

if TYPE_CHECKING:
    from collections.abc import Iterator


def chat(asked: Asked) -> Reply:
    """Answer POST /api/chat; without a word about it in the request, Ollama streams."""
    served = _served(asked, "chat", asked.tokens.output)
    if asked.body.get("stream", True):
        return lines(served, _chunks(served))
    return whole(served, {**_message(served, TEXT), **_end(served)})


def embed(asked: Asked) -> Reply:
    """Answer POST /api/embed, with one vector for each text."""
    texts = asked.body["input"]
    count = 1 if isinstance(texts, str) else len(texts)
    served = _served(asked, "embeddings", 0)
    vectors = [[0.25, -0.5]] * count
    used = {"prompt_eval_count": served.input_tokens, "total_duration": 1, "load_duration": 1}
    return whole(served, {"model": served.model, "embeddings": vectors, **used})


def _served(asked: Asked, operation: str, output: int) -> Served:
    return Served("ollama", asked.model, operation, asked.tokens.input, output, None, None, None)


def _message(served: Served, text: str) -> dict[str, Any]:
    return {
        "model": served.model,
        "created_at": "2025-10-09T08:53:20Z",
        "message": {"role": "assistant", "content": text},
        "done": False,
    }


def _end(served: Served) -> dict[str, Any]:
    durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    return {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": served.input_tokens,
        "eval_count": served.output_tokens,
        **dict.fromkeys(durations, 1),
    }


def _chunks(served: Served) -> Iterator[dict[str, Any]]:
    for word in WORDS:
        yield _message(served, word)
    yield {**_message(served, ""), **_end(served)}

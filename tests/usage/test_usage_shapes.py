"""Responses of model providers are found wherever they are, and nothing else is."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anthropic.types
import ollama
import openai.types
import openai.types.chat
import openai.types.responses
import pydantic
import pytest
from google.genai import types as genai_types
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture.usage import shapes
from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.capture.usage.shapes import find_calls
from support.hostile import ALARM, HOSTILE, dispose, trap

if TYPE_CHECKING:
    from collections.abc import Callable

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hi"},
        }
    ],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
}
CHAT_CALL = ModelCall(
    provider="openai",
    model="gpt-4o-2024-08-06",
    operation="chat",
    input_tokens=100,
    output_tokens=50,
    cached_tokens=30,
    cache_write_tokens=7,
    reasoning_tokens=20,
    response_id="chatcmpl-1",
)
CHUNK: dict[str, Any] = {**CHAT, "object": "chat.completion.chunk", "choices": []}
COMPLETION: dict[str, Any] = {
    **CHAT,
    "object": "text_completion",
    "choices": [{"index": 0, "finish_reason": "stop", "text": "hi"}],
}
RESPONSE: dict[str, Any] = {
    "id": "resp-1",
    "object": "response",
    "created_at": 1.0,
    "model": "gpt-4o",
    "output": [
        {
            "type": "message",
            "id": "msg-1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 101,
        "input_tokens_details": {"cached_tokens": 31, "cache_write_tokens": 8},
        "output_tokens": 51,
        "output_tokens_details": {"reasoning_tokens": 21},
        "total_tokens": 152,
    },
}
EMBEDDINGS: dict[str, Any] = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 12, "total_tokens": 12},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 40,
        "output_tokens": 25,
        "output_tokens_details": {"thinking_tokens": 15},
    },
}
GEMINI: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}}],
    "modelVersion": "gemini-2.5-flash",
    "responseId": "gemini-1",
    "usageMetadata": {
        "promptTokenCount": 90,
        "toolUsePromptTokenCount": 6,
        "candidatesTokenCount": 35,
        "thoughtsTokenCount": 60,
        "cachedContentTokenCount": 44,
        "totalTokenCount": 191,
    },
}
CONVERSE: dict[str, Any] = {
    "ResponseMetadata": {"RequestId": "req-1", "HTTPStatusCode": 200},
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 135,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 20,
    },
    "metrics": {"latencyMs": 7},
}
OLLAMA: dict[str, Any] = {
    "model": "llama3.2",
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 26,
    "eval_count": 9,
}
OLLAMA_CHAT: dict[str, Any] = {**OLLAMA, "message": {"role": "assistant", "content": "hi"}}
OLLAMA_GENERATE: dict[str, Any] = {**OLLAMA, "response": "hi"}
OLLAMA_EMBED: dict[str, Any] = {
    "model": "all-minilm",
    "embeddings": [[0.5]],
    "prompt_eval_count": 8,
}

GEMINI_CALL = ModelCall(
    provider="gcp.gemini",
    model="gemini-2.5-flash",
    operation="generate_content",
    input_tokens=96,
    output_tokens=95,
    cached_tokens=44,
    reasoning_tokens=60,
    response_id="gemini-1",
)
BEDROCK_CALL = ModelCall(
    provider="aws.bedrock",
    operation="chat",
    input_tokens=130,
    output_tokens=5,
    cached_tokens=100,
    cache_write_tokens=20,
    response_id="req-1",
)
OLLAMA_CALL = ModelCall(
    provider="ollama", model="llama3.2", operation="chat", input_tokens=26, output_tokens=9
)

RESPONSES: list[Any] = [
    pytest.param(openai.types.chat.ChatCompletion, CHAT, CHAT_CALL, id="openai chat"),
    pytest.param(openai.types.chat.ChatCompletionChunk, CHUNK, CHAT_CALL, id="openai chunk"),
    pytest.param(
        openai.types.Completion,
        COMPLETION,
        dataclasses.replace(CHAT_CALL, operation="text_completion"),
        id="openai completion",
    ),
    pytest.param(
        openai.types.responses.Response,
        RESPONSE,
        ModelCall(
            provider="openai",
            model="gpt-4o",
            operation="chat",
            input_tokens=101,
            output_tokens=51,
            cached_tokens=31,
            cache_write_tokens=8,
            reasoning_tokens=21,
            response_id="resp-1",
        ),
        id="openai response",
    ),
    pytest.param(
        openai.types.CreateEmbeddingResponse,
        EMBEDDINGS,
        ModelCall(
            provider="openai",
            model="text-embedding-3-small",
            operation="embeddings",
            input_tokens=12,
        ),
        id="openai embeddings",
    ),
    pytest.param(
        anthropic.types.Message,
        MESSAGE,
        ModelCall(
            provider="anthropic",
            model="claude-test",
            operation="chat",
            input_tokens=250,
            output_tokens=25,
            cached_tokens=200,
            cache_write_tokens=40,
            reasoning_tokens=15,
            response_id="msg_1",
        ),
        id="anthropic message",
    ),
    pytest.param(genai_types.GenerateContentResponse, GEMINI, GEMINI_CALL, id="gemini"),
    pytest.param(ollama.ChatResponse, OLLAMA_CHAT, OLLAMA_CALL, id="ollama chat"),
    pytest.param(
        ollama.GenerateResponse,
        OLLAMA_GENERATE,
        dataclasses.replace(OLLAMA_CALL, operation="text_completion"),
        id="ollama generate",
    ),
    pytest.param(
        ollama.EmbedResponse,
        OLLAMA_EMBED,
        ModelCall(provider="ollama", model="all-minilm", operation="embeddings", input_tokens=8),
        id="ollama embed",
    ),
]


def calls_of(value: object) -> list[ModelCall]:
    """The calls found in a value."""
    return [found.call for found in find_calls(value)]


@pytest.mark.parametrize(("model", "document", "expected"), RESPONSES)
def test_responses_of_the_real_libraries(
    model: type[pydantic.BaseModel], document: dict[str, Any], expected: ModelCall
) -> None:
    """A response counts the same as the library's object, as its dump and as the wire's JSON."""
    response = model.model_validate(document)
    assert calls_of(response) == [expected]
    assert calls_of(response.model_dump()) == [expected]
    assert calls_of(response.model_dump(mode="json", by_alias=True, exclude_none=True)) == [
        expected
    ]
    assert calls_of(document) == [expected]


def test_dicts_that_the_libraries_make_themselves() -> None:
    """`to_dict` and `to_json_dict` count too."""
    assert calls_of(openai.types.chat.ChatCompletion.model_validate(CHAT).to_dict()) == [CHAT_CALL]
    gemini = genai_types.GenerateContentResponse.model_validate(GEMINI)
    assert calls_of(gemini.to_json_dict()) == [GEMINI_CALL]


def test_embeddings_of_gemini() -> None:
    """The usage of an embedding is told as input."""
    if "usage_metadata" not in genai_types.EmbedContentResponse.model_fields:
        pytest.skip("this google-genai tells no usage of embeddings")
    response = genai_types.EmbedContentResponse(
        embeddings=[genai_types.ContentEmbedding(values=[0.5])],
        usage_metadata=genai_types.UsageMetadata(prompt_token_count=4),
    )
    assert calls_of(response) == [
        ModelCall(provider="gcp.gemini", operation="embeddings", input_tokens=4)
    ]


def test_converse_of_bedrock() -> None:
    """Bedrock's input leaves the cached tokens out, and no model is told."""
    assert calls_of(CONVERSE) == [BEDROCK_CALL]


def test_a_stream_of_bedrock() -> None:
    """The last event of a stream tells the usage."""
    events = [
        {"contentBlockDelta": {"delta": {"text": "hi"}, "contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": CONVERSE["usage"], "metrics": {"latencyMs": 7}}},
    ]
    assert calls_of(events) == [dataclasses.replace(BEDROCK_CALL, response_id=None)]


class LiteLLMResponse(pydantic.BaseModel):
    """As LiteLLM's `ModelResponse` is made: the usage is an extra field, the provider private."""

    model_config = pydantic.ConfigDict(extra="allow")
    id: str
    object: str
    model: str
    _hidden_params: dict[str, Any] = pydantic.PrivateAttr(default_factory=dict[str, Any])

    def told(self, provider: str) -> LiteLLMResponse:
        """Tell who served it."""
        self._hidden_params["custom_llm_provider"] = provider
        return self


LITELLM: dict[str, Any] = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "model": "claude-test",
    "usage": {
        "prompt_tokens": 250,
        "completion_tokens": 25,
        "total_tokens": 275,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 200},
    },
}
LITELLM_CALL = ModelCall(
    provider="openai",
    model="claude-test",
    operation="chat",
    input_tokens=250,
    output_tokens=25,
    cached_tokens=200,
    cache_write_tokens=40,
    response_id="chatcmpl-9",
)


@pytest.mark.parametrize(
    ("told", "provider"),
    [("anthropic", "anthropic"), ("bedrock", "aws.bedrock"), ("vertex_ai", "gcp.vertex_ai")],
)
def test_responses_of_litellm(told: str, provider: str) -> None:
    """LiteLLM's input is the whole, and its provider the one that it called."""
    expected = dataclasses.replace(LITELLM_CALL, provider=provider)
    assert calls_of(LiteLLMResponse.model_validate(LITELLM).told(told)) == [expected]
    hidden = {"_hidden_params": {"custom_llm_provider": told}}
    assert calls_of({**LITELLM, **hidden}) == [expected]
    assert calls_of(LITELLM) == [LITELLM_CALL]


@dataclasses.dataclass
class Usage:
    """Usage as a program may keep it."""

    input_tokens: int
    output_tokens: int


@dataclasses.dataclass
class Answer:
    """A record of a program's own."""

    model: str
    usage: Usage


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            ModelCall(model="m", input_tokens=1, output_tokens=2),
        ),
        (
            {"model": "m", "usage": {"input_tokens": 1, "cache_read_input_tokens": 4}},
            ModelCall(model="m", input_tokens=5, cached_tokens=4),
        ),
        (
            {"model": "m", "usage": {"inputTokens": 1, "outputTokens": 2}},
            ModelCall(model="m", input_tokens=1, output_tokens=2),
        ),
        (
            {"model": "m", "usage": {"input_tokens": 9, "cached_tokens": 4, "reasoning_tokens": 0}},
            ModelCall(model="m", input_tokens=9, cached_tokens=4, reasoning_tokens=0),
        ),
        (
            {"model": "m", "provider": "Bedrock", "usage": {"output_tokens": 2}},
            ModelCall(provider="aws.bedrock", model="m", output_tokens=2),
        ),
        (
            {"model": "m", "usage": {"prompt_token_count": 3}, "response_id": "r"},
            ModelCall(model="m", input_tokens=3, response_id="r"),
        ),
        (Answer("m", Usage(3, 4)), ModelCall(model="m", input_tokens=3, output_tokens=4)),
        (
            SimpleNamespace(model="m", usage=SimpleNamespace(input_tokens=3)),
            ModelCall(model="m", input_tokens=3),
        ),
    ],
    ids=repr,
)
def test_records_of_a_program(value: object, expected: ModelCall) -> None:
    """What a program keeps itself counts, if it tells a model and a usage."""
    assert calls_of(value) == [expected]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "usage",
        7,
        {},
        [],
        {"usage": {"prompt_tokens": 1}},
        {"prompt_tokens": 1, "completion_tokens": 2},
        {"input_tokens": 1, "output_tokens": 2},
        {"model": "m", "usage": None},
        {"model": "m", "usage": {}},
        {"model": "m", "usage": {"total_tokens": 3}},
        {"model": "m", "usage": {"prompt_tokens": True}},
        {"model": "m", "usage": {"prompt_tokens": -1}},
        {"model": "m", "usage": {"prompt_tokens": 1.0}},
        {"model": "m", "usage": {"prompt_tokens": "1"}},
        {"model": 5, "usage": {"prompt_tokens": 1}},
        {"model": "", "usage": {"prompt_tokens": 1}},
        {"model": "m", "usage": "12 tokens"},
        {**CHUNK, "usage": None},
        {"type": "message", "role": "user", "content": "hi"},
        {"usage_metadata": {"prompt_token_count": 5}},
        {"object": "list", "data": [], "usage": {"input_tokens": 4}},
        {"usage": {"inputTokens": 1, "outputTokens": 2}},
        {**OLLAMA_CHAT, "done": False},
        {"model": "llama3.2", "done": True},
    ],
    ids=repr,
)
def test_what_is_no_call(value: object) -> None:
    """A running total, a usage alone, a chunk without usage and other things are no call."""
    assert find_calls(value) == []


def test_the_usage_is_the_very_object() -> None:
    """A shallow copy of a response shares the usage by which it is known."""
    response = openai.types.chat.ChatCompletion.model_validate(CHAT)
    (found,) = find_calls(response)
    (of_copy,) = find_calls(copy.copy(response))
    (of_dict,) = find_calls({"model": response.model, "usage": response.usage})
    assert found.usage is response.usage
    assert of_copy.usage is response.usage
    assert of_dict.usage is response.usage


def test_the_usage_of_counts_that_are_fields() -> None:
    """Where the response has the counts itself, it is its own usage."""
    document = dict(OLLAMA_CHAT)
    (found,) = find_calls(document)
    assert found.usage is document


def test_one_usage_counts_once() -> None:
    """A response and a record made of its parts are one call, the one with the id."""
    response = openai.types.chat.ChatCompletion.model_validate(CHAT)
    plain = {"model": response.model, "usage": response.usage}
    assert calls_of((response, plain)) == [CHAT_CALL]
    assert calls_of((plain, response)) == [CHAT_CALL]
    assert calls_of([response, response, {"again": response}]) == [CHAT_CALL]
    assert calls_of([response, response.model_dump()]) == [CHAT_CALL]


def test_chunks_that_count_up() -> None:
    """Chunks with one id are one call, the one with the most output."""
    begun = {**GEMINI, "usageMetadata": {"promptTokenCount": 96}}
    half = {**GEMINI, "usageMetadata": {"promptTokenCount": 96, "candidatesTokenCount": 10}}
    assert calls_of([begun, half, GEMINI]) == [GEMINI_CALL]
    assert calls_of([begun, GEMINI, half]) == [GEMINI_CALL]
    assert calls_of({"first": begun, "last": GEMINI}) == [GEMINI_CALL]


def test_calls_without_an_id_count_each() -> None:
    """Two equal answers are two calls."""
    assert calls_of([dict(OLLAMA_CHAT), dict(OLLAMA_CHAT)]) == [OLLAMA_CALL, OLLAMA_CALL]


WRAPS: list[Callable[[object], object]] = [
    lambda value: {"llm_response": value},
    lambda value: ("text", value),
    lambda value: [[[value]]],
    lambda value: deque([value]),
    lambda value: SimpleNamespace(raw=value),
    lambda value: {"a": {"b": {"c": {"d": value}}}},
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_response_inside(wrap: Callable[[object], object]) -> None:
    """A response is found inside whatever holds it, up to four levels down."""
    assert calls_of(wrap(CHAT)) == [CHAT_CALL]


def test_a_response_too_deep() -> None:
    """Five levels down is too deep."""
    assert find_calls({"a": {"b": {"c": {"d": {"e": CHAT}}}}}) == []


def test_a_response_is_not_searched() -> None:
    """What stands inside a response is part of it."""
    assert calls_of({**CHAT, "choices": [{"message": MESSAGE}]}) == [CHAT_CALL]


def test_the_last_chunk_of_a_long_stream() -> None:
    """The usage in the last of many chunks is found."""
    silent = {**CHUNK, "usage": None}
    assert calls_of([dict(silent) for _ in range(5_000)] + [CHUNK]) == [CHAT_CALL]
    assert calls_of(["word"] * 5_000 + [CHUNK]) == [CHAT_CALL]
    assert calls_of(tuple([{"word": "x"}] * 100 + [CHUNK])) == [CHAT_CALL]


def test_many_responses() -> None:
    """A batch of responses counts each."""
    batch = [{**copy.deepcopy(CHAT), "id": f"chatcmpl-{i}"} for i in range(5_000)]
    assert len(find_calls(batch)) == 5_000
    assert len(find_calls([(response, "text") for response in batch[:20]])) == 20


def test_the_beginning_of_what_is_no_batch() -> None:
    """Of a long list of anything else, the first 32 items and the last are looked at."""
    asked: list[object] = []
    rows = [{"row": number} for number in range(10_000)]
    find_calls({"rows": rows, "text": "x"}, [asked.append])
    assert len(set(map(id, asked))) <= shapes.MOST_OTHERS
    assert any(value is rows[-1] for value in asked)
    assert calls_of([*["word"] * 40, CHAT, "end"]) == []


@pytest.mark.parametrize(("others", "found"), [(30, [CHAT_CALL]), (31, [])])
def test_the_search_is_bounded(others: int, found: list[ModelCall]) -> None:
    """The list and 31 other containers in front of a response are as many as are looked at."""
    assert calls_of([*({"n": i} for i in range(others)), CHAT, "last"]) == found


def test_cycles_end() -> None:
    """A container that contains itself is looked at once."""
    cycle: list[Any] = [CHAT]
    cycle.append(cycle)
    cycle.insert(0, {"self": cycle})
    assert calls_of(cycle) == [CHAT_CALL]


def test_streams_stay_as_they_are() -> None:
    """Iterators are not consumed."""
    stream = iter([CHAT])
    generator = (chunk for chunk in [CHAT])
    assert find_calls(stream) == []
    assert find_calls({"stream": stream, "more": [generator]}) == []
    assert next(stream) is CHAT
    assert next(generator) is CHAT


def test_long_texts_are_cut() -> None:
    """Names of models, providers and responses keep 200 characters."""
    (call,) = calls_of({**CHAT, "model": "m" * 500, "id": "i" * 500})
    assert call.model == "m" * 200
    assert call.response_id == "i" * 200


class Client:
    """An object that cannot be looked into."""

    def __init__(self, spent: int) -> None:
        self.spent = spent


def recognise_client(value: object) -> ModelCall | None:
    """Tell the call of a client."""
    return ModelCall(model="mine", input_tokens=value.spent) if isinstance(value, Client) else None


def test_a_recogniser_of_the_user() -> None:
    """A user's recogniser tells calls of objects that nobody else can look into."""
    client = Client(4)
    expected = ModelCall(model="mine", input_tokens=4)
    (found,) = find_calls(client, [recognise_client])
    assert found == (expected, client)
    assert [f.call for f in find_calls({"c": [client]}, [recognise_client])] == [expected]
    assert find_calls(client) == []


def test_a_recogniser_wins() -> None:
    """What a user's recogniser says of a response is taken before what its shape says."""
    mine = ModelCall(model="mine", input_tokens=1)
    (found,) = find_calls(CHAT, [lambda _: None, lambda value: mine if value is CHAT else None])
    assert found.call == mine


@pytest.fixture
def fresh_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults reported by other tests are forgotten."""
    monkeypatch.setattr(guard, "_reported", set[str]())


@pytest.mark.usefixtures("fresh_guard")
def test_a_recogniser_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, and the others are asked."""

    def broken(value: object) -> ModelCall | None:
        raise LookupError("no")

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [f.call for f in find_calls([CHAT, Client(4)], [broken, recognise_client])] == [
                ModelCall(model="mine", input_tokens=4),
                CHAT_CALL,
            ]
    (record,) = caplog.records
    assert "broken" in record.getMessage()


@pytest.mark.usefixtures("fresh_guard")
def test_a_recogniser_that_answers_something_else(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that is no ModelCall is logged once and passed over."""

    def wrong(value: object) -> Any:
        return {"tokens": 1}

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [f.call for f in find_calls(CHAT, [wrong])] == [CHAT_CALL]
    (record,) = caplog.records
    assert "ModelCall" in str(record.exc_info)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_code_of_the_program_runs(name: str) -> None:
    """No method of a class of the program is called, wherever its object is."""
    made = HOSTILE[name]()
    holders: list[object] = [
        made,
        [made, CHAT],
        {"value": made, "usage": made, "model": made, "object": made, "type": made},
        {**CHAT, "usage": made, "model": made},
        {"model": "m", "usage": {"prompt_tokens": made, "prompt_tokens_details": made}},
        {**CHAT, "_hidden_params": made},
        {**GEMINI, "usageMetadata": made},
        {**GEMINI, "usage_metadata": made},
        {**OLLAMA_CHAT, "eval_count": made, "done": made},
        {**CONVERSE, "ResponseMetadata": made},
    ]
    with ALARM.armed():
        for holder in holders:
            find_calls(holder)
    ran = list(ALARM.calls)
    ALARM.calls.clear()
    dispose(made)
    assert ran == []


def test_hostile_keys() -> None:
    """Keys of a program's own class are neither hashed nor compared."""
    total = {trap(str)("model"): "m", "usage": {"prompt_tokens": 1}}
    document = {trap(str)("a key"): 1, **CHAT}
    with ALARM.armed():
        calls = calls_of([total, document])
    ran = list(ALARM.calls)
    ALARM.calls.clear()
    assert (calls, ran) == ([CHAT_CALL], [])


def test_hostile_subclasses_of_containers() -> None:
    """A response in a program's own subclass of dict or list is found without its methods."""
    inside = trap(list)([trap(dict)(CHAT)])
    with ALARM.armed():
        calls = calls_of(inside)
    ran = list(ALARM.calls)
    ALARM.calls.clear()
    assert (calls, ran) == ([CHAT_CALL], [])


WORDS = st.sampled_from(
    [
        *("usage", "usageMetadata", "usage_metadata", "model", "object", "type", "id", "done"),
        *("prompt_tokens", "input_tokens", "inputTokens", "output_tokens", "eval_count"),
        *("promptTokenCount", "candidates", "stopReason", "input_tokens_details", "cached_tokens"),
        *("chat.completion", "message", "response", "list", "_hidden_params"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(WORDS | st.text(max_size=3), inner),
        st.dictionaries(WORDS, inner).map(lambda fields: SimpleNamespace(**fields)),
    ),
    max_leaves=60,
)


@given(VALUES)
def test_any_value(value: object) -> None:
    """Whatever the value is, what is found has tokens, and finding again finds the same."""
    found = find_calls(value)
    assert find_calls(value) == found
    for call, _ in found:
        told = [call.input_tokens, call.output_tokens]
        assert any(count is not None for count in told)
        assert all(count is None or (type(count) is int and count >= 0) for count in told)


@given(st.recursive(st.just(0), lambda inner: st.lists(inner, min_size=1), max_leaves=200))
def test_the_bound_holds(value: object) -> None:
    """However a value is nested, no more than 32 containers that are no response are asked for."""
    asked: list[object] = []
    find_calls(value, [asked.append])
    assert len(asked) <= shapes.MOST_OTHERS

"""The loopback providers themselves: each real client reads from them what they served."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import anthropic
import ollama
import openai
import pytest
from google.genai import errors as genai_errors

from support.providers import TEXT, Providers, Served, Tokens

if TYPE_CHECKING:
    from anthropic.types import Message, MessageParam, Usage
    from google.genai.types import GenerateContentResponse
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.completion_usage import CompletionUsage
    from openai.types.responses import Response

Counts: TypeAlias = "tuple[int | None, ...]"
"""Input, output, cached, cache write, reasoning: as one client tells them, in our meaning."""

Call: TypeAlias = Callable[[Providers], Counts]
AsyncCall: TypeAlias = Callable[[Providers], Coroutine[Any, Any, Counts]]

GPT = "gpt-4o-mini"
EMBEDDING = "text-embedding-3-small"
CLAUDE = "claude-opus-5-5"
GEMINI = "gemini-2.5-flash"
LLAMA = "llama3.2"

QUESTION = "Is it Paris?"
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
TO_CLAUDE: list[MessageParam] = [{"role": "user", "content": QUESTION}]
TO_LLAMA = [{"role": "user", "content": QUESTION}]


# --- what each client tells -------------------------------------------------------------------


def _served(served: Served) -> Counts:
    return (
        served.input_tokens,
        served.output_tokens,
        served.cached_tokens,
        served.cache_write_tokens,
        served.reasoning_tokens,
    )


def _openai_chat(usage: CompletionUsage | None) -> Counts:
    assert usage is not None
    asked, answered = usage.prompt_tokens_details, usage.completion_tokens_details
    return (
        usage.prompt_tokens,
        usage.completion_tokens,
        asked and asked.cached_tokens,
        asked and asked.cache_write_tokens,
        answered and answered.reasoning_tokens,
    )


def _openai_response(response: Response) -> Counts:
    usage = response.usage
    assert usage is not None
    assert response.output_text == TEXT
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens_details.cached_tokens,
        usage.input_tokens_details.cache_write_tokens,
        usage.output_tokens_details.reasoning_tokens,
    )


def _anthropic_message(message: Message) -> Counts:
    assert [block.text for block in message.content if block.type == "text"] == [TEXT]
    return _anthropic_usage(message.usage)


def _anthropic_usage(usage: Usage) -> Counts:
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    details = usage.output_tokens_details
    return (
        usage.input_tokens + (cached or 0) + (written or 0),
        usage.output_tokens,
        cached,
        written,
        details and details.thinking_tokens,
    )


def _gemini(response: GenerateContentResponse) -> Counts:
    usage = response.usage_metadata
    assert usage is not None
    thoughts = usage.thoughts_token_count
    return (
        usage.prompt_token_count,
        (usage.candidates_token_count or 0) + (thoughts or 0),
        usage.cached_content_token_count,
        None,
        thoughts,
    )


def _ollama(response: ollama.ChatResponse) -> Counts:
    return response.prompt_eval_count, response.eval_count, None, None, None


def _untyped(client: object) -> Any:
    """Return `client` as Any: its own types name packages that are not installed, or name none."""
    return client


# --- one call each ----------------------------------------------------------------------------


def chat(providers: Providers) -> Counts:
    """OpenAI's chat."""
    answer = providers.openai().chat.completions.create(model=GPT, messages=ASKED)
    assert answer.choices[0].message.content == TEXT
    return _openai_chat(answer.usage)


def chat_stream(providers: Providers) -> Counts:
    """OpenAI's chat, streamed, with usage in the last chunk."""
    stream = providers.openai().chat.completions.create(
        model=GPT, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == TEXT
    return _openai_chat(chunks[-1].usage)


def responses(providers: Providers) -> Counts:
    """OpenAI's responses."""
    return _openai_response(providers.openai().responses.create(model=GPT, input=QUESTION))


def responses_stream(providers: Providers) -> Counts:
    """OpenAI's responses, streamed."""
    with providers.openai().responses.stream(model=GPT, input=QUESTION) as stream:
        return _openai_response(stream.get_final_response())


def embeddings(providers: Providers) -> Counts:
    """OpenAI's embeddings, of two texts."""
    answer = providers.openai().embeddings.create(model=EMBEDDING, input=["one", "two"])
    assert [vector.index for vector in answer.data] == [0, 1]
    return answer.usage.prompt_tokens, 0, None, None, None


def messages(providers: Providers) -> Counts:
    """Anthropic's messages."""
    client = providers.anthropic()
    answer = client.messages.create(model=CLAUDE, max_tokens=50, messages=TO_CLAUDE)
    return _anthropic_message(answer)


def messages_stream(providers: Providers) -> Counts:
    """Anthropic's messages, streamed."""
    client = providers.anthropic()
    with client.messages.stream(model=CLAUDE, max_tokens=50, messages=TO_CLAUDE) as stream:
        return _anthropic_message(stream.get_final_message())


def generate(providers: Providers) -> Counts:
    """Gemini's generate_content."""
    answer = _untyped(providers.genai().models).generate_content(model=GEMINI, contents=QUESTION)
    assert answer.text == TEXT
    return _gemini(answer)


def generate_stream(providers: Providers) -> Counts:
    """Gemini's generate_content, streamed."""
    models = _untyped(providers.genai().models)
    chunks = list(models.generate_content_stream(model=GEMINI, contents=QUESTION))
    assert "".join(chunk.text or "" for chunk in chunks) == TEXT
    return _gemini(chunks[-1])


def ollama_chat(providers: Providers) -> Counts:
    """Ollama's chat."""
    answer = _untyped(providers.ollama()).chat(model=LLAMA, messages=TO_LLAMA)
    assert answer.message.content == TEXT
    return _ollama(answer)


def ollama_stream(providers: Providers) -> Counts:
    """Ollama's chat, streamed."""
    chunks = list(_untyped(providers.ollama()).chat(model=LLAMA, messages=TO_LLAMA, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == TEXT
    return _ollama(chunks[-1])


def ollama_embed(providers: Providers) -> Counts:
    """Ollama's embeddings."""
    answer = providers.ollama().embed(model=LLAMA, input=["one", "two"])
    assert len(answer.embeddings) == 2
    return answer.prompt_eval_count, 0, None, None, None


async def async_chat(providers: Providers) -> Counts:
    """OpenAI's chat."""
    async with providers.async_openai() as client:
        answer = await client.chat.completions.create(model=GPT, messages=ASKED)
    return _openai_chat(answer.usage)


async def async_chat_stream(providers: Providers) -> Counts:
    """OpenAI's chat, streamed, with usage in the last chunk."""
    async with providers.async_openai() as client:
        stream = await client.chat.completions.create(
            model=GPT, messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    return _openai_chat(chunks[-1].usage)


async def async_responses(providers: Providers) -> Counts:
    """OpenAI's responses."""
    async with providers.async_openai() as client:
        return _openai_response(await client.responses.create(model=GPT, input=QUESTION))


async def async_responses_stream(providers: Providers) -> Counts:
    """OpenAI's responses, streamed."""
    async with (
        providers.async_openai() as client,
        client.responses.stream(model=GPT, input=QUESTION) as stream,
    ):
        return _openai_response(await stream.get_final_response())


async def async_embeddings(providers: Providers) -> Counts:
    """OpenAI's embeddings, of one text."""
    async with providers.async_openai() as client:
        answer = await client.embeddings.create(model=EMBEDDING, input="one")
    return answer.usage.prompt_tokens, 0, None, None, None


async def async_messages(providers: Providers) -> Counts:
    """Anthropic's messages."""
    async with providers.async_anthropic() as client:
        answer = await client.messages.create(model=CLAUDE, max_tokens=50, messages=TO_CLAUDE)
    return _anthropic_message(answer)


async def async_messages_stream(providers: Providers) -> Counts:
    """Anthropic's messages, streamed."""
    async with (
        providers.async_anthropic() as client,
        client.messages.stream(model=CLAUDE, max_tokens=50, messages=TO_CLAUDE) as stream,
    ):
        return _anthropic_message(await stream.get_final_message())


async def async_generate(providers: Providers) -> Counts:
    """Gemini's generate_content."""
    async with providers.genai().aio as client:
        answer = await _untyped(client.models).generate_content(model=GEMINI, contents=QUESTION)
    return _gemini(answer)


async def async_generate_stream(providers: Providers) -> Counts:
    """Gemini's generate_content, streamed."""
    async with providers.genai().aio as client:
        stream = await _untyped(client.models).generate_content_stream(
            model=GEMINI, contents=QUESTION
        )
        chunks = [chunk async for chunk in stream]
    return _gemini(chunks[-1])


async def async_ollama_chat(providers: Providers) -> Counts:
    """Ollama's chat."""
    async with _untyped(providers.async_ollama()) as client:
        return _ollama(await client.chat(model=LLAMA, messages=TO_LLAMA))


async def async_ollama_stream(providers: Providers) -> Counts:
    """Ollama's chat, streamed."""
    async with _untyped(providers.async_ollama()) as client:
        stream = await client.chat(model=LLAMA, messages=TO_LLAMA, stream=True)
        chunks = [chunk async for chunk in stream]
    return _ollama(chunks[-1])


CALLS: list[Call] = [
    chat,
    chat_stream,
    responses,
    responses_stream,
    embeddings,
    messages,
    messages_stream,
    generate,
    generate_stream,
    ollama_chat,
    ollama_stream,
    ollama_embed,
]

ASYNC_CALLS: list[AsyncCall] = [
    async_chat,
    async_chat_stream,
    async_responses,
    async_responses_stream,
    async_embeddings,
    async_messages,
    async_messages_stream,
    async_generate,
    async_generate_stream,
    async_ollama_chat,
    async_ollama_stream,
]


# --- tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_client_reads_what_was_served(providers: Providers, call: Call) -> None:
    """What the client's own object says was used is what the server says it served, each time."""
    told = [call(providers), call(providers)]
    assert told == [_served(served) for served in providers.served]
    assert told[0] != told[1]


@pytest.mark.parametrize("call", ASYNC_CALLS)
def test_an_async_client_reads_what_was_served(providers: Providers, call: AsyncCall) -> None:
    """The same holds in coroutines."""
    told = [asyncio.run(call(providers)), asyncio.run(call(providers))]
    assert told == [_served(served) for served in providers.served]
    assert told[0] != told[1]


@pytest.mark.parametrize("call", [chat, chat_stream, messages, messages_stream])
def test_a_script_decides_the_tokens(providers: Providers, call: Call) -> None:
    """Scripted answers come in their order; what a script does not tell, nobody is told."""
    providers.script(
        Tokens(input=10, output=5, cached=4, cache_write=3, reasoning=2), Tokens(input=7, output=1)
    )
    assert call(providers) == (10, 5, 4, 3, 2)
    assert call(providers) == (7, 1, None, None, None)


def test_a_stream_that_was_not_asked_for_usage_tells_none(providers: Providers) -> None:
    """OpenAI's stream keeps its tokens to itself, yet the server knows that it served them."""
    stream = providers.openai().chat.completions.create(model=GPT, messages=ASKED, stream=True)
    assert [chunk.usage for chunk in stream] == [None] * 4
    assert [(served.told, served.input_tokens) for served in providers.served] == [(False, 1010)]


def test_openai_answers_as_a_dated_model(providers: Providers) -> None:
    """OpenAI's answer names the dated model and an id of its own; both are known as served."""
    completions = providers.openai().chat.completions
    answers = [completions.create(model=GPT, messages=ASKED) for _ in range(2)]
    assert [answer.model for answer in answers] == ["gpt-4o-mini-2024-07-18"] * 2
    assert [(answer.model, answer.id) for answer in answers] == [
        (served.model, served.response_id) for served in providers.served
    ]
    assert answers[0].id != answers[1].id


def test_totals_add_up_over_providers(providers: Providers) -> None:
    """The totals are the sums of what all clients were told."""
    told = [call(providers) for call in CALLS]
    assert providers.input_tokens == sum(counts[0] or 0 for counts in told)
    assert providers.output_tokens == sum(counts[1] or 0 for counts in told)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (chat, openai.InternalServerError),
        (responses_stream, openai.InternalServerError),
        (embeddings, openai.InternalServerError),
        (messages, anthropic.InternalServerError),
        (messages_stream, anthropic.InternalServerError),
        (generate, genai_errors.ServerError),
        (generate_stream, genai_errors.ServerError),
        (ollama_chat, ollama.ResponseError),
    ],
)
def test_a_failure_is_the_clients_own_and_costs_nothing(
    providers: Providers, call: Call, error: type[Exception]
) -> None:
    """One request fails, without retries and without being served; the next one is answered."""
    providers.fail(status=500)
    with pytest.raises(error, match="scripted failure"):
        call(providers)
    assert (providers.requests, providers.served) == (1, [])
    call(providers)
    assert (providers.requests, len(providers.served)) == (2, 1)


@pytest.mark.parametrize(("model", "call"), [(GPT, chat), (GEMINI, generate)])
def test_a_hold_keeps_an_answer_back(providers: Providers, model: str, call: Call) -> None:
    """Of two calls in flight, the test decides which one is answered first."""
    held = providers.hold(model)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(call, providers)
        held.wait()
        messages(providers)
        assert not first.done()
        held.release()
        first.result()
    assert [served.model.startswith(model) for served in providers.served] == [False, True]


def test_a_request_that_is_held_at_the_end_is_let_go() -> None:
    """Leaving the block answers what is held, so that no test hangs on its own failure."""
    with ThreadPoolExecutor() as pool:
        with Providers() as providers:
            held = providers.hold(GPT)
            answered = pool.submit(_ask_with_a_client_of_its_own, providers.url)
            held.wait()
        assert answered.result() == TEXT


def _ask_with_a_client_of_its_own(url: str) -> str | None:
    """Ask with a client that the providers do not close under its hands."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="test", max_retries=0) as client:
        answer = client.chat.completions.create(model=GPT, messages=ASKED)
    return answer.choices[0].message.content


def test_parallel_calls_each_get_an_answer_of_their_own(providers: Providers) -> None:
    """Threads that call at once share the server, and no answer is given twice."""
    client = providers.openai()
    start = threading.Barrier(8)

    def ask(_: int) -> Counts:
        start.wait()
        answer = client.chat.completions.create(model=GPT, messages=ASKED)
        return _openai_chat(answer.usage)

    with ThreadPoolExecutor(8) as pool:
        told = set(pool.map(ask, range(8)))
    assert len(told) == 8
    assert told == {_served(served) for served in providers.served}


def test_a_stream_left_early_was_served_all_the_same(providers: Providers) -> None:
    """A client that reads one chunk and closes is billed for the whole answer."""
    stream = providers.openai().chat.completions.create(model=GPT, messages=ASKED, stream=True)
    next(iter(stream))
    stream.close()
    assert [served.output_tokens for served in providers.served] == [101]


def test_an_unknown_path_is_named(providers: Providers) -> None:
    """A client that asks for what the server does not speak is told so."""
    with pytest.raises(openai.NotFoundError, match="no such endpoint: /v1/moderations"):
        providers.openai().moderations.create(input=QUESTION)


def test_what_was_served_is_a_copy(providers: Providers) -> None:
    """A test can neither change what was served nor see it change."""
    before = providers.served
    chat(providers)
    assert (before, len(providers.served)) == ([], 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        providers.served[0].model = "another"  # pyright: ignore[reportAttributeAccessIssue] - what must fail

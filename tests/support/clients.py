"""Real model clients under real instrumentations, and what is to be expected of a roll-up.

A test names the instrumentations of the client, runs a program with them, and holds what its spans
and metrics tell against what the loopback server served::

    with watching(providers, [OFFICIAL]) as watched:
        chat(watched.clients)
    assert usage_of(watched.trace().nodes[0]) == expected(providers.served)
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import anthropic
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader

from support.providers import TEXT
from support.tracing import SpanView, Trace, Tracing, tracing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import TracerProvider

    from support.providers import Providers, Served

GPT = "gpt-4o-mini"
EMBEDDING = "text-embedding-3-small"
CLAUDE = "claude-opus-5-5"
GEMINI = "gemini-2.5-flash"
LLAMA = "llama3.2"
QUESTION = "Is it Paris?"
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
TO_CLAUDE: dict[str, Any] = {"model": CLAUDE, "max_tokens": 50, "messages": ASKED}
TOLD: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}

# --- instrumentations of clients ------------------------------------------------------------

OFFICIAL: Final = "official"
OPENINFERENCE: Final = "openinference"
OPENLLMETRY: Final = "openllmetry"

_INSTRUMENTORS: Final = {
    ("openai", OFFICIAL): "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
    ("openai", OPENINFERENCE): "openinference.instrumentation.openai:OpenAIInstrumentor",
    ("openai", OPENLLMETRY): "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    ("anthropic", OFFICIAL): "opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor",
    ("anthropic", OPENINFERENCE): "openinference.instrumentation.anthropic:AnthropicInstrumentor",
    ("anthropic", OPENLLMETRY): "opentelemetry.instrumentation.anthropic:AnthropicInstrumentor",
    ("gemini", OPENINFERENCE): "openinference.instrumentation.google_genai:GoogleGenAIInstrumentor",
    ("ollama", OPENLLMETRY): "opentelemetry.instrumentation.ollama:OllamaInstrumentor",
}

_PATCHED: Final = ("openai.", "anthropic.", "google.genai.", "ollama.")
"""Where clients have what instrumentations replace, by the beginnings of their modules' names."""

_LOADED_LATE: Final = (
    "anthropic.resources.beta.messages",
    "google.genai.models",
    "ollama._client",
    "openai.resources.beta.assistants",
    "openai.resources.beta.realtime.realtime",
    "openai.resources.beta.threads.messages",
    "openai.resources.beta.threads.runs.runs",
    "openai.resources.chat.completions.completions",
    "openai.resources.completions",
    "openai.resources.embeddings",
    "openai.resources.images",
    "openai.resources.responses.responses",
)

_KEEPS_RESPONSES: Final = "opentelemetry.instrumentation.openai.v1.responses_wrappers"
"""OpenLLMetry takes a response for a part of another with its id, in this process for ever."""


def instrumentor(client: str, name: str) -> Any:
    """Return the instrumentor of that kind for a client; nothing is instrumented by it yet."""
    module, _, cls = _INSTRUMENTORS[client, name].partition(":")
    with warnings.catch_warnings():
        # OpenLLMetry's for OpenAI has a model of Pydantic's old style, in what it imports late.
        warnings.filterwarnings("ignore", "Support for class-based `config`", DeprecationWarning)
        if (client, name) == ("openai", OPENLLMETRY):
            importlib.import_module(f"{module}.v1")
        return getattr(importlib.import_module(module), cls)()


@functools.cache
def _as_they_are() -> list[tuple[Any, str, Any]]:
    """The owner, name and value of all functions of the clients, before anybody replaces one."""
    owners: dict[int, Any] = {}
    for module in [m for name, m in list(sys.modules.items()) if _may_be_patched(name)]:
        owners[id(module)] = module
        owners |= {id(value): value for value in vars(module).values() if _is_class(value)}
    return [
        (owner, name, value)
        for owner in owners.values()
        for name, value in _contents(owner).items()
        if callable(value) and not _is_class(value) and not name.startswith("__")
    ]


def _contents(owner: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", vars(owner))


def _is_class(value: object) -> bool:
    # `isinstance` would load what stands for a module of OpenAI's that is loaded when used.
    return issubclass(type(value), type)


def _may_be_patched(name: str) -> bool:
    # The types of messages are many, and nobody replaces them.
    return name.startswith(_PATCHED) and ".types" not in name


@contextlib.contextmanager
def _left_alone() -> Generator[None]:
    """Puts back what instrumentations leave replaced; OpenLLMetry's do not tidy up."""
    for module in _LOADED_LATE:
        importlib.import_module(module)
    before = _as_they_are()
    try:
        yield
    finally:
        for owner, name, value in before:
            if _contents(owner).get(name) is not value:
                setattr(owner, name, value)
        if kept := sys.modules.get(_KEEPS_RESPONSES):
            kept.responses.clear()


@contextlib.contextmanager
def client_instrumented(client: str, names: Sequence[str], **providers: Any) -> Generator[None]:
    """Instruments a client with several instrumentations, in their order, while the block runs.

    Args:
        client: `openai`, `anthropic`, `gemini` or `ollama`.
        names: of the instrumentations.
        **providers: for each, as `tracer_provider` and `meter_provider`.
    """
    with _left_alone(), contextlib.ExitStack() as stack:
        for name in names:
            one = instrumentor(client, name)
            one.instrument(**providers)
            assert one.is_instrumented_by_opentelemetry, f"{name} does not take this {client}"
            stack.callback(one.uninstrument)
        yield


# --- clients and their calls ----------------------------------------------------------------


class Clients:
    """Makes the clients of a program, for one server; without their types, which hinder streams.

    Args:
        providers: the server.
        anthropic_spans: where Anthropic's client sends spans of its own; None if it makes none.
    """

    def __init__(self, providers: Providers, anthropic_spans: TracerProvider | None) -> None:
        self._providers = providers
        self._anthropic: dict[str, Any] = {
            "base_url": providers.url,
            "api_key": "test",
            "max_retries": 0,
            "open_telemetry": {"tracer_provider": anthropic_spans} if anthropic_spans else False,
        }

    @functools.cached_property
    def openai(self) -> Any:
        """OpenAI's client."""
        return self._providers.openai()

    def async_openai(self) -> Any:
        """The same for coroutines, to be closed in them."""
        return self._providers.async_openai()

    def anthropic(self) -> Any:
        """Anthropic's client, to be closed."""
        return anthropic.Anthropic(**self._anthropic)

    def async_anthropic(self) -> Any:
        """The same for coroutines, to be closed in them."""
        return anthropic.AsyncAnthropic(**self._anthropic)

    @functools.cached_property
    def gemini(self) -> Any:
        """Google's client."""
        return self._providers.genai()

    @functools.cached_property
    def ollama(self) -> Any:
        """Ollama's client."""
        return self._providers.ollama()

    def async_ollama(self) -> Any:
        """The same for coroutines, to be closed in them."""
        return self._providers.async_ollama()


def chat(clients: Clients) -> Any:
    """OpenAI's chat."""
    return clients.openai.chat.completions.create(model=GPT, messages=ASKED)


def chat_stream(clients: Clients) -> Any:
    """OpenAI's chat, streamed, with usage in the last chunk."""
    return list(clients.openai.chat.completions.create(model=GPT, messages=ASKED, **TOLD))[-1]


def chat_stream_untold(clients: Clients) -> Any:
    """OpenAI's chat, streamed by a program that does not ask for usage."""
    create = clients.openai.chat.completions.create
    return list(create(model=GPT, messages=ASKED, stream=True))[-1]


def responses(clients: Clients) -> Any:
    """OpenAI's responses."""
    return clients.openai.responses.create(model=GPT, input=QUESTION)


def responses_stream(clients: Clients) -> Any:
    """OpenAI's responses, streamed."""
    events = clients.openai.responses.create(model=GPT, input=QUESTION, stream=True)
    return list(events)[-1]


def responses_helper(clients: Clients) -> Any:
    """OpenAI's responses, streamed by the client's helper."""
    with clients.openai.responses.stream(model=GPT, input=QUESTION) as stream:
        return stream.get_final_response()


def embeddings(clients: Clients) -> Any:
    """OpenAI's embeddings."""
    return clients.openai.embeddings.create(model=EMBEDDING, input=["one", "two"])


async def async_chat(clients: Clients) -> Any:
    """OpenAI's chat, in a coroutine."""
    async with clients.async_openai() as client:
        return await client.chat.completions.create(model=GPT, messages=ASKED)


async def async_chat_stream(clients: Clients) -> Any:
    """OpenAI's chat, streamed in a coroutine, with usage in the last chunk."""
    async with clients.async_openai() as client:
        create = client.chat.completions.create
        stream = await create(model=GPT, messages=ASKED, **TOLD)
        return [chunk async for chunk in stream][-1]


async def async_responses(clients: Clients) -> Any:
    """OpenAI's responses, in a coroutine."""
    async with clients.async_openai() as client:
        return await client.responses.create(model=GPT, input=QUESTION)


async def async_responses_stream(clients: Clients) -> Any:
    """OpenAI's responses, streamed in a coroutine."""
    async with clients.async_openai() as client:
        stream = await client.responses.create(model=GPT, input=QUESTION, stream=True)
        return [event async for event in stream][-1]


async def async_embeddings(clients: Clients) -> Any:
    """OpenAI's embeddings, in a coroutine."""
    async with clients.async_openai() as client:
        return await client.embeddings.create(model=EMBEDDING, input="one")


def messages(clients: Clients) -> Any:
    """Anthropic's messages."""
    with clients.anthropic() as client:
        return client.messages.create(**TO_CLAUDE)


def messages_stream(clients: Clients) -> Any:
    """Anthropic's messages, streamed by the client's helper."""
    with clients.anthropic() as client, client.messages.stream(**TO_CLAUDE) as stream:
        return stream.get_final_message()


def messages_events(clients: Clients) -> Any:
    """Anthropic's messages, streamed as they come over the wire."""
    with clients.anthropic() as client:
        return list(client.messages.create(**TO_CLAUDE, stream=True))


async def async_messages(clients: Clients) -> Any:
    """Anthropic's messages, in a coroutine."""
    async with clients.async_anthropic() as client:
        return await client.messages.create(**TO_CLAUDE)


async def async_messages_stream(clients: Clients) -> Any:
    """Anthropic's messages, streamed by the client's helper in a coroutine."""
    async with (
        clients.async_anthropic() as client,
        client.messages.stream(**TO_CLAUDE) as stream,
    ):
        return await stream.get_final_message()


async def async_messages_events(clients: Clients) -> Any:
    """Anthropic's messages, streamed in a coroutine as they come over the wire."""
    async with clients.async_anthropic() as client:
        stream = await client.messages.create(**TO_CLAUDE, stream=True)
        return [event async for event in stream]


def generate(clients: Clients) -> Any:
    """Gemini's generate_content."""
    return clients.gemini.models.generate_content(model=GEMINI, contents=QUESTION)


def generate_stream(clients: Clients) -> Any:
    """Gemini's generate_content, streamed."""
    stream = clients.gemini.models.generate_content_stream(model=GEMINI, contents=QUESTION)
    return list(stream)[-1]


async def async_generate(clients: Clients) -> Any:
    """Gemini's generate_content, in a coroutine."""
    return await clients.gemini.aio.models.generate_content(model=GEMINI, contents=QUESTION)


async def async_generate_stream(clients: Clients) -> Any:
    """Gemini's generate_content, streamed in a coroutine."""
    models = clients.gemini.aio.models
    stream = await models.generate_content_stream(model=GEMINI, contents=QUESTION)
    return [chunk async for chunk in stream][-1]


def ollama_chat(clients: Clients) -> Any:
    """Ollama's chat."""
    return clients.ollama.chat(model=LLAMA, messages=ASKED)


def ollama_stream(clients: Clients) -> Any:
    """Ollama's chat, streamed."""
    return list(clients.ollama.chat(model=LLAMA, messages=ASKED, stream=True))[-1]


async def async_ollama_chat(clients: Clients) -> Any:
    """Ollama's chat, in a coroutine."""
    async with clients.async_ollama() as client:
        return await client.chat(model=LLAMA, messages=ASKED)


# --- watching a program ---------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """What `watching` yields."""

    clients: Clients
    running: Tracing
    reader: InMemoryMetricReader

    def trace(self) -> Trace:
        """The spans, all of them ended."""
        recorder = self.running.recorder
        assert set(recorder.started) == set(recorder.ended), "a span was never ended"
        return self.running.trace()

    def token_metric(self) -> dict[str, int | float]:
        """What all points of `gen_ai.client.token.usage` add up to, by `gen_ai.token.type`."""
        sums: dict[str, int | float] = {}
        for attributes, value in _points(self.reader, "gen_ai.client.token.usage"):
            kind = str(attributes["gen_ai.token.type"])
            sums[kind] = sums.get(kind, 0) + value
        return sums


def _points(reader: InMemoryMetricReader, name: str) -> Iterator[tuple[Any, int | float]]:
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name and isinstance(metric.data, Histogram):
                    yield from ((point.attributes, point.sum) for point in metric.data.data_points)


@contextlib.contextmanager
def watching(
    providers: Providers,
    client: str = "openai",
    names: Sequence[str] = (),
    *,
    anthropic_spans: bool = False,
    **options: Any,
) -> Generator[Watched]:
    """Instruments PocketFlow and a client, both with the same new providers.

    Args:
        providers: the server.
        client: whose instrumentations they are.
        names: of the client's instrumentations, in their order.
        anthropic_spans: does Anthropic's client make spans of its own?
        **options: of our instrumentor, and a `sampler`.
    """
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    with tracing(meter_provider=meters, **options) as running:
        both = {"tracer_provider": running.provider, "meter_provider": meters}
        with client_instrumented(client, names, **both):
            clients = Clients(providers, running.provider if anthropic_spans else None)
            yield Watched(clients, running, reader)


# --- what is to be expected -----------------------------------------------------------------

_USAGE: Final = "pocketflow.usage."
_COUNTS: Final = (
    "calls",
    "unmetered_calls",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
)


def usage_of(span: SpanView) -> dict[str, int]:
    """What a span's roll-up counts, without the prefix; prices are for other tests."""
    return {name: span[_USAGE + name] for name in _COUNTS if _USAGE + name in span}


def wasted_of(span: SpanView) -> dict[str, int]:
    """What a span says was wasted, without the prefix."""
    prefix = f"{_USAGE}wasted."
    return {name: span[prefix + name] for name in _COUNTS if prefix + name in span}


def expected(served: Iterable[Served]) -> dict[str, int]:
    """What the roll-up of these answers is to be; what was not told is absent."""
    answers = list(served)
    told = [answer for answer in answers if answer.told]
    counts: dict[str, int | None] = {
        "calls": len(answers),
        "unmetered_calls": len(answers) - len(told) or None,
        "input_tokens": _sum(answer.input_tokens for answer in told),
        "output_tokens": _sum(_output(answer) for answer in told),
        "total_tokens": _sum(answer.input_tokens + answer.output_tokens for answer in told),
    }
    for part in ("cached", "cache_write", "reasoning"):
        counts[f"{part}_tokens"] = _sum(getattr(answer, f"{part}_tokens") for answer in told)
    return {name: count for name, count in counts.items() if count is not None}


def _output(answer: Served) -> int | None:
    return None if answer.operation == "embeddings" else answer.output_tokens


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def in_and_out(served: Iterable[Served]) -> dict[str, int]:
    """Input and output tokens by type, as the token metric has them; absent where not told."""
    sums = expected(served)
    named = {"input": sums.get("input_tokens"), "output": sums.get("output_tokens")}
    return {kind: count for kind, count in named.items() if count is not None}


_DIALECTS: Final = {
    "gen_ai": ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
    "llm": ("llm.token_count.prompt", "llm.token_count.completion"),
}


def added_by_backends(trace: Trace) -> list[dict[str, int]]:
    """What backends add up over all spans, for each dialect that any span speaks."""
    added: list[dict[str, int]] = []
    for names in _DIALECTS.values():
        named = zip(("input", "output"), names, strict=True)
        sums = {kind: sum(trace.values(name)) for kind, name in named if trace.values(name)}
        added += [sums] if sums else []
    return added


def added_over_leaves(trace: Trace) -> dict[str, int]:
    """What a backend adds up that takes only the innermost spans with tokens, in any dialect."""
    sums: dict[str, int] = {}
    for span in trace.nodes:
        if not any(map(_tells_tokens, trace.children(span))):
            for kind, count in _tokens_of(span).items():
                sums[kind] = sums.get(kind, 0) + count
    return sums


def _tells_tokens(span: SpanView) -> bool:
    return bool(_tokens_of(span))


def _tokens_of(span: SpanView) -> dict[str, int]:
    for names in _DIALECTS.values():
        named = zip(("input", "output"), names, strict=True)
        if counts := {kind: span[name] for kind, name in named if name in span}:
            return counts
    return {}


def answer_or_text(answer: Any, *, keeps: bool) -> Any:
    """What a program's `call_llm` returns: the client's object, or only the text."""
    return answer if keeps else TEXT

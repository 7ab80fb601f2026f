"""Model calls are read from spans as each real instrumentation makes them."""

from __future__ import annotations

import contextlib
import importlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.capture.usage.dialects import (
    call_of_span,
    is_rough,
    records_token_metric,
)
from support.providers import Providers, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

HELLO: Any = [{"role": "user", "content": "hi"}]
TOKENS = Tokens(input=100, output=50, cached=30, cache_write=7, reasoning=20)
TOKEN_METRIC = "gen_ai.client.token.usage"  # noqa: S105 - not a password


def openai_chat(providers: Providers) -> None:
    """Ask for a chat completion."""
    providers.openai().chat.completions.create(model="gpt-4o", messages=HELLO)


def openai_response(providers: Providers) -> None:
    """Ask for a response."""
    providers.openai().responses.create(model="gpt-4o", input="hi")


def openai_embedding(providers: Providers) -> None:
    """Ask for an embedding."""
    client = providers.openai()
    client.embeddings.create(model="text-embedding-3-small", input="hi", encoding_format="float")


def openai_stream(providers: Providers) -> None:
    """Read a chat completion as a stream that tells its usage."""
    client = providers.openai()
    for _ in client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ):
        pass


def anthropic_message(providers: Providers) -> None:
    """Ask for a message."""
    providers.anthropic().messages.create(model="claude-test", max_tokens=5, messages=HELLO)


def gemini_content(providers: Providers) -> None:
    """Ask for generated content."""
    models: Any = providers.genai().models
    models.generate_content(model="gemini-2.5-flash", contents="hi")


def ollama_chat(providers: Providers) -> None:
    """Ask for a chat."""
    client: Any = providers.ollama()
    client.chat(model="llama3.2", messages=HELLO)


class Instrumentation(NamedTuple):
    """An instrumentation and what it tells beyond input and output."""

    module: str
    name: str
    tells: frozenset[str] = frozenset({"cached_tokens", "cache_write_tokens", "reasoning_tokens"})


OFFICIAL_OPENAI = Instrumentation(
    "opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"
)
OFFICIAL_ANTHROPIC = Instrumentation(
    "opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"
)
OFFICIAL_GEMINI = Instrumentation(
    "opentelemetry.instrumentation.google_genai", "GoogleGenAiSdkInstrumentor"
)
OPENLLMETRY_OPENAI = Instrumentation(
    "opentelemetry.instrumentation.openai",
    "OpenAIInstrumentor",
    frozenset({"cached_tokens", "reasoning_tokens"}),
)
OPENLLMETRY_ANTHROPIC = Instrumentation(
    "opentelemetry.instrumentation.anthropic",
    "AnthropicInstrumentor",
    frozenset({"cached_tokens", "cache_write_tokens"}),
)
OPENLLMETRY_GEMINI = Instrumentation(
    "opentelemetry.instrumentation.google_generativeai",
    "GoogleGenerativeAiInstrumentor",
    frozenset({"cached_tokens"}),
)
OPENLLMETRY_OLLAMA = Instrumentation(
    "opentelemetry.instrumentation.ollama", "OllamaInstrumentor", frozenset()
)
OPENINFERENCE_OPENAI = Instrumentation("openinference.instrumentation.openai", "OpenAIInstrumentor")
OPENINFERENCE_ANTHROPIC = Instrumentation(
    "openinference.instrumentation.anthropic", "AnthropicInstrumentor"
)
OPENINFERENCE_GEMINI = Instrumentation(
    "openinference.instrumentation.google_genai", "GoogleGenAIInstrumentor"
)

OBSERVED = [
    (OFFICIAL_OPENAI, openai_chat, "openai", "chat"),
    (OFFICIAL_OPENAI, openai_response, "openai", "chat"),
    (OFFICIAL_OPENAI, openai_stream, "openai", "chat"),
    (OFFICIAL_OPENAI, openai_embedding, "openai", "embeddings"),
    (OFFICIAL_ANTHROPIC, anthropic_message, "anthropic", "chat"),
    (OFFICIAL_GEMINI, gemini_content, "gcp.gemini", "generate_content"),
    (OPENLLMETRY_OPENAI, openai_chat, "openai", "chat"),
    (OPENLLMETRY_OPENAI, openai_response, "openai", "chat"),
    (OPENLLMETRY_OPENAI, openai_embedding, "openai", "embeddings"),
    (OPENLLMETRY_ANTHROPIC, anthropic_message, "anthropic", "chat"),
    (OPENLLMETRY_GEMINI, gemini_content, "gcp.gen_ai", "generate_content"),
    (OPENLLMETRY_OLLAMA, ollama_chat, "ollama", "chat"),
    (OPENINFERENCE_OPENAI, openai_chat, "openai", "chat"),
    (OPENINFERENCE_OPENAI, openai_response, "openai", "chat"),
    (OPENINFERENCE_OPENAI, openai_stream, "openai", "chat"),
    (OPENINFERENCE_OPENAI, openai_embedding, "openai", "embeddings"),
    (OPENINFERENCE_ANTHROPIC, anthropic_message, "anthropic", "chat"),
    (OPENINFERENCE_GEMINI, gemini_content, "gcp.gen_ai", "chat"),
]


class Telemetry:
    """What an instrumentation makes: its spans and the names of its metrics."""

    def __init__(self) -> None:
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    @contextlib.contextmanager
    def of(self, instrumentation: Instrumentation) -> Generator[None]:
        """Keep what the instrumentation makes meanwhile."""
        module: Any = importlib.import_module(instrumentation.module)
        instrumentor: Any = getattr(module, instrumentation.name)()
        instrumentor.instrument(
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            skip_dep_check=True,
        )
        try:
            yield
        finally:
            instrumentor.uninstrument()

    def only_span(self) -> ReadableSpan:
        """The one span."""
        (span,) = self._exporter.get_finished_spans()
        return span

    def metrics(self) -> set[str]:
        """The names of the metrics."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data is not None else ()
        scopes = [scope for resource in resources for scope in resource.scope_metrics]
        return {metric.name for scope in scopes for metric in scope.metrics}


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    """The attributes of a span as a dict."""
    return dict(span.attributes or {})


def scope_of(span: ReadableSpan) -> str:
    """The name of the instrumentation scope."""
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


@pytest.mark.parametrize(("instrumentation", "ask", "provider", "operation"), OBSERVED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_an_instrumentation_tells_is_what_was_served(
    instrumentation: Instrumentation,
    ask: Callable[[Providers], None],
    provider: str,
    operation: str,
    providers: Providers,
) -> None:
    """Every dialect gives the counts that the provider served, input and output in full."""
    telemetry = Telemetry()
    providers.script(TOKENS)
    with telemetry.of(instrumentation):
        ask(providers)
    (served,) = providers.served
    span = telemetry.only_span()
    call = call_of_span(attributes_of(span))
    assert call is not None
    assert call.provider == provider
    assert call.operation == operation
    assert call.model == served.model
    assert call.response_id in {served.response_id, None}
    assert call.input_tokens == served.input_tokens
    assert (call.output_tokens or 0) == (served.output_tokens if operation != "embeddings" else 0)
    for name in instrumentation.tells:
        # OpenLLMetry tells a zero where the provider told nothing.
        assert (getattr(call, name) or 0) == (getattr(served, name) or 0), name
    assert records_token_metric(scope_of(span), span.name) == (TOKEN_METRIC in telemetry.metrics())


def test_the_anthropic_client_has_spans_of_its_own(providers: Providers) -> None:
    """The spans that anthropic's client makes by itself tell the call; it has no metric."""
    telemetry = Telemetry()
    providers.script(TOKENS)
    with anthropic.Anthropic(
        api_key="test",
        base_url=providers.url,
        open_telemetry={"tracer_provider": telemetry.tracer_provider},
    ) as client:
        client.messages.create(model="claude-test", max_tokens=5, messages=HELLO)
    span = telemetry.only_span()
    assert call_of_span(attributes_of(span)) == ModelCall(
        provider="anthropic",
        model="claude-test",
        operation="chat",
        input_tokens=100,
        output_tokens=50,
        cached_tokens=30,
        cache_write_tokens=7,
        reasoning_tokens=20,
        response_id=providers.served[0].response_id,
    )
    assert records_token_metric(scope_of(span), span.name) is False


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param(
            {
                "gen_ai.system": "OpenAI",
                "llm.request.type": "completion",
                "gen_ai.request.model": "davinci",
                "gen_ai.usage.prompt_tokens": 3,
                "gen_ai.usage.completion_tokens": 4,
                "llm.usage.total_tokens": 7,
            },
            ModelCall(
                provider="openai",
                model="davinci",
                operation="text_completion",
                input_tokens=3,
                output_tokens=4,
            ),
            id="older OpenLLMetry",
        ),
        pytest.param(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 9,
                "gen_ai.usage.cache_read_input_tokens": 4,
                "gen_ai.usage.cache_creation_input_tokens": 2,
                "gen_ai.usage.reasoning_tokens": 1,
            },
            ModelCall(
                operation="chat",
                input_tokens=9,
                cached_tokens=4,
                cache_write_tokens=2,
                reasoning_tokens=1,
            ),
            id="older names of the cache",
        ),
        pytest.param(
            {
                "openinference.span.kind": "LLM",
                "llm.provider": "azure",
                "llm.system": "openai",
                "llm.token_count.prompt": 5,
                "llm.token_count.prompt_details.cache_input": 2,
                "llm.cost.total": 0.0123,
            },
            ModelCall(
                provider="azure.ai.openai",
                operation="chat",
                input_tokens=5,
                cached_tokens=2,
                cost=Decimal("0.0123"),
            ),
            id="OpenInference with a cost",
        ),
        pytest.param(
            {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
            ModelCall(model="gpt-4o", operation="chat"),
            id="a call that tells no usage",
        ),
        pytest.param(
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 8},
            ModelCall(operation="invoke_agent", input_tokens=8),
            id="an agent that sums up",
        ),
        pytest.param(
            {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 8},
            ModelCall(input_tokens=8),
            id="a chain that sums up",
        ),
        pytest.param(
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 12.0},
            ModelCall(operation="chat", input_tokens=12),
            id="a whole float",
        ),
        pytest.param(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.cache_read.input_tokens": 200,
            },
            ModelCall(operation="chat", input_tokens=210, cached_tokens=200),
            id="an input without its cached part",
        ),
        pytest.param(
            {
                "gen_ai.operation.name": "interactions.create",
                "gen_ai.usage.output_tokens": 5,
                "gen_ai.usage.reasoning.output_tokens": 40,
            },
            ModelCall(operation="interactions.create", output_tokens=45, reasoning_tokens=40),
            id="interactions of google-genai",
        ),
    ],
)
def test_other_spellings(attributes: dict[str, object], expected: ModelCall) -> None:
    """Older releases and other libraries of a dialect are read too."""
    assert call_of_span(attributes) == expected


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "POST"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o"},
        {"gen_ai.operation.name": "invoke_workflow"},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "AGENT", "llm.model_name": "gpt-4o"},
        {"openinference.span.kind": "CHAIN"},
        {"llm.request.type": "rerank"},
        {"gen_ai.provider.name": "anthropic", "anthropic.message.count_tokens.input_tokens": 9},
        {"gen_ai.usage.input_tokens": True},
        {"gen_ai.usage.input_tokens": -1},
        {"gen_ai.usage.input_tokens": 1.5},
        {"gen_ai.usage.input_tokens": "12"},
        {"gen_ai.usage.input_tokens": float("nan"), "gen_ai.usage.output_tokens": float("inf")},
    ],
    ids=str,
)
def test_no_model_call(attributes: dict[str, object]) -> None:
    """A span that neither calls a model nor tells of tokens is no model call."""
    assert call_of_span(attributes) is None


@pytest.mark.parametrize("name", ["llm.cost.total", "operation.cost"])
def test_a_cost_that_the_span_tells(name: str) -> None:
    """OpenInference's name for the price of a call and Logfire's are both read."""
    call = call_of_span({"gen_ai.usage.input_tokens": 1, name: 0.000209025})
    assert call == ModelCall(input_tokens=1, cost=Decimal("0.000209025"))


@pytest.mark.parametrize("cost", [True, -1.0, float("nan"), float("inf"), "0.1"])
def test_a_cost_that_is_none(cost: object) -> None:
    """What is no amount of money is as if absent."""
    call = call_of_span({"llm.token_count.prompt": 1, "llm.cost.total": cost})
    assert call == ModelCall(input_tokens=1)


@pytest.mark.parametrize(
    ("host", "system", "expected"),
    [
        ("google", "vertexai", "gcp.vertex_ai"),
        ("google", None, "gcp.gen_ai"),
        (None, "vertexai", "gcp.vertex_ai"),
        ("aws", "anthropic", "aws.bedrock"),
        ("azure", "anthropic", "azure.ai.inference"),
        ("azure", None, "azure.ai.openai"),
        ("xai", "openai", "x_ai"),
        (None, "mistralai", "mistral_ai"),
        ("SomethingNew", None, "somethingnew"),
        (None, None, None),
    ],
)
def test_providers_of_openinference(
    host: str | None, system: str | None, expected: str | None
) -> None:
    """OpenInference's provider and system become the conventions' one name."""
    told = {"openinference.span.kind": "LLM", "llm.provider": host, "llm.system": system}
    call = call_of_span({name: value for name, value in told.items() if value is not None})
    assert call is not None
    assert call.provider == expected


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("opentelemetry.instrumentation.openai_v2", True),
        ("opentelemetry.util.genai.handler", True),
        ("opentelemetry.instrumentation.botocore.bedrock-runtime", True),
        ("opentelemetry.instrumentation.genai.some_other", True),
        ("com.anthropic.sdk.python.bedrock", False),
        ("openinference.instrumentation.langchain", False),
        ("opentelemetry.instrumentation.pocketflow", False),
        ("my.own.tracer", False),
        ("", False),
    ],
)
def test_who_records_the_metric(scope: str, expected: bool) -> None:
    """Only instrumentations that are known to record the metric are said to."""
    assert records_token_metric(scope) is expected


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("opentelemetry.instrumentation.anthropic", True),
        ("opentelemetry.instrumentation.openai.v1", True),
        ("opentelemetry.instrumentation.genai.anthropic", False),
        ("openinference.instrumentation.anthropic", False),
        ("com.anthropic.sdk.python", False),
    ],
)
def test_who_miscounts(scope: str, expected: bool) -> None:
    """Of OpenLLMetry's counts it is known that others are better."""
    assert is_rough(scope) is expected


NAMES = st.sampled_from(
    [
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.total_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "openinference.span.kind",
        "llm.token_count.prompt",
        "llm.cost.total",
        "llm.provider",
        "llm.system",
        "llm.request.type",
    ]
)
VALUES = st.one_of(
    st.text(),
    st.sampled_from(["chat", "LLM", "gcp.gen_ai", "interactions.create", "google"]),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.text()).map(tuple),
)


@given(st.dictionaries(NAMES, VALUES))
def test_any_attributes(attributes: dict[str, object]) -> None:
    """Whatever the attributes are, counts are absent or whole numbers, and parts stay parts."""
    call = call_of_span(attributes)
    if call is None:
        return
    for count in (call.input_tokens, call.output_tokens, call.cached_tokens):
        assert count is None or (type(count) is int and count >= 0)
    if call.input_tokens is not None:
        assert (call.cached_tokens or 0) <= call.input_tokens
    assert call.cost is None or call.cost >= 0

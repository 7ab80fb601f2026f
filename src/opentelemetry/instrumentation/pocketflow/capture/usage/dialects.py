"""Reads a model call from the attributes of a span, in whichever dialect its instrumentation has.

Pure: no OpenTelemetry. What is said of an instrumentation was read in its source: the official ones
of October 2026 (`genai-openai`, `genai-anthropic`, `google-genai` 1.3b0, `openai-v2` 2.4b0), the
spans of the anthropic client itself (2.12), OpenInference (openai 0.1.66, anthropic 3.1.0,
google-genai 1.4.14) and OpenLLMetry (0.62.4, semantic conventions 0.5.1).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.capture.usage.providers import provider_name

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_TEXT: Final = 200
"""Characters of a model's, provider's or response's name that are kept."""


class _Names(NamedTuple):
    """The attributes that tell each thing; the first that does is taken."""

    input: tuple[str, ...]
    output: tuple[str, ...]
    cached: tuple[str, ...]
    cache_write: tuple[str, ...]
    reasoning: tuple[str, ...]
    total: tuple[str, ...]
    cost: tuple[str, ...]
    provider: tuple[str, ...]
    host: tuple[str, ...]
    system: tuple[str, ...]
    model: tuple[str, ...]
    operation: tuple[str, ...]
    kind: tuple[str, ...]
    request_type: tuple[str, ...]
    response_id: tuple[str, ...]


# "official" is the GenAI conventions, and "until" their version.
_NAMES: Final = _Names(
    input=(
        "gen_ai.usage.input_tokens",  # official, OpenLLMetry, anthropic
        "gen_ai.usage.prompt_tokens",  # official until 1.27, older OpenLLMetry
        "llm.token_count.prompt",  # OpenInference
        "llm.usage.prompt_tokens",  # oldest OpenLLMetry
    ),
    output=(
        "gen_ai.usage.output_tokens",  # official, OpenLLMetry, anthropic
        "gen_ai.usage.completion_tokens",  # official until 1.27, older OpenLLMetry
        "llm.token_count.completion",  # OpenInference
        "llm.usage.completion_tokens",  # oldest OpenLLMetry
    ),
    cached=(
        "gen_ai.usage.cache_read.input_tokens",  # official, OpenLLMetry, anthropic
        "gen_ai.usage.cache_read_input_tokens",  # older OpenLLMetry
        "llm.token_count.prompt_details.cache_read",  # OpenInference
        "llm.token_count.prompt_details.cache_input",  # OpenInference's conventions
        "llm.usage.cache_read_input_tokens",  # oldest OpenLLMetry
    ),
    cache_write=(
        "gen_ai.usage.cache_write.input_tokens",  # official, anthropic
        "gen_ai.usage.cache_creation.input_tokens",  # official before, OpenLLMetry
        "gen_ai.usage.cache_creation_input_tokens",  # older OpenLLMetry
        "llm.token_count.prompt_details.cache_write",  # OpenInference
        "llm.usage.cache_creation_input_tokens",  # oldest OpenLLMetry
    ),
    reasoning=(
        "gen_ai.usage.reasoning.output_tokens",  # official, anthropic
        "gen_ai.usage.reasoning_tokens",  # OpenLLMetry
        "llm.token_count.completion_details.reasoning",  # OpenInference
        "llm.usage.reasoning_tokens",  # older OpenLLMetry
    ),
    total=("gen_ai.usage.total_tokens",),  # OpenLLMetry
    cost=(
        "llm.cost.total",  # OpenInference's conventions, in US dollars
        "operation.cost",  # Logfire, in US dollars
    ),
    provider=(
        "gen_ai.provider.name",  # official, OpenLLMetry, anthropic
        "gen_ai.system",  # official until 1.37, OpenLLMetry for Ollama
    ),
    host=("llm.provider",),  # OpenInference: who serves the model
    system=("llm.system",),  # OpenInference: whose interface it has
    model=(
        "gen_ai.response.model",  # official, OpenLLMetry, anthropic
        "llm.response.model_name",  # OpenInference for Anthropic
        "gen_ai.request.model",  # official, OpenLLMetry, anthropic
        "llm.model_name",  # OpenInference
        "embedding.model_name",  # OpenInference
        "llm.request.model_name",  # OpenInference for Anthropic
    ),
    operation=("gen_ai.operation.name",),  # official, OpenLLMetry, anthropic
    kind=("openinference.span.kind",),  # OpenInference
    request_type=("llm.request.type",),  # OpenLLMetry for Ollama, older OpenLLMetry
    response_id=("gen_ai.response.id",),  # official, OpenLLMetry, anthropic
)

_INTERACTIONS: Final = "interactions.create"
"""The operation of the official instrumentation of google-genai for `interactions`."""

_OPERATIONS: Final[dict[str, str]] = {
    "chat": "chat",
    "text_completion": "text_completion",
    "generate_content": "generate_content",
    "embeddings": "embeddings",
    _INTERACTIONS: _INTERACTIONS,
    # not of the conventions
    "completion": "text_completion",
    "embedding": "embeddings",
}
"""What calls a model, by `gen_ai.operation.name`."""

_KINDS: Final[dict[str, str]] = {"LLM": "chat", "EMBEDDING": "embeddings"}
"""What calls a model, by `openinference.span.kind`."""

_REQUEST_TYPES: Final[dict[str, str]] = {
    "chat": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
}
"""What calls a model, by `llm.request.type`."""

_OPENLLMETRY: Final = frozenset(
    {
        "opentelemetry.instrumentation.anthropic",
        "opentelemetry.instrumentation.google_generativeai",
        "opentelemetry.instrumentation.ollama",
        "opentelemetry.instrumentation.openai.v0",
        "opentelemetry.instrumentation.openai.v1",
    }
)
_METRIC_SCOPES: Final = _OPENLLMETRY | frozenset(
    {
        # official
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        "opentelemetry.instrumentation.genai.anthropic",
        "opentelemetry.instrumentation.genai.openai",
        "opentelemetry.instrumentation.google_genai",
        "opentelemetry.instrumentation.openai_v2",
        "opentelemetry.util.genai.handler",  # of those that do not name themselves
    }
)
_METRIC_FAMILY: Final = "opentelemetry.instrumentation.genai."
"""The official instrumentations that share one handler, which records the metric for all."""

_NO_METRIC_SPANS: Final = frozenset(
    {
        "openai.assistant.run",
        "openai.assistant.run_stream",
        "openai.realtime",
        "openai.response",
    }
)
"""The spans for which OpenLLMetry's instrumentation of openai, alone of its spans, has no meter."""


def call_of_span(attributes: Mapping[str, object]) -> ModelCall | None:
    """The model call that a finished span stands for, None where it is none.

    A span stands for a call if its attributes say so or tell of tokens. A span of an agent, chain
    or workflow that tells of tokens sums up those below it: that is for the caller to see.

    Args:
        attributes: all of the span.
    """
    input_tokens = _count(attributes, _NAMES.input)
    output_tokens = _count(attributes, _NAMES.output)
    cached = _count(attributes, _NAMES.cached)
    cache_write = _count(attributes, _NAMES.cache_write)
    reasoning = _count(attributes, _NAMES.reasoning)
    counts = (input_tokens, output_tokens, cached, cache_write, reasoning)
    operation = _model_operation(attributes)
    if operation is None and all(count is None for count in counts):
        return None
    return ModelCall(
        provider=_provider(attributes),
        model=_text(attributes, _NAMES.model),
        operation=operation or _text(attributes, _NAMES.operation),
        input_tokens=_whole_input(input_tokens, cached, cache_write),
        output_tokens=_whole_output(attributes, input_tokens, output_tokens, reasoning),
        cached_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        cost=_cost(attributes),
        response_id=_text(attributes, _NAMES.response_id),
    )


def records_token_metric(scope_name: str, span_name: str | None = None) -> bool:
    """Does the instrumentation record `gen_ai.client.token.usage` itself?

    The official ones and OpenLLMetry do. OpenInference and the anthropic client have no meter.

    Args:
        scope_name: the instrumentation scope of the span.
        span_name: tells the few spans for which an instrumentation that has a meter leaves it out.
    """
    if scope_name in _METRIC_SCOPES:
        return span_name not in _NO_METRIC_SPANS
    return scope_name.startswith(_METRIC_FAMILY)


def is_rough(scope_name: str) -> bool:
    """Does the instrumentation miscount, so that whatever another source tells is better?

    OpenLLMetry does: it adds the first event of a stream of Anthropic to its output, and tells of
    no cached tokens as zero.
    """
    return scope_name in _OPENLLMETRY


def without_made_up_zeros(call: ModelCall) -> ModelCall:
    """What a rough source tells, without the counts that it makes up where it knows none."""
    cached, written = call.cached_tokens or None, call.cache_write_tokens or None
    return replace(call, cached_tokens=cached, cache_write_tokens=written)


def _model_operation(attributes: Mapping[str, object]) -> str | None:
    """The operation, where it is a call of a model."""
    operation = _text(attributes, _NAMES.operation)
    if operation is not None:
        return _OPERATIONS.get(operation.lower())
    kind = _text(attributes, _NAMES.kind)
    if kind is not None:
        return _KINDS.get(kind.upper())
    return _REQUEST_TYPES.get(_text(attributes, _NAMES.request_type) or "")


def _provider(attributes: Mapping[str, object]) -> str | None:
    name = _text(attributes, _NAMES.provider)
    if name is not None:
        return provider_name(name)
    host, system = _text(attributes, _NAMES.host), _text(attributes, _NAMES.system)
    if host == "google" and system == "vertexai":
        return provider_name(system)
    if host == "azure" and system not in {None, "openai"}:
        return "azure.ai.inference"
    name = host or system
    return None if name is None else provider_name(name)


def _whole_input(
    input_tokens: int | None, cached: int | None, cache_write: int | None
) -> int | None:
    """All input.

    For Anthropic, every instrumentation named above adds the cached tokens to the input that the
    provider tells without them. One that does not, as older ones may, is seen where the parts are
    more than the whole.
    """
    parts = (cached or 0) + (cache_write or 0)
    if input_tokens is None or parts <= input_tokens:
        return input_tokens
    return input_tokens + parts


def _whole_output(
    attributes: Mapping[str, object],
    input_tokens: int | None,
    output_tokens: int | None,
    reasoning: int | None,
) -> int | None:
    """All output.

    Two leave Gemini's thoughts out of it, where all others add them: OpenLLMetry, which has them in
    its total (with what tools put into the prompt, which is rare and not told apart), and the
    official one for `interactions`.
    """
    if output_tokens is None:
        return None
    if _text(attributes, _NAMES.operation) == _INTERACTIONS:
        return output_tokens + (reasoning or 0)
    total = _count(attributes, _NAMES.total)
    if total is None or input_tokens is None or not _is_of_openllmetry_for_gemini(attributes):
        return output_tokens
    return max(output_tokens, total - input_tokens)


def _is_of_openllmetry_for_gemini(attributes: Mapping[str, object]) -> bool:
    # Its older releases call the provider "Google".
    return _text(attributes, _NAMES.provider) in {"gcp.gen_ai", "Google"}


def _count(attributes: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    """The first of these attributes that is a number of tokens."""
    for name in names:
        value = attributes.get(name)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and value >= 0:
            return value
    return None


def _cost(attributes: Mapping[str, object]) -> Decimal | None:
    for name in _NAMES.cost:
        value = attributes.get(name)
        if type(value) is int or type(value) is float:
            cost = Decimal(str(value))
            if cost.is_finite() and cost >= 0:
                return cost
    return None


def _text(attributes: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    """The first of these attributes that is a text, cut."""
    for name in names:
        value = attributes.get(name)
        if type(value) is str and value:
            return value[:MOST_TEXT]
    return None

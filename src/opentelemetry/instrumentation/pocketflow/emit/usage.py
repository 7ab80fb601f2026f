"""What model calls used to span attributes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv

if TYPE_CHECKING:
    from opentelemetry.instrumentation.pocketflow.emit.spans import Attributes
    from opentelemetry.instrumentation.pocketflow.record import OwnCalls, Tokens, Usage

_MAX_MODELS: Final = 5
"""In lists; those with the most tokens come first."""
_MAX_NAME_CHARS: Final = 60

_COUNTS: Final = (
    ("input", semconv.USAGE_INPUT_TOKENS),
    ("output", semconv.USAGE_OUTPUT_TOKENS),
    ("cached", semconv.USAGE_CACHED_TOKENS),
    ("cache_write", semconv.USAGE_CACHE_WRITE_TOKENS),
    ("reasoning", semconv.USAGE_REASONING_TOKENS),
    ("total", semconv.USAGE_TOTAL_TOKENS),
)
_WASTED: Final = (
    ("input", semconv.USAGE_WASTED_INPUT_TOKENS),
    ("output", semconv.USAGE_WASTED_OUTPUT_TOKENS),
    ("total", semconv.USAGE_WASTED_TOTAL_TOKENS),
)
_OWN: Final = (
    ("input", semconv.GEN_AI_INPUT_TOKENS),
    ("output", semconv.GEN_AI_OUTPUT_TOKENS),
    ("cached", semconv.GEN_AI_CACHE_READ_TOKENS),
    ("cache_write", semconv.GEN_AI_CACHE_WRITE_TOKENS),
    ("reasoning", semconv.GEN_AI_REASONING_TOKENS),
)
_OWN_OPENINFERENCE: Final = (
    ("input", semconv.LLM_TOKEN_COUNT_PROMPT),
    ("output", semconv.LLM_TOKEN_COUNT_COMPLETION),
    ("cached", semconv.LLM_TOKEN_COUNT_CACHE_READ),
    ("cache_write", semconv.LLM_TOKEN_COUNT_CACHE_WRITE),
    ("reasoning", semconv.LLM_TOKEN_COUNT_REASONING),
)


def add_usage(attributes: Attributes, usage: Usage | None, *, openinference: bool) -> None:
    """Adds what the model calls in a span and below it used.

    Args:
        attributes: of the span; what it carries as a flow stays.
        usage: None where there was no call.
        openinference: also say in the words of OpenInference what the span's own calls used.
    """
    if usage is None:
        return
    _add_roll_up(attributes, usage)
    if usage.wasted is not None:
        attributes[semconv.USAGE_WASTED_CALLS] = usage.wasted.calls
        _add_counts(attributes, usage.wasted, _WASTED)
        if usage.wasted.cost is not None:
            attributes[semconv.USAGE_WASTED_COST] = float(usage.wasted.cost)
    if usage.own is not None:
        _add_own(attributes, usage.own)
        if openinference:
            _add_own_openinference(attributes, usage.own)


def _add_roll_up(attributes: Attributes, usage: Usage) -> None:
    total = usage.total
    attributes[semconv.USAGE_CALLS] = total.calls
    if total.unmetered:
        attributes[semconv.USAGE_UNMETERED_CALLS] = total.unmetered
    _add_counts(attributes, total, _COUNTS)
    if total.cost is not None:
        attributes[semconv.USAGE_COST] = float(total.cost)
        attributes[semconv.USAGE_CURRENCY] = usage.currency
    if usage.unpriced:
        attributes[semconv.USAGE_UNPRICED_MODELS] = _names(usage.unpriced)
    if usage.by_model:
        attributes[semconv.USAGE_BY_MODEL] = _by_model(usage.by_model)


def _add_own(attributes: Attributes, own: OwnCalls) -> None:
    """Marks a span as the model call itself, for those who add up the spans of calls."""
    if own.provider is not None:
        attributes[semconv.GEN_AI_PROVIDER_NAME] = own.provider
    if own.model is not None:
        attributes[semconv.GEN_AI_REQUEST_MODEL] = own.model
    _add_counts(attributes, own.tokens, _OWN)


def _add_own_openinference(attributes: Attributes, own: OwnCalls) -> None:
    attributes[semconv.OPENINFERENCE_SPAN_KIND] = "LLM"
    if own.model is not None:
        attributes[semconv.LLM_MODEL_NAME] = own.model
    _add_counts(attributes, own.tokens, _OWN_OPENINFERENCE)


def _add_counts(attributes: Attributes, tokens: Tokens, names: tuple[tuple[str, str], ...]) -> None:
    for field, name in names:
        count = getattr(tokens, field)
        if count is not None:
            attributes[name] = count


def _names(models: tuple[str, ...]) -> tuple[str, ...]:
    shown = tuple(map(_short, models[:_MAX_MODELS]))
    left = len(models) - len(shown)
    return (*shown, f"… ({left} more)") if left else shown


def _short(model: str) -> str:
    """A name, cut in the middle: long ones, such as those of Bedrock, differ at their end."""
    if len(model) <= _MAX_NAME_CHARS:
        return model
    head, tail = _MAX_NAME_CHARS // 3, _MAX_NAME_CHARS - _MAX_NAME_CHARS // 3 - 1
    return f"{model[:head]}…{model[-tail:]}"


def _by_model(by_model: tuple[tuple[str, Tokens], ...]) -> str:
    shown: dict[str, object] = {}
    for model, tokens in by_model[:_MAX_MODELS]:
        sums: Attributes = {semconv.USAGE_CALLS: tokens.calls}
        _add_counts(sums, tokens, _COUNTS)
        if tokens.cost is not None:
            sums[semconv.USAGE_COST] = float(tokens.cost)
        shown[_short(model)] = {name.rpartition(".")[2]: value for name, value in sums.items()}
    if len(by_model) > _MAX_MODELS:
        shown["$cut"] = {"length": len(by_model)}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))

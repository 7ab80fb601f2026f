"""One call of a model, as whoever saw it tells it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, cast

from opentelemetry.instrumentation.pocketflow.capture import reading

MAX_TOKENS: Final = 10**12
"""More than any call has, and few enough for the sums of every backend."""
MAX_PRICE: Final = 10**12
"""More than any call costs, and few enough as well."""

_NAME: Final = re.compile(r"[A-Za-z0-9._:/@+-]{1,200}")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What one call of a model used. None is what nobody told: it is not zero.

    The meanings are those of the GenAI conventions: cached and cache-write tokens are part of the
    input, reasoning tokens part of the output.
    """

    provider: str | None = None
    """`gen_ai.provider.name`, such as `openai`, `anthropic`, `gcp.gemini`, `aws.bedrock`."""
    model: str | None = None
    """The model that answered, else the one that was asked for."""
    operation: str | None = None
    """`gen_ai.operation.name`, such as `chat` or `embeddings`."""
    input_tokens: int | None = None
    """All input, cached or not."""
    output_tokens: int | None = None
    """All output, reasoning included."""
    cached_tokens: int | None = None
    """Input read from a cache."""
    cache_write_tokens: int | None = None
    """Input written to a cache."""
    reasoning_tokens: int | None = None
    """Output that was reasoning."""
    cost: Decimal | None = None
    """In the currency of `Config.currency`."""
    response_id: str | None = None
    """The provider's id of the response."""


def is_name(text: str) -> bool:
    """Can it name a model or provider? What has blanks or is longer may be any text."""
    return _NAME.fullmatch(text) is not None


def checked(call: ModelCall) -> ModelCall:
    """A call without what cannot be true.

    A span's attributes, a response or a user's recogniser may tell anything: one count that is too
    large for an exporter loses all that is exported with it.
    """
    return ModelCall(
        provider=_name(call.provider),
        model=_name(call.model),
        operation=_name(call.operation),
        input_tokens=_tokens(call.input_tokens),
        output_tokens=_tokens(call.output_tokens),
        cached_tokens=_tokens(call.cached_tokens),
        cache_write_tokens=_tokens(call.cache_write_tokens),
        reasoning_tokens=_tokens(call.reasoning_tokens),
        cost=_cost(call.cost),
        response_id=_text(call.response_id),
    )


def _text(value: object) -> str | None:
    # Names of models are often members of an enumeration, whose own `str` says something else.
    return str.__str__(cast("str", value)) if reading.is_instance(value, str) else None


def _name(value: object) -> str | None:
    text = _text(value)
    return text if text is not None and is_name(text) else None


def _tokens(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _cost(value: object) -> Decimal | None:
    if type(value) is float:
        value = Decimal(str(value))
    elif type(value) is int:
        value = Decimal(value)
    if type(value) is not Decimal or not value.is_finite():
        return None
    return value if 0 <= value <= MAX_PRICE else None

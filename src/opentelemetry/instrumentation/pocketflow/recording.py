"""`record_usage`: how a program tells of a model call that nothing else can see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.frames import current_account
from opentelemetry.instrumentation.pocketflow.capture.preview import shown
from opentelemetry.instrumentation.pocketflow.capture.usage.book import RECORDED
from opentelemetry.instrumentation.pocketflow.capture.usage.call import (
    MAX_TOKENS,
    ModelCall,
    is_name,
)
from opentelemetry.instrumentation.pocketflow.capture.usage.prices import as_price

if TYPE_CHECKING:
    from decimal import Decimal

_NAME_RULE: Final = "must be a name: 1 to 200 letters, digits or . _ : / @ + -"


@guard.public(lambda: None)
def record_usage(
    *,
    provider: str | None = None,
    model: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    cost: Decimal | float | None = None,
) -> None:
    """Tells of one model call, to be credited to the attempt, item, node and flow that runs.

    Call it once for each model call, where the node makes it or reads the answer: in `exec`, or in
    any function, task or thread (with a copied context) that it uses. Where an instrumentation of
    the client or the provider's own answer tells of the same call, it counts once. Outside of a
    run it does nothing.

    A wrong value is logged once and left out; with the option `strict` it raises.

    Args:
        provider: as in `gen_ai.provider.name`: `openai`, `anthropic`, `gcp.gemini`, ...
        model: the model that answered.
        input_tokens: all input, cached tokens included.
        output_tokens: all output, reasoning included.
        cached_tokens: input that was read from a cache.
        cache_write_tokens: input that was written to a cache.
        reasoning_tokens: output that was reasoning.
        cost: the price, where it is known, in the currency of the option `currency`.

    Raises:
        TypeError: with `strict`, a value is of the wrong type.
        ValueError: with `strict`, a value is out of range.
    """
    account = current_account()
    if account is None:
        return
    call = ModelCall(
        provider=_name("provider", provider),
        model=_name("model", model),
        input_tokens=_tokens("input_tokens", input_tokens),
        output_tokens=_tokens("output_tokens", output_tokens),
        cached_tokens=_tokens("cached_tokens", cached_tokens),
        cache_write_tokens=_tokens("cache_write_tokens", cache_write_tokens),
        reasoning_tokens=_tokens("reasoning_tokens", reasoning_tokens),
        cost=_cost(cost),
    )
    account.charge(call, RECORDED)


def _name(option: str, value: object) -> str | None:
    if value is None:
        return None
    if not reading.is_instance(value, str):
        _refuse(option, TypeError(f"{_told(option, value)}: must be a string"))
        return None
    text = str.__str__(cast("str", value))  # names of models are often members of an enum
    if not is_name(text):
        _refuse(option, ValueError(f"{_told(option, text)}: {_NAME_RULE}"))
        return None
    return text


def _tokens(option: str, value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        _refuse(option, TypeError(f"{_told(option, value)}: must be a whole number from 0"))
        return None
    if not 0 <= value <= MAX_TOKENS:
        allowed = f"must be a whole number from 0 to {MAX_TOKENS}"
        _refuse(option, ValueError(f"{_told(option, value)}: {allowed}"))
        return None
    return value


def _cost(value: object) -> Decimal | None:
    try:
        return None if value is None else as_price("record_usage: cost", value)
    except (TypeError, ValueError) as exc:
        _refuse("cost", exc)
        return None


def _told(option: str, value: object) -> str:
    return f"record_usage: {option}={shown(value)}"


def _refuse(option: str, exc: Exception) -> None:
    guard.refuse(f"record_usage: {option}", exc)

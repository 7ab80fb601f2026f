"""What model calls used, read from a span's attributes, added up and put into words.

Pure. A number that is absent was not told, which is not zero: a `+` behind a sum says that
something is missing from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.text import money, plural, printable, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pocketflow_trace.record.model import Value

MAX_NAMES: Final = 300
"""Characters that the names of models without a price may take."""

_MAX_NUMBER: Final = 2**63 - 1
"""What OTLP can carry. A greater number is a mistake, and would be too long to print."""

_NO_MODEL: Final = "unknown"
"""What stands in `pocketflow.usage.unpriced_models` for a call whose model nobody told."""

_TOTAL: Final = (semconv.USAGE_CALLS, semconv.USAGE_TOTAL_TOKENS, semconv.USAGE_COST)
_WASTED: Final = (
    semconv.USAGE_WASTED_CALLS,
    semconv.USAGE_WASTED_TOTAL_TOKENS,
    semconv.USAGE_WASTED_COST,
)

# What client instrumentations call the tokens, the names that are in use today first.
_TOTALS_OF_OTHERS: Final = (
    "gen_ai.usage.total_tokens",
    "llm.token_count.total",
    "llm.usage.total_tokens",
)
_INPUTS_OF_OTHERS: Final = (
    semconv.GEN_AI_INPUT_TOKENS,
    "gen_ai.usage.prompt_tokens",
    semconv.LLM_TOKEN_COUNT_PROMPT,
)
_OUTPUTS_OF_OTHERS: Final = (
    semconv.GEN_AI_OUTPUT_TOKENS,
    "gen_ai.usage.completion_tokens",
    semconv.LLM_TOKEN_COUNT_COMPLETION,
)


@dataclass(frozen=True, slots=True)
class Spent:
    """What some model calls used.

    Attributes:
        calls: How many.
        tokens: Input and output of those that told; None where none did.
        costs: Currency and price of those whose price is known, each currency once.
    """

    calls: int
    tokens: int | None
    costs: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the model calls of an entry, or of several, used.

    Attributes:
        total: All of them.
        wasted: Those in attempts that failed, which are in the total as well.
        unmetered: Calls whose tokens nobody told.
        unpriced: Models of calls whose price is not known, each once.
    """

    total: Spent
    wasted: Spent
    unmetered: int
    unpriced: tuple[str, ...]


# --- Reading and adding up ------------------------------------------------------------------


def rolled_up(attributes: Mapping[str, Value]) -> Usage | None:
    """Return what an entry and all inside it used; None where no model call is told of."""
    total = _spent(attributes, _TOTAL)
    if not total.calls:
        return None
    unmetered = _count(attributes, semconv.USAGE_UNMETERED_CALLS) or 0
    return Usage(
        total=total,
        wasted=_spent(attributes, _WASTED),
        unmetered=total.calls if total.tokens is None else unmetered,
        unpriced=_texts(attributes.get(semconv.USAGE_UNPRICED_MODELS)),
    )


def add_up(usages: Iterable[Usage]) -> Usage | None:
    """Return the sum, each currency for itself; None where there is nothing to add up."""
    parts = list(usages)
    if not parts:
        return None
    return Usage(
        total=_add_spent([part.total for part in parts]),
        wasted=_add_spent([part.wasted for part in parts]),
        unmetered=sum(part.unmetered for part in parts),
        unpriced=tuple(dict.fromkeys(model for part in parts for model in part.unpriced)),
    )


def _add_spent(parts: Sequence[Spent]) -> Spent:
    costs: dict[str, Decimal] = {}
    for currency, cost in (pair for part in parts for pair in part.costs):
        costs[currency] = costs.get(currency, Decimal(0)) + cost
    return Spent(
        calls=sum(part.calls for part in parts),
        tokens=_sum_of_told([part.tokens for part in parts]),
        costs=tuple(costs.items()),
    )


def _sum_of_told(counts: Sequence[int | None]) -> int | None:
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _first(attributes: Mapping[str, Value], names: Sequence[str]) -> int | None:
    counts = (_count(attributes, name) for name in names)
    return next((count for count in counts if count is not None), None)


def _spent(attributes: Mapping[str, Value], names: tuple[str, str, str]) -> Spent:
    calls, tokens, cost = names
    currency = attributes.get(semconv.USAGE_CURRENCY)
    return Spent(
        calls=_count(attributes, calls) or 0,
        tokens=_count(attributes, tokens),
        costs=_costs(attributes.get(cost), currency if isinstance(currency, str) else ""),
    )


def _tokens_of_call(attributes: Mapping[str, Value]) -> int | None:
    total = _first(attributes, _TOTALS_OF_OTHERS)
    if total is not None:
        return total
    sides = (_first(attributes, _INPUTS_OF_OTHERS), _first(attributes, _OUTPUTS_OF_OTHERS))
    return _sum_of_told(sides)


def _count(attributes: Mapping[str, Value], name: str) -> int | None:
    value = attributes.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER:
        return value
    return None


def _texts(value: Value | None) -> tuple[str, ...]:
    texts = value if isinstance(value, tuple) else ()
    return tuple(text for text in texts if isinstance(text, str))


def _costs(value: Value | None, currency: str) -> tuple[tuple[str, Decimal], ...]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ()
    if not 0 <= value <= _MAX_NUMBER:
        return ()
    # By way of its text, so that 0.1 is a tenth.
    return ((currency, Decimal(str(value))),)


# --- Words ----------------------------------------------------------------------------------


def figures(usage: Usage, noun: str = "") -> tuple[str, ...]:
    """Return the sums as short texts: `2 calls, 1,521+ tokens`, `$0.0042`.

    Args:
        usage: The sums.
        noun: What a call is called. Without it, calls are counted only where there are several,
            or where nobody told their tokens.
    """
    total = usage.total
    tokens = _tokens(total.tokens, more=usage.unmetered > 0) or "tokens unknown"
    if noun or total.calls > 1 or total.tokens is None:
        tokens = f"{plural(total.calls, noun or 'call')}, {tokens}"
    return (tokens, *_prices(total, "+" if usage.unpriced else ""))


def waste(usage: Usage) -> str:
    """Return what failed attempts used: `812 tokens, $0.0021 wasted`; empty where nothing."""
    wasted = usage.wasted
    if not wasted.calls:
        return ""
    if wasted.calls >= usage.total.calls:
        return "all wasted"
    spent = _tokens(wasted.tokens) or plural(wasted.calls, "call")
    return f"{', '.join((spent, *_prices(wasted)))} wasted"


def unknowns(usage: Usage) -> str:
    """Return what the sums are without: `tokens of 1 call; price of my-llama`; or nothing."""
    parts: list[str] = []
    if usage.unmetered and usage.total.tokens is not None:
        parts.append(f"tokens of {plural(usage.unmetered, 'call')}")
    if usage.unpriced:
        models = _enumeration([_model(name) for name in usage.unpriced])
        parts.append(f"price of {shorten(models, MAX_NAMES)}")
    return "; ".join(parts)


def call_tokens(attributes: Mapping[str, Value]) -> str:
    """Return what a span of another instrumentation tells of its own call: `1,521 tokens`."""
    return _tokens(_tokens_of_call(attributes))


def _enumeration(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _model(name: str) -> str:
    return "an unnamed model" if name in {"", _NO_MODEL} else printable(name)


def _tokens(count: int | None, *, more: bool = False) -> str:
    if count is None:
        return ""
    return f"{count:,}+ tokens" if more else plural(count, "token")


def _prices(spent: Spent, mark: str = "") -> tuple[str, ...]:
    return tuple(f"{money(cost, currency)}{mark}" for currency, cost in spent.costs)

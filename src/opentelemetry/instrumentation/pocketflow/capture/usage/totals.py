"""Adds up model calls. Pure; absent is not zero."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow.record import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall

UNKNOWN: Final = "unknown"
"""Stands for the model where nobody told it."""

# Everything is named: what is not, `Context` takes from the defaults, which a program may change.
ARITHMETIC: Final = Context(
    28, ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, capitals=1, clamp=0, flags=[], traps=[]
)
"""For prices: the program's own context is its own, with its traps and flags."""

_MAX_MODELS: Final = 100
_OTHERS: Final = "other models"


class Totals:
    """What model calls used, by model."""

    __slots__ = ("_models", "_unpriced")

    def __init__(self) -> None:
        self._models: dict[str, Tokens] = {}
        self._unpriced: dict[str, None] = {}  # a set that keeps its order

    def add_call(self, call: ModelCall, cost: Decimal | None) -> None:
        """Adds a call and its price, None where that is not known."""
        unmetered = call.input_tokens is None and call.output_tokens is None
        tokens = Tokens(
            1,
            int(unmetered),
            call.input_tokens,
            call.output_tokens,
            call.cached_tokens,
            call.cache_write_tokens,
            call.reasoning_tokens,
            cost,
        )
        model = call.model or UNKNOWN
        self._add(model, tokens)
        if cost is None and len(self._unpriced) < _MAX_MODELS:
            self._unpriced[model] = None

    def add(self, other: Totals) -> None:
        """Adds all of another's."""
        for model, tokens in other._models.items():
            self._add(model, tokens)
        self._unpriced |= other._unpriced

    @property
    def by_model(self) -> tuple[tuple[str, Tokens], ...]:
        """The sums of each model, those with the most tokens first."""
        return tuple(sorted(self._models.items(), key=_weight))

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models of calls without a known price."""
        return tuple(self._unpriced)

    def sum(self) -> Tokens | None:
        """The sums over all models; None where there was no call."""
        return added(self._models.values())

    def _add(self, model: str, tokens: Tokens) -> None:
        if model not in self._models and len(self._models) >= _MAX_MODELS:
            model = _OTHERS
        known = self._models.get(model)
        self._models[model] = tokens if known is None else _sum(known, tokens)


def added(parts: Iterable[Tokens]) -> Tokens | None:
    """The sum of some parts; None where there is none."""
    total: Tokens | None = None
    for part in parts:
        total = part if total is None else _sum(total, part)
    return total


def _sum(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(
        one.calls + other.calls,
        one.unmetered + other.unmetered,
        _plus(one.input, other.input),
        _plus(one.output, other.output),
        _plus(one.cached, other.cached),
        _plus(one.cache_write, other.cache_write),
        _plus(one.reasoning, other.reasoning),
        _plus_price(one.cost, other.cost),
    )


def _plus_price(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return ARITHMETIC.add(one, other)


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _weight(item: tuple[str, Tokens]) -> tuple[int, str]:
    model, tokens = item
    return -(tokens.total or 0), model

"""What genai-prices says that the answers of a provider cost, told apart from our own reckoning."""

from __future__ import annotations

import typing
from decimal import Decimal

import genai_prices

if typing.TYPE_CHECKING:
    from collections.abc import Iterable

    from support.providers.wire import Served


def list_price(served: Iterable[Served]) -> Decimal:
    """Return the price of these answers of OpenAI's, in US dollars."""
    return sum((price_of(answer) for answer in served), Decimal())


def price_of(answer: Served) -> Decimal:
    """Return the price of one of them."""
    usage = genai_prices.Usage(
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cache_read_tokens=answer.cached_tokens,
        cache_write_tokens=answer.cache_write_tokens,
    )
    return genai_prices.calc_price(usage, answer.model, provider_id="openai").total_price

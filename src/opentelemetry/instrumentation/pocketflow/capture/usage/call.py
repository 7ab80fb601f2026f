"""One call of a model, as whoever saw it tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


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

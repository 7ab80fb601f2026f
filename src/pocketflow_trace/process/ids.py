"""Span ids that leave the program's random numbers alone."""

from __future__ import annotations

import random

from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import INVALID_SPAN_ID, INVALID_TRACE_ID


class SystemIdGenerator(IdGenerator):
    """Ids from the operating system's random source.

    The SDK draws its ids from the global `random`, so that a program that seeds it would see other
    numbers when traced. The system's source has no state that a forked process could share.
    """

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def generate_span_id(self) -> int:
        """Return 64 random bits, not all zero."""
        return self._source.getrandbits(64) or INVALID_SPAN_ID + 1

    def generate_trace_id(self) -> int:
        """Return 128 random bits, not all zero."""
        return self._source.getrandbits(128) or INVALID_TRACE_ID + 1

    def is_trace_id_random(self) -> bool:
        """Tell the SDK that every bit of a trace id is random."""
        return True

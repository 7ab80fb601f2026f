"""Samplers for tests."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult


class Only(Sampler):
    """Records all but the spans of one name.

    Args:
        dropped: the name.
    """

    def __init__(self, dropped: str) -> None:
        self.dropped = dropped

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *others: Any,
        **more: Any,
    ) -> Any:
        """By name alone."""
        drop = name == self.dropped
        return SamplingResult(Decision.DROP if drop else Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        """For logs."""
        return "Only"

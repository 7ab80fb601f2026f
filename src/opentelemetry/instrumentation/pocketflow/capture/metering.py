"""One run's metric points: what they have in common, and what each is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.instrumentation.pocketflow.capture.processor import has_client_metric
from opentelemetry.instrumentation.pocketflow.record import PricedCall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.usage.book import Charge
    from opentelemetry.instrumentation.pocketflow.emit.metrics import Metrics


class Ending(NamedTuple):
    """How a run ended."""

    seconds: float
    error_type: str | None
    cancelled: bool


class Meter(NamedTuple):
    """Records the metrics of one run."""

    metrics: Metrics
    context: Context
    """With the run's span, so that exemplars lead to it."""
    owner: str
    """The node's class, or the flow's name."""
    node: str | None
    """The class of the node that it is; None for a flow."""
    flow: str | None
    """The flow itself, or the one that ran the node."""

    def flow_ended(self, ending: Ending) -> None:
        """The time of a flow."""
        seconds, error_type, cancelled = ending
        self.metrics.flow_ended(
            self.owner, seconds, error_type, cancelled=cancelled, context=self.context
        )

    def node_ended(self, ending: Ending, action: str | None) -> None:
        """The time of a node."""
        seconds, error_type, cancelled = ending
        self.metrics.node_ended(
            self.owner,
            self.flow,
            action,
            seconds,
            error_type,
            cancelled=cancelled,
            context=self.context,
        )

    def retried(self, count: int) -> None:
        """Attempts beyond the first."""
        self.metrics.retried(self.owner, self.flow, count, self.context)

    def items(self, done: int, failed: int, cancelled: int) -> None:
        """The items of a batch."""
        self.metrics.batch_items(
            self.owner,
            self.flow,
            succeeded=done,
            failed=failed,
            cancelled=cancelled,
            context=self.context,
        )

    def calls(self, charges: Iterable[Charge], currency: str, *, sampled: bool) -> None:
        """The model calls that the run itself answers for.

        Args:
            charges: the calls.
            currency: what their prices are in.
            sampled: is the run? Else the spans of its calls are not made, though metrics are.
        """
        for charge in charges:
            call = charge.call
            priced = PricedCall(
                call.provider,
                call.model,
                call.operation,
                call.input_tokens,
                call.output_tokens,
                charge.cost,
                currency,
            )
            self.metrics.model_call(
                priced,
                self.node,
                self.flow,
                own_metric=not (charge.has_metric if sampled else has_client_metric(call.provider)),
                context=self.context,
            )
            if charge.wasted:
                self.metrics.wasted(priced, self.node, self.flow, self.context)

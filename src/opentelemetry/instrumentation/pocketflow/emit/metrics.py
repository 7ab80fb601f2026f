"""Runs and model calls to metric points. Knows the instruments, and nothing of PocketFlow.

Whoever calls measures and counts; no clock is read here. Every method takes the context that holds
the span a point belongs to, so that exemplars lead to it. Attributes are of low cardinality by what
is passed in: names of classes, actions, errors and models, never what they worked on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Counter, Meter, MeterProvider

    from opentelemetry.instrumentation.pocketflow.record import PricedCall

    Attributes = dict[str, str]

# The descriptions of the `gen_ai.*` metrics are our own on purpose: where another instrumentation
# has a metric of the same name, unit and description but with other attributes, the Prometheus
# exporter makes one family of both and puts the values of one under the labels of the other.

# Boundaries as opentelemetry-util-genai advises them, so that one dashboard fits both.
# Tuples: the SDK keeps what it is given, and compares it where an instrument is made again.

FLOW_SECONDS: Final = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Boundaries of `gen_ai.invoke_workflow.duration`."""

NODE_SECONDS: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Those of `gen_ai.client.operation.duration`: what most nodes spend their time on."""

TOKENS: Final = (
    1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864,
)  # fmt: skip
"""Boundaries of `gen_ai.client.token.usage`."""

_API_PACKAGE: Final = "opentelemetry.metrics"


def is_recording(provider: MeterProvider) -> bool:
    """Tells whether instruments of `provider` can record anything; cheap enough for every run.

    The API's own providers cannot: its no-op, and the proxy that stands in until a provider is
    set. Only the latter is a private class, and `isinstance` against the public no-op class would
    miss it, just as a test for the SDK's class would miss any other implementation. So what counts
    is where the class was defined: in the API's package or elsewhere.

    A proxy that was kept from before a provider was set stays a proxy; pass what
    `get_meter_provider()` returns now.
    """
    module = type(provider).__module__
    return module != _API_PACKAGE and not module.startswith(_API_PACKAGE + ".")


class Metrics:
    """The instruments of one meter, and the points of each event recorded on them.

    What is None is left out of the attributes, and a count that is None is not recorded. Seconds
    and token counts are recorded as they come; what is negative the SDK drops with a warning.
    """

    def __init__(self, meter: Meter) -> None:
        self._active_runs = meter.create_up_down_counter(
            semconv.ACTIVE_RUNS, "{run}", "Outermost flow runs in progress."
        )
        self._flow_duration = meter.create_histogram(
            semconv.FLOW_DURATION,
            "s",
            "Time of each flow run.",
            explicit_bucket_boundaries_advisory=FLOW_SECONDS,
        )
        self._node_duration = meter.create_histogram(
            semconv.NODE_DURATION,
            "s",
            "Time of each node run.",
            explicit_bucket_boundaries_advisory=NODE_SECONDS,
        )
        self._retries = meter.create_counter(
            semconv.NODE_RETRIES, "{retry}", "Attempts beyond the first, of nodes and items."
        )
        self._items = meter.create_counter(semconv.BATCH_ITEMS, "{item}", "Batch items by outcome.")
        self._calls = _Calls(meter)

    def flow_began(self, flow: str, context: Context) -> None:
        """Counts an outermost flow run in; `flow_left` with the same name must follow."""
        self._active_runs.add(1, {semconv.GEN_AI_WORKFLOW_NAME: flow}, context)

    def flow_left(self, flow: str, context: Context) -> None:
        """Counts an outermost flow run out, however it ended."""
        self._active_runs.add(-1, {semconv.GEN_AI_WORKFLOW_NAME: flow}, context)

    def flow_ended(
        self,
        flow: str,
        seconds: float,
        error_type: str | None,
        *,
        cancelled: bool,
        context: Context,
    ) -> None:
        """Records the time of a flow run, outermost or nested."""
        attributes = {semconv.GEN_AI_WORKFLOW_NAME: flow}
        _add_ending(attributes, error_type, cancelled=cancelled)
        self._flow_duration.record(seconds, attributes, context)

    def node_ended(
        self,
        node: str,
        flow: str | None,
        action: str | None,
        seconds: float,
        error_type: str | None,
        *,
        cancelled: bool,
        context: Context,
    ) -> None:
        """Records the time of a node run.

        Args:
            node: Name of its class.
            flow: Name of the flow that ran it; None for a node run alone.
            action: What `post` returned, where a successor has it, else `semconv.OTHER`: an action
                nobody wired may be any text. None where `post` was not reached.
            seconds: Its time, all attempts and waits included.
            error_type: Class of the exception that left it.
            cancelled: A BaseException such as CancelledError ended it.
            context: Holds its span.
        """
        attributes = _place(node, flow)
        if action is not None:
            attributes[semconv.NODE_ACTION] = action
        _add_ending(attributes, error_type, cancelled=cancelled)
        self._node_duration.record(seconds, attributes, context)

    def retried(self, node: str, flow: str | None, count: int, context: Context) -> None:
        """Counts attempts beyond the first; nothing where there were none."""
        if count:
            self._retries.add(count, _place(node, flow), context)

    def batch_items(
        self,
        owner: str,
        flow: str | None,
        *,
        succeeded: int,
        failed: int,
        cancelled: int,
        context: Context,
    ) -> None:
        """Counts the items of a batch by outcome, none of an outcome that none had.

        Args:
            owner: Name of the class whose batch it is, node or flow.
            flow: Name of the flow that ran it; None where none did.
            succeeded: Items that came back, by fallback too.
            failed: Items that an exception left.
            cancelled: Items that a BaseException such as CancelledError ended.
            context: Holds the owner's span.
        """
        if succeeded:
            self._add_items(succeeded, owner, flow, semconv.OUTCOME_SUCCESS, context)
        if failed:
            self._add_items(failed, owner, flow, semconv.OUTCOME_ERROR, context)
        if cancelled:
            self._add_items(cancelled, owner, flow, semconv.OUTCOME_CANCELLED, context)

    def _add_items(
        self, count: int, owner: str, flow: str | None, outcome: str, context: Context
    ) -> None:
        attributes = _place(owner, flow)
        attributes[semconv.OUTCOME] = outcome
        self._items.add(count, attributes, context)

    def model_call(
        self,
        call: PricedCall,
        node: str | None,
        flow: str | None,
        *,
        own_metric: bool,
        context: Context,
    ) -> None:
        """Counts the tokens and the cost of one model call, those of a failed attempt too.

        Args:
            call: What it used.
            node: Class of the node that made it.
            flow: Name of the flow that ran this node.
            own_metric: No instrumentation of the client records `gen_ai.client.token.usage` for
                this call, so it is recorded here.
            context: Holds the span that the call is credited to.
        """
        self._calls.count(call, node, flow, context)
        if own_metric:
            self._calls.measure(call, context)

    def wasted(
        self, call: PricedCall, node: str | None, flow: str | None, context: Context
    ) -> None:
        """Counts a model call as spent in an attempt that failed, beside `model_call` for it."""
        self._calls.count_wasted(call, node, flow, context)


class _Calls:
    """The instruments for model calls."""

    def __init__(self, meter: Meter) -> None:
        self._usage = meter.create_histogram(
            semconv.TOKEN_USAGE,
            "{token}",
            "Tokens of each model call.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._tokens = meter.create_counter(
            semconv.USAGE_TOKENS, "{token}", "Tokens of all model calls, by node."
        )
        self._wasted_tokens = meter.create_counter(
            semconv.WASTED_TOKENS, "{token}", "Tokens spent in attempts that failed."
        )
        self._cost = meter.create_counter(semconv.COST, "{currency}", "Price of model calls.")
        self._wasted_cost = meter.create_counter(
            semconv.WASTED_COST, "{currency}", "Price of what was spent in attempts that failed."
        )

    def count(self, call: PricedCall, node: str | None, flow: str | None, context: Context) -> None:
        """Adds a call to the sums."""
        _add_call(self._tokens, self._cost, call, _origin(call, node, flow), context)

    def count_wasted(
        self, call: PricedCall, node: str | None, flow: str | None, context: Context
    ) -> None:
        """Adds a call to the sums of what was wasted."""
        origin = _origin(call, node, flow)
        _add_call(self._wasted_tokens, self._wasted_cost, call, origin, context)

    def measure(self, call: PricedCall, context: Context) -> None:
        """Records a call's tokens by the convention, which knows no nodes."""
        shared = _model(call)
        if call.operation is not None:
            shared[semconv.GEN_AI_OPERATION_NAME] = call.operation
        for token_type, count in _tokens(call):
            self._usage.record(count, {**shared, semconv.GEN_AI_TOKEN_TYPE: token_type}, context)


def _add_call(
    tokens: Counter, cost: Counter, call: PricedCall, origin: Attributes, context: Context
) -> None:
    # A dict of its own for each point: an SDK may keep the one that it is given.
    for token_type, count in _tokens(call):
        tokens.add(count, {**origin, semconv.GEN_AI_TOKEN_TYPE: token_type}, context)
    if call.cost is not None:
        origin[semconv.USAGE_CURRENCY] = call.currency
        cost.add(float(call.cost), origin, context)


def _tokens(call: PricedCall) -> list[tuple[str, int]]:
    """The token counts that are known, with their type."""
    counts: list[tuple[str, int]] = []
    if call.input_tokens is not None:
        counts.append((semconv.TOKEN_INPUT, call.input_tokens))
    if call.output_tokens is not None:
        counts.append((semconv.TOKEN_OUTPUT, call.output_tokens))
    return counts


def _origin(call: PricedCall, node: str | None, flow: str | None) -> Attributes:
    """Which model was called, and from where."""
    attributes = _model(call)
    if node is not None:
        attributes[semconv.NODE_CLASS] = node
    if flow is not None:
        attributes[semconv.GEN_AI_WORKFLOW_NAME] = flow
    return attributes


def _model(call: PricedCall) -> Attributes:
    """Which model was called."""
    attributes: Attributes = {}
    if call.provider is not None:
        attributes[semconv.GEN_AI_PROVIDER_NAME] = call.provider
    if call.model is not None:
        attributes[semconv.GEN_AI_REQUEST_MODEL] = call.model
    return attributes


def _place(node: str, flow: str | None) -> Attributes:
    """Which node ran, and in which flow."""
    attributes = {semconv.NODE_CLASS: node}
    if flow is not None:
        attributes[semconv.GEN_AI_WORKFLOW_NAME] = flow
    return attributes


def _add_ending(attributes: Attributes, error_type: str | None, *, cancelled: bool) -> None:
    """How a run ended, where it did not end well."""
    if error_type is not None:
        attributes[semconv.ERROR_TYPE] = error_type
    if cancelled:
        attributes[semconv.OUTCOME] = semconv.OUTCOME_CANCELLED

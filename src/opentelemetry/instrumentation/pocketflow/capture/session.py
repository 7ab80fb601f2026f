"""What all runs of one instrumentation share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture import classes, failures, reading
from opentelemetry.instrumentation.pocketflow.capture.conversation import current_conversation
from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Ledger
from opentelemetry.instrumentation.pocketflow.capture.usage.prices import Pricer
from opentelemetry.instrumentation.pocketflow.emit import spans
from opentelemetry.instrumentation.pocketflow.emit.budget import Shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

    from opentelemetry.instrumentation.pocketflow.capture.classes import ClassFacts, Framework
    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
    from opentelemetry.instrumentation.pocketflow.config import Config, Content, Recogniser
    from opentelemetry.instrumentation.pocketflow.emit.metrics import Metrics
    from opentelemetry.instrumentation.pocketflow.emit.spans import Attributes
    from opentelemetry.instrumentation.pocketflow.record import Failure


class Prepared(NamedTuple):
    """A class's facts, and the attributes that each of its spans starts with."""

    facts: ClassFacts
    attributes: Attributes


class Outlets(NamedTuple):
    """Where a session's telemetry goes to."""

    tracer: Tracer
    metrics: Metrics
    is_metering: Callable[[], bool]
    """Is anybody listening to metrics? Asked when an outermost run begins."""
    attend: Callable[[], None]
    """Listens to the model calls of the provider that is in use by now."""


class Session:
    """One `instrument()` of one module of the framework, until its `uninstrument()`.

    Args:
        outlets: where telemetry goes to.
        config: the user's options.
        framework: the module whose classes are traced.
        redactor: what must not be shown.
        root_attributes: what could not be put into the resource, for root flows.
        recognisers: the user's functions that find model calls in values.
    """

    def __init__(
        self,
        outlets: Outlets,
        config: Config,
        framework: Framework,
        redactor: Redactor,
        root_attributes: Mapping[str, Any],
        recognisers: Sequence[Recogniser] = (),
    ) -> None:
        self.tracer = outlets.tracer
        self.outlets = outlets
        self.config = config
        self.framework = framework
        self.root_attributes = root_attributes
        self.recognisers = recognisers
        self.price = Pricer(config.price, config.currency)
        self.redactor = redactor
        self.node_shares = Shares.of_node(config.max_span_bytes)
        self.flow_shares = Shares.of_flow(config.max_span_bytes)
        self.active = True
        """False once uninstrumented: wrappers that others hold on to then only pass on."""
        self._facts = classes.facts_for(framework, config)
        self.prepared = reading.PerClass(self._prepare)

    def may_record(self) -> bool:
        """Could spans be recorded, or ids of another process be handed on?"""
        return self.config.baggage or spans.may_record(self.tracer)

    def is_idle(self) -> bool:
        """Is there nobody that could be told anything?"""
        return not self.may_record() and not self.outlets.is_metering()

    def begin_outermost(self) -> bool:
        """The outermost run begins: is anybody listening to metrics?"""
        self.outlets.attend()
        return self.outlets.is_metering()

    def new_ledger(self) -> Ledger:
        """What the accounts of one outermost run share."""
        return Ledger(self.price, self.config.currency, has_prices=self.price.has_source)

    def start_attributes(self, kind: str, context: Context | None = None) -> Attributes:
        """What a span of a kind carries from its start in a context; in the caller's if None."""
        attributes = spans.start_attributes(kind, openinference=self.config.openinference)
        return attributes | self.conversation_attributes(context)

    def conversation_attributes(self, context: Context | None = None) -> Attributes:
        """What `conversation` blocks around a context say; around the caller if None."""
        conversation = current_conversation(context)
        return {} if conversation is None else conversation.attributes(self.redactor)

    def item_attributes(self, index: int, size: int | None) -> Attributes:
        """What the span of an item carries from its start."""
        attributes = self.start_attributes(semconv.KIND_ITEM)
        attributes[semconv.ITEM_INDEX] = index
        if size is not None:
            attributes[semconv.BATCH_SIZE] = size
        return attributes

    def describe_failure(
        self, exc: BaseException, content: Content, shares: Shares, stack_bytes: int
    ) -> Failure:
        """An exception as text, as far as the content level allows."""
        return failures.describe(
            exc, self.redactor, shares.message, stack_bytes, values=content == "values"
        )

    def name_of(self, node: object) -> str:
        """A node's class, or a flow's name."""
        facts = self.prepared(type(node)).facts
        if not facts.is_flow:
            return facts.name
        return classes.flow_name(node, facts, self.framework, self.config)

    def _prepare(self, cls: type) -> Prepared:
        facts = self._facts(cls)
        kind = semconv.KIND_FLOW if facts.is_flow else semconv.KIND_NODE
        attributes = spans.start_attributes(kind, openinference=self.config.openinference)
        attributes |= spans.class_attributes(facts.name, facts.base, facts.location)
        return Prepared(facts, attributes)

"""What all runs of one instrumentation share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture import classes, failures, reading
from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from opentelemetry.instrumentation.pocketflow.emit import spans
from opentelemetry.instrumentation.pocketflow.emit.budget import Shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Tracer

    from opentelemetry.instrumentation.pocketflow.capture.classes import ClassFacts, Framework
    from opentelemetry.instrumentation.pocketflow.config import Config, Content
    from opentelemetry.instrumentation.pocketflow.emit.spans import Attributes
    from opentelemetry.instrumentation.pocketflow.record import Failure


class Prepared(NamedTuple):
    """A class's facts, and the attributes that each of its spans starts with."""

    facts: ClassFacts
    attributes: Attributes


class Session:
    """One `instrument()` of one module of the framework, until its `uninstrument()`.

    Args:
        tracer: makes the spans.
        config: the user's options.
        framework: the module whose classes are traced.
        root_attributes: what could not be put into the resource, for root flows.
    """

    def __init__(
        self,
        tracer: Tracer,
        config: Config,
        framework: Framework,
        root_attributes: Mapping[str, Any],
    ) -> None:
        self.tracer = tracer
        self.config = config
        self.framework = framework
        self.root_attributes = root_attributes
        self.redactor = Redactor(config.redact_keys, config.redact_patterns)
        self.node_shares = Shares.of_node(config.max_span_bytes)
        self.flow_shares = Shares.of_flow(config.max_span_bytes)
        self.active = True
        """False once uninstrumented: wrappers that others hold on to then only pass on."""
        self._facts = classes.facts_for(framework, config)
        self.prepared = reading.PerClass(self._prepare)

    def start_attributes(self, kind: str) -> Attributes:
        """What a span of a kind carries from its start."""
        return spans.start_attributes(kind, openinference=self.config.openinference)

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
        attributes = self.start_attributes(kind)
        attributes |= spans.class_attributes(facts.name, facts.base, facts.location)
        return Prepared(facts, attributes)

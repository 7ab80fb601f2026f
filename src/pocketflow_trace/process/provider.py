"""Tracer providers: our own, and one that follows the program's.

The program under test may set a global provider at any time, or never. Ours stays out of the
global slot, which can be filled only once: the program's own `set_tracer_provider` works as
always, code that asks whether a provider is set gets the same answer as always, and libraries
whose spans nobody records keep doing nothing. Instead, PocketFlow's spans go to whatever provider
is in use when they start, so that they are in one trace with the spans of other instrumentations,
and to ours as long as there is none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow.resource import complete_resource
from pocketflow_trace.process.ids import SystemIdGenerator
from pocketflow_trace.resource import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.util._decorator import _AgnosticContextManager
    from opentelemetry.util.types import Attributes, AttributeValue


class _Extensible(Protocol):
    """A provider that takes span processors: the SDK's, or one that is built like it."""

    def add_span_processor(self, span_processor: SpanProcessor) -> None: ...

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer: ...


def own_provider(service_name: str) -> TracerProvider:
    """Build a provider that is set nowhere and shuts down when it is told to.

    Args:
        service_name: `service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES give one.
    """
    resource = redacted(Resource.create())
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    return TracerProvider(
        resource=resource, id_generator=SystemIdGenerator(), shutdown_on_exit=False
    )


class FollowingTracerProvider(trace.TracerProvider):
    """Hands out tracers that start each span with the provider in use at that moment."""

    def __init__(self, own: TracerProvider) -> None:
        """Starts with our own provider.

        Args:
            own: What is used as long as the program has no provider that takes span processors.
        """
        self._own = own
        self._preferred: trace.TracerProvider | None = None
        self._processors: list[SpanProcessor] = []
        self._adopted: list[_Extensible] = []
        self._facts: Mapping[str, AttributeValue] = {}
        self._lock = threading.Lock()

    def prefer(self, provider: trace.TracerProvider | None) -> None:
        """Use this provider from now on, whatever the global one is; None for the global one."""
        self._preferred = provider

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor to every provider that is or will be used, once to each."""
        with self._lock:
            self._processors.append(span_processor)
            for provider in (self._own, *self._adopted):
                provider.add_span_processor(span_processor)

    @property
    def resource(self) -> Resource:
        """Our own provider's resource."""
        return self._own.resource

    def _update_resource(self, resource: Resource) -> None:
        """Add facts to the resource of every provider that is or will be used.

        The instrumentation calls this, by the name that it has in the SDK's providers.
        """
        with self._lock:
            self._facts = resource.attributes
            for provider in (self._own, *self._adopted):
                complete_resource(provider, self._facts)

    def current(self) -> _Extensible:
        """Return the provider in use, with our processors added."""
        for candidate in (self._preferred, trace.get_tracer_provider()):
            if candidate is not self and _is_extensible(candidate):
                self._adopt(candidate)
                return candidate
        return self._own

    def _adopt(self, provider: _Extensible) -> None:
        if any(provider is known for known in self._adopted):
            return
        with self._lock:
            if any(provider is known for known in self._adopted):
                return
            for processor in self._processors:
                provider.add_span_processor(processor)
            complete_resource(provider, self._facts)
            self._adopted.append(provider)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Return a tracer that asks for the provider anew with each span."""
        scope = (instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return _FollowingTracer(self, scope)


def _is_extensible(provider: object) -> TypeGuard[_Extensible]:
    return callable(getattr(provider, "add_span_processor", None))


class _FollowingTracer(trace.Tracer):
    def __init__(
        self,
        provider: FollowingTracerProvider,
        scope: tuple[str, str | None, str | None, Attributes],
    ) -> None:
        self._provider = provider
        self._scope = scope
        # One attribute, so that threads see a provider only with its own tracer.
        self._cached: tuple[_Extensible, trace.Tracer] | None = None

    def _tracer(self) -> trace.Tracer:
        provider, cached = self._provider.current(), self._cached
        if cached is None or cached[0] is not provider:
            cached = self._cached = (provider, provider.get_tracer(*self._scope))
        return cached[1]

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        """Start a span with the provider in use."""
        return self._tracer().start_span(*args, **kwargs)

    def start_as_current_span(
        self, *args: Any, **kwargs: Any
    ) -> _AgnosticContextManager[trace.Span]:
        """Start a span with the provider in use, and make it current for a block."""
        return self._tracer().start_as_current_span(*args, **kwargs)

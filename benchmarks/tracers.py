"""Ways to trace, side by side: each has a copy of PocketFlow of its own.

An instrumentation wraps the framework's classes, so that two of them at a time need two frameworks.
With copies nothing has to be wrapped and unwrapped between two slices of time, and long runs under
different tracers can take turns.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import pocketflow
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from opentelemetry.trace import TracerProvider as AnyTracerProvider

Around: TypeAlias = "Callable[[Callable[[Any], Any], Any], Any]"
"""What a hand-written tracer does with a node: given its `_run` and the store, it calls that."""

ATTRIBUTES = {f"attribute.{i}": i for i in range(10)}

_numbers = count()


@dataclass(frozen=True)
class Tracer:
    """One way to trace, or not to."""

    framework: Any
    """The module that defines `Node`, `Flow` and so on."""
    around: Around | None = None
    """What is written by hand around each node."""
    decorate: Callable[[Any], Any] | None = None
    """What is done to a class of flows."""
    close: Callable[[], None] = lambda: None
    """Takes it back."""


class Discard(SpanExporter):
    """An exporter that throws spans away."""

    def export(self, spans: Any) -> SpanExportResult:
        """Says that all is well."""
        del spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


def provider(**options: Any) -> TracerProvider:
    """A real SDK provider whose spans are batched and thrown away.

    Args:
        **options: of `TracerProvider`.
    """
    result = TracerProvider(resource=Resource({}), shutdown_on_exit=False, **options)
    result.add_span_processor(BatchSpanProcessor(Discard()))
    return result


def copy_of_pocketflow() -> ModuleType:
    """The framework once more, under a name of its own, as in a program that copied the file."""
    name = f"pocketflow_copy_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, pocketflow.__file__)
    if spec is None or spec.loader is None:
        raise ImportError("pocketflow's file is not there to be loaded again")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain() -> Tracer:
    """No tracing at all."""
    return Tracer(copy_of_pocketflow())


def instrumented(tracer_provider: AnyTracerProvider | None = None, **options: Any) -> Tracer:
    """What this project does.

    Args:
        tracer_provider: where spans go; by default they are batched and thrown away.
        **options: of the instrumentor.
    """
    own = None if tracer_provider is not None else provider()
    framework = copy_of_pocketflow()
    # An instrumentor is a singleton by class.
    cls = type("Instrumentor", (PocketFlowInstrumentor,), {"_instance": None})
    instrumentor = cls()
    instrumentor.instrument(
        tracer_provider=tracer_provider or own,
        module=framework.__name__,
        resource=False,
        **options,
    )

    def close() -> None:
        instrumentor.uninstrument()
        if own is not None:
            own.shutdown()

    return Tracer(framework, close=close)


def sampled_out() -> Tracer:
    """Instrumented, and the sampler wants nothing."""
    return instrumented(provider(sampler=ALWAYS_OFF))


def without_sdk() -> Tracer:
    """Instrumented, in a program that only has OpenTelemetry's API."""
    return instrumented(NoOpTracerProvider())


def uninstrumented_again() -> Tracer:
    """Instrumented for a while."""
    tracer = instrumented()
    tracer.close()
    return Tracer(tracer.framework)


def bare_spans(tracer_provider: AnyTracerProvider | None = None) -> Tracer:
    """The floor: one span with ten attributes around each node, and nothing else.

    Args:
        tracer_provider: where spans go; by default they are batched and thrown away.
    """
    tracer = (tracer_provider or provider()).get_tracer("floor")

    def around(run: Callable[[Any], Any], store: Any) -> Any:
        with tracer.start_as_current_span("node") as span:
            span.set_attributes(ATTRIBUTES)
            return run(store)

    return Tracer(copy_of_pocketflow(), around)

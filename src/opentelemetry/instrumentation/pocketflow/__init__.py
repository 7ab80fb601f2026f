"""OpenTelemetry instrumentation of PocketFlow.

Usage::

    from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

    PocketFlowInstrumentor().instrument()

Every flow, node, attempt and batch item becomes a span; node and flow spans carry the route and
what changed in the shared store. `Config` lists the options, each also an environment variable.
"""

from opentelemetry.instrumentation.pocketflow.capture.conversation import conversation
from opentelemetry.instrumentation.pocketflow.capture.processor import UsageSpanProcessor
from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.config import Config
from opentelemetry.instrumentation.pocketflow.instrumentor import PocketFlowInstrumentor
from opentelemetry.instrumentation.pocketflow.recording import record_usage
from opentelemetry.instrumentation.pocketflow.version import __version__

__all__ = [
    "Config",
    "ModelCall",
    "PocketFlowInstrumentor",
    "UsageSpanProcessor",
    "__version__",
    "conversation",
    "record_usage",
]

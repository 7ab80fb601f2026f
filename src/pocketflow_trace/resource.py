"""The resource detector that the SDK loads by the name `pocketflow`."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource, ResourceDetector

from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from opentelemetry.instrumentation.pocketflow.resource import resource_attributes


class PocketFlowResourceDetector(ResourceDetector):
    """Detects commit, process, system and versions.

    Use it with ``OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=pocketflow``, for a resource that has
    these attributes from the start, in a program that may not even run a flow.
    """

    def detect(self) -> Resource:
        """Collect the attributes; what `OTEL_RESOURCE_ATTRIBUTES` sets wins over them."""
        return Resource(resource_attributes(Redactor()))

    def is_process_dependent(self) -> bool:
        """The SDK detects again after a fork, because the process id is another then."""
        return True

"""Resources without credentials: the detector that the SDK loads by the name `pocketflow`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource, ResourceDetector

from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from opentelemetry.instrumentation.pocketflow.config import Config
from opentelemetry.instrumentation.pocketflow.resource import resource_attributes

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue


class PocketFlowResourceDetector(ResourceDetector):
    """Detects commit, process, system and versions.

    Use it with ``OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=pocketflow``, for a resource that has
    these attributes from the start, in a program that may not even run a flow.
    """

    def detect(self) -> Resource:
        """Collect the attributes; what `OTEL_RESOURCE_ATTRIBUTES` sets wins over them."""
        return Resource(resource_attributes(_redactor()))

    def is_process_dependent(self) -> bool:
        """The SDK detects again after a fork, because the process id is another then."""
        return True


def redacted(resource: Resource) -> Resource:
    """What `OTEL_RESOURCE_ATTRIBUTES` and detectors say, without the credentials in it."""
    redactor = _redactor()
    attributes = {
        name: REDACTED if redactor.secret_key(name) else _redacted_value(value, redactor)
        for name, value in resource.attributes.items()
    }
    return Resource(attributes, resource.schema_url)


def _redacted_value(value: AttributeValue, redactor: Redactor) -> AttributeValue:
    if isinstance(value, str):
        return redactor.text(value)
    texts = [item for item in value if isinstance(item, str)] if isinstance(value, Sequence) else []
    return redactor.args(texts) if texts else value


def _redactor() -> Redactor:
    config = Config.from_env()
    return Redactor(config.redact_keys, config.redact_patterns)

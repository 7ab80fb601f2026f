"""Chooses the SDK's OTLP exporter by OpenTelemetry's environment variables."""

from __future__ import annotations

import importlib
import importlib.util
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace.export import SpanExporter

    from pocketflow_trace.sending.witness import Listener

HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"

TIMEOUT: Final = 1.5
"""Seconds for one export with its retries, unless the user's OTEL_EXPORTER_OTLP_TIMEOUT says
otherwise. The SDK's 10 s would hold up the program's exit. More than the 1.2 s that its first
backoff can take, so that a short outage is survived."""

_MODULES: Final = {
    HTTP: "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    GRPC: "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}

_DEFAULT_ENDPOINTS: Final = {HTTP: "http://localhost:4318", GRPC: "http://localhost:4317"}

_MODULES_WITH_BACKOFF: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
)


class ExportError(Exception):
    """The environment asks for an export that is impossible; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """Where spans go.

    Attributes:
        protocol: `http/protobuf` or `grpc`.
        endpoint: For messages: as the user wrote it, without credentials.
        login: User and password that the endpoint begins with, up to the `@`.
    """

    protocol: str
    endpoint: str
    login: str = field(default="", repr=False, compare=False)

    def without_login(self, text: str) -> str:
        """Return what a library says of an error, which may name the endpoint as it is."""
        if not self.login:
            return text
        return text.replace(self.login, "").replace(unquote(self.login), "")


def export_target(environ: Mapping[str, str]) -> ExportTarget | None:
    """Read from the environment where spans shall go; None where nothing asks for an export.

    Raises:
        ExportError: The protocol is unknown, or the exporter for it is not installed.
    """
    endpoint = _setting(environ, "ENDPOINT")
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").lower().replace(" ", "").split(",")
    if "none" in exporters or (not endpoint and "otlp" not in exporters):
        return None
    protocol = (_setting(environ, "PROTOCOL") or HTTP).lower()
    if protocol not in _MODULES:
        allowed = " and ".join(_MODULES)
        raise ExportError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; known are {allowed}")
    if not _is_installed(_MODULES[protocol]):
        package = f"opentelemetry-exporter-otlp-proto-{protocol.partition('/')[0]}"
        raise ExportError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; install it: pip install {package}"
        )
    return ExportTarget(protocol, *_without_user(endpoint or _DEFAULT_ENDPOINTS[protocol]))


def make_exporter(
    target: ExportTarget, environ: Mapping[str, str], listener: Listener
) -> SpanExporter:
    """Build the SDK's exporter; it reads endpoint, headers and certificates by itself.

    Args:
        target: Where spans go.
        environ: Environment variables.
        listener: Is told what the collector answers, as far as the exporter does not say it.

    Raises:
        ExportError: The SDK does not accept one of the settings.
    """
    module = importlib.import_module(_MODULES[target.protocol])
    _spare_global_random()
    options: dict[str, object] = {} if _setting(environ, "TIMEOUT") else {"timeout": TIMEOUT}
    if target.protocol == HTTP and not any("CREDENTIAL_PROVIDER" in name for name in environ):
        # A session of ours would take the place of the one that a credential provider makes.
        options["session"] = _session(listener)
    try:
        exporter = cast("SpanExporter", module.OTLPSpanExporter(**options))
    except (ValueError, OSError, RuntimeError) as exc:
        why = target.without_login(str(exc))
        raise ExportError(f"the OTLP exporter rejects its settings: {why}") from exc
    if target.protocol == GRPC:
        # Imported here, because HTTP does without it, as gRPC does without the session.
        from pocketflow_trace.sending import over_grpc  # noqa: PLC0415

        over_grpc.listen(exporter, listener)
    return exporter


def _session(listener: Listener) -> object:
    from pocketflow_trace.sending.over_http import ListeningSession  # noqa: PLC0415 - HTTP only

    return ListeningSession(listener)


def _setting(environ: Mapping[str, str], name: str) -> str:
    """Return an exporter setting; the one for traces goes before the general one."""
    special = environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
    return special or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def _without_user(endpoint: str) -> tuple[str, str]:
    """Return a URL, or host and port, without user and password; and those, up to the `@`."""
    scheme, separator, rest = endpoint.rpartition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{host}{slash}{path}", f"{user}{at}"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _spare_global_random() -> None:
    """Give the exporters a random source of their own for the jitter of their retries.

    They draw it from the global one, in their own thread and at times that vary: a program that
    seeds `random` would see other numbers, and other ones each time.
    """
    for name in _MODULES_WITH_BACKOFF:
        if _is_installed(name):
            module = importlib.import_module(name)
            if getattr(module, "random", None) is random:
                module.random = random.SystemRandom()  # type: ignore[attr-defined]

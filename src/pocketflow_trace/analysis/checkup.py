"""Finds out what is installed and set here, and what would come of it: facts for `doctor`.

Each function looks at one thing and returns what it found. Nothing is changed, no program runs;
only the framework's own module is imported, to see whether it is recognised.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import platform
import re
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts
from opentelemetry.instrumentation.environment_variables import (
    OTEL_PYTHON_DISABLED_INSTRUMENTATIONS,
)

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture.classes import Framework
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from opentelemetry.instrumentation.pocketflow.config import VARIABLES, Config
from opentelemetry.instrumentation.pocketflow.resource import resource_attributes
from opentelemetry.instrumentation.pocketflow.version import __version__
from pocketflow_trace.keeping.shelf import DIRECTORY_VARIABLE, Shelf, ShelfError
from pocketflow_trace.sending.exporter import GRPC, ExportError, export_target
from pocketflow_trace.sending.undelivered import state_directory
from pocketflow_trace.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import EntryPoint
    from pathlib import Path

Status: TypeAlias = Literal["ok", "info", "problem"]

CONNECT_TIMEOUT: Final = 1.0
"""Seconds for a connection to a collector."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        section: What it is about, such as `installed`.
        name: The thing.
        text: What is so, without secrets.
        status: `problem` where something asked for does not work.
    """

    section: str
    name: str
    text: str
    status: Status = "info"


def checkup(environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything.

    Args:
        environ: Environment variables. Options of the instrumentation are read from those of the
            process, as it does itself.
    """
    return [
        *installed(),
        *framework(),
        *instrumentors(environ),
        *settings(environ),
        *export(environ),
        *collector(environ),
        *capture(environ),
        *kept_runs(environ),
    ]


# --- What is installed ----------------------------------------------------------------------

_PACKAGES: Final[Mapping[str, str]] = {
    "opentelemetry-api": "",
    "opentelemetry-sdk": "needed by `run`; comes with the extra `terminal`",
    "opentelemetry-instrumentation": "",
    "opentelemetry-distro": "needed by `opentelemetry-instrument`; comes with the extra `otlp`",
    "opentelemetry-exporter-otlp-proto-http": "comes with the extras `terminal` and `otlp`",
    "opentelemetry-exporter-otlp-proto-grpc": "comes with the extra `otlp`",
    "rich": "needed by `run`; comes with the extra `terminal`",
    "genai-prices": "without it most costs are unknown; comes with the extra `cost`",
}
"""Distributions, and what they are for where they may be missing."""


def installed() -> Iterator[Finding]:
    """Tell versions; that of the SDK has to be the API's."""
    section = "installed"
    yield Finding(section, "this package", f"{__version__} on Python {platform.python_version()}")
    yield Finding(section, "interpreter", sys.executable)
    for name, purpose in _PACKAGES.items():
        version = _version(name)
        yield Finding(section, name, version or f"not installed: {purpose}")
    api, sdk = _version("opentelemetry-api"), _version("opentelemetry-sdk")
    if sdk and api != sdk:
        text = f"SDK {sdk} does not fit API {api}: install the same version of both"
        yield Finding(section, "OpenTelemetry", text, "problem")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def framework() -> Iterator[Finding]:
    """Tell which PocketFlow a program in this folder would import, and whether it is recognised."""
    for name in _quiet_config()[0].module:
        yield _framework(name)


def _framework(name: str) -> Finding:
    section = "PocketFlow"
    here = os.getcwd()  # noqa: PTH109 - as Python writes it on its path
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except (ImportError, SyntaxError) as exc:
        return Finding(section, name, f"cannot be imported from here: {exc}", "problem")
    finally:
        sys.path.remove(here)
    file = getattr(module, "__file__", None) or "no file"
    found = Framework.of_module(module)
    if found is None:
        text = f"{file} defines no BaseNode and Flow, so nothing is traced"
        return Finding(section, name, text, "problem")
    facts = resource_attributes(Redactor(), modules=[name], git_timeout=0)
    version = facts.get(semconv.POCKETFLOW_VERSION)
    what = f"{version or 'a copy'}, recognised by {plural(len(found.classes), 'class', 'classes')}"
    return Finding(section, name, f"{what}: {file}", "ok")


# --- Instrumentors --------------------------------------------------------------------------

_OURS: Final = "pocketflow"
_CLIENTS: Final[Mapping[str, str]] = {
    "anthropic": "anthropic",
    "google-genai": "google-genai",
    "ollama": "ollama",
    "openai": "openai",
}
"""Clients of models by their distribution, and what the names of their instrumentors contain."""


def instrumentors(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell what `opentelemetry-instrument` would load, and which client has nothing."""
    disabled = _names(environ.get(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, ""))
    points = sorted(
        importlib.metadata.entry_points(group="opentelemetry_instrumentor"),
        key=lambda point: (point.name != _OURS, point.name),
    )
    for point in points:
        yield _instrumentor(point, disabled)
    if not any(point.name == _OURS for point in points):
        text = "its entry point is missing: install this package anew"
        yield Finding("instrumentors", _OURS, text, "problem")
    yield from _clients_alone([point.name for point in points])


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


def _instrumentor(point: EntryPoint, disabled: set[str]) -> Finding:
    section, name = "instrumentors", f"{point.name} ({_distribution(point)})"
    if point.name in disabled or "*" in disabled:
        status: Status = "problem" if point.name == _OURS else "info"
        return Finding(section, name, f"off by {OTEL_PYTHON_DISABLED_INSTRUMENTATIONS}", status)
    conflict = None if point.dist is None else get_dist_dependency_conflicts(point.dist)
    if conflict is not None:
        return Finding(section, name, "idle: what it instruments is not installed, or not fitting")
    return Finding(section, name, "active under opentelemetry-instrument", "ok")


def _distribution(point: EntryPoint) -> str:
    return "unknown" if point.dist is None else point.dist.name


def _clients_alone(names: list[str]) -> Iterator[Finding]:
    for client, part in _CLIENTS.items():
        spelled = {part, part.replace("-", "_")}
        if _version(client) and not any(word in name for name in names for word in spelled):
            text = (
                "no instrumentor: its calls have no spans, and usage is found in results alone; "
                f"see the extra `{client}`"
            )
            yield Finding("instrumentors", client, text)


# --- The environment ------------------------------------------------------------------------

_PREFIXES: Final = ("OTEL_", "POCKETFLOW_TRACE_")
_KEY: Final = re.compile(r"[A-Za-z][\w.-]{0,40}")
_HIDDEN: Final = ("HEADERS", "RESOURCE_ATTRIBUTES")
"""Parts of the names of variables of which only the keys are shown."""


def settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell the variables that matter, without secrets."""
    redactor = Redactor()
    ours = [name for name in sorted(environ) if name.startswith(_PREFIXES) and environ[name]]
    if not ours:
        yield Finding("environment", "variables", "none that begins with OTEL_ is set")
    for name in ours:
        yield Finding("environment", name, _shown(name, environ[name], redactor))
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Finding("environment", "OTEL_SDK_DISABLED", "nothing is traced", "problem")
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if sampler in {"always_off", "parentbased_always_off"}:
        yield Finding("environment", "OTEL_TRACES_SAMPLER", "no run is traced", "problem")


def _shown(name: str, value: str, redactor: Redactor) -> str:
    if any(part in name for part in _HIDDEN):
        keys = [_key_of(pair, redactor) for pair in value.split(",")]
        return ", ".join(f"{key}={REDACTED}" if key else REDACTED for key in keys)
    if redactor.secret_key(name):
        return REDACTED
    return _endpoint(value) if "://" in value else redactor.text(value)


def _key_of(pair: str, redactor: Redactor) -> str:
    """Return the key of `key=value`; nothing where the text may be a credential by itself.

    Somebody may have set `Bearer dG9rZW4=`, without a key.
    """
    key, _, value = pair.strip().partition("=")
    is_pair = _KEY.fullmatch(key) is not None and value.strip("= ") != ""
    return key if is_pair and redactor.text(key) == key else ""


def _endpoint(url: str) -> str:
    """Return a URL without user, password and query."""
    rest = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = rest.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


_SIGNALS: Final = ("traces", "metrics", "logs")


def export(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell where spans go, under `run` and under `opentelemetry-instrument`."""
    section = "export"
    try:
        target = export_target(environ)
    except ExportError as exc:
        yield Finding(section, "pocketflow-trace run", str(exc), "problem")
    else:
        text = f"to {_endpoint(target.endpoint)} by {target.protocol}" if target else "to nowhere"
        yield Finding(section, "pocketflow-trace run", text, "ok" if target else "info")
    yield _configurator()
    for signal in _SIGNALS:
        yield from _exporters(signal, environ)


def _configurator() -> Finding:
    section, name = "export", "opentelemetry-instrument"
    points = importlib.metadata.entry_points(group="opentelemetry_configurator")
    if not points:
        text = "sets up no SDK, so nothing is exported: no distro is installed"
        return Finding(section, name, text)
    names = ", ".join(point.name for point in points)
    text = f"sets up the SDK by {names}; unless OTEL_*_EXPORTER say otherwise, OTLP to localhost"
    return Finding(section, name, text, "ok")


def _exporters(signal: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    points = importlib.metadata.entry_points(group=f"opentelemetry_{signal}_exporter")
    known = {point.name for point in points} | {"otlp"}
    for name in sorted(_names(environ.get(variable, "")) - {"none"} - known):
        text = f"no exporter {name!r} is installed; there is {', '.join(sorted(known))}"
        yield Finding("export", variable, text, "problem")


# --- The collector --------------------------------------------------------------------------


def collector(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether something listens where spans are to go; else at the usual local ports."""
    try:
        target = export_target(environ)
    except ExportError:
        return  # `export` has said why.
    if target is None:
        for port, protocol in ((4318, "http"), (4317, "grpc")):
            name, state = f"localhost:{port} ({protocol})", connect("localhost", port)
            text = f"{state}; no export is asked for by the environment"
            yield Finding("collector", name, text)
        return
    host, port = host_and_port(target.endpoint, target.protocol)
    state = connect(host, port)
    name = f"{host}:{port} ({target.protocol})"
    yield Finding("collector", name, state, "ok" if state == "reachable" else "problem")


def host_and_port(endpoint: str, protocol: str) -> tuple[str, int]:
    """Return where to connect to; the port of a URL without one is the scheme's, or gRPC's.

    A host that cannot be read is returned as it is, and will not be found.
    """
    url = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    usual = 4317 if protocol == GRPC else {"https": 443}.get(url.scheme, 80)
    try:
        return url.hostname or endpoint, url.port or usual
    except ValueError:  # a port that is no number
        return url.netloc, 0


def connect(host: str, port: int) -> str:
    """Connect and hang up; return `reachable`, or why it is not."""
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT):
            return "reachable"
    except TimeoutError:
        return f"timeout: no answer within {CONNECT_TIMEOUT:g} s"
    except ConnectionRefusedError:
        return "refused: nothing listens there"
    except (OSError, UnicodeError, OverflowError) as exc:
        return f"not reachable: {getattr(exc, 'strerror', None) or exc}"


# --- What would be captured -----------------------------------------------------------------

_OPTIONS_SHOWN: Final = ("content", "levels", "phase_spans", "max_span_bytes", "module", "currency")


def capture(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell the options that the environment comes to, and what is wrong with it."""
    config, warnings = _quiet_config()
    section = "capture"
    for name in _OPTIONS_SHOWN:
        value = getattr(config, name)
        yield Finding(section, name, str(dict(value) if name == "levels" else value))
    keys = plural(len(config.redact_keys), "further key")
    text = f"the built-in rules, {keys}, {plural(len(config.redact_patterns), 'further pattern')}"
    yield Finding(section, "redaction", text)
    for warning in warnings:
        yield Finding(section, "wrong value", Redactor().text(warning), "problem")
    unknown = {name for name in environ if name.startswith("OTEL_PYTHON_POCKETFLOW_")}
    for name in sorted(unknown - set(VARIABLES.values())):
        yield Finding(section, name, "there is no such option", "problem")


def _quiet_config() -> tuple[Config, list[str]]:
    """Return the options of the environment, and the warnings about it instead of logging them."""
    logger = logging.getLogger("opentelemetry.instrumentation.pocketflow.config")
    taken = _Taken()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(taken)
    try:
        return Config.from_env(), taken.messages
    finally:
        logger.removeHandler(taken)
        logger.propagate = propagate


class _Taken(logging.Handler):
    """Keeps messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


# --- Kept runs ------------------------------------------------------------------------------


def kept_runs(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell where runs are kept, how many and how large, and what was not delivered."""
    section = "kept runs"
    try:
        directory = Shelf.of(environ).directory
    except ShelfError as exc:
        yield Finding(section, "folder", str(exc), "problem")
        return
    yield _folder(directory, environ)
    kept = Shelf(directory).kept()
    broken_off = sum(1 for each in kept if not each.is_complete)
    more = f", {broken_off:,} of them unfinished" if broken_off else ""
    yield Finding(section, "runs", f"{len(kept):,}, {_size(sum(k.size for k in kept))}{more}")
    yield from _undelivered(environ)


def _folder(directory: Path, environ: Mapping[str, str]) -> Finding:
    by = f" (by {DIRECTORY_VARIABLE})" if environ.get(DIRECTORY_VARIABLE, "").strip() else ""
    existing = next((place for place in (directory, *directory.parents) if place.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding("kept runs", "folder", f"{directory}{by}: cannot be written", "problem")
    state = "" if existing == directory else ", not made yet"
    return Finding("kept runs", "folder", f"{directory}{by}{state}", "ok")


def _undelivered(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        files = list(state_directory(environ).glob("undelivered-*.jsonl"))
    except (RuntimeError, OSError):
        return
    if files:
        text = f"{plural(len(files), 'file')} of spans that no collector took, in {files[0].parent}"
        yield Finding("kept runs", "undelivered", text)


def _size(count: int) -> str:
    megabytes = count / 1_000_000
    return f"{megabytes:.1f} MB" if megabytes >= 1 else f"{count / 1000:.1f} kB"

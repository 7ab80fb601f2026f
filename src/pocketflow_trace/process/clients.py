"""Makes spans of model calls in programs that do not instrument their client themselves.

Most programs call a model through a small function that returns only text, so what the call used
is lost before PocketFlow sees anything. An OpenTelemetry instrumentation of the client, where one
is installed, sees it. Here it is activated as soon as the program imports the client, and withdrawn
as soon as the program instruments that client itself: then everything is as without us.

Nothing is imported, and no metadata read, before the program imports a client.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import wrapt
from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow.capture.frames import current_frame
from opentelemetry.instrumentation.pocketflow.environment_variables import (
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT,
    OTEL_PYTHON_POCKETFLOW_CONTENT,
)
from opentelemetry.instrumentation.pocketflow.guard import attempt, guarded
from pocketflow_trace.process.tracebacks import hide_frames_in, show_frames_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from opentelemetry.context import Context
    from opentelemetry.util._decorator import _AgnosticContextManager
    from opentelemetry.util.types import Attributes

_GROUP: Final = "opentelemetry_instrumentor"
_DISABLED: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_NO_CONTENT: Final = frozenset({"", "false", "0", "no_content"})


@dataclass(frozen=True)
class Client:
    """A library that calls models."""

    package: str
    """Its import name."""
    distribution: str
    """What one installs; a program may have a module of its own by the import name."""
    names: frozenset[str]
    """The names under which instrumentations of it are registered as entry points."""


CLIENTS: Final = (
    Client("anthropic", "anthropic", frozenset({"anthropic"})),
    Client("google.genai", "google-genai", frozenset({"google-genai", "google_genai"})),
    Client("openai", "openai", frozenset({"openai"})),
)
"""The clients whose instrumentations were seen to leave a program as it is."""


@dataclass(frozen=True)
class _Family:
    """Instrumentations that have the same author."""

    prefix: str
    """What the names of their modules begin with."""
    shared: str
    """The package with what they have in common."""


_OPENINFERENCE: Final = _Family("openinference.instrumentation.", "openinference.instrumentation")
_GENAI: Final = "opentelemetry.util.genai"

# OpenLLMetry's are not among them: they put prompts on spans unless an environment variable that
# the program sees forbids it, warn on stderr, and stay in place when they are uninstrumented.
_FAMILIES: Final = (
    _Family("opentelemetry.instrumentation.genai.", _GENAI),
    _Family("opentelemetry.instrumentation.google_genai", _GENAI),
    _Family("opentelemetry.instrumentation.openai_v2", _GENAI),
    _OPENINFERENCE,
)
"""Whose instrumentations are activated, the preferred first: only one for each client."""


class _Instrumentor(Protocol):
    """What is called of a BaseInstrumentor, which has no types."""

    def instrument(self, **settings: Any) -> Any: ...

    def uninstrument(self) -> Any: ...


@dataclass(frozen=True)
class _Active:
    """An instrumentation of ours that is in place."""

    instrumentor: _Instrumentor
    directories: tuple[str, ...]
    """Where its code is."""


def watch_clients(provider: trace.TracerProvider, environ: Mapping[str, str]) -> Watch | None:
    """Instrument each client that the program imports from now on, unless the program does it.

    Args:
        provider: Gets the spans of model calls that flows and nodes make, and no others.
        environ: Environment variables: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS is obeyed, and where
            content is not to be shown, no instrumentation that would capture it is activated.

    Returns:
        What is known of the clients; None where all are to be left alone.
    """
    disabled = {name.strip() for name in environ.get(_DISABLED, "").split(",")}
    if "*" in disabled:
        return None
    watch = Watch(provider, frozenset(disabled), captures=_captures_unwanted(environ))
    wrapt.wrap_function_wrapper(BaseInstrumentor, "instrument", watch.on_instrument)
    for client in CLIENTS:
        wrapt.register_post_import_hook(partial(watch.on_import, client), client.package)
    return watch


def _captures_unwanted(environ: Mapping[str, str]) -> bool:
    """Tell whether OpenTelemetry's own instrumentations would show content that we must not."""
    shown = environ.get(OTEL_PYTHON_POCKETFLOW_CONTENT, "").strip() not in {"keys", "off"}
    wanted = environ.get(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, "").strip().lower()
    return not shown and wanted not in _NO_CONTENT


class Watch:
    """Knows which clients are instrumented by us, and which are the program's own business."""

    def __init__(
        self, provider: trace.TracerProvider, disabled: frozenset[str], *, captures: bool
    ) -> None:
        self._provider = _RunTracerProvider(provider)
        self._disabled = disabled
        self._families = (_OPENINFERENCE,) if captures else _FAMILIES
        self._registered: tuple[EntryPoint, ...] | None = None
        self._active: dict[Client, _Active] = {}
        self._left: set[Client] = set()
        self._unseen: list[Client] = []
        # What the program does and what we do to the same client never overlap.
        self._lock = threading.RLock()

    @guarded(None)
    def on_import(self, client: Client, module: ModuleType) -> None:
        """The program has imported a client, or a module of its own by that name."""
        with self._lock:
            if client in self._left or client in self._active or not _is_from(client, module):
                return
            if any(map(_is_in_use, self._classes(client))):
                self._left.add(client)
                return
            if not self._of(client) and self._disabled.isdisjoint(client.names):
                self._unseen.append(client)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._activate_best(client)

    def hint(self) -> str:
        """Return a line on clients whose calls nothing can see; empty where there are none."""
        if not self._unseen:
            return ""
        names = ",".join(client.distribution for client in self._unseen)
        install = f"pip install 'opentelemetry-instrumentation-pocketflow[{names}]'"
        return f"the calls of {names.replace(',', ' and ')} are not seen; to count them: {install}"

    def on_instrument(
        self, wrapped: Any, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Somebody calls `instrument` of any instrumentation; a wrapper in wrapt's form."""
        self._give_way(instance)
        return wrapped(*args, **kwargs)

    @guarded(None)
    def _give_way(self, instrumentor: object) -> None:
        """Leave a client to the program from now on, where it instruments it itself."""
        if not _is_singleton(instrumentor):
            return
        with self._lock:
            for client in CLIENTS:
                if isinstance(instrumentor, tuple(self._classes(client))):
                    self._leave(client)

    def _leave(self, client: Client) -> None:
        self._left.add(client)
        active = self._active.pop(client, None)
        if active is not None:
            active.instrumentor.uninstrument()
            show_frames_in(active.directories)

    def _activate_best(self, client: Client) -> None:
        for entry_point, family in self._candidates(client):
            place = f"the instrumentation {entry_point.module}"
            active = attempt(partial(self._activate, family=family), entry_point, place)
            if active is not None:
                self._active[client] = active
                return

    def _activate(self, entry_point: EntryPoint, family: _Family) -> _Active | None:
        """Activate an instrumentation; None where it is made for another version of the client."""
        instrumentor = _own_instance(entry_point.load())
        directories = _directories((entry_point.module, family.shared))
        settings = _without_content() if family is _OPENINFERENCE else {}
        try:
            instrumentor.instrument(
                tracer_provider=self._provider, raise_exception_on_conflict=True, **settings
            )
        except DependencyConflictError:
            return None
        hide_frames_in(directories)
        return _Active(instrumentor, directories)

    def _candidates(self, client: Client) -> list[tuple[EntryPoint, _Family]]:
        """Return what may be activated for a client, the preferred first."""
        allowed = [each for each in self._of(client) if each.name not in self._disabled]
        return [
            (entry_point, family)
            for family in self._families
            for entry_point in allowed
            if entry_point.module.startswith(family.prefix)
        ]

    def _classes(self, client: Client) -> Iterable[type]:
        """Return the classes of all its instrumentations that are imported, ours or not."""
        for entry_point in self._of(client):
            module = sys.modules.get(entry_point.module)
            found = None if module is None else vars(module).get(entry_point.attr)
            if isinstance(found, type):
                yield found

    def _of(self, client: Client) -> list[EntryPoint]:
        if self._registered is None:
            self._registered = tuple(entry_points(group=_GROUP))
        return [each for each in self._registered if each.name in client.names]


def _is_from(client: Client, module: ModuleType) -> bool:
    """Tell whether a module is the client, and not a namesake in the program's own directory."""
    try:
        installed = distribution(client.distribution)
    except PackageNotFoundError:
        return False
    expected = installed.locate_file(f"{client.package.replace('.', '/')}/__init__.py")
    return os.path.realpath(str(expected)) == os.path.realpath(module.__file__ or "")


def _is_singleton(instrumentor: object) -> bool:
    """Tell whether this is the one instance that calling its class returns; ours never is."""
    return getattr(type(instrumentor), "_instance", None) is instrumentor


def _is_in_use(kind: type) -> bool:
    """Tell whether somebody has instrumented with this class of instrumentors."""
    instance = getattr(kind, "_instance", None)
    return bool(getattr(instance, "is_instrumented_by_opentelemetry", False))


def _own_instance(kind: Any) -> _Instrumentor:
    """Make an instance beside the one that the program gets, which then looks never used."""
    instance = object.__new__(kind)
    instance.__init__()
    return instance


def _without_content() -> dict[str, Any]:
    """Return the setting that keeps OpenInference from putting prompts and answers on spans."""
    from openinference.instrumentation import TraceConfig  # noqa: PLC0415 - only if it is there

    names = [field.name for field in fields(TraceConfig) if field.name.startswith("hide_")]
    hidden: dict[str, Any] = dict.fromkeys(names, True)
    return {"config": TraceConfig(**hidden)}


def _directories(modules: Iterable[str]) -> tuple[str, ...]:
    """Return where the code of these packages is."""
    specs = [find_spec(module) for module in modules]
    return tuple(
        str(Path(spec.origin).parent) + os.sep for spec in specs if spec is not None and spec.origin
    )


class _RunTracerProvider(trace.TracerProvider):
    """Has spans made only inside of flows and nodes: what is outside is the program's business."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._provider = provider

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Return a tracer that does nothing outside of a run."""
        scope = (instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return _RunTracer(self._provider.get_tracer(*scope))


class _RunTracer(trace.Tracer):
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._nothing = trace.NoOpTracer()

    def _of(self, context: Context | None) -> trace.Tracer:
        within = context_api.get_current() if context is None else context
        return self._nothing if current_frame(within) is None else self._tracer

    def start_span(
        self, name: str, context: Context | None = None, *args: Any, **kwargs: Any
    ) -> trace.Span:
        """Start a span, if this is in a run."""
        return self._of(context).start_span(name, context, *args, **kwargs)

    def start_as_current_span(
        self, name: str, context: Context | None = None, *args: Any, **kwargs: Any
    ) -> _AgnosticContextManager[trace.Span]:
        """Start a span, if this is in a run, and make it current for a block."""
        return self._of(context).start_as_current_span(name, context, *args, **kwargs)

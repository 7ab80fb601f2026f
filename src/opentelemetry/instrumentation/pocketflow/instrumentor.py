"""Wraps the framework's methods, and restores them."""

from __future__ import annotations

import logging
import sys
import threading
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import wrapt
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.pocketflow import guard, resource, semconv
from opentelemetry.instrumentation.pocketflow.capture import redact
from opentelemetry.instrumentation.pocketflow.capture.classes import Framework
from opentelemetry.instrumentation.pocketflow.capture.hooks import HOOKS
from opentelemetry.instrumentation.pocketflow.capture.processor import attend
from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from opentelemetry.instrumentation.pocketflow.capture.session import Outlets, Session
from opentelemetry.instrumentation.pocketflow.capture.timed import TIMED_HOOKS
from opentelemetry.instrumentation.pocketflow.config import Config
from opentelemetry.instrumentation.pocketflow.emit.metrics import Metrics, is_recording
from opentelemetry.instrumentation.pocketflow.guard import guarded
from opentelemetry.instrumentation.pocketflow.interpreters import is_subinterpreter
from opentelemetry.instrumentation.pocketflow.version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import ModuleType

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from opentelemetry.instrumentation.pocketflow.config import Recogniser


_logger = logging.getLogger(__name__)
_RECOGNISERS: Final = "opentelemetry_pocketflow_usage"
"""The entry point group of functions that find model calls in values."""
_COMMON_ARGUMENTS: Final = frozenset(
    {
        "logger_provider",
        "meter_provider",
        "raise_exception_on_conflict",
        "skip_dep_check",
        "tracer_provider",
    }
)


class _Wrapped(NamedTuple):
    """One method that was wrapped."""

    owner: type
    name: str
    original: object
    wrapper: object


class _Instrumentation:
    """Everything between one `instrument()` and its `uninstrument()`."""

    def __init__(
        self,
        config: Config,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
    ) -> None:
        self.config = config
        self._redactor = Redactor(config.redact_keys, config.redact_patterns)
        self.provider = tracer_provider
        self.meter_provider = meter_provider
        self._active = True
        self._sessions: list[Session] = []
        self._wrapped: list[_Wrapped] = []
        # Reentrant: what is loaded here may import another copy of the framework.
        self._lock = threading.RLock()

    def start(self) -> None:
        """Wraps the framework now if it is imported, else as soon as it is.

        It is never imported here: a program may have its own copy of the file, in a folder that
        is not on the path yet.
        """
        guard.strict = self.config.strict
        redact.in_use = self._redactor
        redact.shows_values = self.config.content == "values"
        guard.shown_message = redact.message_in_a_log
        for name in self.config.module:
            wrapt.register_post_import_hook(self._on_import, name)

    def look_again(self) -> None:
        """Wraps the framework's new classes, too, where its module was loaded again meanwhile."""
        for name in self.config.module:
            if (module := sys.modules.get(name)) is not None:
                self._on_import(module)

    def stop(self) -> None:
        """Restores what was wrapped. Wrappers that others hold on to from now on only pass on."""
        self._active = guard.strict = False
        for session in self._sessions:
            session.active = False
        for owner, name, original, wrapper in reversed(self._wrapped):
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, original)

    @guarded(None)
    def _on_import(self, module: ModuleType) -> None:
        with self._lock:
            if not self._active:
                return
            framework = Framework.of_module(module)
            if framework is None:
                name = module.__name__
                _logger.warning("module=%r: defines no BaseNode and Flow; nothing is traced", name)
                return
            if any(known.framework.base_node is framework.base_node for known in self._sessions):
                return
            session = self._open_session(framework)
            for owner in framework.classes:
                self._wrap_class(session, owner)

    def _open_session(self, framework: Framework) -> Session:
        provider = self.provider or trace.get_tracer_provider()
        attend(provider)
        tracer = provider.get_tracer(semconv.SCOPE_NAME, __version__, schema_url=semconv.SCHEMA_URL)
        root_attributes = self._fill_resource(provider)
        outlets = Outlets(tracer, self._make_metrics(), self._is_metering, _attend_to_global)
        recognisers = (*self.config.usage_recognisers, *_installed_recognisers())
        session = Session(
            outlets, self.config, framework, self._redactor, root_attributes, recognisers
        )
        self._sessions.append(session)
        return session

    def _make_metrics(self) -> Metrics:
        # A provider that can't make instruments is no reason to have no spans.
        made = guard.attempt(_metrics_of, self.meter_provider, "the meter provider")
        return made or Metrics(metrics.NoOpMeter(semconv.SCOPE_NAME))

    def _is_metering(self) -> bool:
        return is_recording(self.meter_provider or metrics.get_meter_provider())

    def _fill_resource(self, provider: TracerProvider) -> Mapping[str, Any]:
        """Tells the providers about git and the environment; what traces don't take is returned."""
        if not self.config.resource:
            return {}
        attributes = resource.resource_attributes(self._redactor, modules=self.config.module)
        resource.complete_resource(self.meter_provider or metrics.get_meter_provider(), attributes)
        return resource.complete_resource(provider, attributes)

    def _wrap_class(self, session: Session, owner: type) -> None:
        hooks = TIMED_HOOKS if self.config.self_report else HOOKS
        for name, hook in hooks.items():
            # Only where the class itself defines it: wrapping what is inherited would leave an
            # attribute behind.
            original = vars(owner).get(name)
            if original is None:
                continue
            wrapper = hook(session, original, owner).in_place_of(original)
            setattr(owner, name, wrapper)
            self._wrapped.append(_Wrapped(owner, name, original, wrapper))


class PocketFlowInstrumentor(BaseInstrumentor):
    """Traces every flow, node, attempt, batch item and store change of PocketFlow programs.

    Use it in code::

        from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

        PocketFlowInstrumentor().instrument()

    or not at all: ``opentelemetry-instrument python main.py`` finds it by its entry point.
    """

    _instrumentation: _Instrumentation | None = None
    _is_by_default = False
    """Was it instrumented without any option, as `opentelemetry-instrument` does?"""

    def instrument(self, **kwargs: Any) -> None:
        """Starts tracing; see `Config` for the options.

        Options that a program gives win over an instrumentation without any, such as that of
        `opentelemetry-instrument`: what the program wants hidden must not be shown. Otherwise a
        second call only warns, as with every instrumentor; but if the framework's module was
        loaded again since, as in notebooks, its new classes are traced from then on.

        Raises:
            TypeError: an option does not exist, or has a value of the wrong type.
            ValueError: an option has a value that is not allowed.
        """
        if self._instrumentation is not None and self._is_by_default and _options_in(kwargs):
            _config_from(_options_in(kwargs))  # raises before anything is given up
            before = self._instrumentation
            self.uninstrument()
            kwargs.setdefault("tracer_provider", before.provider)
            kwargs.setdefault("meter_provider", before.meter_provider)
            if "config" not in kwargs:
                kwargs.setdefault("self_report", before.config.self_report)
        if self._instrumentation is not None:
            self._instrumentation.look_again()
        super().instrument(**kwargs)

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing: the framework is recognised when it is imported, by what it defines.

        Many programs copy PocketFlow's one file, so that no distribution of it is installed.
        """
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        """Starts tracing.

        Args:
            **kwargs: `tracer_provider`, `meter_provider`, and the options of `Config` by
                name. `config` takes a `Config` in place of these.

        Raises:
            TypeError: an option does not exist, or has a value of the wrong type.
            ValueError: an option has a value that is not allowed.
        """
        provider = cast("TracerProvider | None", kwargs.get("tracer_provider"))
        meter_provider = cast("MeterProvider | None", kwargs.get("meter_provider"))
        options = _options_in(kwargs)
        instrumentation = _Instrumentation(_config_from(options), provider, meter_provider)
        if is_subinterpreter():
            _logger.warning("PocketFlow is traced in the main interpreter only, not in this one")
            return
        # A report on ourselves shows and hides nothing of the program.
        self._is_by_default = options.keys() <= {"self_report"}
        instrumentation.start()
        self._instrumentation = instrumentation

    def _uninstrument(self, **kwargs: Any) -> None:
        """Stops tracing, and restores the very same methods."""
        del kwargs
        if self._instrumentation is not None:
            self._instrumentation.stop()
            self._instrumentation = None


def _metrics_of(provider: MeterProvider | None) -> Metrics:
    return Metrics(metrics.get_meter(semconv.SCOPE_NAME, __version__, provider, semconv.SCHEMA_URL))


def _attend_to_global() -> None:
    """Listens to the provider that clients' instrumentations use unless they are told another."""
    attend(trace.get_tracer_provider())


def _installed_recognisers() -> tuple[Recogniser, ...]:
    points = entry_points(group=_RECOGNISERS)
    return tuple(found for point in points if (found := _load(point)) is not None)


@guarded(cast("Recogniser | None", None))
def _load(point: EntryPoint) -> Recogniser | None:
    found = point.load()
    if callable(found):
        return cast("Recogniser", found)
    _logger.warning("entry point %s=%r: is no function; ignored", _RECOGNISERS, point.value)
    return None


def _options_in(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Our own options among the arguments that instrumentors are given."""
    return {name: value for name, value in kwargs.items() if name not in _COMMON_ARGUMENTS}


def _config_from(options: dict[str, Any]) -> Config:
    config = options.pop("config", None)
    if config is None:
        return Config.from_env(**options)
    if not isinstance(config, Config):
        raise TypeError(f"config={config!r}: must be a Config")
    if options:
        raise TypeError(f"config=...: can't be combined with {', '.join(sorted(options))}")
    return config

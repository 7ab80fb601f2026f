"""The same wrappers with a stopwatch in their hands, for `Config.self_report`.

Each takes the place of one in `hooks` and does nothing else than that; only what it does is timed.
Without the option none of them is made, so that nobody else pays for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
from opentelemetry.instrumentation.pocketflow.capture.frames import IdleFrame
from opentelemetry.instrumentation.pocketflow.capture.hooks import (
    HOOKS,
    Args,
    Hook,
    Kwargs,
    TellingHook,
)
from opentelemetry.instrumentation.pocketflow.capture.runs import NodeRun
from opentelemetry.instrumentation.pocketflow.capture.stopwatch import (
    Stopwatch,
    stopwatch_in,
    timed_here,
    with_stopwatch,
)
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping


class TimedScope(Scope):
    """Stands around the scope of a call, and times what that does.

    Args:
        scope: what does the work.
        stopwatch: that of the outermost run.
    """

    __slots__ = ("_scope", "_stopwatch")

    def __init__(self, scope: Scope, stopwatch: Stopwatch) -> None:
        super().__init__()
        self._scope = scope
        self._stopwatch = stopwatch
        self.again = scope.again

    def is_exec_of(self, run: Scope) -> bool:
        """Is it the `exec` phase of that run, or one way through the nodes of that flow?"""
        return self._scope.is_exec_of(run)

    def enter(self) -> None:
        """The call begins."""
        self._stopwatch.timed(self._enter)

    def leave(self) -> None:
        """The call is over, and its context is still current."""
        self._stopwatch.timed(self._scope.leave)

    def returned(self, result: object) -> None:
        """The call has returned."""
        self._stopwatch.timed(self._scope.returned, result)
        self._let_go()

    def raised(self, exc: BaseException) -> None:
        """The call has raised."""
        self._stopwatch.timed(self._scope.raised, exc)
        self.recorded = self._scope.recorded
        self._let_go()

    def abandon(self) -> None:
        """Ends whatever is still open, after a fault in any of the above. Never raises."""
        try:
            self._scope.abandon()
        finally:
            self._let_go()

    def _enter(self) -> None:
        scope, stopwatch = self._scope, self._stopwatch
        try:
            scope.enter()
        finally:  # what it has come to counts also where it has failed
            self.context, self.stand_in = scope.context, scope.stand_in
        context = scope.context
        has_owner = stopwatch.owner is not None
        if context is not None and has_owner and stopwatch_in(context) is not stopwatch:
            self.context = scope.context = with_stopwatch(stopwatch, context)

    def _let_go(self) -> None:
        """An exception's traceback may keep this scope, but need not keep what it led to."""
        self.context = self.stand_in = None


class _TimedOpening(Hook):
    """Times how a scope is opened, and the scope."""

    def scope_of(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """The scope of a call; None where the call is only passed on."""
        around = stopwatch_in(context_api.get_current())
        stopwatch = around or Stopwatch()
        scope = stopwatch.timed(super().scope_of, instance, args, kwargs)
        if scope is None or isinstance(scope, IdleFrame):
            return scope
        # The nodes of a flow that is skipped are the outermost, each for itself.
        if around is None and isinstance(scope, NodeRun):
            stopwatch.owner = scope
        return TimedScope(scope, stopwatch)


class _TimedTelling(TellingHook):
    """Times how a call that has returned is told of."""

    @guarded(None)
    def tell(self, instance: object, args: Args, kwargs: Kwargs, result: object) -> None:
        """The method has returned. Never raises."""
        timed_here(super().tell, instance, args, kwargs, result)


def _timed(hook: type[Hook]) -> type[Hook]:
    timing = _TimedTelling if issubclass(hook, TellingHook) else _TimedOpening
    made: Any = type(f"Timed{hook.__name__}", (timing, hook), {})
    return made


TIMED_HOOKS: Final[Mapping[str, type[Hook]]] = {name: _timed(hook) for name, hook in HOOKS.items()}
"""Like `HOOKS`, with a stopwatch."""

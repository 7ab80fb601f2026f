"""Runs a call of the user's program inside a scope of ours, sync or async, and changes nothing.

A scope is told when the call begins, and whether it returned or raised. Whatever the scope does is
guarded; the call itself is not: its result and its exception, of whatever kind, go on as they are.
"""

from __future__ import annotations

import contextvars
from contextlib import suppress
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from contextvars import Token
    from types import CodeType, TracebackType

    from opentelemetry.context import Context


class Scope:
    """What surrounds one call. The methods of subclasses are guarded and never raise."""

    __slots__ = ("again", "context", "recorded", "target")

    def __init__(self) -> None:
        self.context: Context | None = None
        """What is current during the call, where it differs from what is current around it."""
        self.recorded = False
        """Has the exception that left this scope been recorded, on a span in it or below it?"""

        self.target: Callable[..., Any] | None = None
        """What is called in place of the wrapped function, where that sees more."""
        self.again = False
        """Is the hook to be asked once more inside this scope?"""

    def is_exec_of(self, run: Scope) -> bool:
        """Is it the `exec` phase of that run, or one way through the nodes of that flow?"""
        del run
        return False

    def enter(self) -> None:
        """The call begins. May set `context`."""

    def leave(self) -> None:
        """The call is over, and its context is still current."""

    def returned(self, result: object) -> None:
        """The call has returned."""

    def raised(self, exc: BaseException) -> None:
        """The call has raised."""


class Caller:
    """Stands in place of a function of the user's program, and calls it inside a scope."""

    is_async = False

    def safely_open(
        self, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Scope | None:
        """The scope of a call; None where the call is only passed on. Never raises."""
        raise NotImplementedError

    # One frame of ours for each call of the program's: programs may be close to the recursion
    # limit, and what stands here is run several times for each node.

    def __call__(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Called by wrapt in place of the function."""
        __tracebackhide__ = True  # pytest shows the program's frames, not this one
        if instance is None and args:  # somebody took the method unbound
            instance, args = args[0], args[1:]
            wrapped = MethodType(wrapped, instance)
        scope = self.safely_open(instance, args, kwargs)
        if scope is None:
            return wrapped(*args, **kwargs)
        if scope.again:
            scope.target = self._again(scope, wrapped, instance)
        if self.is_async:
            return _named_like(wrapped, call_async(scope, wrapped, args, kwargs))
        scope.enter()
        token = attach(scope.context)
        try:
            result = (scope.target or wrapped)(*args, **kwargs)
        except BaseException as exc:
            scope.leave()
            detach(token)
            scope.raised(exc)
            raise
        scope.leave()
        detach(token)
        scope.returned(result)
        return result

    def _again(self, scope: Scope, wrapped: Callable[..., Any], instance: Any) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if scope.context is None:  # the scope could not be opened
                return wrapped(*args, **kwargs)
            return self(wrapped, instance, args, kwargs)

        return ask


def _named_like(
    function: Callable[..., Any], coroutine: Coroutine[Any, Any, Any]
) -> Coroutine[Any, Any, Any]:
    """A coroutine that is never awaited is reported by its name: it stays the user's."""
    coroutine.__name__, coroutine.__qualname__ = function.__name__, function.__qualname__
    return coroutine


async def call_async(
    scope: Scope,
    wrapped: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Awaits what a function returns inside a scope, which begins when it is first awaited."""
    __tracebackhide__ = True
    scope.enter()
    token = attach(scope.context)
    try:
        result = await (scope.target or wrapped)(*args, **kwargs)
    except BaseException as exc:
        scope.leave()
        detach(token)
        scope.raised(exc)
        raise
    scope.leave()
    detach(token)
    scope.returned(result)
    return result


def attach(context: Context | None) -> Token[Context] | None:
    """Makes a context current, if there is one."""
    return None if context is None else context_api.attach(context)


def detach(token: Token[Context] | None) -> None:
    """Undoes `attach`.

    A coroutine may be closed rather than finished, by the garbage collector or in another task.
    Then there is nothing to undo in the context that is current, and that is no error, which the
    API's own `detach` would log it as.
    """
    if type(token) is contextvars.Token:
        with suppress(ValueError, RuntimeError):
            token.var.reset(token)
    elif token is not None:  # another implementation of the API's runtime context
        context_api.detach(token)


_CALLS: Final[tuple[CodeType, ...]] = (Caller.__call__.__code__, call_async.__code__)


def scopes_left(exc: BaseException) -> Iterator[Scope]:
    """The scopes that an exception has left, outermost first.

    Its own traceback tells: it names each frame of a `Caller` that the exception went through. So
    nothing has to be kept, not even for exceptions that cross tasks or are raised again later.
    """
    tb: TracebackType | None = exc.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code in _CALLS:
            scope = tb.tb_frame.f_locals.get("scope")
            if isinstance(scope, Scope):
                yield scope
        tb = tb.tb_next


def is_recorded(exc: BaseException) -> bool:
    """Has the exception left a scope that recorded it?"""
    return any(scope.recorded for scope in scopes_left(exc))


def is_cancellation(exc: BaseException) -> bool:
    """Is it one of those that end a program or task, and are no error?"""
    return not isinstance(exc, Exception)

"""Runs a call of the user's program inside a scope of ours, sync or async, and changes nothing.

A scope is told when the call begins, and whether it returned or raised. Whatever the scope does is
guarded; the call itself is not: its result and its exception, of whatever kind, go on as they are.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from contextlib import suppress
from inspect import iscoroutine, iscoroutinefunction
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context

Function = TypeVar("Function", bound="Callable[..., Any]")


class Scope:
    """What surrounds one call. Who calls `enter`, `leave`, `returned` or `raised` guards them."""

    __slots__ = ("again", "context", "is_over", "recorded", "stand_in")

    def __init__(self) -> None:
        self.context: Context | None = None
        """What is current during the call, where it differs from what is current around it."""
        self.recorded = False
        """Has the exception that left this scope been recorded, on a span in it or below it?"""

        self.stand_in: object = None
        """What the function is called with in place of the instance, where that sees more."""
        self.again = False
        """Is the hook to be asked once more inside this scope?"""
        self.is_over = False
        """Has it been told how the call ended, or given up?"""

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

    def abandon(self) -> None:
        """Ends whatever is still open, after a fault in any of the above. Never raises."""


def unseen(function: Function) -> Function:
    """Has `warnings` and `logging` pass over the frames of a function of ours.

    A program's `stacklevel` says how many frames further out the code is that is meant, and counts
    none of ours. Both modules count no frame of Python's import machinery either, which they know
    by two words in the name of its file.
    """
    inner = cast("FunctionType", function)
    inner.__code__ = inner.__code__.replace(co_filename=f"{inner.__code__.co_filename}{_UNSEEN}")
    return function


_UNSEEN: Final = " (not counted, like importlib._bootstrap)"


class Caller:
    """Decides in which scope each call of one function of the program runs."""

    def scope_of(
        self, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Scope | None:
        """The scope of a call of the method; None where the call is only passed on."""
        raise NotImplementedError

    def in_place_of(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """What takes a method's place on its class: it calls the method inside a scope."""
        if iscoroutinefunction(method):
            return _async_hook(self, method)
        # A plain function of another tool's may stand around the framework's coroutine function.
        make = _late_hook if iscoroutinefunction(inspect.unwrap(method)) else _hook
        return make(self, method)


# On the class stand plain functions, and nothing of wrapt's, which are called through C: a call of
# one Python function by another takes no room on the C stack, of which there is less than programs
# may ask for by `sys.setrecursionlimit`. One frame each, since programs may be close to that limit.


def _hook(caller: Caller, method: Callable[..., Any]) -> Callable[..., Any]:
    function = unbound(method)

    @unseen
    @functools.wraps(method)
    def hook(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # pytest shows the program's frames, not this one
        scope = _open(caller, args, kwargs)
        token = None if scope is None else begin(scope)
        try:
            try:
                if scope is None:
                    called, instance = function, args[0] if args else None
                else:
                    called = hook if scope.again and scope.context is not None else function
                    instance = args[0] if scope.stand_in is None else scope.stand_in
                # Python 3.11 takes room on the C stack for calls with `*`.
                if len(args) == 2 and not kwargs:  # noqa: PLR2004 - as most are called
                    result = called(instance, args[1])
                elif len(args) == 3 and not kwargs:  # noqa: PLR2004
                    result = called(instance, args[1], args[2])
                elif args:
                    result = called(instance, *args[1:], **kwargs)
                else:
                    result = called(**kwargs)
            except BaseException as exc:
                if scope is not None:
                    fail(scope, token, exc)
                raise
            if scope is not None:
                end(scope, token, result)
        finally:
            if scope is not None and not scope.is_over:
                give_up(scope, token)
        return result

    return hook


def _async_hook(caller: Caller, method: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    function = unbound(method)

    @unseen
    @functools.wraps(method)
    async def hook(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        scope = _open(caller, args, kwargs)
        if scope is None:
            return await function(*args, **kwargs)
        token = begin(scope)
        try:
            try:
                called = hook if scope.again and scope.context is not None else function
                instance = args[0] if scope.stand_in is None else scope.stand_in
                result = await called(instance, *args[1:], **kwargs)
            except BaseException as exc:
                fail(scope, token, exc)
                raise
            end(scope, token, result)
        finally:
            if not scope.is_over:
                give_up(scope, token)
        return result

    return hook


def _late_hook(caller: Caller, method: Callable[..., Any]) -> Callable[..., Any]:
    function = unbound(method)

    @unseen
    @functools.wraps(method)
    def late(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        made = function(*args, **kwargs)
        if not iscoroutine(made):
            return made
        hook = _async_hook(caller, lambda *_, **__: made)
        coroutine = hook(*args, **kwargs)
        # One that is never awaited is reported by its name: it stays the user's.
        coroutine.__name__, coroutine.__qualname__ = made.__name__, made.__qualname__
        return coroutine

    return late


def unbound(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method as a function that takes the instance first, whatever stands on the class."""
    if type(method) is FunctionType:
        return method
    bind = getattr(type(method), "__get__", None)

    @unseen
    def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
        # Another tool's, which may tell by how it is bound whether it is called as a method.
        bound = method if bind is None else bind(method, instance, type(instance))
        return bound(*args, **kwargs)

    return call


def _open(caller: Caller, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
    if not args:  # the method itself will complain, or was given `self` by name
        return None
    try:
        return caller.scope_of(args[0], args[1:], kwargs)
    except BaseException as exc:
        if not guard.absorbs(f"{type(caller).__name__}.scope_of", exc):
            raise
        return None


# What a scope does is not the program's: a fault in it is logged, and the program goes on. What
# ends programs goes on, too: a signal may raise KeyboardInterrupt anywhere in here. Either way
# nothing stays open, and no context current.


def begin(scope: Scope) -> Token[Context] | None:
    """Enters a scope and makes its context current; what it returns is for the other three."""
    try:
        scope.enter()
        return None if scope.context is None else context_api.attach(scope.context)
    except BaseException as exc:
        if not guard.absorbs(f"{type(scope).__name__}.enter", exc):
            give_up(scope, None)
            raise
        # What the scope had not come to is lost, and no more.
        return attach(scope.context)


def end(scope: Scope, token: Token[Context] | None, result: object) -> None:
    """The call has returned."""
    try:
        scope.leave()
        detach(token)
        scope.returned(result)
        scope.is_over = True
    except BaseException as exc:
        give_up(scope, token)
        if not guard.absorbs(f"{type(scope).__name__}.returned", exc):
            raise


def fail(scope: Scope, token: Token[Context] | None, exc: BaseException) -> None:
    """The call has raised."""
    try:
        scope.leave()
        detach(token)
        scope.raised(exc)
        scope.is_over = True
    except BaseException as fault:
        give_up(scope, token)
        if not guard.absorbs(f"{type(scope).__name__}.raised", fault):
            raise


def give_up(scope: Scope, token: Token[Context] | None) -> None:
    """Something of ours did not work: nothing of the scope is to stay."""
    scope.is_over = True
    try:
        scope.abandon()
    finally:
        detach(token)


@guard.guarded(cast("Token[Context] | None", None))
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


_HOOK_FILE: Final = f"{_hook.__code__.co_filename}{_UNSEEN}"
_traceback_of: Final = vars(BaseException)["__traceback__"].__get__
"""Whatever a class makes of the attribute."""


def scopes_left(exc: BaseException) -> Iterator[Scope]:
    """The scopes that an exception has left, outermost first.

    Its own traceback tells: it names each frame of a hook that the exception went through. So
    nothing has to be kept, not even for exceptions that cross tasks or are raised again later.
    """
    tb: TracebackType | None = _traceback_of(exc)
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_name == "hook" and code.co_filename == _HOOK_FILE:
            variables: Any = tb.tb_frame.f_locals
            scope = variables.get("scope")
            if type(variables) is dict:
                # Before Python 3.13, a frame keeps them: an exception would keep itself alive.
                cast("dict[str, Any]", variables).pop("exc", None)
            if isinstance(scope, Scope):
                yield scope
        tb = tb.tb_next


def is_recorded(exc: BaseException) -> bool:
    """Has the exception left a scope that recorded it?"""
    return any(scope.recorded for scope in scopes_left(exc))


def is_cancellation(exc: BaseException) -> bool:
    """Is it one of those that end a program or task, and are no error?"""
    return not issubclass(type(exc), Exception)  # `isinstance` may ask the object for its class

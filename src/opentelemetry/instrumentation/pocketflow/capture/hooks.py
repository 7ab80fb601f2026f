"""The wrappers around the framework's methods: each decides which scope a call belongs to.

Only methods of the framework's own classes are wrapped. A class of the user that overrides `_run`
hides it from its hook; then the run is opened one step further out, by the flow's route or by
`run`, or further in, by `_exec` or `_orch`, and only ever once.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from opentelemetry.instrumentation.pocketflow.capture import classes
from opentelemetry.instrumentation.pocketflow.capture.attempts import is_observable
from opentelemetry.instrumentation.pocketflow.capture.calls import Scope, call, call_async
from opentelemetry.instrumentation.pocketflow.capture.execs import ExecScope, ItemScope
from opentelemetry.instrumentation.pocketflow.capture.frames import current_frame
from opentelemetry.instrumentation.pocketflow.capture.routes import RouteScope, open_run
from opentelemetry.instrumentation.pocketflow.capture.runs import (
    BatchState,
    FlowRun,
    NodeRun,
)
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.instrumentation.pocketflow.capture.session import Session

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Hook:
    """What a wrapper around one method of the framework does.

    Args:
        session: what all runs share.
        method: the method as it was found on its class.
        owner: the class that defines it.
    """

    def __init__(self, session: Session, method: Any, owner: type) -> None:
        self.session = session
        self.method = method
        self.owner = owner
        self.is_async = iscoroutinefunction(method)

    def open(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """The scope of a call; None where the call is only passed on."""
        raise NotImplementedError

    def __call__(
        self, wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: Kwargs
    ) -> Any:
        """Called by wrapt in place of the method."""
        __tracebackhide__ = True
        wrapped, instance, args = bound(wrapped, instance, args)
        scope = self.safely_open(instance, args, kwargs)
        if scope is None:
            return wrapped(*args, **kwargs)
        if scope.again:
            scope.target = self._again(scope, wrapped, instance)
        if not self.is_async:
            return call(scope, wrapped, args, kwargs)
        coroutine = call_async(scope, wrapped, args, kwargs)
        # A coroutine that is never awaited is reported by its name: it stays the user's.
        coroutine.__name__, coroutine.__qualname__ = wrapped.__name__, wrapped.__qualname__
        return coroutine

    def _again(self, scope: Scope, wrapped: Callable[..., Any], instance: Any) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if scope.context is None:  # the scope could not be opened
                return wrapped(*args, **kwargs)
            return self(wrapped, instance, args, kwargs)

        return ask

    @guarded(cast("Scope | None", None))
    def safely_open(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """Like `open`, but never raises, and opens nothing where tracing is off."""
        if not self.session.active or not is_instrumentation_enabled():
            return None
        return self.open(instance, args, kwargs)

    def outer_run(self, node: object, store: object, *, claimable: bool = False) -> NodeRun | None:
        """A run for a call that comes without one; None where the class is skipped."""
        if self.session.prepared(type(node)).facts.skipped:
            return None
        return open_run(self.session, node, store, current_frame(), claimable=claimable)


class RunHook(Hook):
    """`_run` and `_run_async`: one run."""

    def open(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """The scope of a call; None where the call is only passed on."""
        frame = current_frame()
        if isinstance(frame, NodeRun) and frame.claim(instance):
            return None
        return self.outer_run(instance, argument(args, kwargs, 0, "shared"))


class EntryHook(Hook):
    """`run` and `run_async`: opens the run where the user's own `_run` would hide it."""

    def open(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """The scope of a call; None where the call is only passed on."""
        facts = self.session.prepared(type(instance)).facts
        if not classes.hides_its_run(instance, facts):
            return None
        return self.outer_run(instance, argument(args, kwargs, 0, "shared"), claimable=True)


class ExecHook(Hook):
    """`_exec`: the border between the phases, or one item of a batch."""

    def __init__(self, session: Session, method: Any, owner: type) -> None:
        super().__init__(session, method, owner)
        self._is_batch = "Batch" in owner.__name__
        self._observable = method if is_observable(method) else None

    def open(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """The scope of a call; None where the call is only passed on."""
        frame = current_frame()
        value = argument(args, kwargs, 0, "items" if self._is_batch else "prep_res")
        if not isinstance(frame, NodeRun) or not frame.is_for(instance):
            return again(self.outer_run(instance, None))
        if not frame.observed:
            return None
        if frame.batch is not None and not self._is_batch:
            return ItemScope(frame, frame.batch, instance, value, self._observable)
        return ExecScope(frame, instance, value, self._observable, is_batch=self._is_batch)


class OrchHook(Hook):
    """`_orch` and `_orch_async`: one way through a flow."""

    def open(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """The scope of a call; None where the call is only passed on."""
        frame = current_frame()
        store = argument(args, kwargs, 0, "shared")
        params: Mapping[str, Any] | None = argument(args, kwargs, 1, "params")
        if isinstance(frame, FlowRun) and frame.is_for(instance):
            if not frame.observed:
                return None
            if frame.facts.is_batch_flow or params is not None:
                frame.batch = frame.batch or BatchState(of_nodes=False)
            return RouteScope(self.session, instance, frame, store, frame, params)
        outer = self.outer_run(instance, store)
        if outer is not None:
            return again(outer)
        return RouteScope(self.session, instance, None, store, frame, params)


class NextHook(Hook):
    """`get_next_node`: tells a route what follows."""

    def __call__(
        self, wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: Kwargs
    ) -> Any:
        """Called by wrapt in place of the method."""
        __tracebackhide__ = True
        wrapped, instance, args = bound(wrapped, instance, args)
        successor = wrapped(*args, **kwargs)
        self._tell(instance, args, kwargs, successor)
        return successor

    @guarded(None)
    def _tell(self, flow: object, args: Args, kwargs: Kwargs, successor: object) -> None:
        for route in routes_here():
            if route.is_of(flow):
                node = argument(args, kwargs, 0, "curr")
                route.follow(node, argument(args, kwargs, 1, "action"), successor)
                return


class ParamsHook(Hook):
    """`set_params`: the last that a flow does with a node before it calls the node's `_run`."""

    def __call__(
        self, wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: Kwargs
    ) -> Any:
        """Called by wrapt in place of the method."""
        __tracebackhide__ = True
        wrapped, instance, args = bound(wrapped, instance, args)
        result = wrapped(*args, **kwargs)
        self._tell(instance)
        return result

    @guarded(None)
    def _tell(self, node: object) -> None:
        for route in routes_here():
            route.open_if_hidden(node)
            return


def routes_here() -> Iterator[RouteScope]:
    """The routes that may be followed just here, innermost first: not those around a node."""
    frame = current_frame()
    if isinstance(frame, RouteScope):
        yield frame
    elif isinstance(frame, NodeRun):
        own = frame.own_route if isinstance(frame, FlowRun) else None
        if isinstance(own, RouteScope):
            yield own
        # A run that a route has opened is current until the route is asked what follows.
        if isinstance(frame.parent, RouteScope) and frame.parent.has_opened(frame):
            yield frame.parent


def bound(
    wrapped: Callable[..., Any], instance: object, args: Args
) -> tuple[Callable[..., Any], object, Args]:
    """Method, instance and arguments of a call, also where somebody took the method unbound."""
    if instance is not None or not args:
        return wrapped, instance, args
    return MethodType(wrapped, args[0]), args[0], args[1:]


def argument(args: Args, kwargs: Kwargs, position: int, name: str) -> Any:
    """An argument that callers may pass by position or by name."""
    return args[position] if len(args) > position else kwargs.get(name)


def again(scope: Scope | None) -> Scope | None:
    """Has the hook asked once more inside the scope."""
    if scope is not None:
        scope.again = True
    return scope


HOOKS: Final[Mapping[str, type[Hook]]] = {
    "_run": RunHook,
    "_run_async": RunHook,
    "run": EntryHook,
    "run_async": EntryHook,
    "_exec": ExecHook,
    "_orch": OrchHook,
    "_orch_async": OrchHook,
    "get_next_node": NextHook,
    "set_params": ParamsHook,
}
"""What is wrapped, by the method's name, on each class of the framework that defines it."""

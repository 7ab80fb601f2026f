"""The wrappers around the framework's methods: each decides which scope a call belongs to.

Only methods of the framework's own classes are wrapped. A class of the user that overrides `_run`
hides it from its hook; then the run is opened one step further out, by the flow's route or by
`run`, or further in, by `_exec` or `_orch`, and only ever once.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow.capture import classes
from opentelemetry.instrumentation.pocketflow.capture.attempts import is_observable
from opentelemetry.instrumentation.pocketflow.capture.calls import (
    Caller,
    Scope,
    unbound,
    unseen,
)
from opentelemetry.instrumentation.pocketflow.capture.execs import ExecScope, ItemScope
from opentelemetry.instrumentation.pocketflow.capture.frames import IdleFrame, current_frame
from opentelemetry.instrumentation.pocketflow.capture.routes import RouteScope, open_run
from opentelemetry.instrumentation.pocketflow.capture.runs import (
    BatchState,
    FlowRun,
    NodeRun,
)
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.instrumentation.pocketflow.capture.frames import Frame
    from opentelemetry.instrumentation.pocketflow.capture.session import Session

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Hook(Caller):
    """What a wrapper around one method of the framework does.

    Args:
        session: what all runs share.
        method: the method as it was found on its class.
        owner: the class that defines it.
    """

    begins_runs = False
    """Is it around a method that runs a node or flow from beginning to end?"""

    def __init__(self, session: Session, method: Any, owner: type) -> None:
        del method, owner  # of use to some
        self.session = session

    def open(
        self, frame: Frame | None, instance: object, args: Args, kwargs: Kwargs
    ) -> Scope | None:
        """The scope of a call inside a frame; None where the call is only passed on."""
        raise NotImplementedError

    def scope_of(self, instance: object, args: Args, kwargs: Kwargs) -> Scope | None:
        """Like `open`, but opens nothing where tracing is off."""
        if not self.session.active:
            return None
        context = context_api.get_current()
        frame = current_frame(context)
        if isinstance(frame, IdleFrame) and frame.session is self.session:
            # The program may have set up an SDK since; where a run begins, that is worth a look.
            if not self.begins_runs or not self.session.may_record():
                return None
            frame = None
        elif frame is None and self.session.is_idle():
            return IdleFrame(self.session, None) if self.begins_runs else None
        # Where the frame's own context is current, nothing was turned off inside of it.
        own = frame is not None and frame.context is context
        if not own and not is_instrumentation_enabled():
            return None
        return self.open(frame, instance, args, kwargs)

    def outer_run(
        self, frame: Frame | None, node: object, store: object, *, claimable: bool = False
    ) -> NodeRun | None:
        """A run for a call that comes without one; None where the class is skipped."""
        return open_run(self.session, node, store, frame, claimable=claimable)


class RunHook(Hook):
    """`_run` and `_run_async`: one run."""

    begins_runs = True

    def open(
        self, frame: Frame | None, instance: object, args: Args, kwargs: Kwargs
    ) -> Scope | None:
        """The scope of a call inside a frame; None where the call is only passed on."""
        if isinstance(frame, NodeRun) and frame.claim(instance):
            return None
        return self.outer_run(frame, instance, argument(args, kwargs, 0, "shared"))


class EntryHook(Hook):
    """`run` and `run_async`: opens the run where the user's own `_run` would hide it."""

    begins_runs = True

    def open(
        self, frame: Frame | None, instance: object, args: Args, kwargs: Kwargs
    ) -> Scope | None:
        """The scope of a call inside a frame; None where the call is only passed on."""
        facts = self.session.prepared(type(instance)).facts
        if not classes.hides_its_run(instance, facts):
            return None
        store = argument(args, kwargs, 0, "shared")
        return self.outer_run(frame, instance, store, claimable=True)


class ExecHook(Hook):
    """`_exec`: the border between the phases, or one item of a batch."""

    def __init__(self, session: Session, method: Any, owner: type) -> None:
        super().__init__(session, method, owner)
        self._is_batch = "Batch" in owner.__name__
        self._observable = method if is_observable(method) else None

    def open(
        self, frame: Frame | None, instance: object, args: Args, kwargs: Kwargs
    ) -> Scope | None:
        """The scope of a call inside a frame; None where the call is only passed on."""
        if not isinstance(frame, NodeRun) or not frame.is_for(instance):
            return again(self.outer_run(frame, instance, None))
        if not frame.observed:
            return None
        value = argument(args, kwargs, 0, "items" if self._is_batch else "prep_res")
        if frame.batch is not None and not self._is_batch:
            return ItemScope(frame, frame.batch, instance, value, self._observable)
        return ExecScope(frame, instance, value, self._observable, is_batch=self._is_batch)


class OrchHook(Hook):
    """`_orch` and `_orch_async`: one way through a flow."""

    def open(
        self, frame: Frame | None, instance: object, args: Args, kwargs: Kwargs
    ) -> Scope | None:
        """The scope of a call inside a frame; None where the call is only passed on."""
        store = argument(args, kwargs, 0, "shared")
        params: Mapping[str, Any] | None = argument(args, kwargs, 1, "params")
        if isinstance(frame, FlowRun) and frame.is_for(instance):
            if not frame.observed:
                return None
            if frame.facts.is_batch_flow or params is not None:
                frame.batch = frame.batch or BatchState(of_nodes=False)
            return RouteScope(self.session, instance, frame, store, frame, params)
        outer = self.outer_run(frame, instance, store)
        if outer is not None:
            return again(outer)
        return RouteScope(self.session, instance, None, store, frame, params)


class TellingHook(Hook):
    """Opens nothing, and tells the routes here of a call that has returned."""

    def in_place_of(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """What takes a method's place on its class: it calls the method, and then tells."""
        function = unbound(method)

        @unseen
        @functools.wraps(method)
        def hook(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            result = function(*args, **kwargs)
            if args:
                self.tell(args[0], args[1:], kwargs, result)
            return result

        return hook

    def tell(self, instance: object, args: Args, kwargs: Kwargs, result: object) -> None:
        """The method has returned. Never raises."""
        raise NotImplementedError


class NextHook(TellingHook):
    """`get_next_node`: tells a route what follows."""

    @guarded(None)
    def tell(self, instance: object, args: Args, kwargs: Kwargs, result: object) -> None:
        """The flow has chosen the node that follows."""
        for route in routes_here():
            if route.is_of(instance):
                node = argument(args, kwargs, 0, "curr")
                route.follow(node, argument(args, kwargs, 1, "action"), result)
                return


class ParamsHook(TellingHook):
    """`set_params`: the last that a flow does with a node before it calls the node's `_run`."""

    @guarded(None)
    def tell(self, instance: object, args: Args, kwargs: Kwargs, result: object) -> None:
        """The node has been given its params."""
        del args, kwargs, result
        routes = routes_here()
        facts = self.session.prepared(type(instance)).facts if routes else None
        if facts is not None and classes.hides_its_run(instance, facts):
            routes[0].open_hidden(instance)


def routes_here() -> Sequence[RouteScope]:
    """The routes that may be followed just here, innermost first: not those around a node."""
    frame = current_frame()
    if isinstance(frame, RouteScope):
        return (frame,)
    routes: list[RouteScope] = []
    if isinstance(frame, NodeRun):
        own = frame.own_route if isinstance(frame, FlowRun) else None
        if isinstance(own, RouteScope):
            routes.append(own)
        # A run that a route has opened is current until the route is asked what follows.
        if isinstance(frame.parent, RouteScope) and frame.parent.has_opened(frame):
            routes.append(frame.parent)
    return routes


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

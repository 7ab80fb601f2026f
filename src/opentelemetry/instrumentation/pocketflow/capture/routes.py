"""One call of a flow's `_orch`: the way from the start node to the end, or one item of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow.capture import calls, classes
from opentelemetry.instrumentation.pocketflow.capture.failures import type_name
from opentelemetry.instrumentation.pocketflow.capture.frames import Frame, close_account, usage_of
from opentelemetry.instrumentation.pocketflow.capture.graph import Graph
from opentelemetry.instrumentation.pocketflow.capture.runs import FlowRun, NodeRun
from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account
from opentelemetry.instrumentation.pocketflow.capture.watch import Trail
from opentelemetry.instrumentation.pocketflow.emit import spans
from opentelemetry.instrumentation.pocketflow.guard import guarded
from opentelemetry.instrumentation.pocketflow.record import Content, Item, Route

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
    from opentelemetry.instrumentation.pocketflow.capture.journal import Branch
    from opentelemetry.instrumentation.pocketflow.capture.session import Session


class RouteScope(Frame):
    """Follows a flow from node to node.

    A node's span ends when the framework has asked which node follows, at the time at which the
    node ended: only then is the route known.

    Args:
        session: what all runs share.
        flow: the flow.
        flow_run: its run; None where the flow itself is not traced.
        store: the shared store.
        parent: the frame around it.
        params: what the nodes run with; None where it is the flow's own params.
    """

    __slots__ = (
        "_before",
        "_counts",
        "_dead_end",
        "_ended",
        "_flow",
        "_flow_run",
        "_followed",
        "_graph",
        "_held",
        "_index",
        "_is_own",
        "_next",
        "_node_runs",
        "_open",
        "_open_token",
        "_params",
        "_path",
        "_placed",
        "_shown_params",
        "_store",
    )

    def __init__(
        self,
        session: Session,
        flow: object,
        flow_run: FlowRun | None,
        store: object,
        parent: Frame | None,
        params: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(session, parent)
        self._flow = flow
        self._flow_run = flow_run
        self._store = store
        self._params = params
        self._shown_params: str | None = None
        batch = flow_run.batch if flow_run is not None else None
        self._index = batch.next_index() if batch is not None else None
        self._graph: Graph | None = None
        self._counts: dict[str, int] = {}
        self._path = Trail(session.flow_shares.path)
        self._node_runs = 0
        self._placed = False
        """Has the node that runs been counted, as it is when it has a span?"""
        self._held: NodeRun | None = None
        """The run that has ended and waits for what follows."""
        self._next: str | None = None
        self._dead_end = False
        self._ended: Branch | None = None
        """The stay on the store of a run that has ended, until code of the program runs again."""
        self._before: Branch | None = None
        """The same, once another run is placed behind that one."""
        self._is_own: bool | None = None
        """Does code of the flow's class take part in each step? None until it was looked at."""
        self._followed: object = None
        """The node of which the framework was last asked what follows it."""
        self._open: NodeRun | None = None
        """A run that was opened here, since the user's own `_run` hides its beginning."""
        self._open_token: Token[Context] | None = None

    def is_of(self, flow: object) -> bool:
        """Is this a route of that flow?"""
        return self._flow is flow

    # --- the call of `_orch` ---

    def is_exec_of(self, run: Scope) -> bool:
        """Is it a way through the nodes of that flow?"""
        return run is self._flow_run

    def enter(self) -> None:
        """The flow is about to run its start node."""
        around = context_api.get_current()
        span = get_current_span(around)
        run = self._flow_run
        if self.parent is None:  # the flow around the nodes has no span: they are the outermost
            self.metering = self.session.begin_outermost()
        self._open_account()
        if run is None:
            start = classes.start_of(self._flow, self.session.framework)
            self._graph = Graph(start, self.session.name_of)
        else:
            self._graph = run.graph_of(self._flow)
            run.prep_ends()
            if self._has_span():
                span = self._start_item(run, around)
        self.make_current(span, around)
        if run is not None:
            run.exec_begins()

    def leave(self) -> None:
        """`_orch` is over. A run that was opened here is no longer current."""
        if self._open_token is not None:
            calls.detach(self._open_token)
            self._open_token = None

    def returned(self, result: object) -> None:
        """The flow has come to its end."""
        self.end(result)
        if self._flow_run is not None:
            self._flow_run.exec_ends(None)
            self._end_item(self._flow_run, None)
            self._flow_run.post_begins()

    def raised(self, exc: BaseException) -> None:
        """An exception has left the flow's nodes."""
        self.fail(exc)
        if self._flow_run is not None:
            self._flow_run.exec_ends(exc)
            self._end_item(self._flow_run, exc)

    def end(self, result: object) -> None:
        """Nothing follows."""
        self._close_open(result)
        self._let_go()
        self._followed = self._store = self.context = None

    def fail(self, exc: BaseException) -> None:
        """An exception has ended it."""
        if self._open is not None:
            calls.fail(self._open, None, exc)
            self.recorded = self._open.recorded
            self._open = None
        self._let_go()
        self._followed = self._store = self.context = None

    @guarded(None)
    def abandon(self) -> None:
        """Ends the spans that are open: its own, and those of runs that wait for it."""
        opened, held, self._open, self._held = self._open, self._held, None, None
        for run in (opened, held):
            if run is not None:
                run.abandon()
        if self._has_span():
            self.end_span()
        self._followed = self._store = self.context = None
        self.leave()

    # --- the runs in it ---

    def place(self, node: object) -> tuple[str | None, int | None]:
        """Id and iteration of a node that is about to run."""
        node_id = self._id_of(node)
        self._let_go(node_id)
        self._before, self._ended = self._ended, None
        self._followed = None  # nothing of it is kept longer than the framework keeps it
        iteration = self._counts[node_id] = self._counts.get(node_id, 0) + 1
        self._pass(node_id)
        self._placed = True
        return node_id, iteration

    def holds(self, run: NodeRun) -> bool:
        """Keeps a run that has ended until it is known what follows."""
        self._let_go()
        self._held, self._next, self._dead_end = run, None, False
        watch = None if self._has_own_step(run) else run.watch
        self._ended = None if watch is None else watch.branch
        return True

    def before(self, run: NodeRun) -> Branch | None:
        """The stay of the run before that one, if only the framework's code has run in between."""
        return None if self._before is None or self._has_own_step(run) else self._before

    def has_opened(self, run: Frame) -> bool:
        """Is it the run that was opened here?"""
        return run is self._open

    def follow(self, node: object, action: object, successor: object) -> None:
        """The framework has chosen the node that follows; a user's method may let it do so twice.

        Args:
            node: the node that has run.
            action: what its `post` returned.
            successor: the node that follows, or None.
        """
        self.leave()
        self._close_open(action)
        if action is not None and type(action) is not str:
            self._ended = None  # it is asked for its hash, and whether it is true
        if self._held is not None and self._held.is_for(node):
            self._next = None if successor is None else self._id_of(successor)
            self._dead_end = successor is None and bool(classes.successors_of(node))
        elif node is not self._followed and not self._placed:
            self._ended = None
            node_id = self._id_of(node)  # it ran without a span
            self._let_go(node_id)
            self._pass(node_id)
        self._placed, self._followed = False, node

    def open_hidden(self, node: object) -> None:
        """Opens the run of a node that is about to run, and whose own `_run` hides it."""
        if self._open is not None:
            return
        run = open_run(self.session, node, self._store, self, claimable=True)
        if run is None:
            return
        self._open = run
        self._open_token = calls.begin(run)

    def _has_own_step(self, run: NodeRun) -> bool:
        """Does code of the program run where this flow steps to that run's node, or from it?"""
        if self._is_own is None:
            facts = self.session.prepared(type(self._flow)).facts
            self._is_own = classes.has_own_step(self._flow, facts)
        return self._is_own or classes.has_own_step(run.node, run.facts)

    def _id_of(self, node: object) -> str:
        if self._graph is None:
            run = self._flow_run
            own = run.graph_of(self._flow) if run is not None else None
            self._graph = own or Graph(node, self.session.name_of)
        return self._graph.id_of(node)

    def _pass(self, node_id: str) -> None:
        self._node_runs += 1
        if self._index is not None:
            self._path.add(node_id)
        if self._flow_run is not None:
            self._flow_run.node_runs += 1
            if self._index is None:
                self._flow_run.path.add(node_id)

    def _let_go(self, next_id: str | None = None) -> None:
        """Nothing more will be told about what follows the held run."""
        held = self._held
        if held is None:
            return
        try:
            dead_end = self._dead_end and next_id is None
            held.finish(next_id or self._next, dead_end=dead_end)
        except BaseException:
            held.abandon()
            raise
        finally:
            self._held = None

    def _close_open(self, result: object) -> None:
        if self._open is not None:
            calls.end(self._open, None, result)
            self._open = None

    # --- one item of a batch flow ---

    def _has_span(self) -> bool:
        return self._index is not None and self._index < self.session.config.max_batch_items

    def _open_account(self) -> None:
        if self._index is not None and self.account is not None:
            run, has_span = self.account, self._has_span()
            self.account = Account(run.ledger, run, is_run=False, has_span=has_span)

    def _start_item(self, run: FlowRun, around: Context) -> Any:
        if run.batch is not None:
            run.batch.traced += 1
        attributes = self.session.item_attributes(self._index or 0, None)
        if not _is_empty(self._params):
            self._shown_params = run.show(self._params, run.shares.params)
        name = f"{run.name} item"
        self.span = self.session.tracer.start_span(name, around, attributes=attributes)
        return self.span

    def _end_item(self, run: FlowRun, exc: BaseException | None) -> None:
        if self._index is not None:
            self._count(run, exc)
            close_account(self.account)
        if not self._has_span():
            return
        try:
            openinference = self.session.config.openinference
            spans.finish_item(self.span, self._to_record(run, exc), openinference=openinference)
        finally:
            self.end_span()

    def _count(self, run: FlowRun, exc: BaseException | None) -> None:
        if run.batch is None:
            return
        if exc is None:
            run.batch.done += 1
        elif calls.is_cancellation(exc):
            run.batch.cancelled += 1
        else:
            run.batch.failed += 1

    def _to_record(self, run: FlowRun, exc: BaseException | None) -> Item:
        cancelled = exc is not None and calls.is_cancellation(exc)
        error_type = None if exc is None or cancelled else type_name(exc)
        hidden = run.facts.only_on_error and error_type is None
        content = None if hidden else Content(params=self._shown_params)
        route = Route(self._path.shown(), self._node_runs)
        usage = usage_of(self.account)
        return Item(None, content, route, usage, cancelled=cancelled, error_type=error_type)


def _is_empty(params: Any) -> bool:
    """Are there none? A mapping of the program's own is not asked."""
    return params is None or (type(params) is dict and not params)


def open_run(
    session: Session, node: object, store: object, parent: Frame | None, *, claimable: bool
) -> NodeRun | None:
    """A run of a node or flow; None where its class is skipped.

    A flow with its own `_orch` follows its nodes by itself. A batch flow does not: its items may
    run at the same time, and nothing tells them apart.
    """
    prepared = session.prepared(type(node))
    facts = prepared.facts
    if facts.skipped:
        return None
    if not facts.is_flow:
        return NodeRun(session, node, store, parent, prepared, claimable=claimable)
    run = FlowRun(session, node, store, parent, prepared, claimable=claimable)
    if facts.own_orch and not facts.is_batch_flow:
        run.own_route = RouteScope(session, node, run, store, run, None)
    return run

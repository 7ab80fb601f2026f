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
        "_counts",
        "_dead_end",
        "_flow",
        "_flow_run",
        "_followed",
        "_graph",
        "_held",
        "_index",
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

    @guarded(None)
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

    @guarded(None)
    def returned(self, result: object) -> None:
        """The flow has come to its end."""
        self.end(result)
        if self._flow_run is not None:
            self._flow_run.exec_ends(None)
            self._end_item(self._flow_run, None)
            self._flow_run.post_begins()

    @guarded(None)
    def raised(self, exc: BaseException) -> None:
        """An exception has left the flow's nodes."""
        self.fail(exc)
        if self._flow_run is not None:
            self._flow_run.exec_ends(exc)
            self._end_item(self._flow_run, exc)

    @guarded(None)
    def end(self, result: object) -> None:
        """Nothing follows."""
        self._close_open(result)
        self._let_go()
        self._followed = self._store = self.context = None

    @guarded(None)
    def fail(self, exc: BaseException) -> None:
        """An exception has ended it."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.raised(exc)
            self.recorded = opened.recorded
        self._let_go()
        self._followed = self._store = self.context = None

    # --- the runs in it ---

    def place(self, node: object) -> tuple[str | None, int | None]:
        """Id and iteration of a node that is about to run."""
        node_id = self._id_of(node)
        self._let_go(node_id)
        iteration = self._counts[node_id] = self._counts.get(node_id, 0) + 1
        self._pass(node_id)
        self._placed = True
        return node_id, iteration

    def holds(self, run: NodeRun) -> bool:
        """Keeps a run that has ended until it is known what follows."""
        self._let_go()
        self._held, self._next, self._dead_end = run, None, False
        return True

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
        if self._held is not None and self._held.is_for(node):
            self._next = None if successor is None else self._id_of(successor)
            self._dead_end = successor is None and bool(classes.successors_of(node))
        elif node is not self._followed and not self._placed:
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
        run.enter()
        self._open = run
        self._open_token = calls.attach(run.context)

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
        held, self._held = self._held, None
        if held is not None:
            dead_end = self._dead_end and next_id is None
            held.finish(next_id or self._next, dead_end=dead_end)

    def _close_open(self, result: object) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.returned(result)

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
        self._shown_params = run.show(self._params or None, run.shares.params)
        return self.session.tracer.start_span(f"{run.name} item", around, attributes=attributes)

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

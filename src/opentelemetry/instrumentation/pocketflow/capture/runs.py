"""One run of a node or flow: its span from beginning to end."""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from opentelemetry.trace import Span, set_span_in_context

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture import classes, journal, reading
from opentelemetry.instrumentation.pocketflow.capture.calls import (
    is_cancellation,
    is_recorded,
    scopes_left,
)
from opentelemetry.instrumentation.pocketflow.capture.conversation import with_received
from opentelemetry.instrumentation.pocketflow.capture.failures import type_name
from opentelemetry.instrumentation.pocketflow.capture.frames import (
    Frame,
    account_in,
    close_account,
    end_if_open,
    usage_of,
)
from opentelemetry.instrumentation.pocketflow.capture.graph import Graph, describe
from opentelemetry.instrumentation.pocketflow.capture.metering import Ending, Meter
from opentelemetry.instrumentation.pocketflow.capture.preview import (
    LOOK_AHEAD,
    preview_text,
    shape_text,
    shortened,
    size_in_bytes,
)
from opentelemetry.instrumentation.pocketflow.capture.reading import size_of
from opentelemetry.instrumentation.pocketflow.capture.stopwatch import stopwatch_in
from opentelemetry.instrumentation.pocketflow.capture.usage.book import RESULT, WRITTEN
from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account
from opentelemetry.instrumentation.pocketflow.capture.usage.shapes import find_calls
from opentelemetry.instrumentation.pocketflow.capture.watch import StoreWatch, Trail, can_watch
from opentelemetry.instrumentation.pocketflow.emit import spans
from opentelemetry.instrumentation.pocketflow.guard import guarded
from opentelemetry.instrumentation.pocketflow.record import (
    Attempts,
    Batch,
    Content,
    Phases,
    Route,
    Run,
    Step,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
    from opentelemetry.instrumentation.pocketflow.capture.session import Prepared, Session
    from opentelemetry.instrumentation.pocketflow.capture.usage.book import Charge
    from opentelemetry.instrumentation.pocketflow.config import Content as Level
    from opentelemetry.instrumentation.pocketflow.emit.spans import Attributes

_DEFAULT_ACTION: Final = "default"
_MAX_LATE_ITEMS: Final = 100
_MAX_ACTION_CHARS: Final = 120
_NANOS: Final = 1e9  # in a second

_Times: TypeAlias = "tuple[tuple[int, int] | None, tuple[int, int] | None, tuple[int, int] | None]"
"""Beginning and end of each phase on the performance counter; None where it was not reached."""


class BatchState:
    """Counts the items of the batch that a run works on."""

    __slots__ = (
        "cancelled",
        "done",
        "failed",
        "fallbacks",
        "late",
        "of_nodes",
        "retried",
        "started",
        "traced",
    )

    def __init__(self, *, of_nodes: bool) -> None:
        self.of_nodes = of_nodes
        self.started = 0
        self.done = 0
        self.failed = 0
        self.cancelled = 0
        self.retried = 0
        self.fallbacks = 0
        self.traced = 0
        self.late = 0

    def may_open_late(self) -> bool:
        """May one more item beyond the cap have a span, since something in it failed?"""
        self.late += 1
        return self.late <= _MAX_LATE_ITEMS

    def next_index(self) -> int:
        """The position of the item that starts now."""
        self.started += 1
        return self.started - 1

    def record(self, size: int | None) -> Batch:
        """The counts; the size is that of the input where it is known."""
        return Batch(
            size=self.started if size is None else size,
            failed=self.failed,
            traced=self.traced,
            retried=self.retried if self.of_nodes else None,
            fallbacks=self.fallbacks if self.of_nodes else None,
        )


class NodeRun(Frame):
    """One run of a node; see `FlowRun` for flows.

    Args:
        session: what all runs share.
        node: the node, or the original of the copy that will run.
        store: the shared store.
        parent: the frame around it.
        prepared: what is the same for all runs of its class.
        claimable: was it opened before the framework's own `_run` is called, which a user's
            `_run` may or may not call?
    """

    __slots__ = (
        "_attempts",
        "_attributes",
        "_end_ns",
        "_error_type",
        "_exec_began",
        "_exec_ended",
        "_finished",
        "_input",
        "_last",
        "_output",
        "_params",
        "_post_began",
        "_prep_ended",
        "_result",
        "_retries",
        "_returned",
        "_seconds",
        "_show",
        "_started",
        "_store",
        "_times",
        "_wall",
        "allowed",
        "batch",
        "batch_size",
        "claimable",
        "facts",
        "node",
        "shares",
    )

    def __init__(
        self,
        session: Session,
        node: object,
        store: object,
        parent: Frame | None,
        prepared: Prepared,
        *,
        claimable: bool = False,
    ) -> None:
        super().__init__(session, parent)
        self.node = node
        self.claimable = claimable
        self.facts, self._attributes = prepared
        self.shares = session.flow_shares if self.facts.is_flow else session.node_shares
        self.batch: BatchState | None = None
        self.batch_size: int | None = None
        self.allowed: int | None = None
        """The attempts that the node allows."""
        self._attempts: Attempts | None = None
        self._retries = 0
        self._store = store
        self._show: Level = self.facts.content
        self._params: str | None = None
        self._input: str | None = None
        self._output: str | None = None
        self._seconds = 0.0
        self._started = self._wall = self._end_ns = self._post_began = 0
        self._prep_ended: int | None = None
        self._exec_began: int | None = None
        self._exec_ended: int | None = None
        self._times: _Times = (None, None, None)
        self._last = journal.RUN
        """The phase in which the run ended."""
        self._error_type: str | None = None
        self._result: object = None
        self._returned = False
        self._finished = False

    # --- which node it is ---

    def is_exec_of(self, run: Scope) -> bool:
        """Is it a node of a flow that goes from node to node in a way of its own?"""
        return run is self.parent and isinstance(run, FlowRun)

    def is_for(self, node: object) -> bool:
        """Is this the run of that node, or of the node that it is a copy of?"""
        if self.node is node:
            return True
        key = classes.successors_of(self.node)
        return key is not None and classes.successors_of(node) is key

    def claim(self, node: object) -> bool:
        """Takes a call of the framework's `_run` as a part of this run.

        A user's `_run` may make several, to try again.
        """
        if not (self.claimable and self.is_for(node)):
            return False
        self.node = node
        return True

    # --- the span ---

    @property
    def title(self) -> str:
        """The class of the node."""
        return self.facts.name

    @property
    def span_name(self) -> str:
        """The name of the span."""
        return self.title

    def start_attributes(self, around: Context) -> Attributes:
        """What the span carries from its start in a context."""
        attributes = self._attributes | self.session.conversation_attributes(around)
        if self.parent is not None:
            spans.add_place(attributes, *self.parent.place(self.node))
        return attributes

    def enter(self) -> None:
        """The run begins."""
        around = context_api.get_current()
        if self.parent is None:
            around = self._begin_outermost(around)
        attributes = self.start_attributes(around)
        # Kept at once: it is to be ended even if it does not become current.
        self.span = self.session.tracer.start_span(self.span_name, around, attributes=attributes)
        self.make_current(self.span, around)
        if not self.observed:
            return
        self._open_account(around)
        if self.recording:
            self._open_watch()
            params = classes.params_of(self.node)
            if params and self._show != "off":
                self._params = self.show(params, self.shares.params)
        else:
            self._show = "off"  # nobody would see it
        self._started = perf_counter_ns()
        self._wall = time_ns() - self._started

    def _begin_outermost(self, around: Context) -> Context:
        self.metering = self.session.begin_outermost()
        return with_received(around) if self.session.config.baggage else around

    def returned(self, result: object) -> None:
        """The run has returned."""
        self._leave(result)

    def raised(self, exc: BaseException) -> None:
        """An exception has left the run."""
        self._fail(exc)

    # --- the phases ---

    # What the tracer itself does at a border belongs to neither phase: each has its own two times.

    def prep_ends(self) -> None:
        """`prep` is over, or an `exec` before another one."""
        if self._prep_ended is None:
            self._prep_ended = perf_counter_ns()
            self.mark(journal.PREP)
        else:
            self.mark(journal.EXEC)

    def exec_begins(self) -> None:
        """The first `exec` is about to run."""
        if self._exec_began is None:
            self._exec_began = perf_counter_ns()

    def exec_ends(self, exc: BaseException | None) -> None:
        """`exec` is over, and `post` may begin, unless all is being cancelled."""
        if exc is None or not is_cancellation(exc):
            self._exec_ended = self._post_began = perf_counter_ns()
        self.mark(journal.EXEC)

    def post_begins(self) -> None:
        """`post` is about to run."""
        self._post_began = perf_counter_ns()

    def mark(self, phase: str) -> None:
        """A border of a phase."""
        if self.watch is not None:
            self._mark(self.watch, phase)

    @guarded(None)
    def _mark(self, watch: StoreWatch, phase: str) -> None:
        watch.mark(phase)

    def show(self, value: object, budget: int) -> str | None:
        """A value as JSON, as far as the content level allows."""
        if self._show == "off" or value is None:
            return None
        if self._show == "keys":
            return shape_text(value)
        return preview_text(value, self.session.redactor, budget)

    def set_input(self, value: object) -> None:
        """What `prep` returned."""
        self._input = self.show(value, self.shares.input)

    def set_output(self, value: object) -> None:
        """What `exec` returned."""
        self._output = self.show(value, self.shares.output)

    @guarded(None)
    def record_exception(self, span: Span, exc: BaseException) -> None:
        """Adds an exception to the span that it left, this one's or one below it."""
        stack_bytes = self.shares.stacktrace
        if span is not self.span:
            stack_bytes *= 2  # the span of an item or attempt carries little else
        else:
            stack_bytes += self._spare_bytes()
        failure = self.session.describe_failure(exc, self._show, self.shares, stack_bytes)
        spans.add_exception(span, failure)

    def _spare_bytes(self) -> int:
        """What input and output leave of their shares, where that is known."""
        shares = self.shares
        used = (size_in_bytes(text or "") for text in (self._input, self._output))
        return max(shares.input + shares.output - sum(used), 0)

    def expect_items(self, items: object) -> None:
        """`exec` is about to work on a batch."""
        self.batch = self.batch or BatchState(of_nodes=True)
        size = size_of(items)
        if size is not None:
            self.batch_size = (self.batch_size or 0) + size

    def add_attempts(self, attempts: Attempts) -> None:
        """Counts the attempts of one call of `exec`."""
        self._retries += max(attempts.made - 1, 0)
        before = self._attempts
        self._attempts = (
            attempts
            if before is None
            else Attempts(
                before.made + attempts.made,
                attempts.allowed,
                before.fallback or attempts.fallback,
                before.waited + attempts.waited,
            )
        )

    # --- model calls ---

    @guarded(None)
    def look_for_calls(self, result: object, given: object, account: Account | None) -> None:
        """Credits the model calls that a result of `exec` tells of.

        Args:
            result: what `exec` returned.
            given: what it was given: a call found there was made before.
            account: that of the item or run that made the result.
        """
        if account is None or not (found := find_calls(result, self.session.recognisers)):
            return
        account = account.innermost()
        before = find_calls(given, self.session.recognisers)
        known = {call.response_id for call, _ in before if call.response_id is not None}
        for call, usage in before:
            account.ledger.is_new(call, usage)
        for call, usage in found:
            if account.ledger.is_new(call, usage) and call.response_id not in known:
                account.charge(call, RESULT)

    @guarded(None)
    def _look_at_written(self, value: object) -> None:
        """Credits the model calls that a value which was written to the store tells of."""
        account = self.account
        if account is None:
            return
        for call, usage in find_calls(value, self.session.recognisers):
            if account.ledger.is_new(call, usage):
                account.charge(call, WRITTEN)

    @guarded(None)
    def _open_account(self, around: Context) -> None:
        parent = account_in(around)
        if parent is not None:
            self.account = Account(parent.ledger, parent, is_run=True)
            return
        self.account = Account(self.session.new_ledger(), None, is_run=True)
        # What an earlier run has left in the store is no call of this one.
        for call, usage in find_calls(self._store, self.session.recognisers):
            self.account.ledger.is_new(call, usage)

    # --- the end ---

    def _leave(self, result: object) -> None:
        if not self.observed:
            self.span.end()
            self.let_go()
            return
        self._stop_clock(None)
        self._end_phases(None)
        self._result, self._returned = result, True
        if self.parent is None or not self.parent.holds(self):
            self.finish(None)

    def _fail(self, exc: BaseException) -> None:
        if not self.observed:
            self.span.end()
            self.let_go()
            return
        self._stop_clock(exc)
        self._end_phases(exc)
        if is_cancellation(exc):
            self.finish(None, cancelled=True)
            return
        self._error_type = type_name(exc)
        if self.recording and not is_recorded(exc):
            self.record_exception(self.span, exc)
        self.recorded = True
        self.finish(None)

    def finish(
        self, next_id: str | None, *, dead_end: bool = False, cancelled: bool = False
    ) -> None:
        """Writes the span and ends it, at the time at which the run ended.

        Args:
            next_id: the node that follows.
            dead_end: has the node successors, but none for its action?
            cancelled: was the run cancelled?
        """
        if not self._finished and not self._finish(next_id, dead_end=dead_end, cancelled=cancelled):
            self.abandon()

    def _action(self, next_id: str | None) -> str | None:
        """The action that was returned. One that leads nowhere is no name: it may be any text."""
        if not self._returned:
            return None
        action = action_text(self._result, self.session.redactor)
        is_name = next_id is not None or action is None or action == _DEFAULT_ACTION
        return action if is_name or self._show == "values" else semconv.OTHER

    @guarded(default=False)
    def _finish(self, next_id: str | None, *, dead_end: bool, cancelled: bool) -> bool:
        self._finished = True
        step = Step(self._action(next_id), next_id, dead_end)
        self._result = None
        charges = close_account(self.account)
        if self.recording:
            record = self._to_record(step, cancelled=cancelled)
            config = self.session.config
            spans.finish_run(self.span, record, openinference=config.openinference)
            if config.self_report:
                self._report_ourselves()
        self.span.end(self._end_ns)
        if self.metering:
            self._measure(step, charges, cancelled=cancelled)
        self.leave_active()
        self.let_go()
        return True

    @guarded(None)
    def _report_ourselves(self) -> None:
        """Tells on the outermost run what it cost to tell of it."""
        stopwatch = None if self.context is None else stopwatch_in(self.context)
        if stopwatch is not None and stopwatch.owner is self:
            spans.add_own_time(self.span, stopwatch.seconds())

    def let_go(self) -> None:
        """Ends what goes round in a circle, so that nothing waits for the garbage collector."""
        self.context = self.watch = None

    def leave_active(self) -> None:
        """It is no longer one of the active runs, if it was."""

    @guarded(None)
    def _measure(self, step: Step, charges: Sequence[Charge], *, cancelled: bool) -> None:
        """Records the metrics of a run, in its span's context."""
        if self.context is None:
            return
        meter = self.meter(self.context)
        ending = Ending(self._seconds, self._error_type, cancelled)
        self.measure_time(meter, ending, step)
        meter.retried(self._retries)
        if self.batch is not None:
            meter.items(self.batch.done, self.batch.failed, self.batch.cancelled)
        meter.calls(charges, self.session.config.currency, sampled=self.recording)

    def meter(self, context: Context) -> Meter:
        """What records the run's metrics."""
        flow = self.flow_around()
        return Meter(self.session.outlets.metrics, context, self.title, self.title, flow)

    def measure_time(self, meter: Meter, ending: Ending, step: Step) -> None:
        """Records how long it took, and where it led."""
        action = step.action
        if step.next is None and action not in {None, _DEFAULT_ACTION}:
            action = semconv.OTHER  # nobody wired it, so it may be any text
        meter.node_ended(ending, action)

    def flow_around(self) -> str | None:
        """The name of the nearest flow around this run."""
        frame = self.parent
        while frame is not None and not isinstance(frame, FlowRun):
            frame = frame.parent
        return None if frame is None else frame.name

    def route_record(self) -> Route | None:
        """What a flow did; None for nodes."""
        return None

    @guarded(None)
    def _open_watch(self) -> None:
        compared = self.session.config.content != "off" or self._show != "off"
        if not compared or not can_watch(self._store):
            return
        self.watch = StoreWatch(
            self._store,
            self._show,
            self.session.redactor,
            self.shares,
            self.session.config.max_store_items,
            None if self.parent is None else self.parent.watch_around(),
            self._look_at_written,
        )
        if self.parent is None or not self.watch.follows(self.parent.before(self)):
            self.watch.mark(journal.ELSEWHERE)
        hidden = self.facts.only_on_error  # until it fails
        if self.parent is None and self.watch.initial is not None and not hidden:
            # Told at the end, too; here for those who look at what still runs, or was killed.
            spans.begin_store(self.span, self.watch.id, self.watch.initial)

    def _stop_clock(self, exc: BaseException | None) -> None:
        ended = perf_counter_ns()
        self._end_ns = time_ns()
        self._seconds = (ended - self._started) / _NANOS
        self._last = last = self._last_phase(exc)
        began = self._exec_began
        prep_ended = ended if last == journal.PREP else self._prep_ended
        self._times = (
            None if prep_ended is None else (self._started, prep_ended),
            None if began is None else (began, self._exec_ended or ended),
            (self._post_began, ended) if last == journal.POST else None,
        )

    def _end_phases(self, exc: BaseException | None) -> None:
        self.mark(self._last)
        if self.watch is not None:
            if self.facts.is_flow and self.watch.is_outermost:
                self._input = self.watch.initial
                self._output = self.watch.show(self.shares.output)
            self.watch.close()
        self._store = None
        if self.session.config.phase_spans and self.recording:
            self._add_phase_spans(exc)

    def _left_in_exec(self, exc: BaseException | None) -> bool:
        return exc is not None and any(scope.is_exec_of(self) for scope in scopes_left(exc))

    def _last_phase(self, exc: BaseException | None) -> str:
        if self._exec_ended is not None and not self._left_in_exec(exc):
            return journal.POST
        if self._prep_ended is not None:
            return journal.EXEC
        # Without a border, a failed run has not left `prep`, unless the user's own code hides it.
        known = exc is not None and not self.facts.own_run and not self.facts.own_exec
        return journal.PREP if known else journal.RUN

    def _add_phase_spans(self, exc: BaseException | None) -> None:
        """Child spans for `prep` and `post`; that of a node's `exec` is live, around its calls."""
        prep, _, post = self._times
        for name, times in ((journal.PREP, prep), (journal.POST, post)):
            if times is not None:
                # Two clocks: a phase must not seem to outlast its run.
                begins, ends = (min(self.wall(time), self._end_ns) for time in times)
                span = self.phase_span(name, begins)
                try:
                    self.end_phase(span, exc if name == self._last else None, ends)
                finally:
                    end_if_open(span)

    def wall(self, time: int) -> int:
        """A time of the performance counter as nanoseconds since the epoch."""
        return time + self._wall

    def _durations(self) -> Phases:
        prep, exec_, post = self._times
        return Phases(_seconds(prep), _seconds(exec_), _seconds(post))

    def phase_span(self, name: str, begins: int | None = None) -> Span:
        """A child span for a phase, which begins now or at a time in nanoseconds."""
        # Most phases are told of when the run is over, and its context no longer the caller's.
        attributes = self.session.start_attributes(semconv.KIND_PHASE, self.context)
        attributes[semconv.PHASE] = name
        return self.session.tracer.start_span(
            f"{self.title} {name}",
            set_span_in_context(self.span),
            attributes=attributes,
            start_time=begins,
        )

    @staticmethod
    def end_phase(span: Span, exc: BaseException | None, ends: int | None = None) -> None:
        """Ends the span of a phase, which an exception may have left; the run records that."""
        cancelled = exc is not None and is_cancellation(exc)
        error_type = None if exc is None or cancelled else type_name(exc)
        spans.finish_phase(span, error_type, cancelled=cancelled)
        span.end(ends)

    def _to_record(self, step: Step, *, cancelled: bool) -> Run:
        hidden, account = self.facts.only_on_error and self._error_type is None, self.account
        return Run(
            step=step,
            phases=self._durations(),
            attempts=self._attempts,
            batch=self.batch.record(self.batch_size) if self.batch is not None else None,
            store=None if self.watch is None or hidden else self.watch.record,
            content=Content() if hidden else Content(self._input, self._output, self._params),
            route=self.route_record(),
            usage=None if account is None or account.is_empty else usage_of(account),
            cancelled=cancelled,
            error_type=self._error_type,
        )

    @guarded(None)
    def abandon(self) -> None:
        """A fault of ours: the span ends without what it should have told."""
        self._finished = True
        self.end_span()
        close_account(self.account)
        self.leave_active()
        try:
            if self.watch is not None:
                self.watch.close()
        finally:
            self.let_go()


class OwnRoute(Protocol):
    """What a flow asks of its `RouteScope`, where there is one without a call of `_orch`."""

    def place(self, node: object) -> tuple[str | None, int | None]:
        """Id and iteration of a node that is about to run."""
        ...

    def holds(self, run: NodeRun) -> bool:
        """Keeps a run that has ended until it is known what follows."""
        ...

    def leave(self) -> None:
        """A run that was opened for a node is no longer current."""
        ...

    def end(self, result: object) -> None:
        """Nothing follows."""
        ...

    def fail(self, exc: BaseException) -> None:
        """An exception has ended it."""
        ...

    def abandon(self) -> None:
        """Ends the spans of runs that wait for it."""
        ...


class FlowRun(NodeRun):
    """One run of a flow: also a node run where another flow runs it."""

    __slots__ = ("_counted", "graph", "name", "node_runs", "own_route", "path")

    def __init__(
        self,
        session: Session,
        node: object,
        store: object,
        parent: Frame | None,
        prepared: Prepared,
        *,
        claimable: bool = False,
    ) -> None:
        super().__init__(session, node, store, parent, prepared, claimable=claimable)
        self.name = session.name_of(node)
        self.graph: Graph | None = None
        self.path = Trail(self.shares.path)
        self.node_runs = 0
        self._counted = False
        """Is it one of the active runs?"""
        self.own_route: OwnRoute | None = None
        """Follows the nodes where a user's `_orch` takes the framework's place."""

    @property
    def title(self) -> str:
        """The flow's name."""
        return self.name

    @property
    def span_name(self) -> str:
        """`invoke_workflow` and the flow's name, as the GenAI conventions say."""
        return f"{semconv.INVOKE_WORKFLOW} {self.name}"

    def start_attributes(self, around: Context) -> Attributes:
        """What the span carries from its start in a context."""
        attributes = super().start_attributes(around)
        attributes |= spans.workflow_attributes(self.name)
        if self.parent is None:
            attributes |= self.session.root_attributes
        return attributes

    def enter(self) -> None:
        """The flow begins."""
        super().enter()
        if self.parent is None and self.metering and self.context is not None:
            self.session.outlets.metrics.flow_began(self.name, self.context)
            self._counted = True

    @guarded(None)
    def leave_active(self) -> None:
        """It is no longer one of the active runs, if it was."""
        if self._counted and self.context is not None:
            self._counted = False
            self.session.outlets.metrics.flow_left(self.name, self.context)

    def abandon(self) -> None:
        """A fault of ours: nothing in the flow stays open, either."""
        if self.own_route is not None:
            self.own_route.abandon()
        super().abandon()

    def let_go(self) -> None:
        """Ends what goes round in a circle."""
        super().let_go()
        self.own_route = None

    def meter(self, context: Context) -> Meter:
        """What records the run's metrics."""
        return Meter(self.session.outlets.metrics, context, self.name, None, self.name)

    def measure_time(self, meter: Meter, ending: Ending, step: Step) -> None:
        """Records how long it took."""
        del step
        meter.flow_ended(ending)

    def graph_of(self, flow: object) -> Graph:
        """The flow's graph as it is when its first node is about to run."""
        if self.graph is None:
            start = classes.start_of(flow, self.session.framework)
            self.graph = Graph(start, self.session.name_of)
            if self.parent is None and self.recording:
                spans.begin_graph(self.span, *self._described())
        return self.graph

    def place(self, node: object) -> tuple[str | None, int | None]:
        """Id and iteration of a node that the flow itself is about to run."""
        if self.own_route is None or not self.observed:
            return super().place(node)
        if self._prep_ended is None:
            self.prep_ends()
            self.exec_begins()
        return self.own_route.place(node)

    def holds(self, run: NodeRun) -> bool:
        """Does the run stay open until the flow has chosen what follows?"""
        if self.own_route is None or not self.observed:
            return False
        self.exec_ends(None)
        return self.own_route.holds(run)

    def leave(self) -> None:
        """The call is over, and its context is still current."""
        if self.own_route is not None:
            self.own_route.leave()

    def raised(self, exc: BaseException) -> None:
        """An exception has left the flow."""
        if self.own_route is not None:
            self.own_route.fail(exc)
        super().raised(exc)

    def returned(self, result: object) -> None:
        """The flow has returned. Without a call of `_orch`, its batch was empty."""
        if self.facts.is_batch_flow and not self.facts.own_run and self.batch is None:
            self.batch = BatchState(of_nodes=False)
        if self.own_route is not None:
            self.own_route.end(result)
        super().returned(result)

    def route_record(self) -> Route | None:
        """Path and graph."""
        text, digest = self._described()
        # The items of a batch may run at the same time: each has a path of its own.
        path = None if self.batch is not None else self.path.shown()
        return Route(path, self.node_runs, text, digest)

    def _described(self) -> tuple[str | None, str | None]:
        """The graph as JSON, and its hash."""
        graph = self.graph.description if self.graph is not None else None
        return describe(graph, self.shares.graph) if graph is not None else (None, None)


def _seconds(times: tuple[int, int] | None) -> float | None:
    return None if times is None else (times[1] - times[0]) / _NANOS


def action_text(result: object, redactor: Redactor) -> str | None:
    """What `post` returned, as the framework takes it for an action; None where it can't be one."""
    if result is None:
        return _DEFAULT_ACTION
    if type(result) is not str and not reading.is_instance(result, str):
        return None
    seen = str.__getitem__(cast("str", result), slice(_MAX_ACTION_CHARS + LOOK_AHEAD + 1))
    return shortened(seen, _MAX_ACTION_CHARS, redactor) or _DEFAULT_ACTION

"""The calls of `_exec`: the border between the phases of a node, the items of a batch, attempts."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, set_span_in_context

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture import calls, classes
from opentelemetry.instrumentation.pocketflow.capture.attempts import (
    FALLBACK,
    AttemptListener,
    Observer,
)
from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
from opentelemetry.instrumentation.pocketflow.capture.failures import type_name
from opentelemetry.instrumentation.pocketflow.capture.frames import (
    close_account,
    end_attempt,
    end_if_open,
    usage_of,
    with_account,
)
from opentelemetry.instrumentation.pocketflow.capture.reading import instance_dict
from opentelemetry.instrumentation.pocketflow.capture.stopwatch import timed_here
from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account
from opentelemetry.instrumentation.pocketflow.emit import spans
from opentelemetry.instrumentation.pocketflow.guard import guarded
from opentelemetry.instrumentation.pocketflow.record import (
    Attempt,
    Attempts,
    Content,
    Item,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.runs import BatchState, NodeRun
    from opentelemetry.instrumentation.pocketflow.record import Usage


def _no_span() -> None:
    return None


class TracedAttempts(AttemptListener):
    """Attempts with spans of their own, or with an event on the span around them.

    Args:
        run: the run of the node.
        account: that of the node or item.
        span: that of the node or item; None where it has none.
        open_late: opens the span of an item that has none, once there is a failure to tell of.
    """

    def __init__(
        self,
        run: NodeRun,
        account: Account | None,
        span: Span | None,
        open_late: Callable[[], Span | None] = _no_span,
    ) -> None:
        super().__init__()
        self._run = run
        self._account = account
        self._usage: Usage | None = None
        self._around = span
        self._open_late = open_late
        self._span: Span | None = None
        self._token: Token[Context] | None = None
        self._wait: float | None = None
        self._error_type: str | None = None
        self._cancelled = False
        self._ended_at: int | None = None
        self._recorded: BaseException | None = None

    def on_allowed(self, attempts: object) -> None:
        """The number may be a property, so that the node itself does not hold it."""
        if type(attempts) is int:
            self._run.allowed = attempts

    def on_begin(self) -> None:
        """An attempt begins; what it calls belongs to its span."""
        if self._span is not None:  # a fault has kept the one before from ending
            self.abandon()
        self._wait, self._error_type, self._cancelled, self._ended_at = None, None, False, None
        self._usage = self._recorded = None
        traced = self._around is not None and self._run.allowed not in {None, 1}
        account = self._account
        if not traced:
            if account is not None:
                account.expect_attempt()
            return
        inner = None if account is None else account.begin_attempt(has_span=True)
        if self.made == 1 and self._around is not None and self._run.allowed is not None:
            # Told again at the end; here for those who watch the span while it runs.
            self._around.set_attribute(semconv.NODE_MAX_RETRIES, self._run.allowed)
        session, around = self._run.session, context_api.get_current()
        attributes = session.start_attributes(semconv.KIND_ATTEMPT)
        attributes[semconv.ATTEMPT_NUMBER] = self.made
        name = f"{self._run.facts.name} attempt"
        self._span = session.tracer.start_span(name, around, attributes=attributes)
        context = set_span_in_context(self._span, around)
        if inner is not None:
            # What tells of a call only when the next attempt runs still is of this one.
            context = with_account(inner, context)
        self._token = calls.attach(context)

    def on_failure(self, exc: BaseException) -> None:
        """The attempt has failed; its wait is not part of it."""
        self._ended_at = time_ns()
        self.leave()
        if calls.is_cancellation(exc):
            self._cancelled = True
        else:
            self._error_type = type_name(exc)
            span = self._span or self._around or self._open_late()
            if span is not None:
                self._run.record_exception(span, exc)
                self._recorded = exc
        # Last, since it may have to wait for prices: the exception's event has the time of now.
        self._close_account(failed=not self._cancelled)

    def on_wait(self, seconds: object) -> None:
        """What the node says about the wait."""
        if type(seconds) is int or type(seconds) is float:
            self._wait = float(seconds) or None
        if self._wait is not None and self._span is not None:
            # Told at once, too: a live view says what is waited for while it is waited for.
            self._span.set_attribute(semconv.ATTEMPT_WAIT, self._wait)

    def on_end(self) -> None:
        """The attempt is over."""
        self.leave()
        self._close_account(failed=False)
        span = self._span
        if span is None:
            return
        try:
            attempt = Attempt(self._wait, self._usage, self._cancelled, self._error_type)
            openinference = self._run.session.config.openinference
            spans.finish_attempt(span, attempt, openinference=openinference)
        finally:
            span.end(self._ended_at)
            self._span = None

    def has_recorded(self, exc: BaseException) -> bool:
        """Is it the exception of an attempt that has failed? Lets go of it."""
        recorded, self._recorded = self._recorded, None
        return recorded is exc

    def record(self, *, answered: bool) -> Attempts:
        """What there is to tell, and whether the call has answered."""
        if answered:
            self._recorded = None  # its traceback leads back here
        fallback = self.fallback and answered
        waited = self.waited_ns / 1e9
        return Attempts(self.made, self._run.allowed, fallback, waited)

    @guarded(None)
    def leave(self) -> None:
        """The attempt's span is no longer current."""
        token, self._token = self._token, None
        calls.detach(token)

    def abandon(self) -> None:
        """Ends what a fault has left open."""
        self.leave()
        span, self._span = self._span, None
        end_if_open(span)

    def _close_account(self, *, failed: bool) -> None:
        if (inner := end_attempt(self._account, failed=failed)) is not None:
            self._usage = usage_of(inner)


class TimedAttempts(TracedAttempts):
    """Times what is done in the midst of the framework's `_exec`."""

    @guarded(None)
    def before(self, name: str) -> None:
        """`_exec` is about to read an attribute."""
        timed_here(super().before, name)

    @guarded(None)
    def after(self, name: str, value: object) -> None:
        """`_exec` has read an attribute."""
        timed_here(super().after, name, value)


class ExecScope(Scope):
    """A node's `_exec`: `prep` is over when it begins, and `post` begins when it ends.

    Args:
        run: the run of the node.
        node: the node that runs.
        value: what `prep` returned.
        observable: the framework's `_exec`, where its attempts can be observed.
        is_batch: does it call an `_exec` for each item?
    """

    __slots__ = ("_attempts", "_is_batch", "_node", "_observable", "_phase", "_run", "_value")

    def __init__(
        self, run: NodeRun, node: object, value: object, observable: Any, *, is_batch: bool
    ) -> None:
        super().__init__()
        self._run = run
        self._node = node
        self._value = value
        self._observable = observable
        self._is_batch = is_batch
        self._attempts: TracedAttempts | None = None
        self._phase: Span | None = None

    def is_exec_of(self, run: Scope) -> bool:
        """Is it the `exec` phase of that run?"""
        return run is self._run

    def enter(self) -> None:
        """`prep` is over."""
        run = self._run
        run.prep_ends()
        run.set_input(self._value)
        if self._is_batch:
            run.expect_items(self._value)
        else:
            self._begin_attempts(run)
        self._node = None
        if run.session.config.phase_spans:
            self._phase = run.phase_span("exec")
            self.context = set_span_in_context(self._phase, context_api.get_current())
        run.exec_begins()

    def leave(self) -> None:
        """Contexts are left in the reverse of the order in which they were entered."""
        if self._attempts is not None:
            self._attempts.leave()

    def returned(self, result: object) -> None:
        """`exec` has answered."""
        run = self._run
        if not self._is_batch:
            run.look_for_calls(result, self._value, run.account)
        self._end(None)
        self._run.set_output(result)
        self._run.post_begins()

    def raised(self, exc: BaseException) -> None:
        """`exec` has failed."""
        self._end(exc)
        self.recorded = self._attempts is not None and self._attempts.has_recorded(exc)

    @guarded(None)
    def abandon(self) -> None:
        """Ends the spans that are open."""
        self._value = self._node = self.stand_in = None
        end_if_open(self._phase)
        if self._attempts is not None:
            self._attempts.abandon()

    def _begin_attempts(self, run: NodeRun) -> None:
        if self._observable is not None and may_retry(run, self._node):
            span = run.span if run.recording else None
            self._attempts = attempts_of(run, run.account, span)
            self.stand_in = Observer(self._node, self._attempts)
            return
        if run.account is not None:
            run.account.expect_attempt()

    def _end(self, exc: BaseException | None) -> None:
        attempts, run = self._attempts, self._run
        self._value = None
        run.exec_ends(exc)
        if attempts is None:
            end_attempt(run.account, failed=exc is not None and not calls.is_cancellation(exc))
        else:
            attempts.finish(exc)
            attempts.abandon()
            run.add_attempts(attempts.record(answered=exc is None))
        if attempts is None and self._observable is not None and not self._is_batch:
            run.add_attempts(Attempts(1, run.allowed))
        if self._phase is not None:
            run.end_phase(self._phase, exc)


class ItemScope(Scope):
    """One item of a node's batch.

    Args:
        run: the run of the node.
        batch: its counts.
        node: the node that runs.
        value: the item.
        observable: the framework's `_exec`, where its attempts can be observed.
    """

    __slots__ = (
        "_account",
        "_attempts",
        "_batch",
        "_index",
        "_input",
        "_node",
        "_observable",
        "_run",
        "_span",
        "_started_at",
        "_value",
    )

    def __init__(
        self, run: NodeRun, batch: BatchState, node: object, value: object, observable: Any
    ) -> None:
        super().__init__()
        self._run = run
        self._batch = batch
        self._node = node
        self._value = value
        self._observable = observable
        self._index = batch.next_index()
        self._account: Account | None = None
        self._attempts: TracedAttempts | None = None
        self._span: Span | None = None
        self._input: str | None = None
        self._started_at = 0

    def enter(self) -> None:
        """The item begins."""
        run, around = self._run, context_api.get_current()
        self._started_at = time_ns()
        if run.recording and self._index < run.session.config.max_batch_items:
            self._input = run.show(self._value, run.shares.input)
            self._span = self._start_span(around, None)
            around = self.context = set_span_in_context(self._span, around)
        if run.account is not None:
            has_span = self._span is not None
            ledger = run.account.ledger
            self._account = Account(ledger, run.account, is_run=False, has_span=has_span)
            self.context = with_account(self._account, around)
        if may_retry(run, self._node) and self._observable is not None:
            none_wanted = run.session.config.max_batch_items == 0 or not run.recording
            late = _no_span if none_wanted else self._open_late
            self._attempts = attempts_of(run, self._account, self._span, late)
            self.stand_in = Observer(self._node, self._attempts)
        self._node = None

    def leave(self) -> None:
        """Contexts are left in the reverse of the order in which they were entered."""
        if self._attempts is not None:
            self._attempts.leave()

    def returned(self, result: object) -> None:
        """The item is done."""
        self._batch.done += 1
        self._run.look_for_calls(result, self._value, self._account)
        attempts = self._end_attempts(None)
        usage = self._close_account(failed=False)
        try:
            if self._span is not None:
                output = self._run.show(result, self._run.shares.output)
                self._tell(self._span, Item(attempts, self._content(output), usage=usage))
        finally:
            self._end_span()

    def raised(self, exc: BaseException) -> None:
        """The item has failed."""
        attempts = self._end_attempts(exc)
        cancelled = calls.is_cancellation(exc)
        # Where attempts can be told apart, each has failed by itself.
        usage = self._close_account(failed=self._attempts is None and not cancelled)
        try:
            if cancelled:
                self._batch.cancelled += 1
                item = Item(attempts, self._content(None), usage=usage, cancelled=True)
            else:
                item = self._fail(exc, attempts, usage)
            if self._span is not None:
                self._tell(self._span, item)
        finally:
            self._end_span()

    @guarded(None)
    def abandon(self) -> None:
        """Ends the spans that are open."""
        end_if_open(self._span)
        if self._attempts is not None:
            self._attempts.abandon()
        self._value = self._node = self._attempts = self.stand_in = None

    def _fail(self, exc: BaseException, attempts: Attempts | None, usage: Usage | None) -> Item:
        self.recorded = self._attempts is not None and self._attempts.has_recorded(exc)
        self._batch.failed += 1
        span = self._open_late() if self._run.recording else None
        if span is not None and not self.recorded and not calls.is_recorded(exc):
            self._run.record_exception(span, exc)
        self.recorded = self.recorded or span is not None
        content = self._content(None, failed=True)
        return Item(attempts, content, usage=usage, error_type=type_name(exc))

    def _open_late(self) -> Span | None:
        """The span of an item beyond the cap: it is shown all the same if something fails."""
        if self._span is None and self._batch.may_open_late():
            self._input = self._run.show(self._value, self._run.shares.input)
            around = set_span_in_context(self._run.span, context_api.get_current())
            self._span = self._start_span(around, self._started_at)
        return self._span

    def _start_span(self, around: Context, start_time: int | None) -> Span:
        session = self._run.session
        self._batch.traced += 1
        attributes = session.item_attributes(self._index, self._run.batch_size)
        name = f"{self._run.facts.name} item"
        return session.tracer.start_span(name, around, attributes=attributes, start_time=start_time)

    def _end_attempts(self, exc: BaseException | None) -> Attempts | None:
        run = self._run
        if self._attempts is not None:
            self._attempts.finish(exc)
            attempts = self._attempts.record(answered=exc is None)
        elif self._observable is not None:
            attempts = Attempts(1, run.allowed)
        else:
            return None
        self._batch.retried += attempts.made > 1
        self._batch.fallbacks += attempts.fallback
        run.add_attempts(attempts)
        return attempts

    def _tell(self, span: Span, item: Item) -> None:
        openinference = self._run.session.config.openinference
        spans.finish_item(span, item, openinference=openinference)

    def _close_account(self, *, failed: bool) -> Usage | None:
        close_account(self._account, failed=failed)
        return usage_of(self._account)

    def _content(self, output: str | None, *, failed: bool = False) -> Content:
        if self._run.facts.only_on_error and not failed:
            return Content()
        return Content(self._input, output)

    def _end_span(self) -> None:
        self._value = self._input = None
        self._attempts = self.stand_in = None  # they lead back here
        if self._span is not None:
            self._span.end()


def may_retry(run: NodeRun, node: object) -> bool:
    """Can there be more to tell of the attempts than that there was one? Notes how many may be."""
    own = instance_dict(node)
    run.allowed = classes.max_retries_of(own)
    if run.allowed != 1 or own is None or run.facts.own_fallback:
        return True
    return not FALLBACK.isdisjoint(own)


def attempts_of(
    run: NodeRun,
    account: Account | None,
    span: Span | None,
    open_late: Callable[[], Span | None] = _no_span,
) -> TracedAttempts:
    """What listens to the attempts of a node or item."""
    listener = TimedAttempts if run.session.config.self_report else TracedAttempts
    return listener(run, account, span, open_late)

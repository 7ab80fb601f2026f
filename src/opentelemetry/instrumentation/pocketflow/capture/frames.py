"""Frames: what is current while a piece of a flow runs, found through the OpenTelemetry context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.journal import Branch
    from opentelemetry.instrumentation.pocketflow.capture.session import Session
    from opentelemetry.instrumentation.pocketflow.capture.usage.book import Charge
    from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account
    from opentelemetry.instrumentation.pocketflow.capture.watch import StoreWatch
    from opentelemetry.instrumentation.pocketflow.record import Usage

_FRAME_KEY: Final = context_api.create_key("pocketflow-frame")
_ACCOUNT_KEY: Final = context_api.create_key("pocketflow-account")


class Frame(Scope):
    """A run or a route that is current.

    It travels in the OpenTelemetry context, so it is found wherever the current span is found:
    in tasks, and in threads that were given a copy of the context.
    """

    __slots__ = (
        "account",
        "metering",
        "observed",
        "parent",
        "recording",
        "session",
        "span",
        "watch",
    )

    def __init__(self, session: Session, parent: Frame | None) -> None:
        super().__init__()
        self.session = session
        self.parent = parent
        self.span: Span = INVALID_SPAN
        self.recording = False
        self.metering = False if parent is None else parent.metering
        """Is anybody listening to metrics? They count what is not sampled, too."""
        self.observed = self.metering
        """Is there anything to be told of it?"""
        self.account: Account | None = None if parent is None else parent.account
        """What answers for the model calls that are made here."""
        self.watch: StoreWatch | None = None

    def make_current(self, span: Span, around: Context) -> None:
        """Prepares the context in which this frame and its span are current."""
        self.span = span
        self.recording = span.is_recording()
        self.observed = self.recording or self.metering
        self.context = context_api.set_value(_FRAME_KEY, self, set_span_in_context(span, around))

    def watch_around(self) -> StoreWatch | None:
        """The watch of the nearest run that is this frame or around it."""
        frame: Frame | None = self
        while frame is not None and frame.watch is None:
            frame = frame.parent
        return None if frame is None else frame.watch

    # What a route does for the runs directly in it; elsewhere there is no route.

    def place(self, node: object) -> tuple[str | None, int | None]:
        """Id and iteration of a node that is about to run here."""
        del node
        return None, None

    def before(self, run: Any) -> Branch | None:
        """The stay of the run before that one, if only the framework's code has run in between."""
        del run
        return None

    def holds(self, run: Any) -> bool:
        """Does the run stay open until the frame knows what follows it?"""
        del run
        return False

    def end_span(self) -> None:
        """Ends the span, whatever else went wrong."""
        end_if_open(self.span)


class IdleFrame(Frame):
    """What is current in a run of which nobody could be told anything, as long as that is so."""

    __slots__ = ()

    def enter(self) -> None:
        """The run begins."""
        self.context = context_api.set_value(_FRAME_KEY, self)


@guarded(None)
def end_if_open(span: Span | None) -> None:
    """Ends a span that was begun and not ended, if it is one."""
    if span is not None and span.is_recording():
        span.end()


def current_frame(context: Context | None = None) -> Frame | None:
    """The innermost frame in a context, or in the current one."""
    if context is None:
        context = context_api.get_current()
    frame: Any = context.get(_FRAME_KEY)
    return frame


def with_account(account: Account, around: Context) -> Context:
    """A context in which an item's or attempt's account answers for the calls of its run."""
    return context_api.set_value(_ACCOUNT_KEY, account, around)


@guarded(cast("Account | None", None))
def current_account() -> Account | None:
    """What answers for a model call that is made now."""
    return account_in(context_api.get_current())


def account_in(context: Context) -> Account | None:
    """What answers for a model call that is made in a context."""
    frame = current_frame(context)
    if frame is None or frame.account is None:
        return None
    own: Any = context.get(_ACCOUNT_KEY)
    # It stands for its own run only: below it, other runs have accounts of their own.
    account = own if own is not None and own.is_in(frame.account) else frame.account
    return account.innermost()


# A fault in them costs what the calls used, and not all else that a span tells.


@guarded(cast("Account | None", None))
def end_attempt(account: Account | None, *, failed: bool) -> Account | None:
    """Closes the account of the attempt in progress, if there is one, and returns it."""
    return None if account is None else account.end_attempt(failed=failed)


@guarded(cast("Sequence[Charge]", ()))
def close_account(account: Account | None, *, failed: bool = False) -> Sequence[Charge]:
    """Closes an account, if there is one; what is told later goes further out.

    Args:
        account: of a run, item or attempt.
        failed: is it of something that failed?

    Returns:
        The calls that are credited to a run.
    """
    return () if account is None else account.close(failed=failed)


@guarded(cast("Usage | None", None))
def usage_of(account: Account | None) -> Usage | None:
    """What an account that is closed tells of its calls; None where there were none."""
    return None if account is None else account.usage()

"""Collects the usage in the spans of other instrumentations, as a SpanProcessor of their provider.

The core does not know the SDK: this is a SpanProcessor by its methods. It sees the spans of one
provider, and tells by the context that a span starts in which run made the call.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import StatusCode, get_current_span

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture import redact
from opentelemetry.instrumentation.pocketflow.capture.conversation import current_conversation
from opentelemetry.instrumentation.pocketflow.capture.frames import (
    account_in,
    current_account,
    current_frame,
)
from opentelemetry.instrumentation.pocketflow.capture.usage.book import Source, is_unmetered
from opentelemetry.instrumentation.pocketflow.capture.usage.dialects import (
    call_of_span,
    is_rough,
    records_token_metric,
    without_made_up_zeros,
)
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.frames import Frame
    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
    from opentelemetry.instrumentation.pocketflow.capture.usage.book import Charge
    from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
    from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account

_MAX_OPEN: Final = 10_000
"""Spans that may be open at the same time; of more, the oldest are taken for abandoned."""


class _OpenSpan:
    """A span of somebody else, inside a run."""

    __slots__ = ("account", "around", "below")

    def __init__(self, account: Account, around: _OpenSpan | None) -> None:
        self.account = account
        self.around = around
        self.below: list[Charge] = []
        """The calls that spans below it have told of."""

    def charges(self, call: ModelCall | None, source: Source) -> list[Charge]:
        """The calls that it and the spans below it tell of, once it has ended.

        Two instrumentations of one client make nested spans for one call, and the span of an agent
        sums up those below it. The innermost are the calls; what is around them may know more.
        """
        if call is None:
            return self.below
        if self.below:
            unmetered = [charge for charge in self.below if is_unmetered(charge.call)]
            if len(self.below) == 1 or len(unmetered) == len(self.below):
                self.account.merge(self.below[0], call, source)
            return self.below
        charge = self.account.charge(call, source, here=current_account())
        return [] if charge is None else [charge]


if TYPE_CHECKING:
    # The core runs without the SDK; to a type checker, this is a processor of its kind.
    from opentelemetry.sdk.trace import SpanProcessor  # noqa: TID251
else:
    SpanProcessor = object


class UsageSpanProcessor(SpanProcessor):
    """Credits the model calls that LLM instrumentations make spans for to the run around them.

    `PocketFlowInstrumentor` adds it to the provider it was given and to the global one. It is only
    needed for a further provider that an instrumentation of a client was given by itself::

        provider.add_span_processor(UsageSpanProcessor())

    It also puts the values of `conversation` on the spans of that provider.
    """

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """A span begins; called by the SDK."""
        _begin(span, parent_context)

    def _on_ending(self, span: Any) -> None:
        """A span is about to end; called by the SDK."""

    def on_end(self, span: Any) -> None:
        """A span has ended; called by the SDK."""
        if _open:
            _end(span)

    def shutdown(self) -> None:
        """Nothing to do; called by the SDK."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to do; called by the SDK."""
        del timeout_millis
        return True


_PROCESSOR: Final = UsageSpanProcessor()
# By its id a span is found again also where several providers, or one twice, tell of it.
_open: Final[dict[int, _OpenSpan]] = {}
_attended: Final[weakref.WeakValueDictionary[int, Any]] = weakref.WeakValueDictionary()


_with_metric: Final[set[str | None]] = set()
"""Providers whose calls were seen to have a metric of their client's instrumentation."""


def has_client_metric(provider: str | None) -> bool:
    """Does the instrumentation of that provider's client record `gen_ai.client.token.usage`?

    Where a run is not sampled, its calls have no spans that would tell; earlier ones may have.
    """
    return provider in _with_metric


@guarded(None)
def attend(provider: Any) -> None:
    """Listens to the spans of a provider, where it lets us; never twice, as there is no way back.

    Args:
        provider: of the SDK, or anything that takes span processors.
    """
    add = getattr(provider, "add_span_processor", None)
    if not callable(add) or _attended.get(id(provider)) is provider:
        return
    _attended[id(provider)] = provider
    add(_PROCESSOR)


@guarded(None)
def _begin(span: Any, parent_context: Context | None) -> None:
    if _scope_of(span) == semconv.SCOPE_NAME:
        return  # what is ours has its attributes, and is no call of a model
    context = context_api.get_current() if parent_context is None else parent_context
    frame, conversation = current_frame(context), current_conversation(context)
    if frame is None and conversation is None:
        return
    if conversation is not None:
        told: Mapping[str, Any] = span.attributes or {}  # by whoever starts it, and is nearer to it
        given = conversation.attributes(_redactor_of(frame))
        span.set_attributes({name: given[name] for name in given if name not in told})
    account = account_in(context)
    if account is None:
        return
    around = _open.get(get_current_span(context).get_span_context().span_id)
    if around is not None and around.account is not account:
        around = None
    _open[span.get_span_context().span_id] = _OpenSpan(account, around)
    if len(_open) > _MAX_OPEN:
        _open.pop(next(iter(_open)), None)


@guarded(None)
def _end(span: Any) -> None:
    opened = _open.pop(span.get_span_context().span_id, None)
    if opened is None:
        return
    call = call_of_span(span.attributes or {})
    if call is not None and is_unmetered(call) and span.status.status_code is StatusCode.ERROR:
        call = None  # the provider did not answer
    source = _source_of(span)
    if call is not None and source.has_metric:
        _with_metric.add(call.provider)
    if call is not None and source.is_rough:
        call = without_made_up_zeros(call)
    charges = opened.charges(call, source)
    if opened.around is not None:
        opened.around.below += charges


def _redactor_of(frame: Frame | None) -> Redactor:
    return redact.in_use if frame is None else frame.session.redactor


def _source_of(span: Any) -> Source:
    scope = _scope_of(span)
    has_metric = records_token_metric(scope, span.name)
    return Source(scope, has_span=True, has_metric=has_metric, is_rough=is_rough(scope))


def _scope_of(span: Any) -> str:
    scope = getattr(span, "instrumentation_scope", None)
    return scope.name if scope is not None else ""

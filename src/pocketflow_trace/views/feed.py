"""Hands the starts and ends of spans from the program's threads to a view's thread.

A view must not slow the program down: what a span pays here is one append to a queue, without a
lock. Reading, sorting and drawing happen in the view's thread.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

MAX_WAITING: Final = 50_000
"""Starts and ends that may wait for a view that is held up, such as by a stopped terminal."""


class News(NamedTuple):
    """A span that has started or ended.

    Attributes:
        span: The span; one that started may have ended by now.
        has_ended: Is it the end that is told of?
    """

    span: ReadableSpan
    has_ended: bool


class Feed(SpanProcessor):
    """Queues what spans do for one reader; the program's threads never wait for it.

    A forked process inherits it and leaves it alone, since the reader's thread is not there.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        limit: int = MAX_WAITING,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """Starts empty.

        Args:
            wake: Called in the thread of each span that starts; the reader may be asleep.
            limit: Starts that may wait; later ones are passed over, and their ends with them.
            on_failure: Called in the thread of an outermost span that has failed: its exception
                may end the program, and be printed next.
        """
        self._wake = wake
        self._on_failure = on_failure
        self._limit = limit
        self._waiting: deque[News] = deque()
        self._open: set[int] = set()
        self._pid = os.getpid()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Queue a span that began."""
        del parent_context
        if os.getpid() != self._pid or len(self._waiting) >= self._limit:
            return
        self._open.add(id_of(span))
        self._waiting.append(News(span, has_ended=False))
        self._wake()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that ended, if its start was queued."""
        key = id_of(span)
        if key in self._open:
            self._open.discard(key)
            self._waiting.append(News(span, has_ended=True))
            failed = span.parent is None and span.status.status_code is StatusCode.ERROR
            if failed and self._on_failure is not None:
                self._on_failure()

    def shutdown(self) -> None:
        """Do nothing: the view is closed by whoever opened it."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: a view that is late holds nobody up."""
        del timeout_millis
        return True

    def take(self) -> list[News]:
        """Return what came since the last call, in order."""
        # Not until it is empty: others may append as fast as this takes.
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


def id_of(span: ReadableSpan) -> int:
    """Return what tells a span from all others in this process."""
    context = span.get_span_context()
    return 0 if context is None else context.span_id

"""Frames: what is current while a piece of a flow runs, found through the OpenTelemetry context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow.capture.calls import Scope
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.session import Session
    from opentelemetry.instrumentation.pocketflow.capture.watch import StoreWatch

_FRAME_KEY: Final = context_api.create_key("pocketflow-frame")


class Frame(Scope):
    """A run or a route that is current.

    It travels in the OpenTelemetry context, so it is found wherever the current span is found:
    in tasks, and in threads that were given a copy of the context.
    """

    __slots__ = ("parent", "recording", "session", "span", "watch")

    def __init__(self, session: Session, parent: Frame | None) -> None:
        super().__init__()
        self.session = session
        self.parent = parent
        self.span: Span = INVALID_SPAN
        self.recording = False
        self.watch: StoreWatch | None = None

    def make_current(self, span: Span, around: Context) -> None:
        """Prepares the context in which this frame and its span are current."""
        self.span = span
        self.recording = span.is_recording()
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

    def holds(self, run: Any) -> bool:
        """Does the run stay open until the frame knows what follows it?"""
        del run
        return False

    @guarded(None)
    def end_span(self, end_time: int | None = None) -> None:
        """Ends the span, whatever else went wrong."""
        self.span.end(end_time)


def current_frame() -> Frame | None:
    """The innermost frame in the current context."""
    frame = context_api.get_value(_FRAME_KEY)
    return frame if isinstance(frame, Frame) else None

"""Listens to what the SDK's exporters log, to tell the user why an export failed, once."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPORTERS: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
)
_OTHERS: Final = ("opentelemetry.exporter.otlp.common.http", "urllib3.connectionpool")
"""Loggers that only matter because a program that logs at debug level would show their lines."""

_REASONS: Final = (
    re.compile(r"error details: (?P<why>.+)", re.DOTALL),
    re.compile(r"code: (?P<why>\d+, reason: .+)", re.DOTALL),
    re.compile(r"error code: (?P<why>[^,]+)"),
    re.compile(r"Transient error (?P<why>.+?) encountered while exporting", re.DOTALL),
)
"""Where the exporters' messages say why. A message without it was a timeout."""

_MAX_REASON: Final = 160


class LogWitness(logging.Filter):
    """Takes the log records of one thread off the exporters' loggers and keeps the reason.

    The exporter's result is just "failure"; what happened stands in its log only. Other threads'
    records pass: the program may have exporters of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""
        self._thread: int | None = None

    def listen(self) -> None:
        """Start to take the calling thread's records."""
        self._thread = threading.get_ident()
        for name in (*_EXPORTERS, *_OTHERS):
            logging.getLogger(name).addFilter(self)

    def stop(self) -> None:
        """Let all records pass again."""
        for name in (*_EXPORTERS, *_OTHERS):
            logging.getLogger(name).removeFilter(self)

    def note(self, exc: BaseException) -> None:
        """Keep an exception as the reason."""
        self.reason = _innermost(exc)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the reason of a record of the own thread, and stop it."""
        if threading.get_ident() != self._thread:
            return True
        if record.name in _EXPORTERS and record.levelno >= logging.WARNING:
            self.reason = _reason(record) or self.reason
        return False


def _reason(record: logging.LogRecord) -> str:
    args = record.args if isinstance(record.args, tuple) else ()
    for arg in args:
        if isinstance(arg, BaseException):
            return _innermost(arg)
    message = record.getMessage()
    found = next((match for pattern in _REASONS if (match := pattern.search(message))), None)
    return " ".join(found["why"].split())[:_MAX_REASON] if found else ""


def _innermost(exc: BaseException) -> str:
    """Return what the operating system said, if it did: the HTTP libraries wrap it many times."""
    chain = list(_causes(exc))
    said = [cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror]
    return str(said[-1] if said else chain[-1])[:_MAX_REASON]


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__

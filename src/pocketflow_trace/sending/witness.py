"""Finds out why an export failed, to tell the user once, and keeps the exporters' logs quiet."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Final, Protocol

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


class Listener(Protocol):
    """Is told of what the exporters keep to themselves."""

    def note(self, event: BaseException | str) -> None:
        """Hear of an error over HTTP, or of a status that is none of success."""
        ...

    def reject(self, count: int, message: str) -> None:
        """Hear how many spans an answer rejects, although it is one of success; mostly none."""
        ...


class Witness(logging.Filter):
    """Takes the log records of one thread off the exporters' loggers and keeps the reason.

    The exporter's result is just "failure". Over HTTP we see ourselves what happened; over gRPC it
    stands in the exporter's log only. Other threads' records pass: the program may have exporters
    of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._noted = ""
        self._logged = ""
        self._thread: int | None = None
        self.rejected = 0
        """Spans that the last export's answer rejects; the collector's word, so any number."""
        self.objection = ""
        """Why the collector has rejected some, as it says."""

    @property
    def reason(self) -> str:
        """Why the last export failed, in a few words; empty where nothing was said."""
        return self._noted or self._logged

    def forget(self) -> None:
        """Begin with a new export."""
        self._noted = self._logged = ""
        self.rejected = 0

    def listen(self) -> None:
        """Start to take the calling thread's records."""
        self._thread = threading.get_ident()
        for name in (*_EXPORTERS, *_OTHERS):
            logging.getLogger(name).addFilter(self)

    def stop(self) -> None:
        """Let all records pass again."""
        for name in (*_EXPORTERS, *_OTHERS):
            logging.getLogger(name).removeFilter(self)

    def note(self, event: BaseException | str) -> None:
        """Keep an exception, or the status of an answer, as the reason."""
        text = event if isinstance(event, str) else _innermost(event)
        self._noted = " ".join(text.split())[:_MAX_REASON]

    def reject(self, count: int, message: str) -> None:
        """Keep that some spans of an export that succeeds are rejected."""
        self.rejected = count
        if count > 0:
            self.objection = message[:_MAX_REASON]

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the reason of a record of the own thread, and stop it."""
        if threading.get_ident() != self._thread:
            return True
        if record.name in _EXPORTERS and record.levelno >= logging.WARNING:
            self._logged = _reason(record) or self._logged
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

"""Writes spans that no collector took to a local file, as OTLP JSON lines.

One line is one `ExportTraceServiceRequest`, as the OTLP file exporter of the OpenTelemetry
Collector writes it and its file receiver reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow.guard import of_user
from pocketflow_trace.folders import make_private
from pocketflow_trace.sending.otlp_json import otlp_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

_FOLDER: Final = "pocketflow-trace"
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one file: a collector that is gone for weeks must not fill the disk."""


def state_directory(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return where this user's programs keep their state: XDG's place, or the platform's own.

    Raises:
        RuntimeError: The user has no home directory.
    """
    xdg = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(xdg):  # noqa: PTH117 - XDG wants a relative path ignored; no Path is needed
        return Path(xdg) / _FOLDER
    if platform == "win32":
        local = environ.get("LOCALAPPDATA", "")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / _FOLDER
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _FOLDER
    return Path.home() / ".local" / "state" / _FOLDER


class UndeliveredFile:
    """The file of one process; made, readable by its user only, when there is something for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self.path: Path | None = None
        """The file; None as long as nothing was written."""
        self.count = 0
        """Spans that could not be delivered, written or not."""
        self.lost = 0
        """Those of them that are not in the file either."""
        self.problem = ""
        """Why spans could not be written; empty as long as they could."""
        self._size = 0

    def write(self, spans: Sequence[ReadableSpan]) -> None:
        """Append spans; what goes wrong is kept in `problem`."""
        with self._lock:
            self.count += len(spans)
            for part in _encodable(spans):
                self._try_to_append(*part)

    def _try_to_append(self, count: int, line: str) -> None:
        try:
            self._append(line)
        except (OSError, RuntimeError, ValueError) as exc:
            self.lost += count
            self.problem = getattr(exc, "strerror", None) or str(exc)

    def _append(self, line: str) -> None:
        """Write a line.

        Raises:
            OSError: It cannot be written; what there was of it is taken back.
            RuntimeError: The user has no home directory.
            ValueError: There is no line, as its spans are broken, or the file is large enough.
        """
        if not line:
            raise ValueError("they cannot be encoded")
        if self._size + len(line) >= MOST_BYTES:
            raise ValueError(f"the file has {MOST_BYTES >> 20} MiB")
        if self.path is None:
            self.path = self._create()
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(line + "\n")
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._size)
            raise
        self._size += len(line) + 1

    def _create(self) -> Path:
        directory = state_directory(self._environ)
        make_private(directory)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = directory / f"undelivered-{stamp}-{os.getpid()}.jsonl"
        path.touch(mode=0o600, exist_ok=False)
        return path


def _encodable(spans: Sequence[ReadableSpan]) -> Iterator[tuple[int, str]]:
    """Return spans as a line with their number; as a line each, where one of them is broken."""
    line = of_user(_line, spans, "")
    if line or len(spans) == 1:
        yield len(spans), line
    else:
        yield from ((1, of_user(_line, [span], "")) for span in spans)


def _line(spans: Sequence[ReadableSpan]) -> str:
    return json.dumps(otlp_json(spans), separators=(",", ":"))

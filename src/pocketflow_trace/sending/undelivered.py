"""Writes spans that no collector took to a local file, as OTLP JSON lines.

One line is one `ExportTraceServiceRequest`, as the OTLP file exporter of the OpenTelemetry
Collector writes it and its file receiver reads it.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

_FOLDER: Final = "pocketflow-trace"
_IDS: Final = ("traceId", "spanId", "parentSpanId")


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


def otlp_json(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Return spans as OTLP's JSON encoding has them: ids in hexadecimal, enums as numbers."""
    # Not at the top: commands that only need the folder run without the extras.
    from google.protobuf import json_format  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import (  # noqa: PLC0415
        encode_spans,
    )

    data = json_format.MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for resource in data.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", []):
            for span in scope.get("spans", []):
                for item in (span, *span.get("links", [])):
                    _ids_to_hex(item)
    return data


def _ids_to_hex(item: dict[str, Any]) -> None:
    """Undo protobuf's own JSON form of bytes, base64, which OTLP does not use for ids."""
    for name in _IDS:
        if name in item:
            item[name] = base64.b64decode(item[name]).hex()


class UndeliveredFile:
    """The file of one process; made, readable by its user only, when there is something for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self.path: Path | None = None
        """The file; None as long as nothing was written."""
        self.count = 0
        """Spans that could not be delivered, written or not."""
        self.problem = ""
        """Why spans could not be written; empty as long as they could."""

    def write(self, spans: Sequence[ReadableSpan]) -> None:
        """Append spans; what goes wrong is kept in `problem`."""
        with self._lock:
            self.count += len(spans)
            try:
                self._append(json.dumps(otlp_json(spans), separators=(",", ":")))
            except (OSError, RuntimeError) as exc:
                self.problem = getattr(exc, "strerror", None) or str(exc)

    def _append(self, line: str) -> None:
        if self.path is None:
            self.path = self._create()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _create(self) -> Path:
        directory = state_directory(self._environ)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = directory / f"undelivered-{stamp}-{os.getpid()}.jsonl"
        path.touch(mode=0o600, exist_ok=False)
        return path

"""`pocketflow-trace export`: sends a kept run to a collector, or writes it as OTLP."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, reading_of
from pocketflow_trace.cli.telling import warn_of_damage
from pocketflow_trace.record.model import walk
from pocketflow_trace.text import plural, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from pocketflow_trace.record.model import Run
    from pocketflow_trace.sending.exporter import ExportTarget

PROTOCOLS: Final = ("http/protobuf", "grpc")

BATCH: Final = 256
"""Spans of one request: with all their content some 1.5 MB, and gRPC refuses 4 MiB."""

_TIMEOUT: Final = "5"
"""Seconds for one request with its retries, unless the environment says otherwise."""

_STANDARD_OUTPUT: Final = "-"

_SUMMARY: Final = """\
Sends a kept run to a collector with the SDK's own exporter, or writes it as OTLP for other tools.

--to otlp       to a collector: --endpoint and --protocol, else OpenTelemetry's variables, else
                http://localhost:4318; headers and certificates are taken from the environment
--to otlp-json  to --out, by default stdout: JSON lines of one ExportTraceServiceRequest each, which
                the Collector's file receiver reads

Ids, names, times, attributes, status and resource are those of the run as it was, so sending it
twice makes no second trace. What a kept run does not hold is not sent: links, events other than
exceptions, and scope and kind of spans of other instrumentations. A span that had not ended is sent
with the last time of which the run tells as its end, and pocketflow.unfinished = true.

exit code: 0 everything was sent, 1 no such run or not sent, 2 wrong usage"""

_EXAMPLES: Final = (
    ("export --to otlp", "the last run, to a collector on this machine"),
    ("export last~1 --to otlp --endpoint http://host:4317 --protocol grpc", "by gRPC"),
    ("export --to otlp-json --out run.jsonl", "into a file"),
)


class _Outcome:
    """What the exporter said about the requests."""

    def __init__(self) -> None:
        self.reason = ""
        self.rejected = 0

    def note(self, event: BaseException | str) -> None:
        """Keep the last problem."""
        self.reason = str(event)

    def reject(self, count: int, message: str) -> None:
        """Count what answers of success reject, and keep why."""
        if count > 0:
            self.rejected += count
            self.reason = message


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace export` with these arguments.

    Raises:
        CliError: Wrong usage, there is no such run, or it could not be sent.
    """
    options = _options(args)
    reading = reading_of(options)
    warn_of_damage(reading)
    spans = _spans(reading.run)
    if options.to == "otlp":
        sys.stderr.write(f"pocketflow-trace: {_send(spans, options)}\n")
    elif options.out == _STANDARD_OUTPUT:
        sys.stdout.writelines(_json_lines(spans))
    else:
        _write(spans, Path(options.out))
    return 0


def _options(args: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("export", _SUMMARY, _EXAMPLES)
    parser.add_run()
    parser.add_argument("--to", choices=("otlp", "otlp-json"), required=True, help="what to make")
    parser.add_argument("--endpoint", metavar="URL", help="with --to otlp: where to")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="with --to otlp: how")
    parser.add_argument(
        "--out", metavar="FILE", default=_STANDARD_OUTPUT, help="with --to otlp-json; - is stdout"
    )
    parser.add_shelf()
    options = parser.parse_args(args)
    if options.to == "otlp" and options.out != _STANDARD_OUTPUT:
        parser.error("--out needs --to otlp-json")
    if options.to == "otlp-json" and (options.endpoint or options.protocol):
        parser.error("--endpoint and --protocol need --to otlp")
    return options


def _spans(run: Run) -> list[ReadableSpan]:
    """Return the spans of a run, having said what is left out or not ended.

    Raises:
        CliError: There is none.
    """
    from pocketflow_trace.sending import otlp  # noqa: PLC0415 - the SDK, only when used

    spans = otlp.spans(run)
    entries = list(walk(run.roots))
    if not spans:
        raise CliError("this run has no spans", exit_code=1)
    if left_out := len(entries) - len(spans):
        _say(f"{plural(left_out, 'span')} without valid ids left out")
    if unfinished := sum(entry.end is None for entry in entries):
        _say(f"{plural(unfinished, 'span')} had not ended; marked with {otlp.UNFINISHED}")
    if run.dropped:
        _say(f"{plural(run.dropped, 'span')} not kept with the run")
    return spans


def _say(text: str) -> None:
    sys.stderr.write(f"pocketflow-trace: {text}\n")


def _batches(spans: Sequence[ReadableSpan]) -> Iterator[Sequence[ReadableSpan]]:
    return (spans[start : start + BATCH] for start in range(0, len(spans), BATCH))


# --- As JSON --------------------------------------------------------------------------------


def _json_lines(spans: Sequence[ReadableSpan]) -> Iterator[str]:
    from pocketflow_trace.sending.otlp_json import otlp_json  # noqa: PLC0415 - only when used

    for batch in _batches(spans):
        yield json.dumps(otlp_json(batch), separators=(",", ":")) + "\n"


def _write(spans: Sequence[ReadableSpan], path: Path) -> None:
    """Write a file that only its user can read, as the run's own.

    Raises:
        CliError: It cannot be written.
    """
    try:
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(_json_lines(spans))
    except OSError as exc:
        raise CliError(f"{path}: {exc.strerror or exc}", exit_code=1) from exc


# --- To a collector -------------------------------------------------------------------------


def _send(spans: Sequence[ReadableSpan], options: argparse.Namespace) -> str:
    """Send spans, and return what to say about it.

    Raises:
        CliError: They were not taken.
    """
    from pocketflow_trace.sending.exporter import (  # noqa: PLC0415 - only when used
        ExportError,
        export_target,
        make_exporter,
    )

    outcome = _Outcome()
    with _settings(options.endpoint, options.protocol):
        try:
            target = export_target(os.environ)
            if target is None:
                raise CliError("OpenTelemetry's variables name no endpoint")
            exporter = make_exporter(target, os.environ, outcome)
        except ExportError as exc:
            raise CliError(str(exc)) from exc
        try:
            sent = _export(spans, exporter, outcome)
        finally:
            exporter.shutdown()
    return _result(sent, len(spans), target, outcome)


def _export(spans: Sequence[ReadableSpan], exporter: SpanExporter, outcome: _Outcome) -> int:
    """Return how many spans a collector accepted; after a refusal the rest is not tried."""
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 - only when used

    sent = 0
    with _listening(outcome):
        for batch in _batches(spans):
            if exporter.export(batch) is not SpanExportResult.SUCCESS:
                break
            sent += len(batch)
    return max(sent - outcome.rejected, 0)


def _result(sent: int, total: int, target: ExportTarget, outcome: _Outcome) -> str:
    where = f"{printable(target.endpoint)} ({target.protocol})"
    if sent < total:
        why = printable(target.without_login(outcome.reason))
        reason = f": {why}" if why else ""
        raise CliError(f"{sent} of {plural(total, 'span')} sent to {where}{reason}", exit_code=1)
    return f"{plural(total, 'span')} sent to {where}"


@contextlib.contextmanager
def _settings(endpoint: str | None, protocol: str | None) -> Generator[None]:
    """Put options where the SDK's exporters look for them, which is the environment alone."""
    before = dict(os.environ)
    os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", _TIMEOUT)
    for name, value in (("ENDPOINT", endpoint), ("PROTOCOL", protocol)):
        if value:
            # The variable for traces would go before this one, and is taken as a full URL.
            os.environ.pop(f"OTEL_EXPORTER_OTLP_TRACES_{name}", None)
            os.environ[f"OTEL_EXPORTER_OTLP_{name}"] = value
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Listener(logging.Handler):
    """Keeps what the exporters log, which over gRPC is the only word of a failure."""

    def __init__(self, outcome: _Outcome) -> None:
        super().__init__(logging.WARNING)
        self._outcome = outcome

    def emit(self, record: logging.LogRecord) -> None:
        """Take the text where the exporter gave no better reason."""
        self._outcome.reason = self._outcome.reason or record.getMessage()


@contextlib.contextmanager
def _listening(outcome: _Outcome) -> Generator[None]:
    """Keep what the exporters log off the terminal: one line says it all."""
    logger, listener = logging.getLogger("opentelemetry"), _Listener(outcome)
    propagates = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates

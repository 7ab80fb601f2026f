"""Spans of our examples, recorded once as OTLP, and sent again as often as wanted with fresh ids.

In every copy the letters of the programs' own texts are exchanged at random: otherwise a request
would hold the same texts several times, and compression would look better than it is.
"""

from __future__ import annotations

import gzip
import http.client
import itertools
import os
import random
import string
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    from typing_extensions import Self

BATCH: Final = 512
"""Spans in a request: what the SDK's batch processor sends at once."""

_EXAMPLES: Final = (
    "research_agent",
    "map_reduce",
    "order_pipeline",
    "parallel_translation",
    "rag",
)
_CONTENT: Final = ("input.value", "output.value", "pocketflow.shared.", "pocketflow.node.params")
"""What the names of attributes begin with that hold a program's own texts."""

_CLIENTS: Final = "anthropic,botocore,google-genai,google_genai,google_generativeai,ollama,openai"
"""Instrumentations that the examples do not need, and that take seconds to import."""

_FOLDER: Final = Path(__file__).parents[1] / "examples"
_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SENDERS: Final = 4
"""Connections at once, as of four busy programs."""

Send: TypeAlias = "Callable[[bytes], object]"
"""Sends one encoded request and waits for the answer."""


class Recording(NamedTuple):
    """What the examples sent: one request each, with all spans of one process."""

    requests: list[ExportTraceServiceRequest]

    @property
    def spans(self) -> int:
        """How many spans there are."""
        return sum(len(list(_spans(request))) for request in self.requests)


def record() -> Recording:
    """Runs the examples under `opentelemetry-instrument` and takes what they send."""
    with _Receiver() as receiver:
        for name in _EXAMPLES:
            _run(_FOLDER / f"{name}.py", receiver.url)
        return Recording(receiver.requests)


def batches(recording: Recording, spans: int, at_once: int = BATCH) -> list[bytes]:
    """Requests as one busy process sends them, encoded, with fresh ids and the time of now.

    Args:
        recording: what is repeated.
        spans: how many; rounded down to whole requests.
        at_once: spans in a request.
    """
    source = _endless(recording)
    return [_request(recording, source, at_once) for _ in range(spans // at_once)]


def send(
    requests: Sequence[bytes], make_sender: Callable[[], Send], per_second: float | None
) -> None:
    """Sends all requests over a few connections.

    Args:
        requests: encoded.
        make_sender: opens a connection; what it returns sends one request and waits for the answer.
        per_second: requests; None for as fast as it goes.
    """
    start = time.monotonic()
    turns = itertools.count()
    lock = threading.Lock()

    def work() -> None:
        sender = make_sender()
        while True:
            with lock:
                turn = next(turns)
            if turn >= len(requests):
                return
            if per_second is not None:
                time.sleep(max(0.0, start + turn / per_second - time.monotonic()))
            sender(requests[turn])

    with ThreadPoolExecutor(_SENDERS) as pool:
        for done in [pool.submit(work) for _ in range(_SENDERS)]:
            done.result()


def over_http(port: int, *, compressed: bool) -> Callable[[], Send]:
    """Connections as the SDK's exporter for `http/protobuf` makes them."""
    headers = {"Content-Type": "application/x-protobuf"}
    if compressed:
        headers["Content-Encoding"] = "gzip"

    def connect() -> Send:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def post(body: bytes) -> None:
            connection.request("POST", "/v1/traces", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise ConnectionError(f"the collector answered {answer.status}")

        return post

    return connect


def over_grpc(port: int) -> Callable[[], Send]:
    """Connections as the SDK's exporter for `grpc` makes them."""

    def connect() -> Send:
        # One connection each: by default, channels to one address share theirs.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        call = channel.unary_unary(_METHOD)
        return lambda body: call(body, timeout=60)

    return connect


def compress(requests: Sequence[bytes]) -> list[bytes]:
    """The requests as the SDK's exporter with gzip sends them."""
    return [gzip.compress(request) for request in requests]


def _run(script: Path, url: str) -> None:
    command = [Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument", sys.executable]
    told = {
        "OTEL_SERVICE_NAME": script.stem,
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": _CLIENTS,
    }
    # Our own examples, and the interpreter that runs this.
    subprocess.run(  # noqa: S603
        [*command, script], check=True, capture_output=True, env=os.environ | told, timeout=60
    )


class _Receiver:
    """Takes OTLP over http on a free loopback port."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            timeout = 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(http.HTTPStatus.OK)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                """Nothing."""

        return Handler


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def _endless(recording: Recording) -> Iterator[Span]:
    """All recorded spans, again and again, each time with fresh ids and new times."""
    while True:
        for request in recording.requests:
            yield from _fresh(request)


def _fresh(request: ExportTraceServiceRequest) -> Iterator[Span]:
    copy = ExportTraceServiceRequest()
    copy.CopyFrom(request)
    spans = list(_spans(copy))
    ids = {b"": b""}
    for span in spans:
        ids.setdefault(span.trace_id, random.randbytes(16))
        ids.setdefault(span.span_id, random.randbytes(8))
    later = time.time_ns() - max(span.end_time_unix_nano for span in spans)
    letters = list(string.ascii_lowercase)
    random.shuffle(letters)
    exchange = str.maketrans(string.ascii_lowercase, "".join(letters))
    for span in spans:
        _exchange_letters(span, exchange)
        span.trace_id, span.span_id = ids[span.trace_id], ids[span.span_id]
        span.parent_span_id = ids[span.parent_span_id]
        span.start_time_unix_nano += later
        span.end_time_unix_nano += later
        for event in span.events:
            event.time_unix_nano += later
        yield span


def _exchange_letters(span: Span, exchange: dict[int, int]) -> None:
    for attribute in span.attributes:
        if attribute.key.startswith(_CONTENT) and attribute.value.HasField("string_value"):
            attribute.value.string_value = attribute.value.string_value.translate(exchange)


def _request(recording: Recording, source: Iterator[Span], at_once: int) -> bytes:
    """One request: the resource and scope of the first recorded one, and the next spans."""
    model = recording.requests[0].resource_spans[0]
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.CopyFrom(model.resource)
    resource_spans.schema_url = model.schema_url
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.CopyFrom(model.scope_spans[0].scope)
    scope_spans.schema_url = model.scope_spans[0].schema_url
    scope_spans.spans.extend(itertools.islice(source, at_once))
    return request.SerializeToString()

"""The loopback server: takes requests, answers as scripted, and knows what it served."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeAlias

from support.providers import anthropic_wire, gemini_wire, ollama_wire, openai_wire
from support.providers.wire import Asked, Reply, Served, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

Answer: TypeAlias = "Tokens | Failure"

HOLD_TIMEOUT = 30.0
"""Seconds that a test may wait for a request, or a request for its release."""

ROUTES: tuple[tuple[re.Pattern[str], Callable[[Asked], Reply]], ...] = (
    (re.compile(r"/v1/chat/completions"), openai_wire.chat),
    (re.compile(r"/v1/responses"), openai_wire.responses),
    (re.compile(r"/v1/embeddings"), openai_wire.embeddings),
    (re.compile(r"/v1/messages"), anthropic_wire.messages),
    (re.compile(r"/v1(?:beta)?/models/[^/]+:generateContent"), gemini_wire.generate),
    (re.compile(r"/v1(?:beta)?/models/[^/]+:streamGenerateContent"), gemini_wire.stream),
    (re.compile(r"/api/chat"), ollama_wire.chat),
    (re.compile(r"/api/embed"), ollama_wire.embed),
)


@dataclass(frozen=True)
class Failure:
    """An answer that is an error. It costs nothing, so it is not served."""

    status: int
    message: str = "scripted failure"


@dataclass(frozen=True)
class Hold:
    """Keeps the answers for one model back, so that a test decides which call ends first."""

    model: str
    _arrived: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Block until a request for the model has arrived.

        Raises:
            TimeoutError: None has arrived in time.
        """
        if not self._arrived.wait(HOLD_TIMEOUT):
            raise TimeoutError(f"no request for {self.model} within {HOLD_TIMEOUT} s")

    def release(self) -> None:
        """Let the answers go, those of later requests too."""
        self._released.set()

    def keep(self) -> None:
        """Called by the server for each request: block until the release."""
        self._arrived.set()
        self._released.wait(HOLD_TIMEOUT)


class Server:
    """Answers on a free loopback port while its `with` block runs.

    Attributes:
        url: Where it listens, without a path.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: deque[Answer] = deque()
        self._holds: list[Hold] = []
        self._served: list[Served] = []
        self._requests = 0
        self._http = _HTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for hold in self._holds:
            hold.release()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def served(self) -> list[Served]:
        """A copy of all that was served, in the order in which the requests were answered.

        An answer is in it before its first byte goes out, and also if the client does not read on.
        """
        with self._lock:
            return list(self._served)

    @property
    def requests(self) -> int:
        """How many requests came, those that failed included."""
        with self._lock:
            return self._requests

    @property
    def input_tokens(self) -> int:
        """All input that was served."""
        return sum(served.input_tokens for served in self.served)

    @property
    def output_tokens(self) -> int:
        """All output that was served."""
        return sum(served.output_tokens for served in self.served)

    def script(self, *tokens: Tokens) -> None:
        """Use these tokens for the next answers, in the order in which their requests arrive."""
        with self._lock:
            self._answers.extend(tokens)

    def fail(self, status: int = 500) -> None:
        """Answer one request with an error, after those that are scripted already."""
        with self._lock:
            self._answers.append(Failure(status))

    def hold(self, model: str) -> Hold:
        """Keep back the answers to requests for `model`, until the hold's release."""
        hold = Hold(model)
        with self._lock:
            self._holds.append(hold)
        return hold

    def reply(self, path: str, body: Mapping[str, Any]) -> Reply | Failure:
        """Answer one request; called in the request's thread."""
        endpoint = _endpoint(path)
        if endpoint is None:
            return Failure(404, f"no such endpoint: {path}")
        model = body.get("model") or _model_in(path)
        answer, number = self._next_answer()
        self._wait_for_release(model)
        if isinstance(answer, Failure):
            return answer
        reply = endpoint(Asked(model, body, answer, number))
        with self._lock:
            self._served.append(reply.served)
        return reply

    def _next_answer(self) -> tuple[Answer, int]:
        with self._lock:
            self._requests += 1
            number = self._requests
            return (self._answers.popleft() if self._answers else _tokens(number)), number

    def _wait_for_release(self, model: str) -> None:
        with self._lock:
            holds = [hold for hold in self._holds if hold.model == model]
        for hold in holds:
            hold.keep()


def _tokens(number: int) -> Tokens:
    """Return tokens that no other request has, alone or in a sum of a few."""
    return Tokens(
        input=1000 + 10 * number,
        output=100 + number,
        cached=40 + number,
        cache_write=20 + number,
        reasoning=number,
    )


def _model_in(path: str) -> str:
    """Return the model of a path such as `/v1/models/gemini-2.5-flash:generateContent`."""
    return path.rpartition("/")[2].partition(":")[0]


def _endpoint(path: str) -> Callable[[Asked], Reply] | None:
    return next((endpoint for pattern, endpoint in ROUTES if pattern.fullmatch(path)), None)


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for its threads
    request_queue_size = 64


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Take a JSON body, answer, close: a connection kept open would outlive its test."""

        protocol_version = "HTTP/1.1"
        timeout = HOLD_TIMEOUT

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.reply(self.path.partition("?")[0], body)
            with contextlib.suppress(ConnectionError):  # a client may stop reading a stream
                _send(self, reply)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
            """Keep the test's stderr to the test."""

    return Handler


def _send(handler: BaseHTTPRequestHandler, reply: Reply | Failure) -> None:
    if isinstance(reply, Failure):
        _send_head(handler, reply.status, "application/json")
        pieces = (_error(reply),)
    else:
        _send_head(handler, 200, reply.content_type)
        pieces = reply.pieces
    for piece in pieces:
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def _send_head(handler: BaseHTTPRequestHandler, status: int, content_type: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.send_header("Connection", "close")
    handler.end_headers()


def _error(failure: Failure) -> bytes:
    """Return an error that the clients of all providers can read."""
    error = {"type": "api_error", "message": failure.message, "code": failure.status}
    return json.dumps({"type": "error", "error": error}).encode()

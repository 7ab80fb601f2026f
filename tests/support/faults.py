"""Collectors that do not work, on loopback: refused, hung, failing and slow ones."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if typing.TYPE_CHECKING:
    from collections.abc import Generator

    Fault: typing.TypeAlias = typing.Callable[[], contextlib.AbstractContextManager["FaultyServer"]]

LOOPBACK = "127.0.0.1"


@dataclass
class FaultyServer:
    """A server that fails; `calls` counts connections (hung) or requests (failing, slow)."""

    port: int
    calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Its base URL, for http and for grpc."""
        return f"http://{LOOPBACK}:{self.port}"

    def count(self) -> None:
        """Note one more call; safe from any thread."""
        with self._lock:
            self.calls += 1


@contextlib.contextmanager
def refused() -> Generator[FaultyServer]:
    """Hold a port on which every connection is refused.

    The port is bound without listening, so no other process can open it meanwhile.
    """
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        yield FaultyServer(holder.getsockname()[1])


@contextlib.contextmanager
def hung() -> Generator[FaultyServer]:
    """Accept every connection and never read from it nor answer."""
    with socket.create_server((LOOPBACK, 0)) as listener, contextlib.ExitStack() as accepted:
        server = FaultyServer(listener.getsockname()[1])
        stopping = threading.Event()
        thread = threading.Thread(target=_accept, args=(listener, server, accepted, stopping))
        thread.start()
        try:
            yield server
        finally:
            stopping.set()
            # A last connection wakes the thread from its `accept`.
            socket.create_connection((LOOPBACK, server.port)).close()
            thread.join()


@contextlib.contextmanager
def unavailable() -> Generator[FaultyServer]:
    """Answer every request with 503 Service Unavailable."""
    with _answering(503, delay=0) as server:
        yield server


@contextlib.contextmanager
def slow(delay: float) -> Generator[FaultyServer]:
    """Answer every request with 200, `delay` seconds after it came."""
    with _answering(200, delay) as server:
        yield server


def _accept(
    listener: socket.socket,
    server: FaultyServer,
    accepted: contextlib.ExitStack,
    stopping: threading.Event,
) -> None:
    """Accept connections and keep them open until `accepted` closes."""
    while True:
        connection, _ = listener.accept()
        accepted.enter_context(connection)
        if stopping.is_set():
            return
        server.count()


@contextlib.contextmanager
def _answering(status: int, delay: float) -> Generator[FaultyServer]:
    stopping = threading.Event()
    http_server = ThreadingHTTPServer((LOOPBACK, 0), BaseHTTPRequestHandler)
    server = FaultyServer(http_server.server_port)
    http_server.RequestHandlerClass = _handler(server, status, delay, stopping)
    thread = threading.Thread(target=http_server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        stopping.set()
        http_server.shutdown()
        thread.join()
        http_server.server_close()


def _handler(
    server: FaultyServer, status: int, delay: float, stopping: threading.Event
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answer with `status`, late, without a body."""

        # A client that keeps its connection open must not keep the server's thread.
        timeout = 1

        def do_POST(self) -> None:
            server.count()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stopping.wait(delay)
            # The client may have given up by now.
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Keep the test's stderr to the test."""

    return Handler

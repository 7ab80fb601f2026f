"""Collectors that do not work, on loopback: each a context manager that gives a `FaultyServer`."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import typing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if typing.TYPE_CHECKING:
    import ssl
    from collections.abc import Generator

    Fault: typing.TypeAlias = typing.Callable[[], contextlib.AbstractContextManager["FaultyServer"]]

LOOPBACK = "127.0.0.1"

FULL_QUEUE = 16
"""Connections that fill the queue of a server that accepts none, and more."""

QUIET = 5.0
"""Seconds after which a client that says nothing is hung up on."""


@dataclass
class FaultyServer:
    """A server that fails; `calls` counts requests, or connections where no request is read."""

    port: int
    calls: int = 0
    scheme: str = "http"
    called: threading.Event = field(default_factory=threading.Event)
    """Set by the first call."""
    released: threading.Event = field(default_factory=threading.Event)
    """Ends the waiting of a server that waits; the end of the context sets it, too."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Its base URL, for http and for grpc."""
        return f"{self.scheme}://{LOOPBACK}:{self.port}"

    def count(self) -> None:
        """Note one more call; safe from any thread."""
        with self._lock:
            self.calls += 1
        self.called.set()


@dataclass(frozen=True)
class Answer:
    """What a server says to each request."""

    status: int = 200
    headers: typing.Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    delay: float = 0
    """Seconds that it waits before it answers, unless it is released."""


Talk: typing.TypeAlias = "typing.Callable[[socket.socket, FaultyServer], None]"
"""What a server that need not speak HTTP does with a connection, before it is closed."""


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
def never_accepting() -> Generator[FaultyServer]:
    """Listen, with a queue of connections that is full: one more gets no answer at all."""
    with contextlib.ExitStack() as waiting:
        listener = waiting.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(FULL_QUEUE):
            connection = waiting.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((LOOPBACK, port))
        yield FaultyServer(port)


@contextlib.contextmanager
def unavailable() -> Generator[FaultyServer]:
    """Answer every request with 503 Service Unavailable."""
    with answering(Answer(503)) as server:
        yield server


@contextlib.contextmanager
def slow(delay: float) -> Generator[FaultyServer]:
    """Answer every request with 200, `delay` seconds after it came."""
    with answering(Answer(delay=delay)) as server:
        yield server


@contextlib.contextmanager
def answering(
    answer: Answer, tls: ssl.SSLContext | None = None, take: typing.Callable[[bytes], object] = len
) -> Generator[FaultyServer]:
    """Say the same to every request.

    Args:
        answer: What is said.
        tls: Makes it a server of https.
        take: Is given the body of each request.
    """
    http_server = ThreadingHTTPServer((LOOPBACK, 0), BaseHTTPRequestHandler)
    server = FaultyServer(http_server.server_port, scheme="http" if tls is None else "https")
    http_server.RequestHandlerClass = _handler(server, answer, take)
    if tls is not None:
        # The handshake is the connection's own thread's: one that fails must not end the server.
        http_server.socket = tls.wrap_socket(
            http_server.socket, server_side=True, do_handshake_on_connect=False
        )
    http_server.handle_error = _keep_quiet  # type: ignore[method-assign]
    thread = threading.Thread(target=http_server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http_server.shutdown()
        thread.join()
        http_server.server_close()


@contextlib.contextmanager
def talking(talk: Talk) -> Generator[FaultyServer]:
    """Do the same with every connection, one after the other; `talk` may end by raising OSError."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        server = FaultyServer(listener.getsockname()[1])
        thread = threading.Thread(target=_talk, args=(listener, server, talk))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            with contextlib.suppress(OSError):
                socket.create_connection((LOOPBACK, server.port)).close()
            thread.join()


def saying(text: bytes) -> Talk:
    """Say some bytes once something came, and hang up."""

    def talk(connection: socket.socket, server: FaultyServer) -> None:
        read_request(connection)
        server.count()
        connection.sendall(text)

    return talk


def trickling(connection: socket.socket, server: FaultyServer) -> None:
    """Begin an answer of success, and go on with a byte now and then that never completes it."""
    read_request(connection)
    server.count()
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not server.released.wait(0.05):
        connection.sendall(b"a")


def _talk(listener: socket.socket, server: FaultyServer, talk: Talk) -> None:
    while not server.released.is_set():
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(QUIET)
            talk(connection, server)


def read_request(connection: socket.socket) -> bytes:
    """Read what a client says before it waits for an answer, and return the body.

    To close a connection with something unread would reset it.
    """
    head, _, body = _until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    size = int(found[1]) if found else 0
    while len(body) < size and (more := connection.recv(65_536)):
        body += more
    return body


def _until(connection: socket.socket, end: bytes) -> bytes:
    read = b""
    while end not in read and (more := connection.recv(65_536)):
        read += more
    return read


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


def _keep_quiet(request: object, client_address: object) -> None:
    """Say nothing about a client that gave up."""


def _handler(
    server: FaultyServer, answer: Answer, take: typing.Callable[[bytes], object]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Give the answer."""

        # A client that keeps its connection open must not keep the server's thread.
        timeout = 1

        def do_POST(self) -> None:
            server.count()
            take(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if answer.delay:
                server.released.wait(answer.delay)
            # The client may have given up by now.
            with contextlib.suppress(ConnectionError):
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Keep the test's stderr to the test."""

    return Handler

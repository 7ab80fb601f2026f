"""An HTTP server on loopback that keeps whatever is sent to it, as the very bytes."""

from __future__ import annotations

import contextlib
import gzip
import threading
import typing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Sink:
    """What was sent so far; made by `running_sink`."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._bodies: list[bytes] = []
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), receiving(self.take))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def data(self) -> bytes:
        """All bodies, decompressed."""
        with self._lock:
            return b"\n".join(self._bodies)

    def take(self, path: str, body: bytes) -> None:
        """Keep one body."""
        with self._lock:
            self.paths.append(path)
            self._bodies.append(body)


@contextlib.contextmanager
def running_sink() -> Generator[Sink]:
    """Run one until the block ends."""
    sink = Sink()
    thread = threading.Thread(target=sink.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield sink
    finally:
        sink.server.shutdown()
        thread.join()
        sink.server.server_close()


def receiving(take: Callable[[str, bytes], None]) -> type[BaseHTTPRequestHandler]:
    """Make what answers as a collector that is content.

    Args:
        take: Is called with the path and the decompressed body of each request.
    """

    class Handler(BaseHTTPRequestHandler):
        # Who keeps its connection open must not keep the server's threads for ever.
        timeout = 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
            """Keep the test's stderr to the test."""

    return Handler

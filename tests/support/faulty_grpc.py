"""Collectors that speak gRPC and do not work, on loopback, served by the real library."""

from __future__ import annotations

import contextlib
import typing
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.faults import LOOPBACK, FaultyServer

if typing.TYPE_CHECKING:
    from collections.abc import Generator

    Answer: typing.TypeAlias = typing.Callable[
        [ExportTraceServiceRequest, grpc.ServicerContext], ExportTraceServiceResponse
    ]

generated: typing.Any = trace_service_pb2_grpc
"""What protobuf's compiler has written without types."""


@contextlib.contextmanager
def answering(
    answer: Answer, credentials: grpc.ServerCredentials | None = None
) -> Generator[FaultyServer]:
    """Give each request to `answer`, if it has no more than the 4 MiB that are the default.

    Args:
        answer: Gives the answer.
        credentials: Make it a server of TLS.
    """
    grpc_server = grpc.server(ThreadPoolExecutor(4))
    address = f"{LOOPBACK}:0"
    if credentials is None:
        server = FaultyServer(grpc_server.add_insecure_port(address))
    else:
        server = FaultyServer(grpc_server.add_secure_port(address, credentials), scheme="https")
    generated.add_TraceServiceServicer_to_server(_Service(server, answer), grpc_server)
    grpc_server.start()
    try:
        yield server
    finally:
        server.released.set()
        grpc_server.stop(None).wait()


def rejecting(count: int, message: str) -> Answer:
    """Accept requests but some of their spans."""
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=message)
    return lambda _request, _context: ExportTraceServiceResponse(partial_success=partial)


def failing(code: grpc.StatusCode, retry_after: int | None = None) -> Answer:
    """Fail with a status, and say after how many seconds to try again."""

    def answer(
        _request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        if retry_after is not None:
            info = RetryInfo(retry_delay=Duration(seconds=retry_after))
            found = ("google.rpc.retryinfo-bin", info.SerializeToString())
            context.set_trailing_metadata((found,))
        context.abort(code, "as the test wants it")
        raise AssertionError("unreachable: abort raises")

    return answer


class _Service(generated.TraceServiceServicer):
    def __init__(self, server: FaultyServer, answer: Answer) -> None:
        self._server = server
        self._answer = answer

    def Export(  # noqa: N802 - the service's own name for it
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self._server.count()
        return self._answer(request, context)

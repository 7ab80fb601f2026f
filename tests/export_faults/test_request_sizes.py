"""No request is larger than the 4 MiB that a gRPC server takes, unless a single span is."""

from __future__ import annotations

import typing

import drawn_spans
from accounts import GRPC, Taken
from hypothesis import HealthCheck, given, settings
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from pocketflow_trace.sending.weight import weight
from support import faulty_grpc

if typing.TYPE_CHECKING:
    import grpc
    from accounts import Office
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace import ReadableSpan

    OpenOffice: typing.TypeAlias = typing.Callable[..., Office]

LIMIT = 4 * 1024 * 1024


def taking(taken: Taken, sizes: list[int]) -> faulty_grpc.Answer:
    """Return a collector that takes everything that its library lets through."""

    def answer(
        request: ExportTraceServiceRequest, _context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        taken.note(request)
        sizes.append(request.ByteSize())
        return ExportTraceServiceResponse()

    return answer


def test_large_spans_go_in_more_requests(open_office: OpenOffice) -> None:
    """512 spans of 20 kB would be a request of 10 MB, which the server would refuse."""
    taken, sizes = Taken(), list[int]()
    with faulty_grpc.answering(taking(taken, sizes)) as server:
        office = open_office(server.url, GRPC)
        office.post(600, {"text": "x" * 20_000})
        account = office.close()
    assert taken.names == office.made
    assert list(account.complaints) == []
    assert len(sizes) >= 4
    assert max(sizes) < LIMIT


def test_a_span_that_is_too_large_stands_alone(open_office: OpenOffice) -> None:
    """Only that one goes to the file; the spans before and after it are delivered."""
    taken, sizes = Taken(), list[int]()
    with faulty_grpc.answering(taking(taken, sizes)) as server:
        office = open_office(server.url, GRPC)
        office.post(2)
        office.post(1, {"text": "x" * LIMIT})
        office.post(2)
        account = office.close()
    assert taken.names == ["span 0", "span 1", "span 3", "span 4"]
    assert list(account.undelivered) == ["span 2"]
    assert account.complaints[0].startswith("1 span could not be sent to ")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn_spans.spans())
def test_the_estimate_is_not_too_small(span: ReadableSpan) -> None:
    """A span is never heavier, encoded, than it was estimated to be."""
    encoded: typing.Any = encode_spans([span])
    assert encoded.resource_spans[0].scope_spans[0].spans[0].ByteSize() <= weight(span)

"""Answers of success that reject some of the spans: the user is told how many, and why."""

from __future__ import annotations

import typing

import pytest
from accounts import GRPC, HTTP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from support import faults, faulty_grpc

if typing.TYPE_CHECKING:
    from accounts import Office

    OpenOffice: typing.TypeAlias = typing.Callable[..., Office]

WHY = "too \x1b[31mold\nby far"


def rejecting_over_http(count: int, message: str) -> typing.ContextManager[faults.FaultyServer]:
    """Run a collector that accepts requests, but not all of their spans."""
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=message)
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    headers = {"Content-Type": "application/x-protobuf"}
    return faults.answering(faults.Answer(200, headers, body))


def rejecting_over_grpc(count: int, message: str) -> typing.ContextManager[faults.FaultyServer]:
    """Run a collector that accepts requests, but not all of their spans."""
    return faulty_grpc.answering(faulty_grpc.rejecting(count, message))


BOTH = pytest.mark.parametrize(
    ("protocol", "rejecting"), [(HTTP, rejecting_over_http), (GRPC, rejecting_over_grpc)]
)


@BOTH
def test_rejected_spans_are_counted(
    protocol: str, rejecting: typing.Any, open_office: OpenOffice
) -> None:
    """Two of each request: the line has their sum and the collector's words, safe to print."""
    with rejecting(2, WHY) as server:
        office = open_office(server.url, protocol)
        office.post(600)
        account = office.close()
    assert server.calls == 2
    assert (account.rejected, list(account.undelivered)) == (4, [])
    assert list(account.complaints) == [
        rf"4 spans sent to {server.url} were rejected (too \x1b[31mold\nby far)"
    ]


@BOTH
@pytest.mark.parametrize(("claimed", "counted"), [(-5, 0), (0, 0), (3, 3), (2**62, 3)])
def test_no_more_are_rejected_than_were_sent(
    protocol: str, rejecting: typing.Any, claimed: int, counted: int, open_office: OpenOffice
) -> None:
    """A collector may say any number; what is told adds up to the spans that were made."""
    with rejecting(claimed, "") as server:
        office = open_office(server.url, protocol)
        office.post(3)
        account = office.close()
    assert account.rejected == counted
    assert len(account.complaints) == (counted > 0)

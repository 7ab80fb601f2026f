"""Whatever a collector does wrong: what it did not take is in the file, and one line says why."""

from __future__ import annotations

import re
import typing
from collections import Counter
from functools import partial

import grpc
import pytest
from accounts import GRPC, HTTP, Office, Taken
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from support import faults, faulty_grpc
from support.faults import Answer, saying

if typing.TYPE_CHECKING:
    import socket

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    OpenOffice: typing.TypeAlias = typing.Callable[..., Office]

FOR_EVER = {"Retry-After": "86400"}
AT_ONCE = {"Retry-After": "0"}
NEVER = {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}
NOT_HTTP = b"220 mail.example ESMTP\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
WEB_PAGE = {"Content-Type": "text/html; charset=utf-8"}


def answering(
    status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> faults.Fault:
    """Return a collector that answers so."""
    return partial(faults.answering, Answer(status, headers or {}, body))


HTTP_FAULTS: dict[str, tuple[faults.Fault, str]] = {
    "refused": (faults.refused, "Connection refused"),
    "429, at once": (answering(429, AT_ONCE), "429 Too Many Requests"),
    "429, for a day": (answering(429, FOR_EVER), "429 Too Many Requests"),
    "503, at once": (answering(503, AT_ONCE), "503 Service Unavailable"),
    "503, for a day": (answering(503, FOR_EVER), "503 Service Unavailable"),
    "503, till the end of time": (answering(503, NEVER), "503 Service Unavailable"),
    "503, nonsense": (answering(503, {"Retry-After": "soon"}), "503 Service Unavailable"),
    "400": (answering(400, body=b"no"), "400 Bad Request"),
    "401": (answering(401), "401 Unauthorized"),
    "301": (answering(301, {"Location": "/elsewhere"}), "301 .*redirects, which is not followed"),
    "a web page": (answering(200, WEB_PAGE, b"<html>"), "200 OK: it answers with a web page"),
    "a body that is no gzip": (answering(200, {"Content-Encoding": "gzip"}, b"no"), "decompress"),
    "not HTTP": (partial(faults.talking, saying(NOT_HTTP)), "220 mail.example"),
    "half an answer": (partial(faults.talking, saying(HALF)), "IncompleteRead"),
    "no answer": (partial(faults.talking, saying(b"")), "closed connection without response"),
}

GRPC_FAULTS: dict[str, tuple[faults.Fault, str]] = {
    # The library says either of them, as it happens.
    "refused": (faults.refused, "Connection refused|UNAVAILABLE"),
    "not HTTP/2": (faults.unavailable, "UNAVAILABLE|HTTP/2"),
    "unavailable": (
        partial(faulty_grpc.answering, faulty_grpc.failing(grpc.StatusCode.UNAVAILABLE, 0)),
        "as the test wants it|UNAVAILABLE",
    ),
    "exhausted, for a day": (
        partial(
            faulty_grpc.answering,
            faulty_grpc.failing(grpc.StatusCode.RESOURCE_EXHAUSTED, 86_400),
        ),
        "as the test wants it|RESOURCE_EXHAUSTED",
    ),
    "unimplemented": (
        partial(faulty_grpc.answering, faulty_grpc.failing(grpc.StatusCode.UNIMPLEMENTED)),
        "as the test wants it|UNIMPLEMENTED",
    ),
}

CASES = [
    *(pytest.param(HTTP, *case, id=f"http, {name}") for name, case in HTTP_FAULTS.items()),
    *(pytest.param(GRPC, *case, id=f"grpc, {name}") for name, case in GRPC_FAULTS.items()),
]


@pytest.mark.parametrize(("protocol", "fault", "reason"), CASES)
def test_all_is_in_the_file(
    protocol: str, fault: faults.Fault, reason: str, open_office: OpenOffice
) -> None:
    """Each span is in the file once, and the line for the user has the number and the reason."""
    with fault() as server:
        office = open_office(server.url, protocol)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert account.rejected == 0
    [line] = account.complaints
    assert line.startswith(f"3 spans could not be sent to {server.url} (")
    assert re.search(reason, line), line
    assert line.isprintable()


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize("fault", [faults.hung, faults.never_accepting])
def test_nobody_answers(protocol: str, fault: faults.Fault, open_office: OpenOffice) -> None:
    """The exporter gives up after its time; each span is in the file once."""
    with fault() as server:
        office = open_office(server.url, protocol, patience=0.4)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert account.complaints[0].startswith(f"3 spans could not be sent to {server.url} (")


def test_an_answer_that_never_ends(open_office: OpenOffice) -> None:
    """No time of an exporter's ends what comes byte by byte; the program's end does."""
    with faults.talking(faults.trickling) as server:
        office = open_office(server.url, at_exit=0.3)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert account.reason == "no answer in time"


def test_what_redirects_leads_nowhere(open_office: OpenOffice) -> None:
    """Telemetry goes to the host that the user names, and to no other that it names."""
    with faults.answering(Answer()) as other:
        redirect = Answer(307, {"Location": f"{other.url}/v1/traces"})
        with faults.answering(redirect) as server:
            office = open_office(server.url)
            office.post(3)
            account = office.close()
    assert (server.calls, other.calls) == (1, 0)
    assert list(account.undelivered) == office.made


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Type": "application/x-protobuf"}, b"\xff\xff this is no protobuf"),
        ({"Content-Type": "application/json"}, b'{"partialSuccess": {"rejectedSpans": "3"'),
        ({"Content-Type": "text/plain"}, b"thank you"),
        ({"Content-Type": "application/x-protobuf"}, bytes(1_000_000)),
    ],
    ids=["nothing", "garbage", "cut JSON", "text", "a large one"],
)
def test_a_success_is_one(headers: dict[str, str], body: bytes, open_office: OpenOffice) -> None:
    """What a collector says besides that it took the spans changes nothing."""
    taken = Taken()
    with faults.answering(Answer(200, headers, body), take=taken) as server:
        office = open_office(server.url)
        office.post(3)
        account = office.close()
    assert taken.names == office.made
    assert (list(account.undelivered), account.rejected, list(account.complaints)) == ([], 0, [])


def test_an_answer_without_end_is_not_read(open_office: OpenOffice) -> None:
    """It would fill the memory: what is of no use stays unread, and the connection is closed."""
    hung_up: list[OSError] = []

    def talk(connection: socket.socket, server: faults.FaultyServer) -> None:
        faults.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not server.released.is_set():
                connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError as exc:
            hung_up.append(exc)

    with faults.talking(talk) as server:
        office = open_office(server.url)
        office.post(3)
        account = office.close()
    assert hung_up
    assert list(account.complaints) == []


def test_a_collector_dies_over_http(open_office: OpenOffice) -> None:
    """What it took before is delivered, all else is in the file, and nothing is in both."""
    taken = Taken()

    def talk(connection: socket.socket, server: faults.FaultyServer) -> None:
        while body := faults.read_request(connection):
            server.count()
            if server.calls > 1:
                return
            taken(body)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with faults.talking(talk) as server:
        office = open_office(server.url)
        office.post(1_200)
        account = office.close()
    assert [*taken.names, *account.undelivered] == office.made
    assert len(taken.names) == 512
    assert account.complaints[0].startswith("688 spans could not be sent")


def test_a_collector_dies_over_grpc(open_office: OpenOffice) -> None:
    """What it took before is delivered, all else is in the file, and nothing is in both."""
    taken = Taken()

    def answer(
        request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        if taken.names:
            context.abort(grpc.StatusCode.UNAVAILABLE, "dying")
        taken.note(request)
        return ExportTraceServiceResponse()

    with faulty_grpc.answering(answer) as server:
        office = open_office(server.url, GRPC)
        office.post(1_200)
        account = office.close()
    assert Counter([*taken.names, *account.undelivered]) == Counter(office.made)
    assert len(taken.names) == 512


def test_the_reason_is_that_of_the_failure(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that works again does not make the line forget what was wrong."""
    monkeypatch.setattr("pocketflow_trace.sending.outbox.PAUSE", 0.0)
    statuses = iter([401, 200])

    def talk(connection: socket.socket, server: faults.FaultyServer) -> None:
        while faults.read_request(connection):
            server.count()
            text = f"HTTP/1.1 {next(statuses)} Whatever\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(text.encode())

    with faults.talking(talk) as server:
        office = open_office(server.url)
        office.post(1)
        assert office.delivery.outbox.force_flush()
        office.post(1)
        account = office.close()
    assert server.calls == 2
    assert list(account.undelivered) == ["span 0"]
    assert "(401 Whatever)" in account.complaints[0]

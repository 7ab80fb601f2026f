"""TLS that goes wrong: no span is sent to a server that cannot prove who it is."""

from __future__ import annotations

import datetime as dt
import ssl
import typing

import grpc
import pytest
from accounts import GRPC, HTTP, Office, Taken

from support import faults, faulty_grpc
from support.faults import LOOPBACK, Answer

if typing.TYPE_CHECKING:
    from pathlib import Path

    OpenOffice: typing.TypeAlias = typing.Callable[..., Office]

trustme = pytest.importorskip("trustme", reason="trustme makes the certificates")

YESTERDAY = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)


class Authority:
    """A certificate authority, trusted or not."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write(self, folder: Path) -> Path:
        """Write what a client needs to trust it."""
        path = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def server(self, not_after: dt.datetime | None = None) -> ssl.SSLContext:
        """Return what a server of HTTPS needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(LOOPBACK, not_after=not_after).configure_cert(context)
        return context

    def grpc_server(self) -> grpc.ServerCredentials:
        """Return what a server of gRPC needs."""
        certificate = self._ca.issue_cert(LOOPBACK)
        key = certificate.private_key_pem.bytes()
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        return grpc.ssl_server_credentials([(key, chain)])


@pytest.fixture(autouse=True)
def _no_other_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own settings, of `requests` too, are put aside."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority that the exporters trust."""
    authority = Authority()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(authority.write(tmp_path)))
    return authority


def test_a_server_that_is_trusted(trusted: Authority, open_office: OpenOffice) -> None:
    """Without this the others would prove nothing."""
    taken = Taken()
    with faults.answering(Answer(), trusted.server(), taken) as server:
        office = open_office(server.url)
        office.post(3)
        account = office.close()
    assert taken.names == office.made
    assert list(account.complaints) == []


def test_open_telemetrys_variable_goes_first(
    trusted: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_office: OpenOffice
) -> None:
    """What is said about all programs' HTTPS does not outdo what is said about telemetry."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Authority().write(elsewhere)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(elsewhere / "ca.pem"))
    taken = Taken()
    with faults.answering(Answer(), trusted.server(), taken) as server:
        office = open_office(server.url)
        office.post(3)
        office.close()
    assert taken.names == office.made


def test_another_authority(trusted: Authority, open_office: OpenOffice) -> None:
    """Somebody else's certificate is none."""
    with faults.answering(Answer(), Authority().server()) as server:
        office = open_office(server.url)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert server.calls == 0
    assert "certificate verify failed" in account.reason


def test_a_certificate_that_has_expired(trusted: Authority, open_office: OpenOffice) -> None:
    """Neither is one of yesterday."""
    with faults.answering(Answer(), trusted.server(not_after=YESTERDAY)) as server:
        office = open_office(server.url)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert server.calls == 0
    assert "certificate has expired" in account.reason


def test_a_server_without_tls(trusted: Authority, open_office: OpenOffice) -> None:
    """The exporter does not fall back to plain HTTP."""
    with faults.answering(Answer()) as server:
        office = open_office(server.url.replace("http://", "https://"))
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert server.calls == 0
    assert "SSL" in account.reason


def test_plain_http_to_a_port_of_tls(trusted: Authority, open_office: OpenOffice) -> None:
    """The server does not understand it, and the exporter does not hang."""
    with faults.answering(Answer(), trusted.server()) as server:
        office = open_office(server.url.replace("https://", "http://"))
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert server.calls == 0
    assert account.reason


@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "not trusted"])
def test_over_grpc(*, is_trusted: bool, trusted: Authority, open_office: OpenOffice) -> None:
    """It is the same over gRPC."""
    authority = trusted if is_trusted else Authority()
    with faulty_grpc.answering(faulty_grpc.rejecting(0, ""), authority.grpc_server()) as server:
        office = open_office(server.url, GRPC)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == ([] if is_trusted else office.made)
    assert (server.calls > 0) == is_trusted
    assert bool(account.reason) != is_trusted


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_an_authority_whose_file_is_missing(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_office: OpenOffice
) -> None:
    """A wrong path does not mean that everybody is trusted."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "missing.pem"))
    authority = Authority()
    secure = (
        faulty_grpc.answering(faulty_grpc.rejecting(0, ""), authority.grpc_server())
        if protocol == GRPC
        else faults.answering(Answer(), authority.server())
    )
    with secure as server:
        office = open_office(server.url, protocol)
        office.post(3)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert server.calls == 0

"""User and password in an endpoint's URL are told to nobody when something goes wrong with it."""

from __future__ import annotations

import typing

import pytest
from accounts import GRPC, HTTP

if typing.TYPE_CHECKING:
    from accounts import Office

    OpenOffice: typing.TypeAlias = typing.Callable[..., Office]

PASSWORD = "planted-p%40ssw0rd"  # noqa: S105 - what must not be found

ENDPOINTS = [
    "http://{}127.0.0.1:99999",
    "http://{}no host:1",
    "https://{}127.0.0.1:port",
    "http://{}127.0.0.1:1",
    "{}127.0.0.1:1",
]


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_login_in_a_line(endpoint: str, protocol: str, open_office: OpenOffice) -> None:
    """The libraries name the whole URL in some of their errors; the line has it without."""
    office = open_office(endpoint.format(f"me:{PASSWORD}@"), protocol, patience=1.0)
    office.post(1)
    account = office.close()
    [line] = account.complaints
    assert line.startswith(f"1 span could not be sent to {endpoint.format('')} (")
    assert "planted" not in line
    assert "ssw0rd" not in line

"""Keeps an eye on the sockets of a process: each event is a line of the file `SOCKETS_LOG`.

Python imports it when it starts, from the folder in `PYTHONPATH`. An address that is not of this
machine is refused.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

EVENTS = {
    *("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname"),
    *("socket.sendmsg", "socket.sendto"),
}


def is_here(host: object) -> bool:
    """Tell whether an address is of this machine."""
    if not isinstance(host, str) or host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def watch(path: str) -> None:
    """Write down what sockets do from now on."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in EVENTS:
            return
        address: Any = arguments[:2] if event.startswith("socket.get") else arguments[1]
        os.write(file, f"{event} {address!r}\n".encode())
        is_path = isinstance(address, str | bytes)  # of a Unix socket
        if not is_path and not is_here(address[0]):
            raise OSError(f"not allowed: {event} {address!r}")

    sys.addaudithook(hook)


if "SOCKETS_LOG" in os.environ:
    watch(os.environ["SOCKETS_LOG"])

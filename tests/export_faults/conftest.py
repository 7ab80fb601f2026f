"""What the tests of this folder share: an office, from which spans are sent to a collector."""

from __future__ import annotations

import random
import typing

import pytest
from accounts import HTTP, Office

from pocketflow_trace.sending import exporter, outbox

if typing.TYPE_CHECKING:
    from pathlib import Path

PATIENT = 30.0
"""Seconds: on a busy machine, what is answered at all is answered by then."""


@pytest.fixture
def open_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typing.Callable[..., Office]:
    """Opens the way to a URL, by a protocol, with so many seconds for an export and at the exit."""
    # The exporters wait a second before their second try, two before the third, and so on.
    monkeypatch.setattr(random.SystemRandom, "uniform", _no_pause)

    def opened(
        url: str, protocol: str = HTTP, *, patience: float = PATIENT, at_exit: float = PATIENT
    ) -> Office:
        monkeypatch.setattr(exporter, "TIMEOUT", patience)
        monkeypatch.setattr(outbox, "EXIT_WAIT", at_exit)
        return Office(url, protocol, tmp_path / "state", monkeypatch)

    return opened


def _no_pause(*_: object) -> float:
    return 0.0

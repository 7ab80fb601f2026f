"""A collector that does not keep up costs neither memory without end nor disk without end."""

from __future__ import annotations

import threading
import time
import typing
from collections import Counter

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pocketflow_trace.sending import outbox, undelivered
from support import faults

if typing.TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from accounts import Office
    from opentelemetry.sdk.trace import ReadableSpan

    OpenOffice: typing.TypeAlias = typing.Callable[..., Office]


class Holding(SpanExporter):
    """An exporter that holds its first batch until it is told to go on."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take the spans, late."""
        self.began.set()
        self.go_on.wait()
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def until(reached: typing.Callable[[], bool]) -> None:
    """Wait for something that another thread does.

    Raises:
        TimeoutError: It did not happen.
    """
    deadline = time.monotonic() + 10
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


def test_what_waits_too_long_goes_to_the_file(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds so many spans and no more; each span is delivered or in the file, not both."""
    monkeypatch.setattr(outbox, "MOST_WAITING", 700)
    exporter = Holding()
    office = open_office("http://127.0.0.1:1")
    box = office.delivery.outbox
    monkeypatch.setattr(box, "_exporter", exporter)
    office.post(512)
    assert exporter.began.wait(10)
    for total in (700, 1_400):
        office.post(700)
        until(lambda total=total: office.delivery._undelivered.count == total)
        until(lambda: box._relief is None)
    office.post(100)
    exporter.go_on.set()
    account = office.close()
    assert Counter([*exporter.names, *account.undelivered]) == Counter(office.made)
    assert exporter.names == [*office.made[:512], *office.made[-100:]]
    [line] = account.complaints
    assert line.startswith("1,400 spans could not be sent to http://127.0.0.1:1 (it takes them too")


def test_the_file_does_not_grow_for_ever(
    open_office: OpenOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its limit it takes no more, and the line says how many spans are missing in it."""
    monkeypatch.setattr(undelivered, "MOST_BYTES", 500_000)
    with faults.refused() as server:
        office = open_office(server.url)
        office.post(5_000)
        account = office.close()
    [path] = office.state.rglob("undelivered-*.jsonl")
    assert path.stat().st_size <= 500_000
    missing = 5_000 - len(account.undelivered)
    assert 0 < missing < 5_000
    assert set(account.undelivered) < set(office.made)
    assert f"which lacks {missing:,} of them: the file has" in account.complaints[0]


class Odd(int):
    """A number that cannot be one."""

    def __int__(self) -> int:
        """Fail."""
        raise ArithmeticError


def test_a_span_that_cannot_be_encoded_is_the_only_one_lost(open_office: OpenOffice) -> None:
    """The others of its batch are in the file, and the line tells of it."""
    with faults.refused() as server:
        office = open_office(server.url)
        office.post(1)
        with office.provider.get_tracer("test").start_as_current_span("odd") as span:
            span.set_attribute("number", Odd(1))
        office.post(1)
        account = office.close()
    assert list(account.undelivered) == office.made
    assert "which lacks 1 of them: they cannot be encoded" in account.complaints[0]

"""What the tests of this folder share: a collector, and the ways to send to it."""

from __future__ import annotations

import typing

import pytest

from support.collector import Collector, running_collector

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector of its own for each test."""
    with running_collector(tmp_path_factory.mktemp("rotel")) as running:
        yield running


@pytest.fixture(params=["http/protobuf", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Both of OTLP's protocols, by the names that `OTEL_EXPORTER_OTLP_PROTOCOL` takes."""
    name: str = request.param
    return name


@pytest.fixture(params=[False, True], ids=["in code", "zero code"])
def zero_code(request: pytest.FixtureRequest) -> bool:
    """Both ways to instrument a program."""
    instrument: bool = request.param
    return instrument


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A directory for a program, in no git repository."""
    directory = tmp_path / "work"
    directory.mkdir()
    return directory

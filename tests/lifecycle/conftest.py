"""What the tests of this folder share: a collector, and a place to run programs twice."""

from __future__ import annotations

import typing

import pytest

from support.collector import Collector, running_collector

pytest.register_assert_rewrite("lives")

from lives import Lives  # noqa: E402 - its assertions say what differs only from now on

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector of its own for each test."""
    with running_collector(tmp_path_factory.mktemp("rotel")) as running:
        yield running


@pytest.fixture
def way() -> str:
    """How programs are traced; `lives.both_ways` and `lives.all_ways` ask for more."""
    return "in code"


@pytest.fixture
def lives(collector: Collector, tmp_path: Path, way: str) -> Lives:
    """Runs programs plain and traced."""
    return Lives(collector, tmp_path / "work", way)

"""What the tests of this folder share: providers of models on a loopback port."""

from __future__ import annotations

import typing

import pytest

from support.providers import Providers

if typing.TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def providers() -> Iterator[Providers]:
    """Providers of its own for each test."""
    with Providers() as running:
        yield running

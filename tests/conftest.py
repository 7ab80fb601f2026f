"""For all tests: in CI, random tests draw the same examples every time; and what many share.

A failure there is then the change's own. Elsewhere they go on searching.
"""

from __future__ import annotations

import os
import typing

import pytest
from hypothesis import settings

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

    from support.providers import Providers

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def providers() -> Iterator[Providers]:
    """Providers of models on a loopback port, of its own for each test."""
    from support.providers import Providers  # noqa: PLC0415 - importing the clients takes seconds

    with Providers() as running:
        yield running

"""For all tests: in CI, random tests draw the same examples every time; and what many share.

A failure there is then the change's own. Elsewhere they go on searching, at night the longest.
"""

from __future__ import annotations

import os
import typing

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture import redact

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

    from support.providers import Providers

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile(
    "nightly",
    derandomize=False,
    deadline=None,
    max_examples=2_000,
    print_blob=True,
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)
elif os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _log_lines_show_values() -> Iterator[None]:
    """What an instrumentation forbade to show in messages stays hidden when it has ended."""
    yield
    redact.shows_values, guard.shown_message = True, str


@pytest.fixture
def providers() -> Iterator[Providers]:
    """Providers of models on a loopback port, of its own for each test."""
    from support.providers import Providers  # noqa: PLC0415 - importing the clients takes seconds

    with Providers() as running:
        yield running

"""For the random programs: what makes thousands of them quick."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from opentelemetry.instrumentation.pocketflow import instrumentor

if TYPE_CHECKING:
    from collections.abc import Generator

pytest.register_assert_rewrite("support.random_programs_compared")


@pytest.fixture(scope="module", autouse=True)
def _installed_once() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """Which packages are installed is looked up once: it takes longer than running a program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instrumentor, "entry_points", functools.cache(metadata.entry_points))
        yield

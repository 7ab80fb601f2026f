"""What a run says that tracing took, beside what tracing took: it must be told rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from benchmarks.gate import ATTEMPTS
from benchmarks.stores import chat, small

from benchmarks import self_report

if TYPE_CHECKING:
    from benchmarks.stores import MakeStore

ROUNDS: Final = 60
LEAST, MOST = 0.5, 1.3


@pytest.mark.parametrize("level", self_report.LEVELS)
@pytest.mark.parametrize("store", [small, chat])
def test_a_run_tells_about_what_is_measured(level: str, store: MakeStore) -> None:
    """Both in one process and in the same runs, so that a busy machine slows both alike."""
    found: list[float] = []
    for _ in range(ATTEMPTS):
        found.append(self_report.of_store(store, level, ROUNDS).told)
        if LEAST < found[-1] < MOST:
            return
    pytest.fail(f"told, as a part of what was measured: {found}")

"""The pytest fixture `pocketflow_trace`: traces a test, and shows the tree if it fails.

pytest loads this module in every run where the package is installed, so it imports nothing of
OpenTelemetry before the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from pocketflow_trace.testing import Trace

_FIXTURE = "pocketflow_trace"


@pytest.fixture(name=_FIXTURE)
def _pocketflow_trace() -> Generator[Trace]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """Trace all flows and nodes of a test: see `pocketflow_trace.testing`."""
    from pocketflow_trace.testing import tracing  # noqa: PLC0415 - see above

    with tracing() as trace:
        yield trace


# The old style of a wrapper, which every pytest knows: this module is loaded in all of them.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any]:
    """Add what ran to the report of a failed test that has the fixture."""
    outcome: Any = yield
    trace: Any = getattr(item, "funcargs", {}).get(_FIXTURE)
    if trace is not None and call.when == "call" and (report := outcome.get_result()).failed:
        report.sections.append(("PocketFlow trace", str(trace)))

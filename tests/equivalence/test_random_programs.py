"""Random programs, each run plain and traced in random ways: nothing that its author sees differs.

Here they are found, and `test_saved_programs.py` keeps those that failed. `make test-nightly` draws
new ones, and many more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from support import variants
from support.random_programs_compared import check_trace, equivalent
from support.random_programs_drawn import (
    STORES,
    async_runs,
    cut_runs,
    full_tracers,
    programs,
    sync_runs,
    tracers,
)

if TYPE_CHECKING:
    from support.random_programs import Program, Tracer

MANY = settings(
    max_examples=3 * settings().max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@MANY
@given(programs(sync_runs), tracers)
def test_sync_programs(program: Program, tracer: Tracer) -> None:
    """Nodes, batches and flows in flows, which fail, retry, warn and run others inside."""
    equivalent(program, tracer)


@MANY
@given(programs(async_runs), tracers)
def test_async_programs(program: Program, tracer: Tracer) -> None:
    """The same with tasks: gathered, cancelled from inside, left unawaited."""
    equivalent(program, tracer)


@MANY
@given(programs(cut_runs), tracers)
def test_programs_cut_short(program: Program, tracer: Tracer) -> None:
    """Cancelled, closed or thrown into after any number of steps."""
    equivalent(program, tracer)


@MANY
@given(programs(sync_runs | async_runs, stores=STORES), tracers)
def test_any_kind_of_store(program: Program, tracer: Tracer) -> None:
    """Stores that are no dicts, or that tell of each look at them."""
    equivalent(program, tracer)


@MANY
@given(programs(sync_runs | async_runs, least=2, most=3), tracers)
def test_several_runs(program: Program, tracer: Tracer) -> None:
    """Runs that follow each other, on one store and with nodes in common."""
    equivalent(program, tracer)


@MANY
@given(programs(sync_runs | async_runs, least=2, most=3, together=True), tracers)
def test_threads(program: Program, tracer: Tracer) -> None:
    """Runs in threads that go on in turns, on one store and with nodes in common."""
    equivalent(program, tracer)


@MANY
@given(programs(sync_runs), full_tracers)
def test_traces_of_sync_programs(program: Program, tracer: Tracer) -> None:
    """Each run has its span in its place, and the changes told add up to the store."""
    check_trace(program, *equivalent(program, tracer))


@MANY
@given(programs(async_runs), full_tracers)
def test_traces_of_async_programs(program: Program, tracer: Tracer) -> None:
    """The same with tasks."""
    check_trace(program, *equivalent(program, tracer))


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The framework as it stands on GitHub."""
    folder = tmp_path_factory.mktemp("framework")
    return variants.load("newer_pocketflow", variants.HEAD, folder)


@MANY
@given(program=programs(sync_runs | async_runs), tracer=tracers)
def test_another_version_of_the_framework(newer: Any, program: Program, tracer: Tracer) -> None:
    """A copy of a newer file, under another name."""
    equivalent(program, tracer, newer)

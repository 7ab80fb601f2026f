"""The stack, running, and what the examples and a program with problems left in it."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from support.stack import running_stack
from support.stack_runs import run_all

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

    from support.stack import Stack
    from support.stack_runs import Ran

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker have all tests that share a stack or a backend: each is started once."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == HERE:
            item.add_marker(pytest.mark.xdist_group(_shared(item)))


def _shared(item: pytest.Function) -> str:
    if {"ran", "stack"} & set(item.fixturenames):
        return "stack"
    return item.nodeid if "own_stack" in item.fixturenames else item.path.name


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack, for all tests that only look at it."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def ran(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same stack, once all programs have run against it."""
    return run_all(stack, tmp_path_factory.mktemp("shop"))

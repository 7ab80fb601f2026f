"""Programs that seed `random` see the same numbers with each of our set-ups as without us.

Where the set-up is the program's own, so is the id generator, and the SDK's draws from `random`.
"""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnusedExpression=false

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from pocketflow_trace import attach
from pocketflow_trace.process.ids import SystemIdGenerator
from pocketflow_trace.testing import tracing
from support.framework import AsyncFlow, AsyncParallelBatchNode, BatchNode, Flow, Node
from support.programs import TIMEOUT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = """\
import random
from pocketflow import BatchNode, Flow, Node

class Guess(BatchNode):
    def prep(self, shared):
        return [random.random(), random.random()]
    def exec(self, item):
        if random.random() < 0.5:
            raise ValueError(item)
        return random.random()
    def exec_fallback(self, item, exc):
        return random.random()
    def post(self, shared, prep_res, exec_res):
        print(random.random(), prep_res, exec_res)

random.seed(7)
guess = Guess(max_retries=3)
guess >> Guess()
for _ in range(5):
    Flow(start=guess).run({})
print(random.random())
"""


def printed(*command: str, cwd: Path) -> str:
    """What a Python command prints to stdout."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=clean_environment({"POCKETFLOW_TRACE_DIR": str(cwd / "runs")}),
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    return done.stdout


@pytest.mark.parametrize("options", [(), ("--no-file",)])
def test_the_run_command(options: tuple[str, ...], tmp_path: Path) -> None:
    """With a tree at the end, and with or without a file of the run."""
    (tmp_path / "main.py").write_text(PROGRAM, encoding="utf-8")

    plain = printed("main.py", cwd=tmp_path)

    assert printed("-m", "pocketflow_trace", "run", *options, "main.py", cwd=tmp_path) == plain


def number() -> float:
    """The next one of the global generator."""
    return random.random()  # noqa: S311 - no secret


class Draws(BatchNode):
    """Draws in all its methods, and fails by chance."""

    def prep(self, shared: Any) -> Any:
        """Two items."""
        return [number(), number()]

    def exec(self, prep_res: Any) -> Any:
        """Fails half the time."""
        if number() < 0.5:
            raise ValueError(prep_res)
        return number()

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        """Another number."""
        return number()

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps all of them."""
        shared.setdefault("drawn", []).append((prep_res, exec_res, number()))


class Parallel(AsyncParallelBatchNode):
    """Draws in tasks."""

    async def prep_async(self, shared: Any) -> Any:
        """Two items."""
        return [number(), number()]

    async def exec_async(self, prep_res: Any) -> Any:
        """In turns."""
        await asyncio.sleep(0)
        return number()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps them."""
        shared["parallel"] = exec_res


def drawn() -> Any:
    """All numbers that a seeded program draws, and where the generator stands at the end."""
    random.seed(7)
    store: dict[str, Any] = {}
    first = Draws(max_retries=3)
    first >> Draws() >> Node()
    Flow(start=first).run(store)
    asyncio.run(AsyncFlow(start=Parallel()).run_async(store))
    return store, random.getstate()


def with_testing() -> Any:
    """As tests trace."""
    with tracing():
        return drawn()


def with_attach(**options: Any) -> Any:
    """A program's own provider, with ids of its own, and what `attach` adds to it."""
    provider = TracerProvider(id_generator=SystemIdGenerator(), shutdown_on_exit=False)
    instrumentor = PocketFlowInstrumentor()
    with attach(tracer_provider=provider, **options):
        instrumentor.instrument(tracer_provider=provider)
        try:
            return drawn()
        finally:
            instrumentor.uninstrument()


def without_sdk() -> Any:
    """Instrumented, and nobody to be told."""
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument()
    try:
        return drawn()
    finally:
        instrumentor.uninstrument()


SET_UPS: dict[str, Callable[[], Any]] = {
    "testing": with_testing,
    "attach": with_attach,
    "attach, console only": lambda: with_attach(file=False),
    "no SDK": without_sdk,
}


@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
def test_numbers_of_a_seeded_program(
    set_up: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same inside the flows and after them."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path))
    plain = drawn()

    assert set_up() == plain

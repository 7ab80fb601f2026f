"""Notebooks: cells that are run again, classes that are defined again, modules loaded again.

A real kernel runs the cells, and a program beside it prints what they showed.
"""

from __future__ import annotations

import typing

import pytest

if typing.TYPE_CHECKING:
    from lives import Life, Lives

DRIVER = """\
import warnings
warnings.simplefilter("ignore")
from jupyter_client.manager import start_new_kernel

def show(message):
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        print(content["text"], end="")
    elif kind == "execute_result":
        print(content["data"]["text/plain"])
    elif kind == "error":
        print(content["ename"], content["evalue"])

manager, client = start_new_kernel()
for cell in CELLS:
    client.execute_interactive(cell, output_hook=show, timeout=60)
client.shutdown()
client.stop_channels()
manager.finish_shutdown()
"""

SETUP = """\
import tracing
from pocketflow import Flow, Node, AsyncFlow, AsyncNode
"""

ASK = """\
class Ask(Node):
    def exec(self, prep_res):
        return {number}

    def post(self, shared, prep_res, exec_res):
        shared["said"] = exec_res
"""

RUN = "shared = {}\nFlow(Ask()).run(shared)\nshared"

RUNS = ["invoke_workflow AskFlow", "  Ask"]


@pytest.fixture
def notebook(lives: Lives) -> typing.Callable[..., Life]:
    """Runs cells in a kernel, plain and traced; all that they show must be the same."""
    pytest.importorskip("ipykernel", reason="needs ipykernel")

    def run(*cells: str) -> Life:
        return lives.live(DRIVER, before=f"CELLS = {list(cells)!r}\n")

    return run


def shown(life: Life) -> list[str]:
    """Return what the cells showed."""
    return life.finished.stdout.splitlines()


STUCK = """\
class Stuck(Node):
    def exec(self, prep_res):
        raise KeyboardInterrupt("by the user")

Flow(Stuck()).run({})
"""

BEGIN = """\
import asyncio
go_on = asyncio.Event()

class Waits(AsyncNode):
    async def exec_async(self, prep_res):
        await go_on.wait()

task = asyncio.create_task(AsyncFlow(Waits()).run_async({}))
await asyncio.sleep(0)
"""

SET_UP_AGAIN = """\
import importlib, logging
logging.disable()
importlib.reload(tracing)
logging.disable(logging.NOTSET)
"""
"""What the SDK and we say then is what each says to a second set-up; plainly run, it is nothing."""


def test_session(notebook: typing.Callable[..., Life]) -> None:
    """Classes defined again, an interrupt, a task that goes on, a set-up cell that is run twice."""
    life = notebook(
        SETUP,
        ASK.format(number=1),
        RUN,
        "import gc, weakref\nold = weakref.ref(Ask)",
        ASK.format(number=2),
        RUN,
        "gc.collect()\nold() is None",
        STUCK,
        BEGIN,
        RUN,
        "go_on.set()\nawait task",
        SET_UP_AGAIN,
        RUN,
    )
    assert shown(life) == [
        "{'said': 1}",
        "{'said': 2}",
        "True",
        "KeyboardInterrupt by the user",
        "{'said': 2}",
        "{'said': 2}",
    ]
    stuck = ["invoke_workflow StuckFlow", "  Stuck"]
    waits = ["invoke_workflow WaitsFlow", "  Waits"]
    assert sorted(life.outline) == sorted([*RUNS * 4, *stuck, *waits])


AUTORELOAD = """\
import os, pathlib, time

def edit(file, old, new):
    path = pathlib.Path(file)
    path.write_text(path.read_text().replace(old, new))
    edit.time += 5
    os.utime(path, (edit.time, edit.time))

edit.time = time.time()
%load_ext autoreload
%autoreload 2
"""


def test_autoreload(notebook: typing.Callable[..., Life]) -> None:
    """Nodes in a file that is edited do what it says now, also those that exist already."""
    nodes = "from pocketflow import Node\n" + ASK.format(number=1)
    life = notebook(
        f"open('nodes.py', 'w').write({nodes!r});",
        AUTORELOAD,
        SETUP + "from nodes import Ask\nflow = Flow(Ask())",
        "shared = {}\nflow.run(shared)\nshared",
        "edit('nodes.py', 'return 1', 'return 2')",
        "shared = {}\nflow.run(shared)\nshared",
        RUN,
    )
    assert shown(life) == ["{'said': 1}", "{'said': 2}", "{'said': 2}"]
    assert life.outline == RUNS * 3


LOADED_AGAIN = """
import importlib, logging
import pocketflow

logging.disable()
old = flow()
print(old.run({}))
importlib.reload(pocketflow)
from pocketflow import Flow, Node

class New(Node):
    pass

print(old.run({}), Flow(New()).run({}))
if hasattr(tracing, "PocketFlowInstrumentor"):
    tracing.PocketFlowInstrumentor().instrument()
print(old.run({}), Flow(New()).run({}))
"""


def test_framework_loaded_again(lives: Lives) -> None:
    """Classes of before stay traced; those of a second import are from the next `instrument`."""
    life = lives.live(LOADED_AGAIN)
    was, new = (
        ["invoke_workflow WhereFlow", "  Where", "  Then"],
        ["invoke_workflow NewFlow", "  New"],
    )
    assert life.outline == [*was, *was, *was, *new]

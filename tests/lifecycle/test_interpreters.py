"""Subinterpreters are left alone, and threads are served with and without a global lock."""

from __future__ import annotations

import sys
import sysconfig
import typing

import pytest

if typing.TYPE_CHECKING:
    from lives import Lives

BESIDE = """\
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def run(code):
    number = interpreters.create(HOW)
    problem = interpreters.run_string(number, code)
    assert problem is None, problem
    interpreters.destroy(number)

PLAIN = '''
from pocketflow import Flow, Node

class Inside(Node):
    def post(self, shared, prep_res, exec_res):
        shared["said"] = "inside"

shared = {}
Flow(Inside()).run(shared)
print(shared, flush=True)
'''

INSTRUMENTED = '''
import contextlib, io
said = io.StringIO()
with contextlib.redirect_stderr(said):
    try:
        from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
        PocketFlowInstrumentor().instrument()
    except Exception as exc:
        print(exc, file=said)
        assert ISOLATED, exc  # where even a module of the standard library refuses
assert said.getvalue().count("\\\\n") == 1, said.getvalue()
''' + PLAIN

flow().run({})
run(PLAIN)
run(INSTRUMENTED)
flow().run({})
"""


KINDS = {"sharing": ("legacy", False), "isolated": ("isolated", True)}
"""What creates an interpreter, from Python 3.13 on and before."""


@pytest.mark.parametrize("kind", KINDS)
def test_subinterpreters(kind: str, lives: Lives) -> None:
    """Tracing there is refused by one line and without an exception; the main one's goes on."""
    config, isolated = KINDS[kind]
    how = {True: repr(config), False: f"isolated={isolated}"}[sys.version_info[:2] >= (3, 13)]
    life = lives.live(BESIDE.replace("HOW", how).replace("ISOLATED", str(isolated)))
    assert life.finished.stdout == "{'said': 'inside'}\n" * 2
    assert life.outline == ["invoke_workflow WhereFlow", "  Where", "  Then"] * 2


THREADS = """\
import threading

def work(number):
    barrier.wait()
    for _ in range(50):
        shared.run({"number": number})

shared = flow()
barrier = threading.Barrier(8)
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("GIL:", getattr(sys, "_is_gil_enabled", lambda: True)())
"""


def test_threads(lives: Lives) -> None:
    """One flow in eight threads at once: every run is a trace of its own, whole and sent once."""
    life = lives.live(THREADS)
    assert life.names() == sorted(["invoke_workflow WhereFlow", "Where", "Then"] * 400)
    assert len({span.trace_id for span in life.spans}) == 400
    assert len({span.span_id for span in life.spans}) == 1200
    assert len(life.processes()) == 1


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded Python"
)
def test_free_threads(lives: Lives) -> None:
    """Nothing that we import turns the global lock on again."""
    assert lives.live(THREADS).finished.stdout == "GIL: False\n"

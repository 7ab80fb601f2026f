"""However a program ends, it ends as without us; what can still be sent is sent, once."""

from __future__ import annotations

import signal
import typing

import pytest
from lives import FLOW, FLUSH, all_ways, posix

if typing.TYPE_CHECKING:
    from pathlib import Path

    from lives import Lives


@all_ways
def test_exit_handlers(lives: Lives) -> None:
    """A flow in an exit handler runs and is sent, also where the handler before it fails."""
    life = lives.live(
        """\
import atexit

def last():
    flow().run({})
    print("last")

atexit.register(last)
atexit.register(lambda: 1 / 0)
flow().run({})
"""
    )
    assert life.finished.stdout == "last\n"
    assert "ZeroDivisionError" in life.finished.stderr
    assert life.outline == FLOW * 2


def test_failing_node_in_an_exit_handler(lives: Lives) -> None:
    """Python prints the exception of the flow, and the failed spans are sent."""
    life = lives.live(
        """\
import atexit

class Fails(Node):
    def exec(self, prep_res):
        raise SystemExit(4)

atexit.register(lambda: Flow(Fails()).run({}))
flow().run({})
"""
    )
    assert life.outline == [*FLOW, "invoke_workflow FailsFlow", "  Fails"]


@all_ways
def test_finalizer(lives: Lives) -> None:
    """A flow in `__del__`, when the interpreter takes the program's modules apart."""
    life = lives.live(
        """\
class Last:
    def __init__(self):
        self.flow = flow()

    def __del__(self):
        print(self.flow.run({}), self.flow.start_node.run({}) == os.getpid())

last = Last()
last.itself = last
held = Last()
flow().run({})
"""
    )
    assert life.outline[:3] == FLOW


SLOW_LIBRARY = """\
import pathlib, threading
threading.main_thread().join()
sum(range(10_000_000))
pathlib.Path("loaded").touch()

def Usage(**counts):
    pass

def calc_price(*call, **options):
    pass
"""
"""In place of genai-prices, which a thread of ours imports: it goes on beside the exit handlers."""


def test_import_at_the_end(lives: Lives, tmp_path: Path) -> None:
    """The end waits for what we import: locks of modules are held, and finalizers import as well.

    A thread that is stopped in the middle of an import leaves a lock that nobody can take.
    """
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "genai_prices.py").write_text(SLOW_LIBRARY, encoding="utf-8")
    life = lives.live("flow().run({})\n")
    assert (tmp_path / "work" / "loaded").exists()
    assert life.outline == FLOW


def test_finalizer_in_the_middle_of_a_node(lives: Lives) -> None:
    """A flow that a dying object runs is a part of the node in which the object dies."""
    life = lives.live(
        """\
class Last:
    def __del__(self):
        flow().run({})

class Drops(Node):
    def exec(self, prep_res):
        Last()

Flow(Drops()).run({})
"""
    )
    assert life.outline == [
        "invoke_workflow DropsFlow",
        "  Drops",
        *(f"    {line}" for line in FLOW),
    ]


@all_ways
def test_daemon_thread(lives: Lives) -> None:
    """A thread that runs flows for ever neither keeps the program nor makes it complain."""
    life = lives.live(
        """\
import threading
ready = threading.Event()

def work():
    while True:
        flow().run({})
        ready.set()

threading.Thread(target=work, daemon=True).start()
ready.wait()
print("end")
"""
    )
    assert life.names().count("Where") >= 1
    ids = [span.span_id for span in life.spans]
    assert len(set(ids)) == len(ids)


@all_ways
def test_thread_that_outlives_the_program(lives: Lives) -> None:
    """Python waits for a thread of its own accord, and its spans are sent."""
    life = lives.live(
        """\
import threading
main = threading.current_thread()

def work():
    main.join()
    flow().run({})
    print("thread")

flow().run({})
threading.Thread(target=work).start()
"""
    )
    assert life.outline == FLOW * 2


@posix
@pytest.mark.parametrize(
    ("ending", "exit_code"),
    [
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_without_exit_handlers(ending: str, exit_code: int, lives: Lives) -> None:
    """What ends at once ends at once; what was flushed before is there, the rest is not."""
    life = lives.live(
        FLUSH
        + f"""\
import signal

class Ends(Node):
    def exec(self, prep_res):
        {ending}

flow().run({{}})
flush()
print("flushed", flush=True)
Flow(Ends()).run({{}})
"""
    )
    assert life.finished.exit_code == exit_code
    assert life.outline == FLOW


@posix
@all_ways
def test_termination_that_is_handled(lives: Lives) -> None:
    """A program that turns SIGTERM into an exit gets all its spans out, the open ones too."""
    life = lives.live(
        """\
import signal
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))

class Ends(Node):
    def exec(self, prep_res):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

flow().run({})
Flow(Ends()).run({})
"""
    )
    assert life.finished.exit_code == 143
    assert life.outline == [*FLOW, "invoke_workflow EndsFlow", "  Ends"]


@posix
def test_flow_in_a_signal_handler(lives: Lives) -> None:
    """A flow that a signal starts in the middle of another is a part of it."""
    life = lives.live(
        """\
import signal
signal.signal(signal.SIGUSR1, lambda number, frame: flow().run({}))

class Interrupted(Node):
    def exec(self, prep_res):
        signal.raise_signal(signal.SIGUSR1)

Flow(Interrupted()).run({})
"""
    )
    assert life.outline == [
        "invoke_workflow InterruptedFlow",
        "  Interrupted",
        *(f"    {line}" for line in FLOW),
    ]

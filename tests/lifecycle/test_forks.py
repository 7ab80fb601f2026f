"""Programs of many processes: each process's spans arrive once, under its own number."""

from __future__ import annotations

import typing

import pytest
from lives import FLOW, FLUSH, both_ways, posix

if typing.TYPE_CHECKING:
    from lives import Lives

pytestmark = posix

QUIET = {"PYTHONWARNINGS": "ignore:This process:DeprecationWarning"}
"""From Python 3.12 on, a fork beside other threads is warned of: the SDK's has one, to send."""

NAMES = sorted(line.strip() for line in FLOW)


@both_ways
def test_fork(lives: Lives) -> None:
    """A child that ends like a program sends its own spans, and none of its parent's again."""
    life = lives.live(
        """\
flow().run({})
if os.fork() == 0:
    flow().run({})
    print("child")
    sys.exit(5)
print("child ended with", os.waitstatus_to_exitcode(os.wait()[1]))
flow().run({})
""",
        QUIET,
    )
    assert life.names() == sorted(NAMES * 3)
    assert len(life.processes()) == 2


@pytest.mark.parametrize("store", ["{}", "shared"])
def test_fork_beside_threads_that_run_nodes(lives: Lives, store: str) -> None:
    """A child does not wait for what a thread held that it does not have."""
    life = lives.live(
        f"""\
import signal, threading

class Work(Node):
    def post(self, shared, prep_res, exec_res):
        shared["n"] = shared.get("n", 0) + 1

shared = {{}}
over = threading.Event()

def work():
    while not over.is_set():
        Work().run({store})

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(40):
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        Work().run({store})
        os._exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
for thread in threads:
    thread.join()
print("children ended with", codes)
""",
        QUIET,
    )
    assert set(life.names()) <= {"Work"}


def test_fork_inside_a_node(lives: Lives) -> None:
    """The parent's spans are not ended twice; what the child runs stands below the node."""
    life = lives.live(
        FLUSH
        + """\
class Forks(Node):
    def exec(self, prep_res):
        if (pid := os.fork()) == 0:
            flow().run({})
            flush()
            os._exit(0)
        os.waitpid(pid, 0)
        return os.getpid()

Flow(Forks()).run({})
""",
        QUIET,
    )
    assert life.outline == [
        "invoke_workflow ForksFlow",
        "  Forks",
        *(f"    {line}" for line in FLOW),
    ]
    assert len(life.processes()) == 2


def test_child_that_leaves_a_node_by_exit(lives: Lives) -> None:
    """A child that ends in the middle of a node ends its copies of the parent's open spans.

    Both processes send them then, as with any span of OpenTelemetry that is open around a fork.
    """
    life = lives.live(
        """\
class Forks(Node):
    def exec(self, prep_res):
        if (pid := os.fork()) == 0:
            sys.exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

print(Flow(Forks()).run({}))
""",
        QUIET,
    )
    assert life.names() == ["Forks", "Forks", *["invoke_workflow ForksFlow"] * 2]
    assert len({span.span_id for span in life.spans}) == 2


@pytest.mark.parametrize(
    ("method", "way"),
    [
        ("fork", "in code"),
        ("forkserver", "in code"),
        ("spawn", "in code"),
        ("spawn", "zero code"),
    ],
)
def test_multiprocessing(method: str, lives: Lives) -> None:
    """Workers of a pool do as without us, and send what they flush."""
    life = lives.live(
        FLUSH
        + f"""\
import multiprocessing

def work(number):
    flow().run({{}})
    flush()
    return number * 2

if __name__ == "__main__":
    flow().run({{}})
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(work, [1, 2, 3], chunksize=1))
        pool.close()
        pool.join()
    flow().run({{}})
""",
        QUIET,
    )
    assert life.names() == sorted(NAMES * 5)
    assert len(life.processes()) in {2, 3}


def test_process_pool_of_futures(lives: Lives) -> None:
    """A flow's own bound method goes to another process, and comes back with its action."""
    life = lives.live(
        """\
import concurrent.futures, multiprocessing

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(pool.submit(flow().run, {}).result())
"""
    )
    assert life.names() == NAMES

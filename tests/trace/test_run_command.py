"""`pocketflow-trace run` runs a program as Python would, and prints its tree."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from traced_programs import PLAIN, TRACED, both, run

from support.programs import TIMEOUT, clean_environment

if typing.TYPE_CHECKING:
    from collections.abc import Callable

FLOW = """\
from pocketflow import Flow, Node

class Ask(Node):
    def post(self, shared, prep_res, exec_res):
        shared["answer"] = 42
        return "say"

class Say(Node):
    pass

def flow():
    ask = Ask()
    ask - "say" >> Say()
    return Flow(ask)

"""
"""The beginning of programs that have a flow."""

TREE = """\
flow AskFlow  T
├── Ask  T → say → Say
│     + answer = 42
└── Say  T
2 node runs in T, tracing took T
"""
"""What one run of it leaves, with times replaced."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def timeless(text: str) -> str:
    """Return a tree with all durations replaced by a T, and tracing's share left out."""
    timeless = re.sub(r"\d+(\.\d+)? m?s\b", "T", text)
    return re.sub(r"(tracing took T) \(<?[\d.]+%\)", r"\1", timeless)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Writes a program's text after `FLOW` to `main.py` and returns its directory."""

    def write(text: str, *, name: str = "main.py", before: str = FLOW) -> Path:
        (tmp_path / name).write_text(before + text, encoding="utf-8")
        return tmp_path

    return write


def test_tree(program: Callable[..., Path]) -> None:
    """The program's output is its own, and the tree comes after it on stderr."""
    cwd = program("import sys\nflow().run({})\nprint('out')\nprint('err', file=sys.stderr)\n")
    assert timeless(both("main.py", cwd=cwd).tree()) == TREE


@pytest.mark.parametrize(
    "args",
    [
        ("main.py",),
        ("main.py", "--help", "-m", "--", "x y", ""),
        ("./main.py", "a"),
        ("-m", "main", "-x"),
        ("-mmain",),
        ("-m", "main", "--version"),
    ],
)
def test_start(args: tuple[str, ...], program: Callable[..., Path]) -> None:
    """Arguments, `__main__` and the import path are those of a plain run."""
    cwd = program(
        """\
import sys
main = sys.modules["__main__"]
print(sys.argv, __name__, __file__, getattr(__spec__, "name", None), __package__)
print(main.__dict__ is globals())
print(sys.path, sys.flags, sys.executable, sorted(sys._xoptions), sys.warnoptions)
flow().run({})
"""
    )
    assert timeless(both(*args, cwd=cwd).tree()) == TREE


def test_double_dash(program: Callable[..., Path]) -> None:
    """After `--` comes the program, even one that looks like an option."""
    cwd = program("import sys\nprint(sys.argv)\n", name="-x.py")
    plain = run(PLAIN, "--", "-x.py", "-y", cwd=cwd)
    traced = run(TRACED, "--", "-x.py", "-y", cwd=cwd)
    assert (traced.stdout, traced.exit_code) == (plain.stdout, 0) == (b"['-x.py', '-y']\n", 0)


def test_program_elsewhere(program: Callable[..., Path], tmp_path: Path) -> None:
    """A program in another directory imports its neighbours, its own PocketFlow among them."""
    spec = importlib.util.find_spec("pocketflow")
    assert spec is not None
    assert spec.origin is not None
    shutil.copy(spec.origin, tmp_path / "pocketflow.py")
    program("import pocketflow\nprint(pocketflow.__file__)\nflow().run({})\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = both("../main.py", cwd=elsewhere)
    assert timeless(result.tree()) == TREE
    assert result.plain.stdout.decode().strip().endswith("pocketflow.py")


@pytest.mark.parametrize(
    ("ending", "exit_code"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit()", 0),
        ("sys.exit('a message')", 1),
        ("raise SystemExit(-1)", 255),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import atexit; atexit.register(lambda: print('bye'))", 0),
        ("1 / 0", 1),
        ("raise ValueError('two\\nlines') from KeyError('cause')", 1),
        ("sys.stdout.close()", 0),
        ("print('x' * 100_000)", 0),
    ],
)
@posix
def test_ending(ending: str, exit_code: int, program: Callable[..., Path]) -> None:
    """However the program ends, its exit code and messages are its own and the tree follows."""
    cwd = program(f"import os, signal, sys\nflow().run({{}})\n{ending}\n")
    result = both("main.py", cwd=cwd)
    assert result.plain.exit_code == exit_code
    assert timeless(result.tree()) == TREE


@posix
def test_termination(program: Callable[..., Path]) -> None:
    """SIGTERM ends the program at once, as it does without us: nothing more is printed."""
    cwd = program("import signal\nflow().run({})\nprint('ready', flush=True)\nsignal.pause()\n")
    with subprocess.Popen(
        [*TRACED, "main.py"],
        cwd=cwd,
        env=clean_environment({"XDG_STATE_HOME": str(cwd / ".state")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(TIMEOUT) == -signal.SIGTERM
        assert process.stderr.read() == b""


@posix
def test_os_exit(program: Callable[..., Path]) -> None:
    """`os._exit` ends everything, and we do not stand in its way."""
    cwd = program("import os\nflow().run({})\nos._exit(7)\n")
    assert both("main.py", cwd=cwd).tree() == ""


def test_uncaught_exception_in_a_node(program: Callable[..., Path]) -> None:
    """The traceback is that of plain Python, byte for byte: no frame of the tracer."""
    cwd = program(
        """\
class Fail(Node):
    def exec(self, prep_res):
        try:
            {}["key"]
        except KeyError as exc:
            raise ValueError("no key") from exc

Flow(Fail()).run({})
"""
    )
    result = both("main.py", cwd=cwd)
    assert b"pocketflow" in result.plain.stderr
    tree, error, total = timeless(result.tree()).split("\n\n")
    assert tree == ("flow FailFlow  T failed: ValueError\n└── Fail  T failed: ValueError: no key")
    assert error.startswith("error in flow FailFlow / Fail: ValueError: no key\n")
    assert error.endswith('    raise ValueError("no key") from exc')
    assert total == "1 node run in T, 1 error, tracing took T\n"


def test_uncaught_exception_in_a_thread(program: Callable[..., Path]) -> None:
    """The same holds for a thread, whose name and traceback Python prints."""
    cwd = program(
        """\
import threading
class Fail(Node):
    def exec(self, prep_res):
        raise ValueError("in a thread")

thread = threading.Thread(target=Flow(Fail()).run, args=({},), name="worker")
thread.start()
thread.join()
"""
    )
    result = both("main.py", cwd=cwd)
    assert b"Exception in thread worker" in result.plain.stderr
    assert ", 1 error, tracing took " in result.tree().splitlines()[-1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs exception groups")
def test_uncaught_exception_group(program: Callable[..., Path]) -> None:
    """The exceptions inside a group are printed without frames of the tracer too."""
    cwd = program(
        """\
import asyncio
from pocketflow import AsyncFlow, AsyncNode
class Fail(AsyncNode):
    async def exec_async(self, prep_res):
        raise ValueError("in a task")

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(AsyncFlow(Fail()).run_async({}))

asyncio.run(main())
"""
    )
    assert ", 1 error, tracing took " in both("main.py", cwd=cwd).tree().splitlines()[-1]


def test_own_excepthook(program: Callable[..., Path]) -> None:
    """A hook that the program sets gets the exception, and nothing of ours comes between."""
    cwd = program(
        """\
import sys
assert sys.excepthook is not None
sys.excepthook = lambda kind, exc, tb: print("mine:", kind.__name__, exc)
flow().run({})
raise ValueError("x")
"""
    )
    result = both("main.py", cwd=cwd)
    assert result.plain.stdout == b"mine: ValueError x\n"
    assert timeless(result.tree()) == TREE


@pytest.mark.parametrize("args", [("nope.py",), ("-m", "nope"), (".",)])
def test_missing_program(args: tuple[str, ...], tmp_path: Path) -> None:
    """Python itself says what it cannot find, and we add nothing."""
    result = both(*args, cwd=tmp_path)
    assert result.plain.exit_code in {1, 2}
    assert result.tree() == ""


def test_syntax_error(program: Callable[..., Path]) -> None:
    """Python's message about a syntax error is not changed."""
    tree = both("main.py", cwd=program("def f(:\n")).tree()
    assert tree == "pocketflow-trace: no flow or node of PocketFlow ran\n"


def test_no_flow(program: Callable[..., Path]) -> None:
    """A program without a flow is told from one that was not traced."""
    tree = both("main.py", cwd=program("print(1)\n", before="")).tree()
    assert tree == "pocketflow-trace: no flow or node of PocketFlow ran\n"


def test_sampled_out(program: Callable[..., Path]) -> None:
    """Where a sampler may be the reason for an empty run, it is named."""
    cwd = program("flow().run({})\n")
    tree = both("main.py", cwd=cwd, env={"OTEL_TRACES_SAMPLER": "always_off"}).tree()
    assert tree.endswith("ran, or OTEL_TRACES_SAMPLER=always_off left it out\n")


def test_disabled(program: Callable[..., Path]) -> None:
    """OpenTelemetry's switch turns tracing off, and the reason is said."""
    cwd = program("flow().run({})\n")
    tree = both("main.py", cwd=cwd, env={"OTEL_SDK_DISABLED": "TRUE"}).tree()
    assert tree == "pocketflow-trace: OTEL_SDK_DISABLED is true, so nothing was traced\n"


def test_standard_input(program: Callable[..., Path]) -> None:
    """The program reads its input, and binary output is not touched."""
    cwd = program(
        """\
import sys
print("hello", sys.stdin.buffer.readline(), flush=True)
rest = sys.stdin.buffer.read()
sys.stdout.buffer.write(rest[::-1])
flow().run({})
"""
    )
    result = both("main.py", cwd=cwd, stdin=b"Zo\xc3\xab\n\xff\x00\x1b\r\n")
    assert result.plain.stdout.endswith(b"\n\r\x1b\x00\xff")
    assert timeless(result.tree()) == TREE


def test_input(program: Callable[..., Path]) -> None:
    """The program can ask questions."""
    cwd = program("print('hello', input('name? '))\nflow().run({})\n")
    result = both("main.py", cwd=cwd, stdin="Zoë\n".encode())
    assert result.plain.stdout == "name? hello Zoë\n".encode()
    assert timeless(result.tree()) == TREE


def test_program_from_standard_input(tmp_path: Path) -> None:
    """A dash reads the program itself from the input."""
    result = both("-", cwd=tmp_path, stdin=FLOW.encode() + b"flow().run({})\n")
    assert timeless(result.tree()) == TREE


SEE_ENVIRONMENT = """\
import os, subprocess, sys
print(sorted(os.environ.items()))
print(sys.path)
print("sitecustomize" in sys.modules)
print([path for path in sys.path_importer_cache if "startup" in path])
sys.stdout.flush()
subprocess.run([sys.executable, "child.py"], check=True)
flow().run({})
"""


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"PYTHONPATH": ""},
        {"PYTHONPATH": "lib"},
        {"PYTHONPATH": "lib:/nowhere", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONWARNINGS": "default"},
    ],
)
@posix
def test_environment(env: dict[str, str], program: Callable[..., Path]) -> None:
    """The program and its child see the environment of a plain run; the child is not traced."""
    cwd = program(SEE_ENVIRONMENT)
    program("import os\nprint(sorted(os.environ.items()))\nflow().run({})\n", name="child.py")
    result = both("main.py", cwd=cwd, env=env)
    assert b"POCKETFLOW" not in result.traced.stdout
    assert timeless(result.tree()).count("flow AskFlow") == 1


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@posix
def test_multiprocessing(method: str, program: Callable[..., Path]) -> None:
    """Worker processes work as always, and only the first process prints its tree."""
    cwd = program(
        f"""\
import multiprocessing

def work(number):
    flow().run({{}})
    return number * 2

if __name__ == "__main__":
    flow().run({{}})
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(work, [1, 2, 3]))
"""
    )
    result = both("main.py", cwd=cwd)
    assert result.plain.stdout == b"[2, 4, 6]\n"
    assert timeless(result.tree()) == TREE


@posix
def test_fork(program: Callable[..., Path]) -> None:
    """A forked child that ends like a program prints no second tree."""
    cwd = program(
        """\
import os, sys
flow().run({})
if os.fork() == 0:
    flow().run({})
    sys.exit(0)
os.wait()
"""
    )
    assert timeless(both("main.py", cwd=cwd).tree()) == TREE


def test_own_sitecustomize(program: Callable[..., Path]) -> None:
    """The user's own `sitecustomize` runs, once, and is the one that the program sees."""
    cwd = program("import sitecustomize\nprint(sitecustomize.__file__)\nflow().run({})\n")
    program("print('customized')\n", name="sitecustomize.py", before="")
    result = both("main.py", cwd=cwd, env={"PYTHONPATH": str(cwd)})
    assert result.plain.stdout.startswith(b"customized\n")
    assert timeless(result.tree()) == TREE


def test_failing_sitecustomize(program: Callable[..., Path]) -> None:
    """Python's message about a `sitecustomize` that fails is the same, and tracing goes on."""
    cwd = program("flow().run({})\n")
    program("1 / 0\n", name="sitecustomize.py", before="")
    result = both("main.py", cwd=cwd, env={"PYTHONPATH": str(cwd)})
    assert b"Error in sitecustomize" in result.plain.stderr
    # Twice: the command itself is a Python program too.
    assert timeless(result.tree()) == result.plain.text + TREE


def test_own_modules_named_like_ours(program: Callable[..., Path]) -> None:
    """A program's own `rich` or `model` is what it imports, and the tree is printed too."""
    cwd = program("import model, text\nprint(model.x, text.x)\nflow().run({})\n")
    for name in ("model", "text", "rich", "console"):
        program(f"x = 'my {name}'\n", name=f"{name}.py", before="")
    assert timeless(both("main.py", cwd=cwd).tree()) == TREE


OWN_PROVIDER = """\
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.WARNING)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
print(type(trace.get_tracer_provider()).__name__)
print(trace.get_tracer("llm").start_span("before").is_recording())
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
"""

MODEL_CALL = """\
class Ask(Node):
    def exec(self, prep_res):
        with trace.get_tracer("llm").start_as_current_span("chat gpt-5"):
            return 42

Flow(Ask()).run({})
"""


def test_own_provider(program: Callable[..., Path]) -> None:
    """A program that sets a provider gets no warning; its model calls are in the tree."""
    cwd = program(f"{OWN_PROVIDER}trace.set_tracer_provider(provider)\n{MODEL_CALL}")
    assert timeless(both("main.py", cwd=cwd).tree()) == (
        "flow AskFlow  T\n└── Ask  T\n    └── chat gpt-5  T\n1 node run in T, tracing took T\n"
    )


def test_program_that_instruments_itself(program: Callable[..., Path]) -> None:
    """The program's own call of `instrument` works without a warning, settings and all."""
    cwd = program(
        f"""\
{OWN_PROVIDER}
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
PocketFlowInstrumentor().instrument(tracer_provider=provider, content="off")
flow().run({{}})
print([span.name for span in exporter.get_finished_spans()])
PocketFlowInstrumentor().uninstrument()
flow().run({{}})
print(len(exporter.get_finished_spans()))
"""
    )
    result = both("main.py", cwd=cwd)
    assert result.plain.stdout.endswith(b"['Ask', 'Say', 'invoke_workflow AskFlow']\n3\n")
    assert timeless(result.tree()) == TREE.replace("│     + answer = 42\n", "")


@pytest.mark.parametrize(
    ("calls", "last"),
    [
        ("instrument()", "2 node runs in T, tracing took T"),
        ("instrument(config=Config())", "2 node runs in T"),
        ("instrument(self_report=False)", "2 node runs in T"),
    ],
)
def test_the_self_report_of_a_program_that_instruments_itself(
    calls: str, last: str, program: Callable[..., Path]
) -> None:
    """It is asked for unless the program says all by itself."""
    cwd = program(
        "from opentelemetry.instrumentation.pocketflow import Config, PocketFlowInstrumentor\n"
        f"PocketFlowInstrumentor().{calls}\nflow().run({{}})\n"
    )
    done = run(TRACED, "main.py", cwd=cwd)
    assert timeless(done.text).splitlines()[-1] == last


def test_no_self_report(program: Callable[..., Path]) -> None:
    """The environment can do without."""
    cwd = program("flow().run({})\n")
    done = run(TRACED, "main.py", cwd=cwd, env={"OTEL_PYTHON_POCKETFLOW_SELF_REPORT": "false"})
    assert timeless(done.text) == TREE.replace(", tracing took T", "")


def test_with_auto_instrumentation(program: Callable[..., Path]) -> None:
    """Under `opentelemetry-instrument` its provider is used, and the tree is printed."""
    cwd = program("flow().run({})\n")
    command = (str(Path(sys.executable).with_name("opentelemetry-instrument")), "--traces_exporter")
    options = ("none", "--metrics_exporter", "none", "--logs_exporter", "none")
    done = run((*command, *options, *TRACED), "main.py", cwd=cwd)
    assert timeless(done.text) == TREE
    assert done.exit_code == 0


def test_seeded_random_numbers(program: Callable[..., Path]) -> None:
    """A program that seeds `random` draws the same numbers around and inside its flows."""
    cwd = program(
        """\
import random
random.seed(1)
print(random.random())
flow().run({})
print(random.random())
"""
    )
    assert timeless(both("main.py", cwd=cwd).tree()) == TREE


@pytest.mark.parametrize(
    "damage",
    [
        "import sys; sys.stderr.close()",
        "import os; os.close(2)",
        "import sys; sys.__stderr__ = None",
    ],
)
def test_no_stderr(damage: str, program: Callable[..., Path]) -> None:
    """Where nothing can be printed, nothing is, and the exit code is still the program's."""
    cwd = program(f"flow().run({{}})\n{damage}\nraise SystemExit(5)\n")
    assert both("main.py", cwd=cwd).tree() == ""


def test_fault_of_ours_without_stderr(program: Callable[..., Path]) -> None:
    """What we log to a stderr that the program has closed does not change its exit code."""
    cwd = program(
        """\
flow().run({})
import os
os.replace = None  # the file of the run cannot be finished
os.close(2)
raise SystemExit(5)
"""
    )
    assert both("main.py", cwd=cwd).tree() == ""


def test_stderr_that_became_another_file(program: Callable[..., Path]) -> None:
    """A file that the program put in the place of stderr's gets nothing from us."""
    cwd = program(
        """\
flow().run({})
import os
os.dup2(os.open("log.txt", os.O_WRONLY | os.O_CREAT), 2)
"""
    )
    assert both("main.py", cwd=cwd).tree() == ""
    assert (cwd / "log.txt").read_bytes() == b""


def test_replaced_stderr(program: Callable[..., Path]) -> None:
    """What the program put in stderr's place is spared our tree."""
    cwd = program("import io, sys\nsys.stderr = io.StringIO()\nflow().run({})\n")
    assert timeless(both("main.py", cwd=cwd).tree()) == TREE


def test_import_path_in_ruins(program: Callable[..., Path]) -> None:
    """A program that empties its import path and leaves its directory still gets a tree."""
    cwd = program(
        "import os, sys\nflow().run({})\nos.mkdir('d')\nos.chdir('d')\nos.rmdir('../d')\n"
        "sys.path.clear()\nsys.path_importer_cache.clear()\n"
    )
    plain = run(PLAIN, "main.py", cwd=cwd)
    traced = run(TRACED, "main.py", cwd=cwd)
    assert (plain.exit_code, traced.exit_code, plain.stderr) == (0, 0, b"")
    assert timeless(traced.text) == TREE


def test_unfinished(program: Callable[..., Path]) -> None:
    """A flow that a daemon thread is still in when the program ends is shown as unfinished."""
    cwd = program(
        """\
import threading
started = threading.Event()
class Wait(Node):
    def exec(self, prep_res):
        started.set()
        threading.Event().wait()

threading.Thread(target=Flow(Wait()).run, args=({},), daemon=True).start()
started.wait()
"""
    )
    tree = both("main.py", cwd=cwd).tree()
    assert tree.startswith("flow WaitFlow  unfinished\n└── Wait  unfinished\n1 node run in ")


def test_encoding_of_stderr(program: Callable[..., Path]) -> None:
    """A terminal that is not UTF-8 gets ASCII signs."""
    cwd = program("flow().run({})\n")
    tree = both("main.py", cwd=cwd, env={"PYTHONIOENCODING": "ascii"}).tree()
    assert timeless(tree) == (
        "flow AskFlow  T\n+-- Ask  T -> say -> Say\n|     + answer = 42\n"
        "`-- Say  T\n2 node runs in T, tracing took T\n"
    )

"""The live view in a real terminal, which it shares with the program."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import typing

import pytest
from traced_programs import PLAIN

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)

from terminals import CTRL_C, terminal

from support.programs import TIMEOUT

if typing.TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIVE = (sys.executable, "-m", "pocketflow_trace", "run")

ASK = """\
import sys, threading
from pocketflow import Flow, Node

class Plan(Node):
    def post(self, shared, prep_res, exec_res):
        shared["topic"] = "cats"

class Ask(Node):
    def exec(self, prep_res):
        return ask()
    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res

def ask():
    return input("name? ")

def run():
    plan = Plan()
    plan >> Ask()
    Flow(plan).run({})

"""
"""The beginning of programs whose second node waits for what is typed."""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a program's text after `ASK` to `main.py` and returns its directory."""

    def write(text: str) -> Path:
        (tmp_path / "main.py").write_text(ASK + text, encoding="utf-8")
        return tmp_path

    return write


def test_tree_grows_beside_a_prompt(program: Callable[[str], Path]) -> None:
    """What runs stands at the bottom while the prompt waits; at the end the terminal is as ever."""
    cwd = program("print('hello')\nrun()\nprint('bye')\n")
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        assert shown.lines[:2] == ["hello", "name?"]
        assert shown.cursor == (1, 6)
        assert [re.sub(r"[\d.]+ m?s", "T", line[:40]) for line in shown.lines[-5:-1]] == [
            "flow PlanFlow  T, 1 done",
            "├─ Plan  T → Ask",
            '│     + topic = "cats"',
            f"└─ {shown.lines[-2][3]} Ask  T",
        ]
        assert shown.lines[-2][3] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        assert re.fullmatch(r"2 node runs in [\d.]+ s", shown.lines[-1])
        shown.type("Zoë\n".encode())
        assert shown.wait() == 0
        assert shown.lines[:4] == ["hello", "name? Zoë", "bye", shown.lines[3]]
        assert shown.lines[3].startswith("flow PlanFlow  ")
        assert shown.text.count("flow PlanFlow") == 1
        assert not shown.has_margins


def test_short_run_draws_nothing(program: Callable[[str], Path]) -> None:
    """A run that is over at once looks as it always did: no control codes but colours."""
    cwd = program("ask = str\nrun()\n")
    with terminal(LIVE, "main.py", cwd=cwd, env={"NO_COLOR": "1"}) as shown:
        assert shown.wait() == 0
        assert b"\x1b" not in shown.output
        assert shown.text.startswith("flow PlanFlow")


def test_prints_from_threads(program: Callable[[str], Path]) -> None:
    """Whatever several threads print while the view is drawn can be read, in order."""
    cwd = program(
        """\
go = threading.Event()
def chatter(name):
    go.wait()
    for turn in range(300):
        print(f"{name} says {turn}", flush=True)

def ask():
    input("name? ")
    threads = [threading.Thread(target=chatter, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    return input("more? ")

run()
"""
    )
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until(lambda: shown.has_margins)
        shown.type(b"x\n")
        shown.until_shown("more?")
        shown.until(lambda: "Ask" in shown.lines[-2])
        shown.type(b"y\n")
        assert shown.wait() == 0
        spoken = [line for line in shown.history if "says" in line]
        for name in "abcd":
            assert [line for line in spoken if line.startswith(name)] == [
                f"{name} says {turn}" for turn in range(300)
            ]
        assert len(spoken) == 1200
        assert "more? y" in shown.history


def test_output_that_is_no_line(program: Callable[[str], Path]) -> None:
    """A line that is written in parts, over seconds, is not broken by the frames between them."""
    cwd = program("print('one ', end='', flush=True)\nrun()\nprint(' four')\n")
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until(lambda: shown.has_margins)
        assert shown.cursor == (0, len("one name? "))
        shown.type(b"two\n")
        shown.wait()
        assert shown.lines[:2] == ["one name? two", " four"]


def test_bottom_of_the_screen(program: Callable[[str], Path]) -> None:
    """On a screen that is full, what stands there moves up and none of it is lost."""
    cwd = program("for turn in range(100):\n    print('line', turn)\nrun()\n")
    with terminal(LIVE, "main.py", cwd=cwd, rows=20) as shown:
        shown.until(lambda: shown.has_margins)
        shown.until(lambda: "Ask" in shown.lines[-2])
        assert "name?" in shown.lines
        shown.type(b"x\n")
        shown.wait()
        lines = [line for line in shown.history if line.startswith("line")]
        assert lines == [f"line {turn}" for turn in range(100)]
        assert "name? x" in shown.history


def test_output_redirected(program: Callable[[str], Path]) -> None:
    """A stdout that goes elsewhere gets the program's bytes, and the view is still drawn."""
    cwd = program(
        "sys.stdout.buffer.write(b'\\xff\\x00\\n')\n"
        "def ask():\n    print('asking')\n    return sys.stdin.readline()\nrun()\n"
    )
    command = ("/bin/sh", "-c", 'exec "$0" "$@" >out.bin', *LIVE)
    with terminal(command, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        shown.type(b"x\n")
        assert shown.wait() == 0
        assert (cwd / "out.bin").read_bytes() == b"\xff\x00\nasking\n"


def test_interrupt(program: Callable[[str], Path]) -> None:
    """Ctrl-C ends the program as it ends without us; the rows are given back, the tree follows."""
    cwd = program("run()\n")
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        shown.type(CTRL_C)
        assert shown.wait() == -signal.SIGINT
        assert not shown.has_margins
        assert "KeyboardInterrupt" in shown.text
        assert re.search(r"└── Ask  \d+ ms cancelled\n2 node runs", shown.text)
        assert b"\x1b[?25l" not in shown.output


def test_own_interrupt_handler(program: Callable[[str], Path]) -> None:
    """A handler of the program's is called, and the view goes on."""
    cwd = program(
        "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('not now', flush=True))\n"
        "run()\n"
    )
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        shown.type(CTRL_C)
        shown.until_shown("not now")
        shown.type(b"x\n")
        assert shown.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT])
def test_killed(number: int, program: Callable[[str], Path]) -> None:
    """A program that is killed leaves a terminal that can be used: all rows, and a cursor."""
    cwd = program("print('hello')\nrun()\n")
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        os.kill(shown.pid, number)
        assert shown.wait() == -number
        assert not shown.has_margins
        assert shown.text == "hello\nname?"
        assert shown.cursor == (1, 6)


def test_exit_without_a_goodbye(program: Callable[[str], Path]) -> None:
    """The same holds for `os._exit`."""
    cwd = program("import os\ndef ask():\n    input('name? ')\n    os._exit(7)\nrun()\n")
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        shown.type(b"x\n")
        assert shown.wait() == 7
        assert not shown.has_margins
        assert shown.text == "name? x"


def test_resize(program: Callable[[str], Path]) -> None:
    """The view follows the window's size, and the program's own handler is told of it."""
    cwd = program(
        "import signal\nsignal.signal(signal.SIGWINCH, lambda *_: print('resized', flush=True))\n"
        "run()\n"
    )
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until_shown("Ask  ")
        for rows, columns in ((16, 40), (30, 100)):
            shown.resize(rows, columns)
            shown.until(lambda: shown.lines[-1].startswith("2 node runs") and shown.has_margins)
            assert len(shown.lines) == rows
            shown.until(lambda: shown.text.count("flow PlanFlow") == 1)
        shown.until(lambda: shown.text.count("resized") == 2)
        shown.type(b"x\n")
        assert shown.wait() == 0
        assert not shown.has_margins


def test_narrow(program: Callable[[str], Path]) -> None:
    """In 20 columns each line keeps to its row."""
    with terminal(LIVE, "main.py", cwd=program("run()\n"), columns=20) as shown:
        shown.until_shown("Ask  ")
        assert shown.lines[-5].endswith("~")
        assert len(shown.lines[-5]) < 20
        assert shown.lines[0] == "name?"
        shown.type(b"x\n")
        assert shown.wait() == 0


def test_low(program: Callable[[str], Path]) -> None:
    """A window of a few rows is the program's alone."""
    cwd = program("def ask():\n    threading.Event().wait(1.2)\nrun()\n")
    with terminal(LIVE, "main.py", cwd=cwd, rows=6, env={"NO_COLOR": "1"}) as shown:
        assert shown.wait() == 0
        assert b"\x1b" not in shown.output


def test_more_than_fits(program: Callable[[str], Path]) -> None:
    """However many run at once, the view takes half of the rows at most."""
    cwd = program(
        """\
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(60) as pool:
    for _ in range(60):
        pool.submit(run)
"""
    )
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until(lambda: "120 node runs" in shown.lines[-1])
        assert shown.lines[11].startswith(("name?", ""))
        assert sum("Ask" in line for line in shown.lines[12:]) >= 3
        shown.type(b"x\n" * 60)
        assert shown.wait() == 0


def test_password(program: Callable[[str], Path]) -> None:
    """While the program hides what is typed, the terminal is its own."""
    cwd = program(
        "from getpass import getpass\n"
        "def ask():\n    input('name? ')\n    return getpass('key? ')\nrun()\n"
    )
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until(lambda: shown.has_margins)
        shown.type(b"x\n")
        shown.until_shown("key?")
        shown.until(lambda: not shown.has_margins)
        assert shown.text == "name? x\nkey?"
        shown.type(b"secret\n")
        assert shown.wait() == 0


def test_dumb_terminal(program: Callable[[str], Path]) -> None:
    """A terminal that cannot be drawn on gets plain lines as things happen."""
    with terminal(LIVE, "main.py", cwd=program("run()\n"), env={"TERM": "dumb"}) as shown:
        shown.until_shown("PlanFlow / Plan")
        shown.type(b"x\n")
        assert shown.wait() == 0
        assert b"\x1b" not in shown.output
        assert "PlanFlow / Ask" in shown.text


def test_live_is_forced(program: Callable[[str], Path]) -> None:
    """`--live` draws on a terminal of unknown type."""
    cwd = program("run()\n")
    with terminal(LIVE, "--live", "main.py", cwd=cwd, env={"TERM": "unknown"}) as shown:
        shown.until_shown("Ask  ")
        shown.type(b"x\n")
        assert shown.wait() == 0


def test_no_live(program: Callable[[str], Path]) -> None:
    """`--no-live` shows nothing before the end."""
    cwd = program("def ask():\n    threading.Event().wait(1.2)\nrun()\n")
    with terminal(LIVE, "--no-live", "main.py", cwd=cwd, env={"NO_COLOR": "1"}) as shown:
        assert shown.wait() == 0
        assert b"\x1b" not in shown.output
        assert shown.lines[0].startswith("flow PlanFlow")


def test_no_color(program: Callable[[str], Path]) -> None:
    """NO_COLOR takes the colours from the view, not the view."""
    with terminal(LIVE, "main.py", cwd=program("run()\n"), env={"NO_COLOR": "1"}) as shown:
        shown.until_shown("Ask  ")
        shown.type(b"x\n")
        assert shown.wait() == 0
        assert not re.search(rb"\x1b\[[1-9][\d;]*m", shown.output)


def test_ascii(program: Callable[[str], Path]) -> None:
    """`--ascii` draws with ASCII characters, the tree at the end too."""
    with terminal(LIVE, "--ascii", "main.py", cwd=program("run()\n")) as shown:
        shown.until_shown("Ask  ")
        shown.type(b"x\n")
        assert shown.wait() == 0
        assert shown.output.isascii()
        assert "`-- Ask" in shown.text


SEE_PROCESS = """\
import os
def ask():
    input("name? ")
    try:
        os.wait()
    except ChildProcessError:
        print("no child")
    print("next file:", os.open("main.py", os.O_RDONLY))
    print(sys.stdout.isatty(), sys.stderr.isatty(), os.ttyname(0) == os.ttyname(1))
    print(type(sys.stdout).__name__, sys.stdout is sys.__stdout__, os.get_terminal_size())
run()
"""


def test_process_is_the_same(program: Callable[[str], Path]) -> None:
    """The program finds no child, no file and no stream that it would not find without us."""
    cwd = program(SEE_PROCESS)
    with terminal(PLAIN, "main.py", cwd=cwd) as plain:
        plain.until_shown("name?")
        plain.type(b"x\n")
        assert plain.wait() == 0
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until(lambda: shown.has_margins)
        shown.type(b"x\n")
        assert shown.wait() == 0
        assert shown.text.startswith(plain.text)
        assert "no child" in plain.text


def test_stopped_terminal(program: Callable[[str], Path]) -> None:
    """A terminal that is stopped, as by Ctrl-S, does not stop a program that writes nothing."""
    cwd = program(
        "from pathlib import Path\n"
        "def ask():\n    input()\n    threading.Event().wait(1)\n    Path('done').touch()\n"
        "run()\n"
    )
    with terminal(LIVE, "main.py", cwd=cwd) as shown:
        shown.until(lambda: shown.has_margins)
        shown.type(b"x\n")
        shown.until(lambda: shown.cursor[0] == 1)
        shown.type(b"\x13")
        deadline = time.monotonic() + TIMEOUT
        while not (cwd / "done").exists():
            assert time.monotonic() < deadline
        shown.type(b"\x11")
        assert shown.wait() == 0
        assert not shown.has_margins
        assert "flow PlanFlow" in shown.text


def test_background(program: Callable[[str], Path]) -> None:
    """A program in the background leaves the terminal to the one in front."""
    cwd = program("def ask():\n    threading.Event().wait(1.2)\nrun()\n")
    command = ("/bin/sh", "-c", 'set -m; "$0" "$@" & wait $!', *LIVE)
    with terminal(command, "main.py", cwd=cwd, env={"NO_COLOR": "1"}) as shown:
        assert shown.wait() == 0
        assert b"\x1b" not in shown.output
        assert "flow PlanFlow" in shown.text

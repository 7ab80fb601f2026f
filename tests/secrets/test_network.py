"""A traced program talks to the exporter that was set up, and to nobody else."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support import programs
from support.sink import running_sink

if typing.TYPE_CHECKING:
    from support.sink import Sink

ROOT = Path(__file__).parents[2]
WATCHED = Path(__file__).with_name("watched")
"""What keeps an eye on the sockets of every process that has it in its path."""
COMMANDS = {
    "run": ("-m", "pocketflow_trace", "run", "--no-live"),
    "zero code": ("-c", "import zero_code"),
}
PROBE = "socket.bind ('::1', 0)"
"""How urllib3 finds out when it is imported whether there is IPv6; it does not listen."""
EXAMPLES = sorted(
    path.name
    for path in (ROOT / "examples").glob("*.py")
    if path.name not in {"call_llm.py", "scripted_model.py", "support_mail.py"}
)
"""Those that run by themselves and ask no real model."""

PAID = """\
from pocketflow import Flow, Node

from opentelemetry.instrumentation.pocketflow import record_usage

class Ask(Node):
    def exec(self, prep_res):
        record_usage(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=1000)

Flow(Ask()).run({})
Flow(Ask()).run({})
"""


def run(
    program: Path, mode: str, cwd: Path, sink: Sink | None = None, before: tuple[str, ...] = ()
) -> tuple[str, list[str]]:
    """Run a program; return what it printed, and what its sockets did."""
    log = cwd / "sockets.log"
    log.touch()
    env = {
        "OTEL_METRICS_EXPORTER": "otlp" if sink else "none",
        "PYTHONPATH": str(WATCHED),
        "SOCKETS_LOG": str(log),
        "XDG_STATE_HOME": str(cwd / "state"),
    }
    if sink is not None:
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
        env |= {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    done = programs.ended([*before, sys.executable, *COMMANDS[mode], str(program)], cwd, env)
    assert done.exit_code == 0, done.stderr
    assert "not allowed" not in done.stderr
    events = log.read_text(encoding="utf-8").splitlines()
    return done.stdout, [event for event in events if event != PROBE]


def others(sockets: list[str], sink: Sink) -> list[str]:
    """Return what sockets did but for talking to the sink."""
    url = urlsplit(sink.url)
    return [line for line in sockets if not (str(url.port) in line and str(url.hostname) in line)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_talks_to_the_exporter_alone(name: str, tmp_path: Path) -> None:
    """No name is looked up and nothing is connected or listened to, but for the exporter."""
    with running_sink() as sink:
        _, sockets = run(ROOT / "examples" / name, "run", tmp_path, sink)
    assert others(sockets, sink) == []
    assert "socket.connect" in "".join(sockets)
    assert "/v1/traces" in sink.paths


def test_zero_code_talks_to_the_exporter_alone(tmp_path: Path) -> None:
    """Nor do the SDK, its detectors and ours when the program is instrumented from outside."""
    with running_sink() as sink:
        _, sockets = run(ROOT / "examples" / "research_agent.py", "zero code", tmp_path, sink)
    assert others(sockets, sink) == []
    assert {"/v1/traces", "/v1/metrics"} <= set(sink.paths)


@pytest.mark.parametrize("name", EXAMPLES[:2])
def test_without_an_exporter_nobody_is_talked_to(name: str, tmp_path: Path) -> None:
    """What is kept and shown here needs no socket at all."""
    _, sockets = run(ROOT / "examples" / name, "run", tmp_path)
    assert sockets == []
    assert list((tmp_path / "state").rglob("*.jsonl"))


def test_prices_are_not_fetched(tmp_path: Path) -> None:
    """The list of prices is the one that was installed."""
    pytest.importorskip("genai_prices", reason="the extra `cost` is not installed")
    program = tmp_path / "paid.py"
    program.write_text(PAID, encoding="utf-8")
    with running_sink() as sink:
        _, sockets = run(program, "run", tmp_path, sink)
    assert others(sockets, sink) == []
    assert b"pocketflow.usage.cost" in sink.data


def alone() -> tuple[str, ...]:
    """Return a command before which there is no network, not even loopback."""
    unshare = shutil.which("unshare")
    command = (unshare or "unshare", "--map-root-user", "--net")
    if unshare is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("this machine makes no network namespaces")
    return command


def test_a_program_runs_the_same_without_any_network(tmp_path: Path) -> None:
    """Where the kernel lets nobody out, not even a library in C, nothing is missing."""
    example = ROOT / "examples" / "research_agent.py"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with_network, _ = run(example, "run", tmp_path / "a")
    without, sockets = run(example, "run", tmp_path / "b", before=alone())
    assert without == with_network
    assert sockets == []
    assert list((tmp_path / "b" / "state").rglob("*.jsonl"))


# --- what the code does not hold ------------------------------------------------------------

MODULES = {"marshal", "pickle", "shelve", "cloudpickle", "dill", "joblib", "yaml", "xmlrpc"}
LISTENING = {"http.server", "socketserver", "wsgiref"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    *("os.system", "os.popen", "tempfile.mktemp", "yaml.load", "pickle.loads", "pickle.load"),
    *("socket.create_server", "ssl._create_unverified_context", "asyncio.start_server"),
}
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def offences(tree: ast.Module) -> list[str]:
    """Return what must not stand in the source, by line."""
    found: list[str] = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if is_banned(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if is_banned(node.module or "") else []
        elif isinstance(node, ast.Call):
            names = offences_of_call(node)
        found += [f"line {getattr(node, 'lineno', 0)}: {name}" for name in names]
    return found


def is_banned(module: str) -> bool:
    """Tell whether a module reads code out of data, or listens."""
    return module.partition(".")[0] in MODULES or module in LISTENING


def offences_of_call(call: ast.Call) -> list[str]:
    """Return what is wrong with a call."""
    name = ast.unparse(call.func)
    is_fixed = len(call.args) == 1 and isinstance(call.args[0], ast.Constant)
    wrong = [name] if name in METHODS or (name in CALLS and not is_fixed) else []
    for keyword in call.keywords:
        value = getattr(keyword.value, "value", None)
        if (keyword.arg, value) in {("shell", True), ("verify", False)}:
            wrong.append(f"{name}({keyword.arg}={value})")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_code_is_made_of_data(path: Path) -> None:
    """No eval, exec, pickle or unsafe YAML; no shell, no listener, no unverified TLS."""
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        *("eval(x)", "import pickle", "from yaml import load", "yaml.load(x)", "os.system('ls')"),
        *(
            "run('ls', shell=True)",
            "from http.server import HTTPServer",
            "socket.create_server(('', 0))",
        ),
        *("tempfile.mktemp()", "import xmlrpc.client", "get(url, verify=False)"),
    ],
)
def test_what_must_not_stand_there_is_found(line: str) -> None:
    """The search above finds what it looks for."""
    assert offences(ast.parse(line)) != []

"""What `pocketflow-trace doctor` finds, in processes and folders of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import typing

import pytest
from sample_spans import agent_run
from shelved import about, keep
from traced_programs import Ended, run

from pocketflow_trace.analysis.checkup import connect, host_and_port
from pocketflow_trace.cli import main

if typing.TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

DOCTOR = (sys.executable, "-m", "pocketflow_trace", "doctor")


def doctor(cwd: Path, env: Mapping[str, str] | None = None, *args: str) -> Ended:
    """Run the command in a folder, with state of its own."""
    state = {"XDG_STATE_HOME": str(cwd / "state"), "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ""}
    return run(DOCTOR, *args, cwd=cwd, env={**state, **(env or {})})


def checks(cwd: Path, env: Mapping[str, str] | None = None) -> dict[tuple[str, str], str]:
    """Return `status: text` of each check by section and name."""
    data = json.loads(doctor(cwd, env, "--json").stdout)
    assert data["version"] == 1
    assert data["problems"] == sum(check["status"] == "problem" for check in data["checks"])
    return {
        (check["section"], check["name"]): f"{check['status']}: {check['text']}"
        for check in data["checks"]
    }


@contextlib.contextmanager
def listening() -> Generator[int]:
    """Listen on a port of this machine, and return its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    """Return a port where nothing listens."""
    with listening() as port:
        return port


def test_healthy(tmp_path: Path) -> None:
    """Where nothing is wrong, the exit code is 0 and every section is there."""
    done = doctor(tmp_path)
    text = done.stdout.decode()
    assert (done.exit_code, done.text) == (0, "")
    headings = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert headings == [
        "installed",
        "PocketFlow",
        "instrumentors",
        "environment",
        "export",
        "collector",
        "capture",
        "kept runs",
        "no problem found",
    ]
    assert "ok pocketflow: 0.0.3, recognised by " in text
    assert (
        "ok pocketflow (opentelemetry-instrumentation-pocketflow): active under "
        "opentelemetry-instrument" in text
    )


def test_a_copy_of_pocketflow(tmp_path: Path) -> None:
    """It is the file that a program in this folder would import; one that is not it is named."""
    copy = tmp_path / "pocketflow.py"
    copy.write_text("class BaseNode: pass\nclass Flow(BaseNode): pass\n", encoding="utf-8")
    found = checks(tmp_path)["PocketFlow", "pocketflow"]
    assert found == f"ok: a copy, recognised by 2 classes: {copy}"
    copy.write_text("x = 1\n", encoding="utf-8")
    found = checks(tmp_path)["PocketFlow", "pocketflow"]
    assert found == f"problem: {copy} defines no BaseNode and Flow, so nothing is traced"
    found = checks(tmp_path, {"OTEL_PYTHON_POCKETFLOW_MODULE": "my.flows"})
    assert found["PocketFlow", "my.flows"].startswith("problem: cannot be imported from here")


def test_disabled_instrumentors(tmp_path: Path) -> None:
    """What is left out under opentelemetry-instrument is said; that it is ours is a problem."""
    found = checks(tmp_path, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pocketflow, openai"})
    off = "off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    ours = "pocketflow (opentelemetry-instrumentation-pocketflow)"
    assert found["instrumentors", ours] == f"problem: {off}"
    openai = {text for (_, name), text in found.items() if name.startswith("openai (")}
    assert openai <= {f"info: {off}"}


def test_no_secrets(tmp_path: Path) -> None:
    """Neither headers nor users, passwords, queries or keys are printed."""
    hidden = "s3cr3t-0123456789"
    env = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {hidden},x-team={hidden}",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"api-key={hidden}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:{hidden}@127.0.0.1:{closed_port()}/v1?k={hidden}",
        "OTEL_RESOURCE_ATTRIBUTES": f"team=cats,api_key={hidden}",
        "OTEL_PYTHON_POCKETFLOW_API_KEY": hidden,
    }
    for args in ((), ("--json",)):
        done = doctor(tmp_path, env, *args)
        assert hidden not in done.stdout.decode()
        assert hidden not in done.text
    found = checks(tmp_path, env)
    headers = found["environment", "OTEL_EXPORTER_OTLP_HEADERS"]
    assert headers == "info: authorization=[REDACTED], x-team=[REDACTED]"


@pytest.mark.parametrize("value", ["dG9rZW4=", "Bearer dG9rZW4=", "dG9rZW4==", "a b=dG9rZW4"])
def test_a_header_without_a_name(tmp_path: Path, value: str) -> None:
    """What may be a credential by itself is not taken for the name of a header."""
    found = checks(tmp_path, {"OTEL_EXPORTER_OTLP_HEADERS": value})
    assert found["environment", "OTEL_EXPORTER_OTLP_HEADERS"] == "info: [REDACTED]"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_collector(tmp_path: Path, protocol: str) -> None:
    """A collector that answers is fine; one that does not is a problem."""
    protocol_set = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    with listening() as port:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **protocol_set}
        found = checks(tmp_path, env)
        assert found["collector", f"127.0.0.1:{port} ({protocol})"] == "ok: reachable"
        assert found["export", "pocketflow-trace run"].startswith(f"ok: to http://127.0.0.1:{port}")
    found = checks(tmp_path, env)
    refused = "problem: refused: nothing listens there"
    assert found["collector", f"127.0.0.1:{port} ({protocol})"] == refused
    assert doctor(tmp_path, env).exit_code == 1


@pytest.mark.parametrize(
    ("endpoint", "protocol", "expected"),
    [
        ("http://localhost:4318/v1/traces", "http/protobuf", ("localhost", 4318)),
        ("https://collector.example", "http/protobuf", ("collector.example", 443)),
        ("http://collector.example", "http/protobuf", ("collector.example", 80)),
        ("collector.example:9", "grpc", ("collector.example", 9)),
        ("collector.example", "grpc", ("collector.example", 4317)),
        ("http://[::1]:4317", "grpc", ("::1", 4317)),
        ("http://host:port", "grpc", ("host:port", 0)),
    ],
)
def test_host_and_port(endpoint: str, protocol: str, expected: tuple[str, int]) -> None:
    """An endpoint is understood as the exporters do."""
    assert host_and_port(endpoint, protocol) == expected


def test_connect() -> None:
    """What hinders a connection is named."""
    with listening() as port:
        assert connect("127.0.0.1", port) == "reachable"
    assert connect("127.0.0.1", port) == "refused: nothing listens there"
    assert connect("no-such-host.invalid", 1).startswith("not reachable: ")
    assert connect("x" * 300, 1).startswith("not reachable: ")


@pytest.mark.skipif(sys.platform != "linux", reason="fills the queue of a listening socket")
def test_timeout() -> None:
    """Whoever does not answer is given up after a second."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # nobody accepts, and the queue holds one or two
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        assert connect(*server.getsockname()) == "timeout: no answer within 1 s"


def test_wrong_values(tmp_path: Path) -> None:
    """Options that do not mean what was wanted are named."""
    env = {
        "OTEL_PYTHON_POCKETFLOW_CONTENT": "everything",
        "OTEL_PYTHON_POCKETFLOW_REDACT_KEYS": "patient,diagnosis",
        "OTEL_PYTHON_POCKETFLOW_PHASE_SPAN": "true",
        "OTEL_TRACES_EXPORTER": "zipkinn",
        "OTEL_TRACES_SAMPLER": "always_off",
    }
    found = checks(tmp_path, env)
    wrong = found["capture", "wrong value"]
    assert wrong.startswith("problem: Ignoring OTEL_PYTHON_POCKETFLOW_CONTENT='everything'")
    assert found["capture", "content"] == "info: values"
    assert "2 further keys" in found["capture", "redaction"]
    assert found["capture", "OTEL_PYTHON_POCKETFLOW_PHASE_SPAN"].startswith("problem: ")
    assert found["export", "OTEL_TRACES_EXPORTER"].startswith("problem: no exporter 'zipkinn'")
    assert found["environment", "OTEL_TRACES_SAMPLER"] == "problem: no run is traced"


def test_impossible_export(tmp_path: Path) -> None:
    """What `run` would refuse is told before."""
    env = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}
    assert checks(tmp_path, env)["export", "pocketflow-trace run"].startswith(
        "problem: OTEL_EXPORTER_OTLP_PROTOCOL is 'carrier-pigeon'"
    )


def test_kept_runs(tmp_path: Path) -> None:
    """Where runs are kept, how many, and which are not complete."""
    folder = tmp_path / "runs"
    env = {"POCKETFLOW_TRACE_DIR": str(folder)}
    found = checks(tmp_path, env)
    by = f"ok: {folder} (by POCKETFLOW_TRACE_DIR)"
    assert found["kept runs", "folder"] == f"{by}, not made yet"
    folder.mkdir()
    paths = [
        keep(agent_run(), folder, about(0)),
        keep(agent_run(), folder, about(1), is_complete=False),
    ]
    size = sum(path.stat().st_size for path in paths) / 1000
    found = checks(tmp_path, env)
    assert found["kept runs", "folder"] == by
    assert found["kept runs", "runs"] == f"info: 2, {size:.1f} kB, 1 of them unfinished"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """Where no run could be kept, that is a problem."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    found = checks(tmp_path, {"POCKETFLOW_TRACE_DIR": str(tmp_path / "file" / "runs")})
    assert found["kept runs", "folder"].startswith("problem: ")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments that it does not know are wrong usage."""
    assert main(["doctor", "everything"]) == 2
    assert "everything" in capsys.readouterr().err


_BARE = """\
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("rich", "google", "opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from pocketflow_trace.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("args", [["doctor"], ["stats"], ["diff", "last"], ["report"]])
def test_without_the_extras(tmp_path: Path, args: list[str]) -> None:
    """Whoever asks what is missing, or reads a run of elsewhere, needs neither SDK nor rich."""
    keep(agent_run(), tmp_path, about(0))
    env = {"POCKETFLOW_TRACE_DIR": str(tmp_path)}
    done = run((sys.executable, "-c", _BARE), *args, cwd=tmp_path, env=env)
    assert (done.text, done.exit_code) == ("", 0)
    assert done.stdout

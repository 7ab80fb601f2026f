"""Where a run comes from, as a collector received it: git, process, system."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import subprocess
import sys
import typing

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.version import __version__
from support import programs, sample_programs

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.collector import Collector
    from support.received import Value

REMOTE = "https://somebody:s3cret@git.example.com/team/agent.git"


def _git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=directory, env=programs.clean_environment(), check=True, capture_output=True,
        encoding="utf-8",
    ).stdout.strip()  # fmt: skip


def _repository(directory: Path, script: Path) -> str:
    """Make `directory` a repository in which `script` is committed; return the commit."""
    _git(directory, "init", "--quiet", "--initial-branch=trunk")
    _git(directory, "remote", "add", "origin", REMOTE)
    _git(directory, "add", script.name)
    _git(directory, "commit", "--quiet", "--message=first")
    return _git(directory, "rev-parse", "HEAD")


def _script(directory: Path, zero_code: bool) -> Path:
    source = sample_programs.TINY
    if not zero_code:
        source = programs.in_code(source, "http/protobuf")
    return programs.write_program(directory, source)


def _resource(
    collector: Collector, script: Path, zero_code: bool, env: Mapping[str, str] | None = None
) -> Mapping[str, Value]:
    """Run `script` and return the one resource that all its spans came under."""
    variables = programs.otlp_environment(collector.http_endpoint, "http/protobuf")
    done = programs.run(script, variables | dict(env or {}), zero_code=zero_code)
    assert done.outcome == ("{'greeting': 'hello'}\n", 0), done.stderr
    spans = collector.drain()
    assert spans
    first = spans[0].resource
    assert all(span.resource == first for span in spans)
    return first


def test_a_run_in_a_repository_names_its_commit(
    collector: Collector, workdir: Path, zero_code: bool
) -> None:
    """Branch, commit and remote arrive; the remote's user and password do not."""
    script = _script(workdir, zero_code)
    commit = _repository(workdir, script)

    resource = _resource(collector, script, zero_code)

    assert resource[semconv.VCS_REF_HEAD_NAME] == "trunk"
    assert resource[semconv.VCS_REF_HEAD_TYPE] == "branch"
    assert resource[semconv.VCS_REF_HEAD_REVISION] == commit
    assert resource[semconv.VCS_REPOSITORY_NAME] == "agent"
    assert resource[semconv.VCS_DIRTY] is False
    url = resource[semconv.VCS_REPOSITORY_URL_FULL]
    assert url in (
        "https://git.example.com/team/agent",
        "https://git.example.com/team/agent.git",
    )
    assert "s3cret" not in str(resource)


def test_an_uncommitted_change_is_told(
    collector: Collector, workdir: Path, zero_code: bool
) -> None:
    """A tracked file that differs from the commit makes the run dirty."""
    script = _script(workdir, zero_code)
    _repository(workdir, script)
    script.write_text(script.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")

    resource = _resource(collector, script, zero_code)

    assert resource[semconv.VCS_DIRTY] is True


def test_a_run_outside_a_repository_has_no_commit(
    collector: Collector, workdir: Path, zero_code: bool
) -> None:
    """Nothing is said about version control where there is none, and nothing is printed."""
    resource = _resource(collector, _script(workdir, zero_code), zero_code)

    assert [key for key in resource if "vcs" in key] == []


def test_process_and_system_are_named(collector: Collector, workdir: Path, zero_code: bool) -> None:
    """The interpreter, the command, the user, the directory and the system arrive, typed."""
    resource = _resource(collector, _script(workdir, zero_code), zero_code)

    assert isinstance(resource[semconv.PROCESS_PID], int)
    assert resource[semconv.PROCESS_PID] != os.getpid()
    assert resource[semconv.PROCESS_OWNER] == getpass.getuser()
    assert resource[semconv.PROCESS_WORKING_DIRECTORY] == str(workdir)
    assert resource[semconv.PROCESS_RUNTIME_NAME] == sys.implementation.name
    assert resource[semconv.PROCESS_RUNTIME_VERSION] == ".".join(map(str, sys.version_info[:3]))
    assert resource[semconv.PROCESS_EXECUTABLE_PATH] == sys.executable
    arguments = resource[semconv.PROCESS_COMMAND_ARGS]
    assert isinstance(arguments, list)
    assert arguments[-1] == "main.py"
    assert resource[semconv.PROCESS_COMMAND] == arguments[0]
    assert resource[semconv.OS_TYPE] == platform.system().lower()
    assert resource[semconv.POCKETFLOW_VERSION] == importlib.metadata.version("pocketflow")
    assert resource[semconv.INSTRUMENTATION_VERSION] == __version__


def test_the_users_own_names_win(collector: Collector, workdir: Path, zero_code: bool) -> None:
    """`OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` overrule whatever is found out."""
    script = _script(workdir, zero_code)
    _repository(workdir, script)
    env = {
        "OTEL_SERVICE_NAME": "agent-in-production",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=no,vcs.ref.head.name=release,team=search",
    }

    resource = _resource(collector, script, zero_code, env)

    assert resource["service.name"] == "agent-in-production"
    assert resource["team"] == "search"
    assert resource[semconv.VCS_REF_HEAD_NAME] == "release"


def test_a_service_without_a_name_gets_the_sdks(
    collector: Collector, workdir: Path, zero_code: bool
) -> None:
    """Where nobody named the service there still is a name, and the SDK's own keys survive."""
    resource = _resource(collector, _script(workdir, zero_code), zero_code)

    assert resource["service.name"]
    assert resource["telemetry.sdk.language"] == "python"


def test_metrics_name_the_commit_too(collector: Collector, workdir: Path) -> None:
    """What a run cost can be told by commit: its metrics come under the resource of its spans."""
    script = _script(workdir, zero_code=True)
    commit = _repository(workdir, script)
    traces = programs.otlp_environment(collector.http_endpoint, "http/protobuf")

    programs.run(script, traces | {"OTEL_METRICS_EXPORTER": "otlp"}, zero_code=True)
    spans = collector.drain()
    points = collector.drain_metrics()

    assert spans[0].resource[semconv.VCS_REF_HEAD_REVISION] == commit
    assert points
    assert all(point.resource == spans[0].resource for point in points)

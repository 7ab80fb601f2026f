"""A program with PocketFlow's one file beside it, in an environment that never installed it."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import typing
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from support import programs, sample_programs
from support.received import one, outline

if typing.TYPE_CHECKING:
    from support.collector import Collector

WHICH_FILE = "import pocketflow\nprint(pocketflow.__file__)\n"


@dataclass(frozen=True)
class Project:
    """A program with its own `pocketflow.py`; `python` is of the environment without PocketFlow."""

    directory: Path
    elsewhere: Path
    python: str

    def write(self, source: str) -> Path:
        """Write the program and return its path."""
        return programs.write_program(self.directory, source)


@pytest.fixture(scope="module")
def python_without_pocketflow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that sees everything that is installed here but PocketFlow."""
    if sys.platform == "win32":
        pytest.skip("links need a privilege on Windows")
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True, with_pip=False)
    python = home / "bin" / Path(sys.executable).name
    (target,) = (home / "lib").glob("python*/site-packages")
    for directory in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(directory).iterdir():
            if entry.name != "pocketflow" and not entry.name.startswith("pocketflow-"):
                (target / entry.name).symlink_to(entry)
    return str(python)


@pytest.fixture
def project(workdir: Path, tmp_path: Path, python_without_pocketflow: str) -> Project:
    """A project with a copy of the file, and a working directory that is not its own."""
    spec = importlib.util.find_spec("pocketflow")
    assert spec is not None
    assert spec.origin is not None
    (workdir / "pocketflow.py").write_bytes(Path(spec.origin).read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return Project(workdir, elsewhere, python_without_pocketflow)


def test_the_environment_has_no_pocketflow(project: Project) -> None:
    """Neither module nor distribution is visible from outside the project."""
    (project.directory / "pocketflow.py").unlink()
    source = (
        "import importlib.metadata as m, importlib.util as u\n"
        "print(u.find_spec('pocketflow'), [d for d in m.distributions() if d.name == 'pocketflow'])"
    )

    done = programs.run(project.write(source), python=project.python, cwd=project.elsewhere)

    assert done.outcome == ("None []\n", 0), done.stderr


def test_zero_code_traces_a_copied_file(
    collector: Collector, project: Project, protocol: str
) -> None:
    """`opentelemetry-instrument` traces the copy, from another directory, as an installed one."""
    script = project.write(sample_programs.RESEARCH)
    plain = programs.run(script, python=project.python, cwd=project.elsewhere)
    env = programs.otlp_environment(collector.endpoint(protocol), protocol)

    traced = programs.run(script, env, zero_code=True, python=project.python, cwd=project.elsewhere)

    assert plain.exit_code == 0, plain.stderr
    assert traced.outcome == plain.outcome
    spans = collector.drain()
    assert outline(spans) == sample_programs.RESEARCH_OUTLINE
    flow = one(spans, "invoke_workflow Research")
    assert flow.attributes[semconv.NODE_BASE] == "AsyncFlow"
    assert semconv.POCKETFLOW_VERSION not in flow.resource


def test_in_code_traces_a_copied_file(collector: Collector, project: Project) -> None:
    """`instrument()` before the program imports its copy needs no further argument."""
    script = project.write(programs.in_code(sample_programs.RESEARCH, "http/protobuf"))
    env = programs.otlp_environment(collector.http_endpoint, "http/protobuf")

    traced = programs.run(script, env, python=project.python, cwd=project.elsewhere)

    assert traced.exit_code == 0, traced.stderr
    assert outline(collector.drain()) == sample_programs.RESEARCH_OUTLINE


@pytest.mark.parametrize("installed", [False, True], ids=["not installed", "installed too"])
def test_the_program_gets_its_own_copy(
    collector: Collector, project: Project, installed: bool
) -> None:
    """Tracing never imports an installed PocketFlow in place of the copy, and traces the copy."""
    script = project.write(WHICH_FILE + sample_programs.TINY)
    python = sys.executable if installed else project.python
    env = programs.otlp_environment(collector.http_endpoint, "http/protobuf")

    traced = programs.run(script, env, zero_code=True, python=python, cwd=project.elsewhere)

    expected = f"{project.directory / 'pocketflow.py'}\n{{'greeting': 'hello'}}\n"
    assert traced.outcome == (expected, 0), traced.stderr
    assert outline(collector.drain()) == sample_programs.TINY_OUTLINE

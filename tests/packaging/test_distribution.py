"""The wheel and the sdist, and an installation without extras in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = "opentelemetry/instrumentation/pocketflow"

PROGRAM = """
import sys
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from opentelemetry import trace

class Span(trace.NonRecordingSpan):
    def __init__(self, name):
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.name, self.attributes = name, {}
    def is_recording(self): return True
    def set_attributes(self, attributes): self.attributes.update(attributes)
    def end(self, end_time=None): ended.append((self.name, self.attributes))

class Tracer(trace.NoOpTracer):
    def start_span(self, name, context=None, **options): return Span(name)

class Provider(trace.NoOpTracerProvider):
    def get_tracer(self, *args, **options): return Tracer()

ended = []
PocketFlowInstrumentor().instrument(tracer_provider=Provider())
from pocketflow import Flow, Node

class Write(Node):
    def post(self, shared, prep_res, exec_res): shared["done"] = True

shared = {}
Flow(start=Write()).run(shared)
assert shared == {"done": True}
assert [name for name, _ in ended] == ["Write", "invoke_workflow WriteFlow"], ended
assert ended[0][1]["pocketflow.shared.added"] == ("done",)
banned = ("opentelemetry.sdk", "rich", "pocketflow_trace")
unwanted = [name for name in sys.modules if name.startswith(banned)]
assert not unwanted, unwanted
print("traced")
"""


RELEASED = "1767225600"
"""The time of a commit, in seconds since the epoch."""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    return built(ROOT, tmp_path_factory.mktemp("dist"))


def built(source: Path, folder: Path) -> Path:
    """Build wheel and sdist into a folder."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        [*command, str(source)],
        env={**os.environ, "SOURCE_DATE_EPOCH": RELEASED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def the_file(folder: Path, ending: str) -> Path:
    """The only file in a folder that ends so."""
    [found] = folder.glob(f"*{ending}")
    return found


def test_the_wheel_leaves_the_namespace_packages_alone(dist: Path) -> None:
    """An `__init__.py` there would hide every other OpenTelemetry package."""
    with zipfile.ZipFile(the_file(dist, ".whl")) as wheel:
        names = set(wheel.namelist())
    assert "opentelemetry/__init__.py" not in names
    assert "opentelemetry/instrumentation/__init__.py" not in names
    for expected in ("__init__.py", "py.typed", "semconv.py", "capture/hooks.py", "emit/spans.py"):
        assert f"{CORE}/{expected}" in names
    assert {"pocketflow_trace/__init__.py", "pocketflow_trace/py.typed"} <= names


def test_the_wheel_has_the_packages_and_nothing_else(dist: Path) -> None:
    """No tests, benchmarks or examples; the licence; no byte code and no stray files."""
    path = the_file(dist, ".whl")
    about = "-".join(path.name.split("-")[:2]) + ".dist-info"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        licence = wheel.read(f"{about}/licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_bytes()
    strangers = [n for n in names if not n.startswith((f"{CORE}/", "pocketflow_trace/", about))]
    assert strangers == []
    code = {Path(name).suffix for name in names if not name.startswith(about)}
    assert code == {".py", ".typed"}


def test_who_builds_from_the_sdist_gets_the_same(dist: Path, tmp_path: Path) -> None:
    """Byte for byte, wherever and whenever it is built: anybody can check a release."""
    with tarfile.open(the_file(dist, ".tar.gz")) as sdist:
        sdist.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    again = built(source, tmp_path / "dist")
    for ending in (".whl", ".tar.gz"):
        first, second = the_file(dist, ending), the_file(again, ending)
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes(), ending


def test_the_wheel_declares_its_entry_points(dist: Path) -> None:
    """By these names, OpenTelemetry and the shell find it."""
    with zipfile.ZipFile(the_file(dist, ".whl")) as wheel:
        [name] = [n for n in wheel.namelist() if n.endswith("entry_points.txt")]
        text = wheel.read(name).decode()
    assert "[opentelemetry_instrumentor]\npocketflow = " in text
    assert "[opentelemetry_resource_detector]\npocketflow = " in text
    assert "pocketflow-trace = pocketflow_trace.cli:main" in text


def test_the_sdist_has_what_building_and_testing_needs(dist: Path) -> None:
    """A distributor starts from it."""
    with tarfile.open(the_file(dist, ".tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for expected in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"):
        assert expected in names
    assert f"src/{CORE}/__init__.py" in names
    assert "tests/packaging/test_distribution.py" in names
    assert {"SECURITY.md", "requirements/dev.txt", "requirements/oldest.in"} <= names
    stack = ("docker-compose.yml", "collector-config.yaml", "deploy/builder/go.sum")
    assert {*stack, "scripts/stack_binaries.py", "docs/production.md"} <= names


@pytest.fixture(scope="module")
def bare_python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel without extras, and PocketFlow."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wheel = str(the_file(dist, ".whl"))
    command = [str(python), "-m", "pip", "install", "--quiet", wheel, "pocketflow"]
    subprocess.run(command, check=True, capture_output=True)
    return python


def test_without_extras_it_instruments_with_neither_sdk_nor_terminal(
    bare_python: Path, tmp_path: Path
) -> None:
    """The core needs only the API, and loads nothing else."""
    (tmp_path / "main.py").write_text(PROGRAM, encoding="utf-8")
    command = [str(bare_python), "main.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("traced\n", 0), done.stderr


def test_without_extras_the_command_says_what_to_install(bare_python: Path, tmp_path: Path) -> None:
    """It neither fails with an import error nor runs the program half traced."""
    (tmp_path / "main.py").write_text("print('ran')", encoding="utf-8")
    command = [str(bare_python.parent / "pocketflow-trace"), "run", "main.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "pip install 'opentelemetry-instrumentation-pocketflow[terminal]'" in done.stderr

"""What is found out about the process and its repository, with real git and real providers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import venv
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider

from opentelemetry.instrumentation.pocketflow import resource as resource_module
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from opentelemetry.instrumentation.pocketflow.resource import (
    complete_resource,
    resource_attributes,
)
from opentelemetry.instrumentation.pocketflow.version import __version__

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

GIT = shutil.which("git") or ""

pytestmark = pytest.mark.skipif(not GIT, reason="git is not installed")

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script as git")

IDENTITY = {
    **{f"GIT_{role}_NAME": "Ada" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "ada@example.com" for role in ("AUTHOR", "COMMITTER")},
}

PLANTED = "hunter" + "2"


@pytest.fixture(autouse=True)
def _only_our_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's configuration nor what another test learned plays a part."""
    monkeypatch.setattr(resource_module, "_known_repositories", {})
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **IDENTITY}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def _git(directory: Path, *arguments: str) -> str:
    options = ("-c", "protocol.file.allow=always")
    done = subprocess.run(
        [GIT, *options, *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _commit(directory: Path, name: str = "main.py") -> str:
    (directory / name).write_text("print()\n")
    _git(directory, "add", ".")
    _git(directory, "commit", "-q", "-m", f"add {name}")
    return _git(directory, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository on branch `main` with one commit and no remote."""
    directory = tmp_path / "project"
    directory.mkdir()
    _git(directory, "init", "-q", "-b", "main")
    _commit(directory)
    return directory


def _facts(directory: Path, *, git_timeout: float = 20.0) -> dict[str, AttributeValue]:
    """The attributes of a program in `directory`; slow machines get a long time."""
    return resource_attributes(Redactor(), directory=directory, git_timeout=git_timeout)


def _vcs(attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {
        key: value
        for key, value in attributes.items()
        if key.startswith(("vcs.", "pocketflow.vcs."))
    }


# --- git ------------------------------------------------------------------------------------


def test_a_clean_branch_is_described(repository: Path) -> None:
    """Branch, commit and name are there, and nothing is dirty."""
    assert _vcs(_facts(repository)) == {
        "vcs.ref.head.name": "main",
        "vcs.ref.head.type": "branch",
        "vcs.ref.head.revision": _git(repository, "rev-parse", "HEAD"),
        "vcs.repository.name": "project",
        "pocketflow.vcs.dirty": False,
    }


def test_a_directory_inside_the_repository_will_do(repository: Path) -> None:
    """Scripts seldom lie at the root."""
    inner = repository / "src" / "app"
    inner.mkdir(parents=True)

    assert _facts(inner)["vcs.repository.name"] == "project"


def test_a_changed_file_is_dirty(repository: Path) -> None:
    """The commit alone does not say what ran."""
    (repository / "main.py").write_text("changed\n")

    assert _facts(repository)["pocketflow.vcs.dirty"] is True


def test_an_untracked_file_is_dirty_even_if_status_hides_it(repository: Path) -> None:
    """A setting of the user's does not hide a module that is in no commit."""
    _git(repository, "config", "status.showUntrackedFiles", "no")
    (repository / "new.py").write_text("")

    assert _facts(repository)["pocketflow.vcs.dirty"] is True


def test_an_ignored_file_is_not_dirty(repository: Path) -> None:
    """Caches and virtual environments are no change."""
    (repository / ".gitignore").write_text("*.log\n")
    _commit(repository)
    (repository / "run.log").write_text("")

    assert _facts(repository)["pocketflow.vcs.dirty"] is False


def test_a_branch_name_with_slashes_is_kept_whole(repository: Path) -> None:
    """Only git's own prefix goes."""
    _git(repository, "switch", "-q", "-c", "feature/heads/x")

    assert _facts(repository)["vcs.ref.head.name"] == "feature/heads/x"


def test_a_file_called_head_confuses_nobody(repository: Path) -> None:
    """A name that is a commit and a file is taken for the commit."""
    commit = _commit(repository, "HEAD")

    assert _facts(repository)["vcs.ref.head.revision"] == commit


def test_a_detached_commit_has_no_name(repository: Path) -> None:
    """A build server's checkout still tells its commit."""
    _git(repository, "switch", "-q", "--detach")

    facts = _facts(repository)
    assert facts["vcs.ref.head.revision"] == _git(repository, "rev-parse", "HEAD")
    assert "vcs.ref.head.name" not in facts
    assert "vcs.ref.head.type" not in facts


def test_a_detached_commit_with_a_tag_has_its_name(repository: Path) -> None:
    """A release is named by its tag."""
    _git(repository, "tag", "v1.2")
    _git(repository, "switch", "-q", "--detach")

    facts = _facts(repository)
    assert (facts["vcs.ref.head.name"], facts["vcs.ref.head.type"]) == ("v1.2", "tag")


def test_a_repository_without_commits_has_only_a_branch(tmp_path: Path) -> None:
    """The first run of a new project comes before its first commit."""
    _git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "main.py").write_text("")

    assert _vcs(_facts(tmp_path)) == {
        "vcs.ref.head.name": "trunk",
        "vcs.ref.head.type": "branch",
        "vcs.repository.name": tmp_path.name,
        "pocketflow.vcs.dirty": True,
    }


def test_a_worktree_has_its_branch_and_its_repositorys_name(repository: Path) -> None:
    """A worktree's directory may have any name."""
    worktree = repository.parent / "elsewhere"
    _git(repository, "worktree", "add", "-q", "-b", "side", str(worktree))

    facts = _facts(worktree)
    assert (facts["vcs.ref.head.name"], facts["vcs.repository.name"]) == ("side", "project")


def test_a_submodule_is_a_repository_of_its_own(repository: Path, tmp_path: Path) -> None:
    """Code in a submodule is described by the submodule."""
    outer = tmp_path / "outer"
    outer.mkdir()
    _git(outer, "init", "-q", "-b", "outer-branch")
    _git(outer, "submodule", "--quiet", "add", str(repository), "inner")

    facts = _facts(outer / "inner")
    assert facts["vcs.ref.head.revision"] == _git(repository, "rev-parse", "HEAD")
    assert facts["vcs.repository.url.full"] == str(repository)
    assert facts["vcs.repository.name"] == "project"


REMOTES = {
    "https": ("https://example.com/org/repo.git", "https://example.com/org/repo"),
    "user and token": (
        f"https://ada:{PLANTED}@example.com/org/repo.git",
        "https://example.com/org/repo",
    ),
    "token alone": (f"https://{PLANTED}@example.com:8443/repo", "https://example.com:8443/repo"),
    "token in the query": (
        f"https://example.com/repo?private_token={PLANTED}#x",
        "https://example.com/repo",
    ),
    "scp form": ("git@example.com:org/repo.git", "https://example.com/org/repo"),
    "ssh": ("ssh://git@example.com:2222/org/repo.git", "https://example.com/org/repo"),
    "ssh as somebody": ("ada@example.com:repo.git", "ssh://example.com/repo.git"),
    "ssh with password": (f"ssh://ada:{PLANTED}@example.com/repo", "ssh://example.com/repo"),
    "ssh alias": ("work:org/repo.git", "ssh://work/org/repo.git"),
    "local path": ("/srv/git/repo.git", "/srv/git/repo.git"),
    "file": ("file:///srv/git/repo.git", "file:///srv/git/repo.git"),
    "drive": (r"C:\git\repo.git", r"C:\git\repo.git"),
}


@pytest.mark.parametrize(("remote", "shown"), REMOTES.values(), ids=REMOTES.keys())
def test_a_remote_is_shown_without_credentials(repository: Path, remote: str, shown: str) -> None:
    """The URL leads to the repository, and lets nobody in."""
    _git(repository, "remote", "add", "origin", remote)

    facts = _facts(repository)
    assert facts["vcs.repository.url.full"] == shown
    assert facts["vcs.repository.name"] == "repo"
    assert PLANTED not in str(facts)


def test_a_credential_that_a_rewrite_adds_is_not_shown(repository: Path) -> None:
    """Build servers rewrite URLs so that they carry a token."""
    base = f"https://x-access-token:{PLANTED}@example.com/"
    _git(repository, "config", f"url.{base}.insteadOf", "https://example.com/")
    _git(repository, "remote", "add", "origin", "https://example.com/org/repo.git")

    assert _facts(repository)["vcs.repository.url.full"] == "https://example.com/org/repo"


def test_a_remote_helper_is_not_shown(repository: Path) -> None:
    """Its address may be a command line."""
    _git(repository, "remote", "add", "origin", f"ext::ssh -o Password={PLANTED} host")

    assert PLANTED not in str(_facts(repository))


def test_origin_goes_before_other_remotes(repository: Path) -> None:
    """Remotes are listed by name, and a fork's upstream is not where the commit is."""
    _git(repository, "remote", "add", "alpha", "https://example.com/a/alpha")
    assert _facts(repository)["vcs.repository.name"] == "alpha"

    resource_module._known_repositories.clear()
    _git(repository, "remote", "add", "origin", "https://example.com/o/omega")
    assert _facts(repository)["vcs.repository.name"] == "omega"


def test_a_directory_outside_any_repository_gives_nothing(tmp_path: Path) -> None:
    """Everything else is still there."""
    facts = _facts(tmp_path)

    assert _vcs(facts) == {}
    assert facts["process.pid"] == os.getpid()


def test_no_git_binary_gives_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without git is no error."""
    monkeypatch.setenv("PATH", str(repository / "nowhere"))

    assert _vcs(_facts(repository)) == {}


def test_a_time_of_zero_turns_git_off(repository: Path) -> None:
    """Then nothing is started, and a later question is still answered."""
    assert _vcs(_facts(repository, git_timeout=0)) == {}
    assert _facts(repository)["vcs.repository.name"] == "project"


def test_a_git_variable_of_a_hook_does_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program started by a git hook is described by its own repository."""
    other = tmp_path / "other"
    other.mkdir()
    _git(other, "init", "-q", "-b", "wrong")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))

    assert _facts(repository)["vcs.ref.head.name"] == "main"


def test_nothing_is_written_into_the_repository(repository: Path) -> None:
    """Looking leaves the index as it was, so it disturbs no git command of the user."""
    index = repository / ".git" / "index"
    os.utime(repository / "main.py", (1, 1))  # as if status had to refresh the index
    before = index.read_bytes()

    _facts(repository)
    assert index.read_bytes() == before


def _fake_git(directory: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a shell script named git first on the PATH; `$REAL` is the true one."""
    programs = directory / "bin"
    programs.mkdir()
    script = programs / "git"
    script.write_text(f"#!/bin/sh\nREAL={GIT}\n{textwrap.dedent(body)}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


@on_posix
def test_git_runs_once_for_a_directory(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK alone asks a detector several times."""
    log = tmp_path / "log"
    _fake_git(tmp_path, monkeypatch, f'echo "$*" >> {log}\nexec "$REAL" "$@"')

    first = _facts(repository)
    commands = log.read_text()
    assert _facts(repository) == first
    assert log.read_text() == commands
    assert len(commands.splitlines()) <= 4


@on_posix
def test_a_hanging_git_is_killed_with_its_children(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead file server delays a start by the time-out, and leaves nothing running."""
    pids = tmp_path / "pids"
    _fake_git(tmp_path, monkeypatch, f"sleep 600 &\necho $! $$ > {pids}\nwait")

    begin = time.monotonic()
    facts = _facts(repository, git_timeout=0.5)
    assert time.monotonic() - begin < 10
    assert _vcs(facts) == {}
    assert [pid for pid in pids.read_text().split() if _runs(int(pid))] == []


def _runs(pid: int) -> bool:
    """Whether a process is alive, once the killed ones had the time to go."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "ZX":
            return False
    return True


@on_posix
def test_a_slow_status_costs_only_itself(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a giant repository, branch and commit are known and dirty is not."""
    _fake_git(
        tmp_path, monkeypatch, 'case "$*" in *status*) exec sleep 600;; esac\nexec "$REAL" "$@"'
    )

    facts = _facts(repository, git_timeout=2.0)
    assert facts["vcs.ref.head.name"] == "main"
    assert facts["vcs.ref.head.revision"] == _git(repository, "rev-parse", "HEAD")
    assert "pocketflow.vcs.dirty" not in facts


@on_posix
def test_endless_output_is_not_read_to_its_end(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status of any length is answered by its first byte."""
    _fake_git(
        tmp_path,
        monkeypatch,
        """case "$*" in *status*) while :; do echo "? file"; done;; esac
        exec "$REAL" "$@" """,
    )

    assert _facts(repository)["pocketflow.vcs.dirty"] is True


@on_posix
def test_a_failing_status_is_not_taken_for_clean(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No output means clean only if git said so."""
    _fake_git(tmp_path, monkeypatch, 'case "$*" in *status*) exit 128;; esac\nexec "$REAL" "$@"')

    assert "pocketflow.vcs.dirty" not in _facts(repository)


@on_posix
def test_a_git_that_cannot_be_run_gives_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation is no error either."""
    _fake_git(tmp_path, monkeypatch, "")
    (tmp_path / "bin" / "git").write_bytes(b"\x7fELF no program")

    assert _vcs(_facts(repository)) == {}


def test_a_git_in_the_working_directory_is_not_run(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout must not bring its own git."""
    shutil.copy(GIT, repository / Path(GIT).name)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", ".")

    assert _vcs(_facts(repository)) == {}


# --- Which directory ------------------------------------------------------------------------

PRINT_FACTS = """
import json
from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from opentelemetry.instrumentation.pocketflow.resource import resource_attributes
print(json.dumps(resource_attributes(Redactor(), git_timeout=20.0)))
"""


def _run(*arguments: str, cwd: Path, **environment: str) -> Any:
    """Run Python and read the JSON on the last line that it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_scripts_repository_goes_before_the_working_directorys(
    repository: Path, tmp_path: Path
) -> None:
    """It is the program that is described, not the place it was started from."""
    other = tmp_path / "other"
    other.mkdir()
    _git(other, "init", "-q")
    (repository / "main.py").write_text(PRINT_FACTS)

    facts = _run(str(repository / "main.py"), cwd=other)
    assert facts["vcs.repository.name"] == "project"
    assert facts["process.working_directory"] == str(other)


def test_a_link_to_a_script_is_followed(repository: Path, tmp_path: Path) -> None:
    """Python looks for the script's modules behind the link, too."""
    (repository / "main.py").write_text(PRINT_FACTS)
    (tmp_path / "link.py").symlink_to(repository / "main.py")

    assert _run("link.py", cwd=tmp_path)["vcs.repository.name"] == "project"


@pytest.mark.parametrize("arguments", [("-c", PRINT_FACTS), ("-m", "tool")])
def test_without_a_script_the_working_directory_counts(
    arguments: tuple[str, str], repository: Path
) -> None:
    """A module or a command is run from where the project is."""
    (repository / "tool.py").write_text(PRINT_FACTS)

    assert _run(*arguments, cwd=repository)["vcs.repository.name"] == "project"


def test_an_installed_program_is_not_the_users_code(repository: Path, tmp_path: Path) -> None:
    """A server's console script may lie in a repository that has nothing to do with the code."""
    home = tmp_path / "python"
    venv.create(home, symlinks=sys.platform != "win32")
    _git(home, "init", "-q")
    programs = home / ("Scripts" if sys.platform == "win32" else "bin")
    server = programs / "server.py"
    server.write_text(PRINT_FACTS)

    done = subprocess.run(
        [programs / "python", server],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    assert json.loads(done.stdout)["vcs.repository.name"] == "project"


def test_at_zero_code_start_up_the_script_is_known_from_the_command_line(
    repository: Path, tmp_path: Path
) -> None:
    """`sitecustomize` runs before `__main__` has a file."""
    early = tmp_path / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text(PRINT_FACTS)
    (repository / "main.py").write_text("")

    facts = _run(str(repository / "main.py"), cwd=tmp_path, PYTHONPATH=str(early))
    assert facts["vcs.repository.name"] == "project"


# --- The process ----------------------------------------------------------------------------


def test_the_process_and_its_system_are_described(tmp_path: Path) -> None:
    """These need no git."""
    facts = _facts(tmp_path)

    assert facts["process.pid"] == os.getpid()
    assert facts["process.working_directory"] == str(Path.cwd())
    assert facts["process.executable.path"] == sys.executable
    assert facts["process.executable.name"] == Path(sys.executable).name
    assert facts["process.command"] == sys.orig_argv[0]
    assert facts["process.command_args"] == sys.orig_argv
    assert facts["process.runtime.name"] == sys.implementation.name
    assert facts["process.runtime.description"] == sys.version
    assert facts["os.type"] in {"linux", "darwin", "windows"}
    assert all(facts[key] for key in ("process.owner", "os.name", "os.version", "os.description"))
    assert facts["pocketflow.instrumentation.version"] == __version__


def test_a_command_line_is_redacted(tmp_path: Path) -> None:
    """A key on the command line is the user's, not the backend's."""
    script = tmp_path / "main.py"
    script.write_text(PRINT_FACTS)

    arguments = ("--api-key", PLANTED, f"--token={PLANTED}", "--model", "m")
    facts = _run(str(script), *arguments, cwd=tmp_path)
    shown = ["--api-key", REDACTED, f"--token={REDACTED}", "--model", "m"]
    assert facts["process.command_args"] == [sys.executable, str(script), *shown]


def test_a_long_command_line_is_cut(tmp_path: Path) -> None:
    """A resource goes along with every batch of spans."""
    script = tmp_path / "main.py"
    script.write_text(PRINT_FACTS)

    arguments = _run(str(script), "x" * 5000, *("y" * 100), cwd=tmp_path)["process.command_args"]
    assert len(arguments) == 65
    assert arguments[-1] == "… (39 more)"
    assert max(map(len, arguments)) == 512


@on_posix
def test_an_argument_that_is_no_unicode_can_still_be_exported(tmp_path: Path) -> None:
    """A file name may hold any bytes; an exporter must not fail on it."""
    script = tmp_path / "main.py"
    script.write_text(PRINT_FACTS)

    facts = _run(str(script), os.fsdecode(b"caf\xe9"), cwd=tmp_path)
    assert facts["process.command_args"][-1] == "caf?"


def test_a_working_directory_that_is_gone_is_absent(tmp_path: Path) -> None:
    """Someone may clean up while a program runs."""
    imports, _, show = PRINT_FACTS.rpartition("print")
    leave = "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\n"
    code = f"{imports}{leave}print{show}"

    facts = _run("-c", code, cwd=tmp_path)
    assert "process.working_directory" not in facts
    assert facts["process.runtime.name"] == sys.implementation.name


@on_posix
def test_a_user_without_a_name_is_absent(tmp_path: Path) -> None:
    """Containers run as numbers."""
    code = f"import pwd\npwd.getpwuid = {{}}.__getitem__\n{PRINT_FACTS}"
    names = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")

    assert "process.owner" not in _run("-c", code, cwd=tmp_path, **names)


def test_the_installed_framework_has_a_version(tmp_path: Path) -> None:
    """Whether it is imported yet or not."""
    expected = version("pocketflow")

    assert _run("-c", PRINT_FACTS, cwd=tmp_path)["pocketflow.version"] == expected
    imported = f"import pocketflow\n{PRINT_FACTS}"
    assert _run("-c", imported, cwd=tmp_path)["pocketflow.version"] == expected


@pytest.mark.parametrize("early", ["", "import pocketflow\n"])
def test_a_copy_of_the_framework_has_none(tmp_path: Path, early: str) -> None:
    """The installed version says nothing of a file in the project."""
    (tmp_path / "pocketflow.py").write_text("")
    (tmp_path / "main.py").write_text(early + PRINT_FACTS)

    assert "pocketflow.version" not in _run(str(tmp_path / "main.py"), cwd=tmp_path.parent)


def test_a_framework_under_another_name_has_none(tmp_path: Path) -> None:
    """With `module=` a copy inside a package is traced."""
    facts = resource_attributes(Redactor(), modules=["app.flow"], directory=tmp_path)

    assert "pocketflow.version" not in facts


# --- Providers ------------------------------------------------------------------------------


def test_a_finished_provider_is_completed_for_tracers_that_exist() -> None:
    """Spans of a tracer made earlier carry the new attributes."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}, "https://example.com/1"))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("earlier")

    assert complete_resource(provider, {"vcs.repository.name": "r", "n": 1}) == {}
    tracer.start_span("s").end()
    assert dict(exporter.get_finished_spans()[0].resource.attributes) == {
        "service.name": "shop",
        "vcs.repository.name": "r",
        "n": 1,
    }


def test_what_a_provider_has_already_stays() -> None:
    """Whoever named something knew better."""
    provider = TracerProvider(resource=Resource({"vcs.ref.head.name": "theirs"}))

    assert complete_resource(provider, {"vcs.ref.head.name": "ours"}) == {}
    assert provider.resource.attributes["vcs.ref.head.name"] == "theirs"


def test_completing_twice_changes_nothing() -> None:
    """Somebody may instrument, uninstrument and instrument again."""
    provider = TracerProvider(resource=Resource({}))
    complete_resource(provider, {"a": 1})
    completed = provider.resource

    assert complete_resource(provider, {"a": 2}) == {}
    assert provider.resource is completed


def test_a_meter_provider_is_completed() -> None:
    """Metrics are told apart by the same attributes."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=Resource({"service.name": "shop"}))
    counter = provider.get_meter("earlier").create_counter("c")

    assert complete_resource(provider, {"a": 1, "service.name": "ours"}) == {}
    counter.add(1)
    data = reader.get_metrics_data()
    assert data is not None
    expected = {"service.name": "shop", "a": 1}
    assert dict(data.resource_metrics[0].resource.attributes) == expected


def test_a_logger_provider_is_completed() -> None:
    """So are logs."""
    provider = LoggerProvider(resource=Resource({}))

    assert complete_resource(provider, {"a": 1}) == {}
    assert dict(provider.resource.attributes) == {"a": 1}


class _ProviderOfAnOldSdk:
    """A provider as the SDK's were before 1.44."""

    resource = Resource({"there": 1})


@pytest.mark.parametrize(
    "provider", [ProxyTracerProvider(), NoOpTracerProvider(), object(), None], ids=type
)
def test_a_provider_without_a_resource_returns_everything(provider: object) -> None:
    """The caller then puts the attributes on a span."""
    assert complete_resource(provider, {"a": 1}) == {"a": 1}


def test_a_provider_that_cannot_be_changed_returns_what_it_lacks() -> None:
    """What its resource has need not go on a span."""
    provider = _ProviderOfAnOldSdk()

    assert complete_resource(provider, {"a": 1, "there": 2}) == {"a": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_pid(tmp_path: Path) -> None:
    """A worker's spans must not seem to come from its parent."""
    code = """
        import json, os
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.instrumentation.pocketflow.resource import complete_resource
        provider = TracerProvider(resource=Resource({}))
        complete_resource(provider, {"process.pid": os.getpid(), "a": 1})
        child = os.fork()
        if child == 0:
            print(json.dumps([os.getpid(), dict(provider.resource.attributes)]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """
    pid, attributes = _run("-c", textwrap.dedent(code), cwd=tmp_path)
    assert (attributes["process.pid"], attributes["a"]) == (pid, 1)


PRINT_COMPLETED = """
import json
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from opentelemetry.instrumentation.pocketflow.resource import (
    complete_resource, resource_attributes
)
provider = TracerProvider()
left = complete_resource(provider, resource_attributes(Redactor(), git_timeout=20.0))
assert left == {}, left
print(json.dumps(dict(provider.resource.attributes)))
"""


def test_the_environment_wins_over_what_was_found(repository: Path) -> None:
    """`OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` are the user's word."""
    attributes = _run(
        "-c",
        PRINT_COMPLETED,
        cwd=repository,
        OTEL_RESOURCE_ATTRIBUTES="vcs.ref.head.name=theirs,process.owner=nobody",
        OTEL_SERVICE_NAME="shop",
    )

    assert attributes["vcs.ref.head.name"] == "theirs"
    assert attributes["process.owner"] == "nobody"
    assert attributes["service.name"] == "shop"
    assert attributes["vcs.repository.name"] == "project"


PRINT_DETECTED = """
import json
from opentelemetry.sdk.trace import TracerProvider
print(json.dumps(dict(TracerProvider().resource.attributes)))
"""


def test_the_sdk_finds_the_detector_by_its_name(repository: Path) -> None:
    """One environment variable brings the attributes to a program that runs no flow."""
    attributes = _run(
        "-c",
        PRINT_DETECTED,
        cwd=repository,
        OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="pocketflow",
        OTEL_RESOURCE_ATTRIBUTES="vcs.repository.name=theirs",
        OTEL_SERVICE_NAME="shop",
    )

    assert attributes["vcs.ref.head.name"] == "main"
    assert attributes["vcs.repository.name"] == "theirs"
    assert attributes["service.name"] == "shop"
    assert attributes["pocketflow.instrumentation.version"] == __version__


def test_the_core_does_not_import_the_sdk(tmp_path: Path) -> None:
    """Programs without an SDK pay nothing for it."""
    code = f"{PRINT_FACTS}\nimport sys\nprint(json.dumps(['opentelemetry.sdk' in sys.modules]))"

    assert _run("-c", code, cwd=tmp_path) == [False]

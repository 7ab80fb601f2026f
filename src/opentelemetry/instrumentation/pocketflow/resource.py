"""What is known of the process that runs a flow: its code, its command line, its machine.

Facts only, without the SDK: `resource_attributes` gathers them, `complete_resource` adds them to
a provider that somebody else may have built.
"""

from __future__ import annotations

import getpass
import importlib.machinery
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection

    from opentelemetry.util.types import AttributeValue

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor

_FRAMEWORK: Final = "pocketflow"

_MAX_ARGS: Final = 64
"""Arguments of a command line that are kept."""

_MAX_CHARS: Final = 512
"""Characters of one string that are kept."""


def resource_attributes(
    redactor: Redactor,
    *,
    modules: Collection[str] = (_FRAMEWORK,),
    directory: str | os.PathLike[str] | None = None,
    git_timeout: float = 1.0,
) -> dict[str, AttributeValue]:
    """Collect the attributes that `semconv` lists for the resource.

    What cannot be found out is absent; nothing is raised for it.

    Args:
        redactor: Every string passes through it.
        modules: Names of the modules that hold the framework. Its version is that of the
            `pocketflow` distribution, and absent where these are copies of the file.
        directory: Where the program's code is. None: where the main script is, if that is in a
            repository and no part of the Python installation (a console script, ``python -m``
            of an installed package); else the working directory.
        git_timeout: Seconds for all git commands together; 0 for no git. git runs once in a
            process for a directory, whatever comes of it.

    Returns:
        Attribute names and values: strings, ints, bools and lists of strings.
    """
    attributes: dict[str, AttributeValue] = {
        **_process(redactor),
        **_runtime(),
        **_os(),
        **_versions(modules),
    }
    if git_timeout > 0:
        attributes |= _repository(directory, git_timeout)
    return {key: _presentable(value, redactor) for key, value in attributes.items() if value != ""}


def complete_resource(
    provider: object, attributes: Mapping[str, AttributeValue]
) -> dict[str, AttributeValue]:
    """Add to a provider's resource the attributes that it lacks.

    A key that is there already keeps its value, wherever it came from, such as
    `OTEL_RESOURCE_ATTRIBUTES`. Tracers, meters and loggers made earlier see the new resource.

    The SDK has no public way to do it. From 1.44 its providers have `_update_resource`; other
    providers, older ones and proxies are left alone.

    Args:
        provider: A tracer, meter or logger provider.
        attributes: Names and values to add.

    Returns:
        The attributes that the provider's resource still lacks.
    """
    lacking = _lacking(provider, attributes)
    update = getattr(provider, _UPDATE, None)
    resource = _resource_of(provider)
    if not lacking or update is None or resource is None:
        return lacking
    update(_like(resource, lacking))
    still_lacking = _lacking(provider, lacking)
    if semconv.PROCESS_PID in lacking.keys() - still_lacking.keys():
        _renew_pid_after_fork(provider)
    return still_lacking


# --- Providers ------------------------------------------------------------------------------

_UPDATE: Final = "_update_resource"


def _resource_of(provider: object) -> Any:
    """The SDK's resource object of a provider, or None. A meter provider keeps it elsewhere."""
    holder = provider if hasattr(provider, "resource") else getattr(provider, "_sdk_config", None)
    resource = getattr(holder, "resource", None)
    return resource if isinstance(getattr(resource, "attributes", None), Mapping) else None


def _lacking(
    provider: object, attributes: Mapping[str, AttributeValue]
) -> dict[str, AttributeValue]:
    resource = _resource_of(provider)
    present: Collection[str] = () if resource is None else resource.attributes
    return {key: value for key, value in attributes.items() if key not in present}


def _like(resource: Any, attributes: Mapping[str, AttributeValue]) -> Any:
    """A resource of the same class, without a schema: those with different ones do not merge."""
    return resource.__class__(attributes)


def _renew_pid_after_fork(provider: object) -> None:
    """Keep `process.pid` true in a forked child, as the SDK does with what it detects itself."""
    if not hasattr(os, "register_at_fork"):
        return
    reference = weakref.ref(provider)

    def renew() -> None:
        living = reference()
        if living is not None:
            renewed = _like(_resource_of(living), {semconv.PROCESS_PID: os.getpid()})
            getattr(living, _UPDATE)(renewed)

    # Hooks run in the order they were registered, so after the one with which the provider
    # renews its locks.
    os.register_at_fork(after_in_child=renew)


# --- Values ---------------------------------------------------------------------------------


def _presentable(value: AttributeValue, redactor: Redactor) -> AttributeValue:
    if isinstance(value, str):
        return _bounded(redactor.text(value))
    if isinstance(value, list):
        return [_bounded(item) for item in value if isinstance(item, str)]
    return value


def _bounded(text: str) -> str:
    """A string that is short and can be encoded: a path may hold bytes that are no UTF-8."""
    cut = text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"
    return cut.encode("utf-8", "replace").decode("utf-8")


# --- The process ----------------------------------------------------------------------------


def _process(redactor: Redactor) -> dict[str, AttributeValue]:
    executable = sys.executable or ""
    command = sys.orig_argv[:1] or [""]
    return {
        semconv.PROCESS_PID: os.getpid(),
        semconv.PROCESS_OWNER: _owner(),
        semconv.PROCESS_WORKING_DIRECTORY: _working_directory(),
        semconv.PROCESS_EXECUTABLE_NAME: Path(executable).name,
        semconv.PROCESS_EXECUTABLE_PATH: executable,
        semconv.PROCESS_COMMAND: command[0],
        semconv.PROCESS_COMMAND_ARGS: _command_line(redactor),
    }


def _command_line(redactor: Redactor) -> list[str]:
    argv = redactor.args(sys.orig_argv[:_MAX_ARGS])
    more = len(sys.orig_argv) - len(argv)
    return [*argv, f"… ({more} more)"] if more else argv


def _owner() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user id without a name, as containers have
        return ""


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # removed under the process
        return ""


def _runtime() -> dict[str, AttributeValue]:
    return {
        semconv.PROCESS_RUNTIME_NAME: sys.implementation.name,
        semconv.PROCESS_RUNTIME_VERSION: platform.python_version(),
        semconv.PROCESS_RUNTIME_DESCRIPTION: sys.version,
    }


def _os() -> dict[str, AttributeValue]:
    system = platform.system()
    name, version, description = _distribution() if system == "Linux" else _release(system)
    return {
        semconv.OS_TYPE: "solaris" if system == "SunOS" else system.lower(),
        semconv.OS_NAME: name,
        semconv.OS_VERSION: version,
        semconv.OS_DESCRIPTION: description,
    }


def _distribution() -> tuple[str, str, str]:
    """Name, version and description of a Linux distribution; of the kernel where it has none."""
    try:
        facts = platform.freedesktop_os_release()
    except OSError:
        return _release("Linux")
    version = facts.get("VERSION_ID") or platform.release()
    return facts["NAME"], version, facts["PRETTY_NAME"]


def _release(system: str) -> tuple[str, str, str]:
    """Name, version and description of any other system."""
    if system == "Darwin":
        version = platform.mac_ver()[0]
        return "macOS", version, f"macOS {version}"
    # The release of Windows is a name ("11"), its version a number.
    version = platform.version() if system in {"Windows", "SunOS"} else platform.release()
    return system, version, f"{system} {platform.release()}"


# --- Versions -------------------------------------------------------------------------------


def _versions(modules: Collection[str]) -> dict[str, AttributeValue]:
    return {
        semconv.INSTRUMENTATION_VERSION: __version__,
        semconv.POCKETFLOW_VERSION: _framework_version() if _FRAMEWORK in modules else "",
    }


def _framework_version() -> str:
    """Version of the installed framework; empty where a copy of its file is imported instead."""
    try:
        distribution = importlib.metadata.distribution(_FRAMEWORK)
    except importlib.metadata.PackageNotFoundError:
        return ""
    file = _framework_file()
    home = Path(str(distribution.locate_file("")))
    is_installed = file is None or _is_within(file, home) or _is_editable(distribution)
    return distribution.version if is_installed else ""


def _framework_file() -> Path | None:
    """The file that ``import pocketflow`` gives the program, found without importing it."""
    module = sys.modules.get(_FRAMEWORK)
    if module is not None:
        file = getattr(module, "__file__", None)
    else:
        # At zero-code start-up the first entry is not on the path yet.
        first = str(_script_directory() or _working_directory())
        spec = importlib.machinery.PathFinder.find_spec(_FRAMEWORK, [first, *sys.path])
        file = spec.origin if spec is not None else None
    return Path(file) if file else None


def _is_editable(distribution: importlib.metadata.Distribution) -> bool:
    return '"editable": true' in (distribution.read_text("direct_url.json") or "")


# --- Where the program is -------------------------------------------------------------------


def _script_directory() -> Path | None:
    """Directory of the main script, links resolved; None for ``-m``, ``-c`` and no script.

    `__main__` has no file yet when a zero-code start-up runs; the command line has it then.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv[:1] or [""])[0]
    if not isinstance(file, str) or not file or file.startswith("-"):
        return None
    script = _real(file)
    # A directory can be a script, and so can a zipped program, with its main file inside.
    places = () if script is None else (script, *script.parents)
    return next(filter(os.path.isdir, places), None)


def _real(path: str | os.PathLike[str]) -> Path | None:
    """An absolute path without links; None for what can be no path."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return None


def _is_within(path: Path, directory: Path) -> bool:
    here, there = _real(path), _real(directory)
    return here is not None and there is not None and here.is_relative_to(there)


def _is_part_of_python(directory: Path) -> bool:
    """Whether installed programs and packages are there, which may be in a repository too."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    return any(
        _is_within(directory, Path(sysconfig.get_path(name, scheme)))
        for scheme in schemes
        for name in ("scripts", "stdlib", "purelib", "platlib")
    )


def _repository_root(directory: Path) -> Path | None:
    """The nearest directory with a `.git`, which is a file in a worktree or a submodule."""
    places = (directory, *directory.parents)
    # Not Path.exists(), which raises where a directory may not be read.
    return next((place for place in places if os.path.lexists(place / ".git")), None)


def _repository(
    directory: str | os.PathLike[str] | None, git_timeout: float
) -> dict[str, AttributeValue]:
    root = next(filter(None, map(_repository_root, _program_directories(directory))), None)
    if root is None:
        return {}
    key = str(root)
    if key not in _known_repositories:
        _known_repositories[key] = _ask_git(root, time.monotonic() + git_timeout)
    return dict(_known_repositories[key])


def _program_directories(directory: str | os.PathLike[str] | None) -> list[Path]:
    if directory is not None:
        given = _real(directory)
        return [given] if given else []
    script = _script_directory()
    places = [] if script is None or _is_part_of_python(script) else [script]
    working_directory = _working_directory()
    return [*places, Path(working_directory)] if working_directory else places


_known_repositories: Final[dict[str, dict[str, AttributeValue]]] = {}
"""What git said, by root directory. Two threads may ask at once; then the last answer stays."""


# --- git ------------------------------------------------------------------------------------

_MAX_OUTPUT: Final = 65_536
"""Bytes of a command's output that are read."""

_GIT_OPTIONS: Final = ("--no-optional-locks", "--no-pager", "-c", "core.fsmonitor=false")
"""git must write nothing, start no daemon and ask nobody."""

_GIT_ENVIRONMENT: Final = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}

_GIT_PLACES: Final = frozenset(
    {"GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY"}
    | {"GIT_PREFIX", "GIT_WORK_TREE"}
)
"""Variables that name another repository, as git sets them while it runs a hook."""


class _Git(NamedTuple):
    """The git program, asked about one directory until a deadline."""

    program: str
    directory: Path
    deadline: float
    """On the monotonic clock."""

    def ask(self, *arguments: str, limit: int = _MAX_OUTPUT) -> str | None:
        """The first `limit` bytes that a command prints; None if it fails or takes too long."""
        if self._remaining() <= 0:
            return None
        try:
            process = self._start(arguments)
        except (OSError, ValueError):  # no such program, no such directory, not allowed
            return None
        try:
            output = _read(process, limit, self._remaining())
            if output is None or (len(output) < limit and not self._succeeded(process)):
                return None
            return output.decode("utf-8", "replace").rstrip("\r\n")
        finally:
            _end(process)

    def _remaining(self) -> float:
        return self.deadline - time.monotonic()

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if key not in _GIT_PLACES}
        return subprocess.Popen(  # noqa: S603 - the program was found on the PATH, the arguments are ours
            [self.program, *_GIT_OPTIONS, *arguments],
            cwd=self.directory,
            env={**inherited, **_GIT_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A session of its own: to end its children too, and out of reach of a Ctrl-C.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def _succeeded(self, process: subprocess.Popen[bytes]) -> bool:
        try:
            return process.wait(max(0.0, self._remaining())) == 0
        except subprocess.TimeoutExpired:
            return False


def _read(process: subprocess.Popen[bytes], limit: int, timeout: float) -> bytes | None:
    """Read until `limit` bytes or the end of the output; None if that takes too long.

    A thread reads, because not every platform can wait for a pipe with a time-out, and because
    a process that git left behind may hold the pipe open.
    """
    stream = process.stdout
    if stream is None:
        return None
    outputs: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        with stream:
            outputs.put(stream.read(limit))

    try:
        threading.Thread(target=read, name="pocketflow-git", daemon=True).start()
        return outputs.get(timeout=max(0.0, timeout))
    except (Empty, RuntimeError):  # RuntimeError: no thread is to be had
        return None


_KILLED_WITHIN: Final = 0.1
"""Seconds to wait for a killed process. It may hang in the kernel, on a dead file server."""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its children, if it still runs."""
    if process.poll() is not None:
        return
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_KILLED_WITHIN)
    except (OSError, subprocess.TimeoutExpired):
        return


def _ask_git(root: Path, deadline: float) -> dict[str, AttributeValue]:
    """What git says of a repository: quick questions first, so that a slow one costs only itself.

    Returns:
        Attributes; empty without git, or if git does not trust the directory.
    """
    program = shutil.which("git")
    # A relative find is a program that lies in the working directory.
    if program is None or not Path(program).is_absolute():
        return {}
    git = _Git(program, root, deadline)
    facts = _head(git)
    if not facts:
        return {}
    return {**facts, **_remote(git), **_dirty(git)}


def _head(git: _Git) -> dict[str, AttributeValue]:
    answer = git.ask("rev-parse", "HEAD", "--symbolic-full-name", "HEAD")
    revision, _, reference = (answer or "").partition("\n")
    if not revision:  # perhaps a branch without a commit
        return _named(git.ask("symbolic-ref", "-q", "HEAD") or "")
    return {semconv.VCS_REF_HEAD_REVISION: revision, **(_named(reference) or _tagged(git))}


def _named(reference: str) -> dict[str, AttributeValue]:
    name = reference.removeprefix("refs/heads/")
    return {} if name == reference else _reference(name, "branch")


def _tagged(git: _Git) -> dict[str, AttributeValue]:
    tag = git.ask("describe", "--tags", "--exact-match", "HEAD")
    return _reference(tag, "tag") if tag else {}


def _reference(name: str, kind: str) -> dict[str, AttributeValue]:
    return {semconv.VCS_REF_HEAD_NAME: name, semconv.VCS_REF_HEAD_TYPE: kind}


def _dirty(git: _Git) -> dict[str, AttributeValue]:
    """Whether `status` prints anything: one byte tells, and spares the rest."""
    output = git.ask("status", "--porcelain=v2", "--untracked-files=normal", limit=1)
    return {} if output is None else {semconv.VCS_DIRTY: bool(output)}


def _remote(git: _Git) -> dict[str, AttributeValue]:
    listing = git.ask("remote", "-v")
    if listing is None:
        return {}
    url = _remote_url(listing)
    if not url:
        return _local_name(git)
    name = url.rstrip("/").replace("\\", "/").rpartition("/")[2]
    return {
        semconv.VCS_REPOSITORY_URL_FULL: url,
        semconv.VCS_REPOSITORY_NAME: name.removesuffix(".git"),
    }


def _local_name(git: _Git) -> dict[str, AttributeValue]:
    """Name of a repository without a remote: of its own directory, not of a worktree's."""
    answer = git.ask("rev-parse", "--git-common-dir")
    common = _real(git.directory / answer) if answer else None
    if common is None:
        return {}
    directory = common.parent if common.name == ".git" else common
    return {semconv.VCS_REPOSITORY_NAME: directory.name.removesuffix(".git")}


# --- URLs of remotes ------------------------------------------------------------------------

_REMOTE: Final = re.compile(r"^(?P<name>\S+)\t(?P<url>.+?) \(fetch\)", re.MULTILINE)

_SCP_FORM: Final = re.compile(r"(?:(?P<user>[^@/:\s]+)@)?(?P<host>[^/:\s@]{2,}):(?P<path>[^:].*)")
"""``git@host:path``. One letter before the colon is a drive of Windows."""


def _remote_url(listing: str) -> str:
    """URL of `origin`, or of the first remote, in the output of ``git remote -v``."""
    urls = {match["name"]: match["url"] for match in _REMOTE.finditer(listing)}
    url = urls.get("origin") or next(iter(urls.values()), "")
    return _public_url(url)


def _public_url(url: str) -> str:
    """A remote's URL without user, password, query and fragment, as a browser wants it.

    The convention asks for an HTTP(S) address without `.git`. SSH with the user `git` is how
    hosting services are reached, so those become HTTPS; other SSH and local paths stay. Empty
    for a remote helper (``helper::address``), whose address may be a command.
    """
    url = url.rstrip("/")
    if "://" in url:
        return _public_standard_url(url)
    if "::" in url:
        return ""
    match = _SCP_FORM.fullmatch(url)
    if match is None:
        return url
    return _ssh_url(match["user"] or "", match["host"], match["host"], match["path"].lstrip("/"))


def _public_standard_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # an odd host
        return ""
    server = parts.netloc.rpartition("@")[2]
    if parts.scheme in {"http", "https"}:
        return f"{parts.scheme}://{server}{parts.path.removesuffix('.git')}"
    if parts.scheme in {"ssh", "git+ssh", "ssh+git"}:
        user = (parts.username or "").partition(":")[0]
        return _ssh_url(user, server, parts.hostname or "", parts.path.lstrip("/"))
    return f"{parts.scheme}://{server}{parts.path}"


def _ssh_url(user: str, server: str, host: str, path: str) -> str:
    # A host without a dot is a name from somebody's ssh configuration, and one that begins
    # with "ssh." is not where the pages are.
    if user == "git" and "." in host and not host.startswith("ssh."):
        return f"https://{host}/{path.removesuffix('.git')}"
    return f"ssh://{server}/{path}"

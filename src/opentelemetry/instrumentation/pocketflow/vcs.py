"""What git says of a repository, within a deadline: branch, commit, state and remote."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.instrumentation.pocketflow import semconv

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

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


def ask_git(root: Path, deadline: float) -> dict[str, AttributeValue]:
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
    common = real_path(git.directory / answer) if answer else None
    if common is None:
        return {}
    directory = common.parent if common.name == ".git" else common
    return {semconv.VCS_REPOSITORY_NAME: directory.name.removesuffix(".git")}


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


def real_path(path: str | os.PathLike[str]) -> Path | None:
    """An absolute path without links; None for what can be no path."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return None

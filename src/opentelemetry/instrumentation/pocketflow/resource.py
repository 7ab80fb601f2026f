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
import sys
import sysconfig
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.vcs import ask_git, real_path
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
    script = real_path(file)
    # A directory can be a script, and so can a zipped program, with its main file inside.
    places = () if script is None else (script, *script.parents)
    return next(filter(os.path.isdir, places), None)


def _is_within(path: Path, directory: Path) -> bool:
    here, there = real_path(path), real_path(directory)
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
        _known_repositories[key] = ask_git(root, time.monotonic() + git_timeout)
    return dict(_known_repositories[key])


def _program_directories(directory: str | os.PathLike[str] | None) -> list[Path]:
    if directory is not None:
        given = real_path(directory)
        return [given] if given else []
    script = _script_directory()
    places = [] if script is None or _is_part_of_python(script) else [script]
    working_directory = _working_directory()
    return [*places, Path(working_directory)] if working_directory else places


_known_repositories: Final[dict[str, dict[str, AttributeValue]]] = {}
"""What git said, by root directory. Two threads may ask at once; then the last answer stays."""

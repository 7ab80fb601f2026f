"""Build or fetch the programs that the stack tests run: the collector, Jaeger and Prometheus.

    python scripts/stack_binaries.py            print the folder that holds them, having filled it
    python scripts/stack_binaries.py --lock     resolve deploy/builder/ anew, after a change there

The collector is what OpenTelemetry's own builder makes of `deploy/builder/builder.yaml`, Jaeger is
its published Go module, and both need Go on the PATH. Prometheus is the one on the PATH, else
Debian's package, unpacked without being installed; only where apt's lists are missing or old does
that take root, to update them. All go to a cache outside of the repository,
`$XDG_CACHE_HOME/pocketflow-stack` or `~/.cache/pocketflow-stack`, and are made anew when what they
are made of changes. The first time takes some minutes.

Every module's hash stands in the repository, here and in `deploy/builder/go.sum`, so that nothing
else than what was tested is built, wherever it is downloaded from.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

if sys.platform != "win32":
    import fcntl

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator

LOCK = Path(__file__).parent.parent / "deploy" / "builder"
COLLECTOR = "otelcol-pocketflow"

BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.140.0"
BUILDER_SUM = "h1:6K1AS9EtXxtEjXPQlwOIFSPwzevk6VNd1fAcbHryFI4="
# The last module that holds Jaeger v2: later releases have a version that their path does not.
JAEGER = "github.com/jaegertracing/jaeger@v1.76.0"
JAEGER_SUM = "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g="
JAEGER_VERSION = "v2.13.0"
PROMETHEUS = ("prometheus", "promtool")

TIMEOUT = 30 * 60
"""Seconds until a command is given up; Jaeger's build took four minutes on two cores."""


class StackError(Exception):
    """A program can't be had here; the message says why, and what would help."""


def main() -> int:
    """Fill the cache and print its folder; 1 where a program can't be had."""
    parser = argparse.ArgumentParser(
        description="Build or fetch the programs that the stack tests run."
    )
    parser.add_argument("--lock", action="store_true", help="resolve deploy/builder/ anew")
    try:
        if parser.parse_args().lock:
            lock()
        else:
            print(fill(cache_folder()))
    except StackError as exc:
        print(f"stack_binaries: {exc}", file=sys.stderr)
        return 1
    return 0


def cache_folder() -> Path:
    """Where the programs are kept, by the rules of XDG."""
    said = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(said) if Path(said).is_absolute() else Path.home() / ".cache"
    return base / "pocketflow-stack"


def fill(cache: Path) -> Path:
    """Make what is not there yet.

    Returns:
        The folder of the programs: `otelcol-pocketflow`, `jaeger`, `prometheus`, `promtool`.

    Raises:
        StackError: one of them can't be had here.
    """
    programs = cache / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    manifest = b"".join(path.read_bytes() for path in sorted(LOCK.iterdir()))
    with _locked(cache / "lock"):
        _make(programs / COLLECTOR, BUILDER + BUILDER_SUM, manifest, _build_collector)
        _make(programs / "jaeger", JAEGER + JAEGER_SUM, b"", _build_jaeger)
        _make_prometheus(programs)
    return programs


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    """Let one process at a time fill the cache; a second one waits, and then finds all of it there.

    Windows has no `fcntl`: there, two at once may get in each other's way, and one of them fail.
    """
    with path.open("wb") as file:
        if sys.platform != "win32":
            # Given back when the file is closed, also by a process that is killed.
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(target: Path, recipe: str, inputs: bytes, make: Callable[[Path], None]) -> None:
    """Call `make` for a program that is not there, or was made of something else.

    It is made beside its place, and put there whole: tests that run the old one meanwhile go on
    with that. What it was made of is written last: a build that was interrupted does not count.
    """
    stamp = target.with_suffix(".made-of")
    made_of = hashlib.sha256(recipe.encode() + inputs).hexdigest()
    if target.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == made_of:
        return
    print(f"stack_binaries: making {target.name} ...", file=sys.stderr, flush=True)
    new = target.with_name(target.name + ".new")
    # A build that was interrupted may have left one.
    new.unlink(missing_ok=True)
    make(new)
    stamp.unlink(missing_ok=True)
    # Puts itself in the place of a link, and does not follow it.
    new.replace(target)
    stamp.write_text(made_of, encoding="utf-8")


def _build_collector(target: Path) -> None:
    with _scratch() as folder:
        source = _generate(folder, "--skip-get-modules")
        for name in ("go.mod", "go.sum"):
            shutil.copy(LOCK / name, source / name)
        _go("build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(target), cwd=source)


def _generate(folder: Path, *options: str) -> Path:
    """Let the official builder write the collector's source, and return where it is."""
    builder = folder / "builder"
    _go("build", "-o", str(builder), cwd=_download(BUILDER, BUILDER_SUM))
    source, manifest = folder / "source", folder / "builder.yaml"
    text = (LOCK / manifest.name).read_text(encoding="utf-8")
    # JSON is YAML, and quotes what a path may hold.
    manifest.write_text(
        text.replace("dist:\n", f"dist:\n  output_path: {json.dumps(str(source))}\n", 1),
        encoding="utf-8",
    )
    command = (str(builder), f"--config={manifest}", "--skip-compilation", *options)
    _run(*command, env=_go_environment())
    return source


def _build_jaeger(target: Path) -> None:
    version = f"-X github.com/jaegertracing/jaeger/internal/version.latestVersion={JAEGER_VERSION}"
    _go(
        "build",
        "-mod=readonly",
        "-trimpath",
        f"-ldflags=-s -w {version}",
        "-o",
        str(target),
        "./cmd/jaeger",
        cwd=_download(JAEGER, JAEGER_SUM),
    )


def _make_prometheus(programs: Path) -> None:
    """Link to what is on the PATH; take the rest out of Debian's package, fetched once for both."""
    with _scratch() as folder:
        unpacked = functools.cache(functools.partial(_unpack_package, "prometheus", folder))

        def extract(new: Path) -> None:
            shutil.copy(unpacked() / "usr" / "bin" / new.stem, new)

        for name in PROMETHEUS:
            found = _on_path(name, programs)
            if found is None:
                _make(programs / name, f"debian {_candidate('prometheus')}", b"", extract)
            else:
                recipe = f"{found} {_run(str(found), '--version')}"
                _make(programs / name, recipe, b"", functools.partial(_link, found))


def _on_path(name: str, programs: Path) -> Path | None:
    """Return the program on the PATH that is not our own: the cache may be on the PATH, too."""
    for folder in os.get_exec_path():
        found = shutil.which(name, path=folder)
        if found is None:
            continue
        path = Path(found).absolute()
        if programs.resolve() not in (path.parent.resolve(), path.resolve().parent):
            return path
    return None


def _link(found: Path, new: Path) -> None:
    new.symlink_to(found)


def _unpack_package(name: str, folder: Path) -> Path:
    """Download a package of Debian and unpack it, which takes no rights to install."""
    _download_package(name, folder)
    (package,) = folder.glob("*.deb")
    _run("dpkg-deb", "--extract", str(package), str(folder))
    return folder


@functools.cache
def _candidate(package: str) -> str:
    """Return the version of a package that apt would install.

    Raises:
        StackError: there is no apt, or it does not know the package.
    """
    if shutil.which("apt-get") is None:
        raise StackError("no Prometheus with promtool on the PATH, and no apt-get to bring it")
    version = _known_version(package)
    if version is None:
        # A new machine has no lists.
        _run("apt-get", "--quiet", "update")
        version = _known_version(package)
    if version is None:
        raise StackError(f"apt knows no package {package}, and it is not on the PATH")
    return version


def _known_version(package: str) -> str | None:
    # Without this locale, it answers in the user's language.
    said = _run("apt-cache", "policy", package, env={**os.environ, "LC_ALL": "C"})
    for line in said.splitlines():
        label, _, version = line.strip().partition(": ")
        if label == "Candidate" and version != "(none)":
            return version
    return None


def _download_package(name: str, folder: Path) -> None:
    """Download a package of Debian; apt's lists may name a version that is gone."""
    try:
        _run("apt-get", "--quiet", "download", name, cwd=folder)
    except StackError:
        _run("apt-get", "--quiet", "update")
        _run("apt-get", "--quiet", "download", name, cwd=folder)


def lock() -> None:
    """Resolve the modules of `builder.yaml` and keep their versions and hashes beside it."""
    with _scratch() as folder:
        source = _generate(folder)
        for name in ("go.mod", "go.sum"):
            shutil.copy(source / name, LOCK / name)


def _download(module: str, expected: str) -> Path:
    """Download a Go module and return its folder.

    Raises:
        StackError: it has another hash than the expected one.
    """
    with _scratch() as folder:
        # Go looks a module up by the nearest go.mod above it; so that is this one, which is empty.
        (folder / "go.mod").write_text("module lookup\n", encoding="utf-8")
        said = json.loads(_go("mod", "download", "-json", module, cwd=folder))
    if said["Sum"] != expected:
        raise StackError(f"{module} has the hash {said['Sum']}; expected {expected}")
    return Path(said["Dir"])


def _go(*arguments: str, cwd: Path) -> str:
    return _run(_go_program(), *arguments, cwd=cwd, env=_go_environment())


@functools.cache
def _go_program() -> str:
    found = shutil.which("go")
    if found is None:
        raise StackError("no `go` on the PATH; Go 1.24.6 or newer builds the collector and Jaeger")
    return found


def _go_environment() -> dict[str, str]:
    """The user's own settings, but for those that would change what is built."""
    # The hashes are compared here and by go.sum, so that the public checksum database need not be
    # reached. A module cache has no version control to stamp a program with.
    ours = {"GONOSUMDB": "*", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0", "GOWORK": "off"}
    # For this machine, whatever the user builds for otherwise.
    unset = dict.fromkeys(("GOOS", "GOARCH", "GOEXPERIMENT"), "")
    return {**os.environ, **ours, **unset}


@contextlib.contextmanager
def _scratch() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="pocketflow-stack-") as folder:
        yield Path(folder)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it wrote to stdout.

    Raises:
        StackError: it failed, or did not end; the message ends with the last it said.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the commands are written here, but for paths
            command,
            cwd=cwd,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise StackError(f"{' '.join(command)} did not end within {TIMEOUT // 60} min") from exc
    if done.returncode:
        said = (done.stderr or done.stdout)[-2000:]
        raise StackError(f"{' '.join(command)} failed with {done.returncode}:\n{said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())

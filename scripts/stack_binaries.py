"""Build or fetch the programs that the stack tests run: the collector, Jaeger and Prometheus.

    python scripts/stack_binaries.py            print the folder that holds them, having filled it
    python scripts/stack_binaries.py --lock     resolve deploy/builder/ anew, after a change there

The collector is what OpenTelemetry's own builder makes of `deploy/builder/builder.yaml`, Jaeger is
its published Go module, and both need Go on the PATH. Prometheus is the one on the PATH, else
Debian's package, unpacked without being installed. All go to a cache outside of the repository,
`$XDG_CACHE_HOME/pocketflow-stack` or `~/.cache/pocketflow-stack`, and are made anew when what they
are made of changes. The first time takes some minutes.

Every module's hash stands in the repository, here and in `deploy/builder/go.sum`, so that nothing
else than what was tested is built, wherever it is downloaded from.
"""

from __future__ import annotations

import argparse
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

if typing.TYPE_CHECKING:
    from collections.abc import Callable

LOCK = Path(__file__).parent.parent / "deploy" / "builder"
COLLECTOR = "otelcol-pocketflow"

BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.140.0"
BUILDER_SUM = "h1:6K1AS9EtXxtEjXPQlwOIFSPwzevk6VNd1fAcbHryFI4="
# The last module that holds Jaeger v2: later releases have a version that their path does not.
JAEGER = "github.com/jaegertracing/jaeger@v1.76.0"
JAEGER_SUM = "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g="
JAEGER_VERSION = "v2.13.0"


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
    _make(programs / COLLECTOR, BUILDER + BUILDER_SUM, manifest, _build_collector)
    _make(programs / "jaeger", JAEGER + JAEGER_SUM, b"", _build_jaeger)
    for name in ("prometheus", "promtool"):
        _make(programs / name, "debian", b"", _fetch_prometheus)
    return programs


def _make(target: Path, recipe: str, inputs: bytes, make: Callable[[Path], None]) -> None:
    """Call `make` for a program that is not there, or was made of something else.

    What it was made of stands beside it, written last: a build that was interrupted does not count.
    """
    stamp = target.with_suffix(".made-of")
    made_of = hashlib.sha256(recipe.encode() + inputs).hexdigest()
    if target.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == made_of:
        return
    print(f"stack_binaries: making {target.name} ...", file=sys.stderr, flush=True)
    stamp.unlink(missing_ok=True)
    make(target)
    stamp.write_text(made_of, encoding="utf-8")


def _build_collector(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pocketflow-stack-") as folder:
        source = _generate(Path(folder), "--skip-get-modules")
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


def _fetch_prometheus(target: Path) -> None:
    """Take the one on the PATH, else unpack Debian's package, which needs no rights to install."""
    found = shutil.which(target.name)
    if found is not None:
        target.unlink(missing_ok=True)
        target.symlink_to(found)
        return
    if shutil.which("apt-get") is None:
        raise StackError(f"no `{target.name}` on the PATH, and no apt-get that could bring it")
    with tempfile.TemporaryDirectory(prefix="pocketflow-stack-") as folder:
        _download_package("prometheus", Path(folder))
        (package,) = Path(folder).glob("*.deb")
        _run("dpkg-deb", "--extract", str(package), folder)
        shutil.copy(Path(folder) / "usr" / "bin" / target.name, target)


def _download_package(name: str, folder: Path) -> None:
    """Download a package of Debian; its lists may be missing on a new machine."""
    try:
        _run("apt-get", "--quiet", "download", name, cwd=folder)
    except StackError:
        _run("apt-get", "--quiet", "update")
        _run("apt-get", "--quiet", "download", name, cwd=folder)


def lock() -> None:
    """Resolve the modules of `builder.yaml` and keep their versions and hashes beside it."""
    with tempfile.TemporaryDirectory(prefix="pocketflow-stack-") as folder:
        source = _generate(Path(folder))
        for name in ("go.mod", "go.sum"):
            shutil.copy(source / name, LOCK / name)


def _download(module: str, expected: str) -> Path:
    """Download a Go module and return its folder.

    Raises:
        StackError: it has another hash than the expected one.
    """
    # The folder must have no go.mod above it, by which Go would look the module up.
    said = json.loads(_go("mod", "download", "-json", module, cwd=Path(tempfile.gettempdir())))
    if said["Sum"] != expected:
        raise StackError(f"{module} has the hash {said['Sum']}; expected {expected}")
    return Path(said["Dir"])


def _go(*arguments: str, cwd: Path) -> str:
    return _run(_go_program(), *arguments, cwd=cwd, env=_go_environment())


@functools.cache
def _go_program() -> str:
    found = shutil.which("go")
    if found is None:
        raise StackError("no `go` on the PATH; Go 1.24 or newer builds the collector and Jaeger")
    return found


def _go_environment() -> dict[str, str]:
    """The user's own settings, but for those that would change what is built."""
    # The hashes are compared here and by go.sum, so that the public checksum database need not be
    # reached. A module cache has no version control to stamp a program with.
    ours = {"GONOSUMDB": "*", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
    return {**os.environ, **ours}


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it wrote to stdout.

    Raises:
        StackError: it failed; the message ends with the last it said.
    """
    done = subprocess.run(  # noqa: S603 - the commands are written here, but for paths
        command,
        cwd=cwd,
        env=env,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout)[-2000:]
        raise StackError(f"{' '.join(command)} failed with {done.returncode}:\n{said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())

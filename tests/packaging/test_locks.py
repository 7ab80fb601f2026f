"""What `make` installs for development is pinned, by version and hash, and fits pyproject.toml."""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

tomllib: typing.Any = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.10.13", "3.11.7", "3.12.1", "3.13.0")
LOCKS = ("dev", "backends", "oldest", "audit")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Locked:
    """One entry of a lock."""

    name: str
    version: Version
    marker: Marker | None
    hashes: int

    def counts(self, python: str) -> bool:
        """Tell whether it is installed by this Python on Linux."""
        return self.marker is None or self.marker.evaluate(environment(python))


def environment(python: str) -> dict[str, str]:
    """Return what markers are compared with, for a Python on Linux."""
    own = {name: str(value) for name, value in default_environment().items()}
    linux = {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux"}
    version = python.rpartition(".")[0]
    return {**own, **linux, "python_full_version": python, "python_version": version}


def text_of(lock: str) -> str:
    """Return a lock without its comments."""
    lines = (FOLDER / f"{lock}.txt").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def entries(lock: str) -> Iterator[Locked]:
    """Read a lock."""
    for entry in text_of(lock).replace("\\\n", " ").splitlines():
        pin, *hashes = HASH.split(entry)
        requirement = Requirement(pin)
        [specifier] = requirement.specifier
        assert specifier.operator == "==", entry
        version = Version(specifier.version)
        name = canonicalize_name(requirement.name)
        yield Locked(name, version, requirement.marker, len(hashes))


def required(extra: str) -> Iterator[Requirement]:
    """Return what an extra needs directly, with that of the extras that it names itself."""
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            for other in requirement.extras:
                yield from required(other)
        else:
            yield requirement


def direct(extra: str) -> Sequence[Requirement]:
    """Return all that an installation with this extra needs directly."""
    return [*map(Requirement, PROJECT["dependencies"]), *required(extra)]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_file_has_its_hash_and_none_its_place(lock: str) -> None:
    """So `pip --require-hashes` takes these files from whatever registry one uses."""
    locked = list(entries(lock))
    assert locked
    assert [entry.name for entry in locked if not entry.hashes] == []
    text = text_of(lock)
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host| @ ", text)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("lock", "extra"), [("dev", "dev"), ("backends", "backends")])
def test_the_lock_is_that_of_the_project(lock: str, extra: str, python: str) -> None:
    """Each direct dependency is locked once for each Python, in a version that is allowed."""
    if lock == "backends" and python.startswith("3.10"):
        pytest.skip("Phoenix needs Python 3.11")
    versions = {entry.name: entry.version for entry in entries(lock) if entry.counts(python)}
    unfit = [
        f"{requirement}: locked is {versions.get(canonicalize_name(requirement.name))}"
        for requirement in direct(extra)
        if requirement.marker is None or requirement.marker.evaluate(environment(python))
        if not fits(requirement, versions.get(canonicalize_name(requirement.name)))
    ]
    assert unfit == [], "make lock"


@pytest.mark.parametrize("lock", ["dev", "backends", "audit"])
@pytest.mark.parametrize("python", PYTHONS)
def test_no_python_gets_two_versions(lock: str, python: str) -> None:
    """Pip refuses a file that names two."""
    names = [entry.name for entry in entries(lock) if entry.counts(python)]
    assert sorted(set(names)) == sorted(names)


def test_the_oldest_are_those_that_we_claim() -> None:
    """`make test-oldest` tests the very lower bounds of what a user's installation needs."""
    versions = {entry.name: entry.version for entry in entries("oldest")}
    claimed = [*direct("otlp"), *required("terminal"), *required("cost")]
    for requirement in claimed:
        [lower] = [each.version for each in requirement.specifier if each.operator == ">="]
        assert versions[canonicalize_name(requirement.name)] == Version(lower), requirement


def fits(requirement: Requirement, version: Version | None) -> bool:
    """Tell whether a requirement allows a version."""
    return version is not None and requirement.specifier.contains(version, prereleases=True)

"""The README's matrix of backends names the versions that the tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

PINNED = {"Phoenix": "arize-phoenix", "MLflow": "mlflow", "Logfire": "logfire"}


def _row(backend: str) -> list[str]:
    """Return the cells of a backend's row: name, how it was run, version, what was asserted."""
    (line,) = re.findall(rf"^\| \[{backend}\].*\|$", README, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize(("backend", "distribution"), PINNED.items())
def test_versions_are_those_that_are_installed(backend: str, distribution: str) -> None:
    """`make test-stack` installs the very version that the row tells."""
    (version,) = re.findall(rf'"{distribution} == ([\d.]+)"', PROJECT)
    page = re.findall(r"\((docs/[\w/.-]+)\)", _row(backend)[0])

    assert _row(backend)[2].endswith(version)
    assert version in (ROOT / page[0]).read_text(encoding="utf-8")


def test_jaeger_is_the_one_that_is_built() -> None:
    """So it is with the Jaeger that the stack's script builds."""
    script = (ROOT / "scripts" / "stack_binaries.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^JAEGER_VERSION = "v([\d.]+)"$', script, re.MULTILINE)

    assert _row("Jaeger")[2] == version

"""Writes the README's tables of attributes, metrics and options out of the code.

``python scripts/readme_tables.py`` writes them; with ``--check`` it only tells, by its exit code,
whether they are as the code says.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import fields
from pathlib import Path

from opentelemetry.instrumentation.pocketflow import Config, config, semconv

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
METRIC = "metric"
"""What the docstring of a metric's name begins with, where an attribute's has its spans."""


def documented(source: Path) -> list[tuple[str, str]]:
    """Constants or fields of a module's source with the docstring under each."""
    found: list[tuple[str, str]] = []
    for scope in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(scope, (ast.Module, ast.ClassDef)):
            continue
        for statement, below in zip(scope.body, scope.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found.append((statement.target.id, " ".join(below.value.value.split())))
    return found


def attribute_table() -> str:
    """Every attribute: where it stands, its type and meaning."""
    lines = ["| attribute | on | type | meaning |", "|---|---|---|---|"]
    for constant, text in documented(Path(semconv.__file__)):
        name = getattr(semconv, constant)
        places, separator, rest = text.partition(": ")
        kind, dot, meaning = rest.partition(". ")
        if not separator or not dot or places == METRIC:
            continue
        lines.append(f"| `{name}` | {places} | {kind.strip('.')} | {cell(meaning)} |")
    return "\n".join(lines)


def metric_table() -> str:
    """Every metric: its instrument, unit, meaning and attributes."""
    lines = ["| metric | instrument | unit | meaning | attributes |", "|---|---|---|---|---|"]
    for constant, text in documented(Path(semconv.__file__)):
        place, _, rest = text.partition(": ")
        if place != METRIC:
            continue
        kind, _, prose = rest.partition(". ")
        instrument, _, unit = kind.partition(", ")
        meaning, attributes = split_attributes(prose)
        name = getattr(semconv, constant)
        row = (f"`{name}`", instrument, f"`{unit}`", cell(meaning), cell(attributes))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def split_attributes(prose: str) -> tuple[str, str]:
    """A metric's meaning, with its source, and its attributes; these stand between the two."""
    meaning, _, rest = prose.partition(" Attributes: ")
    attributes, sourced, source = rest.partition(" Source: ")
    return meaning + sourced + source, attributes.removesuffix(".")


def option_table() -> str:
    """Every option: its environment variable, default and meaning."""
    meanings = dict(documented(Path(config.__file__)))
    defaults = Config()
    lines = ["| option | environment variable | default | meaning |", "|---|---|---|---|"]
    for field in fields(Config):
        default = getattr(defaults, field.name)
        shown = f"`{default!r}`" if isinstance(default, (str, int)) else default_text(default)
        # A function can't stand in the environment.
        variable = config.VARIABLES.get(field.name)
        named = f"`{variable}`" if variable else "in code only"
        meaning = cell(meanings[field.name])
        lines.append(f"| `{field.name}` | {named} | {shown} | {meaning} |")
    return "\n".join(lines)


def default_text(value: object) -> str:
    """A collection as a reader would write it."""
    return f"`{', '.join(value)}`" if isinstance(value, tuple) and value else "none"


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def filled(readme: str) -> str:
    """The README with each table between its markers.

    Raises:
        SystemExit: A marker is missing, so there is no place for the table.
    """
    tables = {
        "attributes": attribute_table(),
        "metrics": metric_table(),
        "options": option_table(),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in readme or end not in readme:
            sys.exit(f"README.md: no place for a table between {begin} and {end}")
        before, _, rest = readme.partition(begin)
        _, _, after = rest.partition(end)
        readme = f"{before}{begin}\n{table}\n{end}{after}"
    return readme


def main() -> int:
    """Writes or checks the README."""
    current = README.read_text(encoding="utf-8")
    wanted = filled(current)
    if "--check" not in sys.argv:
        README.write_text(wanted, encoding="utf-8")
    elif current != wanted:
        print("README.md: tables differ from the code; run `make readme`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

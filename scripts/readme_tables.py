"""Writes the README's tables of spans, attributes and options out of the code.

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
        if "." not in name or not separator or not dot:
            continue
        lines.append(f"| `{name}` | {places} | {kind.strip('.')} | {cell(meaning)} |")
    return "\n".join(lines)


def option_table() -> str:
    """Every option: its environment variable, default and meaning."""
    meanings = dict(documented(Path(config.__file__)))
    defaults = Config()
    lines = ["| option | environment variable | default | meaning |", "|---|---|---|---|"]
    for field in fields(Config):
        default = getattr(defaults, field.name)
        shown = f"`{default!r}`" if isinstance(default, (str, int)) else default_text(default)
        variable = config.VARIABLES[field.name]
        meaning = cell(meanings[field.name])
        lines.append(f"| `{field.name}` | `{variable}` | {shown} | {meaning} |")
    return "\n".join(lines)


def default_text(value: object) -> str:
    """A collection as a reader would write it."""
    return f"`{', '.join(value)}`" if isinstance(value, tuple) and value else "none"


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def filled(readme: str) -> str:
    """The README with each table between its markers."""
    for name, table in (("attributes", attribute_table()), ("options", option_table())):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
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

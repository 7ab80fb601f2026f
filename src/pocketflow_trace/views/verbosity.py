"""How a run is shown: how much is told of it, when, and by which signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Verbosity: TypeAlias = Literal["minimal", "normal", "verbose"]

VERBOSITIES: Final[tuple[Verbosity, ...]] = get_args(Verbosity)

VARIABLE: Final = "POCKETFLOW_TRACE_VERBOSITY"
"""Names a verbosity; an option goes before it."""


@dataclass(frozen=True, slots=True)
class Detail:
    """How much the lines of one entry say.

    Attributes:
        value: Characters of a value of the store.
        changes: Changes of the store under one entry.
        content: Whether inputs, outputs and the attributes of model calls are told.
    """

    value: int = 60
    changes: int = 6
    content: bool = False


NORMAL: Final = Detail()
VERBOSE: Final = Detail(value=400, changes=30, content=True)


def detail_of(verbosity: Verbosity) -> Detail:
    """Return what a verbosity means for the lines of one entry."""
    return VERBOSE if verbosity == "verbose" else NORMAL


def verbosity_named(name: str) -> Verbosity:
    """Return the verbosity of that name.

    Raises:
        ValueError: There is none; the message says which there are.
    """
    for verbosity in VERBOSITIES:
        if name == verbosity:
            return verbosity
    raise ValueError(f"{name!r} is no verbosity; there is: {', '.join(VERBOSITIES)}")


def verbosity_of(environ: Mapping[str, str]) -> Verbosity:
    """Return the verbosity that an environment asks for; `normal` where it does not.

    Raises:
        ValueError: It names one that there is not.
    """
    named = environ.get(VARIABLE, "").strip().lower()
    try:
        return verbosity_named(named) if named else "normal"
    except ValueError as exc:
        raise ValueError(f"{VARIABLE}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Look:
    """How the user wants to see a run.

    Attributes:
        verbosity: How much is told.
        live: False for nothing before the end; True for a drawing where the terminal or its
            settings speak against it; None for what suits.
        ascii: Whether only ASCII characters are printed.
    """

    verbosity: Verbosity = "normal"
    live: bool | None = None
    ascii: bool = False

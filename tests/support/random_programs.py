"""Random PocketFlow programs as data, which prints as the expression that makes it.

So a program that has failed can be kept: in `tests/equivalence/saved_programs.py`.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

At: TypeAlias = Literal["prep", "exec", "fallback", "post"]
"""In which of its methods a node acts; a flow has only `prep` and `post`."""


class Data:
    """Prints what differs from its defaults."""

    def __repr__(self) -> str:
        assert is_dataclass(self)
        told: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING:
                told.append(repr(value))
            elif value != field.default:
                told.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


# --- what a node does -----------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Edit(Data):
    """Changes the store; where it does not fit what stands there, nothing happens."""

    at: At
    kind: str
    """`set`, `delete`, `append`, `pop`, `nest`, `clear`, `alias` (one object under two keys) or
    `token` (an object whose life is watched)."""
    key: str = "a"
    value: Any = None


@dataclass(frozen=True, repr=False)
class Raise(Data):
    """Raises something, in so many calls of each run."""

    at: At
    kind: str = "ValueError"
    calls: int = 1


@dataclass(frozen=True, repr=False)
class Warn(Data):
    """Warns, and names who called."""

    at: At
    stacklevel: int = 1


@dataclass(frozen=True, repr=False)
class Draw(Data):
    """Draws from the global `random`."""

    at: At


@dataclass(frozen=True, repr=False)
class Keep(Data):
    """Writes an attribute of the node, an entry of its params, or a context variable."""

    at: At
    where: str = "node"


@dataclass(frozen=True, repr=False)
class Pause(Data):
    """Lets other tasks run, where the node is an async one."""

    at: At
    times: int = 1


@dataclass(frozen=True, repr=False)
class Cancel(Data):
    """Cancels the task that it runs in, where the node is an async one."""

    at: At


@dataclass(frozen=True, repr=False)
class Nest(Data):
    """Runs another node or flow inside this one."""

    at: At
    graph: Graph
    how: str = "run"
    """`run`, `thread` or `pool` (each without the context or `in context`); in an async node also
    `gather` (twice at the same time) or `task`."""
    own_store: bool = False
    caught: bool = False
    """Does an exception of it end there?"""


Act: TypeAlias = "Edit | Raise | Warn | Draw | Keep | Pause | Cancel | Nest"


# --- nodes and flows ------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Step(Data):
    """A node."""

    base: str = "Node"
    acts: tuple[Act, ...] = ()
    retries: int = 1
    wait: float = 0
    fallback: bool = True
    """Does it have an answer where all attempts failed?"""
    gives: str = "store"
    """What `prep` returns: `store`, `list`, `tuple`, `generator`, `token` or `none`."""
    returns: str = "number"
    """What `exec` returns: `number`, `list`, `generator`, `token`, `store`, `error` or `none`."""
    actions: tuple[Any, ...] = (None,)
    """What `post` returns, another one in each run."""
    own: str = ""
    """Which method it overrides: `around run`, `instead of run`, `around exec` or `copy`."""

    @property
    def is_async(self) -> bool:
        """Is it run by `run_async`?"""
        return "Async" in self.base


@dataclass(frozen=True, repr=False)
class Plan(Data):
    """A flow."""

    base: str = "Flow"
    steps: tuple[Graph, ...] = (Step(),)
    edges: tuple[tuple[int, str, int], ...] = ()
    items: int = 2
    gives: str = "list"
    """What a batch flow's `prep` returns: `list`, `tuple` or `none`."""
    acts: tuple[Act, ...] = ()
    own: str = ""
    """Which method it overrides: `around run`, `around orch` or `copy`."""

    @property
    def is_async(self) -> bool:
        """Is it run by `run_async`?"""
        return "Async" in self.base


@dataclass(frozen=True, repr=False)
class Shared(Data):
    """One of the program's nodes that stand in several flows."""

    number: int = 0


Graph: TypeAlias = "Step | Plan | Shared"


# --- programs -------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Run(Data):
    """What the program runs, and how."""

    graph: Step | Plan
    how: str = "run"
    """`run`, `keyword`, `unbound`, `framework` (its `_run`); where it is async also `cancel`,
    `close`, `throw` after so many steps, or `never` (the coroutine is not awaited)."""
    steps: int = 0
    params: bool = False


@dataclass(frozen=True, repr=False)
class Program(Data):
    """Runs on one store: one after the other, or in threads at the same time."""

    runs: tuple[Run, ...]
    shared: tuple[Step, ...] = (Step(),)
    together: bool = False
    store: str = "dict"
    content: tuple[tuple[str, Any], ...] = ()
    around: str = ""
    """What is current: nothing, `baggage`, a `sampled` or `unsampled` remote parent, or
    `suppressed`."""
    filter: Literal["always", "default", "error"] = "always"
    """What becomes of warnings."""


@dataclass(frozen=True, repr=False)
class Tracer(Data):
    """How the program is traced."""

    sdk: bool = True
    sampler: str = "on"
    """`on`, `off`, `ratio`, `parent` or `only parent`."""
    metrics: bool = False
    content: str = "values"
    levels: tuple[tuple[str, str], ...] = ()
    phase_spans: bool = False
    max_batch_items: int = 100
    max_span_bytes: int = 10_000_000
    max_store_items: int = 10_000


def everything_in(value: Any) -> Iterator[Any]:
    """A piece of a program, and all pieces inside it."""
    if isinstance(value, Data):
        yield value
        assert is_dataclass(value)
        for field in fields(value):
            yield from everything_in(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType] - a tuple of anything
            yield from everything_in(item)


HAS_GROUPS = sys.version_info >= (3, 11)

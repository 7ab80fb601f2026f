"""What capture tells emit: frozen records of one run, with nothing of the user's objects in them.

Every text in them is bounded and redacted already. Durations are in seconds. They are named tuples
and not frozen dataclasses, which take three times as long to make: each run makes several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal


class Failure(NamedTuple):
    """An exception that left a span."""

    type: str
    """Qualified name of its class."""
    message: str | None
    """None where the content level shows no values."""
    stacktrace: str


class Phases(NamedTuple):
    """Time in each phase; None for a phase that was not reached or can't be told."""

    prep: float | None
    exec: float | None
    post: float | None


class Step(NamedTuple):
    """Where a run led, in the flow that ran it."""

    action: str | None = None
    next: str | None = None
    dead_end: bool = False


class Attempts(NamedTuple):
    """The attempts of one node or item."""

    made: int
    allowed: int | None
    fallback: bool = False
    waited: float = 0.0


class Batch(NamedTuple):
    """The items of one batch; the last two counts are None where items are flow runs."""

    size: int
    failed: int
    traced: int
    retried: int | None = None
    fallbacks: int | None = None


class Store(NamedTuple):
    """What a run saw change in its shared store."""

    id: int
    patch: str
    """JSON Patch as text."""
    omitted: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    concurrent: bool
    conflicts: tuple[str, ...]
    unwatched: int
    initial: str | None
    """JSON of the store at its start, in the outermost run on it."""


class Content(NamedTuple):
    """What went in and came out, as JSON."""

    input: str | None = None
    output: str | None = None
    params: str | None = None


class Route(NamedTuple):
    """What a flow, or one item of a batch flow, did."""

    path: tuple[str, ...] | None
    """None for a flow whose items have paths of their own."""
    node_runs: int
    graph: str | None = None
    graph_hash: str | None = None


class Tokens(NamedTuple):
    """What some model calls used. None is what none of them told."""

    calls: int
    unmetered: int = 0
    """Calls whose tokens nobody told."""
    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    cost: Decimal | None = None

    @property
    def total(self) -> int | None:
        """Input and output."""
        if self.input is None and self.output is None:
            return None
        return (self.input or 0) + (self.output or 0)


class OwnCalls(NamedTuple):
    """The model calls that have no span but the one they are told on."""

    tokens: Tokens
    provider: str | None
    model: str | None
    """None where there are several."""
    operation: str | None


class Usage(NamedTuple):
    """What the model calls in one span and below it used."""

    total: Tokens
    wasted: Tokens | None
    """That of failed attempts; it is in the total as well."""
    by_model: tuple[tuple[str, Tokens], ...]
    """Empty where all calls were of one model."""
    unpriced: tuple[str, ...]
    """Models of calls without a known price."""
    currency: str
    own: OwnCalls | None


class Run(NamedTuple):
    """One run of a node, a flow or an item."""

    step: Step
    phases: Phases | None
    attempts: Attempts | None
    batch: Batch | None
    store: Store | None
    content: Content
    route: Route | None
    usage: Usage | None
    cancelled: bool
    error_type: str | None


class Location(NamedTuple):
    """Where a class is defined."""

    function: str
    file: str | None
    line: int | None


class Item(NamedTuple):
    """One item of a batch: a call of `exec`, or one way through a batch flow."""

    attempts: Attempts | None = None
    content: Content | None = None
    route: Route | None = None
    usage: Usage | None = None
    cancelled: bool = False
    error_type: str | None = None


class Attempt(NamedTuple):
    """One attempt."""

    wait: float | None = None
    """Seconds of the wait that follows."""
    usage: Usage | None = None
    cancelled: bool = False
    error_type: str | None = None


class PricedCall(NamedTuple):
    """One model call, as the meters count it. None is what nobody told: it is not zero."""

    provider: str | None = None
    model: str | None = None
    operation: str | None = None
    input_tokens: int | None = None
    """All input, cached or not."""
    output_tokens: int | None = None
    """All output, reasoning included."""
    cost: Decimal | None = None
    currency: str = "USD"

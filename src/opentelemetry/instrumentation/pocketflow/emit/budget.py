"""How the bytes of a span are shared among its attributes.

512 spans of 6 KB fit into one gRPC message of 4 MiB; what is over that limit is lost as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """Bytes for each attribute that may be long. About a tenth stays for the short ones."""

    diff: int
    input: int
    output: int
    params: int
    names: int
    """For the lists of added, changed and removed keys, and of conflicts, each."""
    stacktrace: int
    message: int
    initial: int = 0
    graph: int = 0
    path: int = 0

    @classmethod
    def of_node(cls, span_bytes: int) -> Shares:
        """The shares of a node or an item."""
        unit = span_bytes // 100
        return cls(
            diff=28 * unit,
            input=12 * unit,
            output=11 * unit,
            params=7 * unit,
            names=3 * unit,
            stacktrace=15 * unit,
            message=3 * unit,
            initial=10 * unit,
        )

    @classmethod
    def of_flow(cls, span_bytes: int) -> Shares:
        """The shares of a flow, which mostly shows its route."""
        unit = span_bytes // 100
        return cls(
            diff=15 * unit,
            input=9 * unit,
            output=10 * unit,
            params=5 * unit,
            names=2 * unit,
            stacktrace=12 * unit,
            message=3 * unit,
            initial=14 * unit,
            graph=12 * unit,
            path=7 * unit,
        )

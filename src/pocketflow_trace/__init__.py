"""Local tools for PocketFlow traces: the `pocketflow-trace` command, and `attach`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocketflow_trace.process.attaching import attach

__all__ = ["attach"]


def __getattr__(name: str) -> Any:
    """Import `attach` only where it is used: it needs the SDK, which the command may lack."""
    if name == "attach":
        from pocketflow_trace.process.attaching import attach  # noqa: PLC0415

        return attach
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

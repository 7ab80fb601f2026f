"""Looks at what a collector answers over gRPC, which the SDK's exporter does not read or tell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace.export import SpanExporter

    from pocketflow_trace.sending.witness import Listener


def listen(exporter: SpanExporter, listener: Listener) -> None:
    """Tell a listener what the collector answers to this exporter.

    It offers no way to see answers. So this puts a stub around its own, where it keeps one as the
    exporters of today do; with another, answers stay unseen.
    """
    make_stub: Any = getattr(exporter, "_stub", None)
    channel: Any = getattr(exporter, "_channel", None)
    if callable(make_stub) and channel is not None:
        make = partial(_listening_stub, make_stub, listener)
        vars(exporter).update(_stub=make, _client=make(channel))


def _listening_stub(make_stub: Callable[[Any], Any], listener: Listener, channel: Any) -> Any:
    stub = make_stub(channel)
    stub.Export = partial(_export, stub.Export, listener)
    return stub


def _export(export: Callable[..., Any], listener: Listener, *args: Any, **kwargs: Any) -> Any:
    try:
        answer = export(*args, **kwargs)
    except grpc.RpcError as exc:
        listener.note(_reason(exc))
        raise
    listener.reject(answer.partial_success.rejected_spans, answer.partial_success.error_message)
    return answer


def _reason(error: Any) -> str:
    """Return what an error says; the library's are calls, too, and tell it as those do."""
    return str(error.details() or error.code().name)

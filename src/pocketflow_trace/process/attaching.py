"""Shows and keeps the runs of a program that has an OpenTelemetry set-up of its own."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from opentelemetry.sdk.trace import SpanProcessor

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow.guard import guarded
from pocketflow_trace.keeping.keeper import RunKeeper
from pocketflow_trace.keeping.shelf import Shelf, ShelfError
from pocketflow_trace.process.claim import is_claimed
from pocketflow_trace.record.collector import RunCollector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from typing_extensions import Self

    from pocketflow_trace.keeping.draft import Destination

FileOption: TypeAlias = bool | str | os.PathLike[str]
"""Where to keep the run: in the folder of kept runs, nowhere, or in this file."""

_INSTALL: Final = "pip install 'opentelemetry-instrumentation-pocketflow[terminal]'"


def attach(
    *,
    console: bool = True,
    file: FileOption = True,
    tracer_provider: trace.TracerProvider | None = None,
) -> Attachment:
    """Show what PocketFlow's flows did when the program ends, and keep it as a file.

    To be called once the program's tracer provider is set; PocketFlow must be instrumented as
    always. A second call for a provider returns what the first has returned. Under
    `pocketflow-trace run`, which shows and keeps the run itself, only a file that is named is
    written.

    Args:
        console: Print the tree to stderr at the end.
        file: Keep the run where `pocketflow-trace list` finds it, written while the program runs;
            or the path of the file to write.
        tracer_provider: The provider whose spans are meant; None for the global one.

    Returns:
        A handle; its `close()` ends the run before the program does.

    Raises:
        TypeError: An argument is of another type.
        ValueError: No provider is set, it takes no span processors, it is attached to with other
            arguments, or there is no place for the file.
        ImportError: The console is asked for, and `rich` is not installed.
    """
    options = _Options.of(console, file)
    provider = _extensible(tracer_provider or trace.get_tracer_provider())
    with _lock:
        tap = _taps.get(provider)
        if tap is None:
            tap = _taps[provider] = Tap()
            provider.add_span_processor(tap)
        return tap.attachment(options)


class Attachment:
    """What `attach` has added to a provider; also a context manager that closes itself."""

    def __init__(self, tap: Tap, options: _Options) -> None:
        self._tap = tap
        self.options = options
        self._collector = RunCollector() if options.console else None
        destination = options.destination()
        self._keeper = None if destination is None else RunKeeper(destination)
        self._pid = os.getpid()

    @property
    def processors(self) -> Sequence[SpanProcessor]:
        """What wants to know of spans."""
        return [part for part in (self._collector, self._keeper) if part is not None]

    def close(self) -> None:
        """Finish the file and print the tree to stderr; later spans are ignored.

        Takes about two seconds at most. Further calls do nothing, nor does one in a forked child.
        """
        if os.getpid() != self._pid or not self._tap.release(self):
            return
        atexit.unregister(self.close)
        if self._keeper is not None:
            guarded(None)(self._keeper.close)()
        guarded(None)(self._report)()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _report(self) -> None:
        # The stream may be gone at the program's end.
        with contextlib.suppress(OSError, ValueError):
            self._print()

    def _print(self) -> None:
        stderr = sys.stderr
        if stderr is None:  # pyright: ignore[reportUnnecessaryComparison] - pythonw has none
            return
        run = None if self._collector is None else self._collector.snapshot()
        if run is not None and run.roots:
            from pocketflow_trace.views.console import print_run  # noqa: PLC0415 - rich, only when used

            print_run(run, stderr)
        if self._keeper is not None and (complaint := self._keeper.complaint()):
            stderr.write(f"pocketflow-trace: {complaint}\n")


class Tap(SpanProcessor):
    """Stands in a provider, which never lets go of a processor, for one attachment at a time."""

    def __init__(self) -> None:
        self._attachment: Attachment | None = None
        self._processors: Sequence[SpanProcessor] = ()

    def attachment(self, options: _Options) -> Attachment:
        """Return the attachment there is, or a new one.

        Raises:
            ValueError: There is one with other options.
        """
        if self._attachment is None:
            self._attachment = Attachment(self, options)
            self._processors = self._attachment.processors
            atexit.register(self._attachment.close)
        elif self._attachment.options != options:
            raise ValueError("attach: the provider has one with other arguments; close() it first")
        return self._attachment

    def release(self, attachment: Attachment) -> bool:
        """Let an attachment go; False where it is none any more."""
        with _lock:
            if self._attachment is not attachment:
                return False
            self._attachment, self._processors = None, ()
            return True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass it on."""
        for processor in self._processors:
            processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass it on."""
        for processor in self._processors:
            processor.on_end(span)

    def shutdown(self) -> None:
        """Go on: the run ends with the program, or with `close`."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all spans so far are in the file."""
        done = [each.force_flush(timeout_millis) for each in self._processors]
        return all(done)


class _Extensible(Protocol):
    def add_span_processor(self, span_processor: SpanProcessor) -> None: ...


_lock = threading.RLock()
_taps: weakref.WeakKeyDictionary[_Extensible, Tap] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Options:
    """What an attachment does.

    Attributes:
        console: Does it print the tree?
        shelf: Folder in which it keeps the run.
        file: File in which it keeps the run, if not in a folder.
    """

    console: bool
    shelf: Path | None
    file: Path | None

    @classmethod
    def of(cls, console: object, file: object) -> _Options:
        """Check the arguments of `attach`.

        Raises:
            TypeError: One is of another type.
            ValueError: There is no place for the file.
            ImportError: `rich` is not installed.
        """
        if not isinstance(console, bool):
            raise TypeError(f"attach: console is {console!r}; allowed are True and False")
        if console and importlib.util.find_spec("rich") is None:
            raise ImportError(f"attach: console=True needs rich; install it with:\n  {_INSTALL}")
        path = _path(file)
        if is_claimed():
            return cls(console=False, shelf=None, file=path)
        return cls(console, _shelf() if file is True else None, path)

    def destination(self) -> Destination | None:
        """Return where the run goes."""
        return self.file if self.shelf is None else Shelf(self.shelf)


def _shelf() -> Path:
    try:
        return Shelf.of(os.environ).directory.absolute()
    except ShelfError as exc:
        raise ValueError(f"attach: {exc}") from exc


def _path(file: object) -> Path | None:
    if isinstance(file, bool):
        return None
    if isinstance(file, str | os.PathLike):
        path = os.fspath(cast("str | os.PathLike[str]", file))
        if path:
            return Path(path).absolute()
    raise TypeError(f"attach: file is {file!r}; allowed are True, False and the path of a file")


def _extensible(provider: trace.TracerProvider) -> _Extensible:
    if getattr(provider, "add_span_processor", None) is None:
        raise ValueError(_refusal(provider))
    return cast("_Extensible", provider)


def _refusal(provider: trace.TracerProvider) -> str:
    if isinstance(provider, trace.ProxyTracerProvider):
        return "attach: no tracer provider is set; call set_tracer_provider before"
    name = type(provider).__qualname__
    return f"attach: {name} takes no span processors; the SDK's TracerProvider does"

"""The part of `pocketflow-trace run` that lives in the user's program: its first and last step."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from importlib.machinery import BuiltinImporter
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager

    from pocketflow_trace.process.tracing import Tracing
    from pocketflow_trace.record.model import Run
    from pocketflow_trace.views.choice import View
    from pocketflow_trace.views.verbosity import Look


def begin(name: str, *, clients: bool, look: Mapping[str, Any], file: str | None) -> None:
    """Start tracing this process, and see to it that its end is reported.

    Args:
        name: The program's name.
        clients: Whether to instrument the clients of model providers, too.
        look: How the run is to be shown: the fields of `verbosity.Look`.
        file: Where to keep the run, as for `start_tracing`.
    """
    report = _Report()
    # Handlers run in reverse order. This one stands before the imports that register their own,
    # so it runs last, when the program's own handlers have had their say.
    atexit.register(report.at_exit)
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        report.nothing_because = "OTEL_SDK_DISABLED is true, so nothing was traced"
        return
    report.look, report.view = _open_view(look)
    report.tracing = _start(name, report.view, clients=clients, file=file)


def _open_view(look: Mapping[str, Any]) -> tuple[Look, View | None]:
    from pocketflow_trace.views.choice import open_view  # noqa: PLC0415 - as in `_start`
    from pocketflow_trace.views.verbosity import Look  # noqa: PLC0415 - as in `_start`

    asked = Look(**look)
    return asked, open_view(asked, os.environ)


def _start(name: str, view: View | None, *, clients: bool, file: str | None) -> Tracing:
    # Not before `begin` has registered its handler.
    from pocketflow_trace.process.tracebacks import hide_own_frames  # noqa: PLC0415
    from pocketflow_trace.process.tracing import start_tracing  # noqa: PLC0415
    from pocketflow_trace.sending.exporter import ExportError  # noqa: PLC0415

    try:
        watching = [] if view is None else [view.feed]
        tracing = start_tracing(name, os.environ, clients=clients, watching=watching, file=file)
    except ExportError as exc:
        # The program must not run without what was asked for, and has not begun: there is nothing
        # to clean up, and Python takes any exception at this point for its own broken start.
        sys.stderr.write(f"pocketflow-trace: {exc}\n")
        sys.stderr.flush()
        os._exit(2)
    hide_own_frames()
    return tracing


class _Report:
    """What is printed when the program has ended."""

    def __init__(self) -> None:
        self.tracing: Tracing | None = None
        self.look: Look | None = None
        self.view: View | None = None
        self.nothing_because = "no flow or node of PocketFlow ran"
        if sampler := os.environ.get("OTEL_TRACES_SAMPLER"):
            self.nothing_because += f", or OTEL_TRACES_SAMPLER={sampler} left it out"
        self._pid = os.getpid()
        self._stderr = _file_behind(sys.__stderr__)
        self._import_path = list(sys.path)

    def at_exit(self) -> None:
        """Print the report, whatever the program has done to its process.

        A forked child comes here too, if it ends like a program of its own: it says nothing.
        """
        if os.getpid() != self._pid:
            return
        with self._original_imports(), _exit_code_kept():
            from opentelemetry.instrumentation.pocketflow.guard import guarded  # noqa: PLC0415

            # Each for itself: where one fails, the run is still kept and sent.
            for step in (self._close_view, self._close_tracing, self._print):
                guarded(None)(step)()

    @contextlib.contextmanager
    def _original_imports(self) -> Generator[None]:
        """Import what was not needed before from where it is installed, not from the program."""
        changed = list(sys.path)
        sys.path[:] = self._import_path
        try:
            yield
        finally:
            sys.path[:] = changed

    def _close_view(self) -> None:
        if self.view is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self.view.close()

    def _close_tracing(self) -> None:
        if self.tracing is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self.tracing.close()

    def _print(self) -> None:
        # What the program printed comes first, where all goes to one file. Any stream may be gone.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        _ignore_readers_that_have_gone()
        with contextlib.suppress(OSError, ValueError), _own_stderr(self._stderr) as file:
            if file is not None:
                self._write(file)
        _stay_interrupted()

    def _write(self, file: TextIO) -> None:
        run = None if self.tracing is None else self.tracing.run()
        if run is not None and run.roots:
            from pocketflow_trace.views.console import print_run  # noqa: PLC0415 - rich, only when used

            print_run(run, file, look=self.look)
            self._write_hints(file, run)
        elif _program_began():
            file.write(f"pocketflow-trace: {self.nothing_because}\n")
        complaints = [] if self.tracing is None else self.tracing.complaints()
        file.writelines(f"pocketflow-trace: {complaint}\n" for complaint in complaints)

    def _write_hints(self, file: TextIO, run: Run) -> None:
        from pocketflow_trace.views.totals import totals  # noqa: PLC0415 - as `print_run`

        if self.tracing is None:
            return
        sums = totals(run)
        if not sums.usage and (hint := self.tracing.hint()):
            file.write(f"pocketflow-trace: {hint}\n")
        if file.isatty() and (run_id := self.tracing.kept_as()):
            command = "report" if sums.errors else "show"
            file.write(f"kept as {run_id}; see: pocketflow-trace {command}\n")


def _ignore_readers_that_have_gone() -> None:
    """Let a write of ours fail where nobody reads: a program may want SIGPIPE to end it."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])


def _file_behind(stream: TextIO | None) -> tuple[int, int] | None:
    """Tell which file a stream writes to; None where it is gone."""
    try:
        status = os.fstat(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _own_stderr(file: tuple[int, int] | None) -> AbstractContextManager[TextIO | None]:
    """Open the stderr that the process began with once more; None where it is gone.

    What the program put in the place of `sys.stderr` is for the program's own messages. And what
    cannot be written must not stay in the original's buffer: Python would fail to write it too,
    and change the exit code.

    Args:
        file: What was behind it. A program that closed its descriptor has it reused by whatever
            is opened next, by another thread perhaps.

    Raises:
        OSError: It has no file descriptor, or a closed one.
        ValueError: It is closed.
    """
    stderr = sys.__stderr__
    if stderr is None or file is None or _file_behind(stderr) != file:
        return contextlib.nullcontext()
    return open(
        stderr.fileno(), "w", encoding=stderr.encoding, errors="backslashreplace", closefd=False
    )


@contextlib.contextmanager
def _exit_code_kept() -> Generator[None]:
    """Forget what was said, in this block, to a stderr that takes nothing any more.

    A log line about a fault of ours would stay in the stream's buffer, Python would fail to write
    it when it ends, and exit with 120 instead of the program's code.
    """
    stderr = sys.stderr
    took_all = _takes_all(stderr)
    try:
        yield
    finally:
        if took_all and not _takes_all(stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                _pour_away(stderr)


def _takes_all(stream: TextIO | None) -> bool:
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def _pour_away(stream: Any) -> None:
    """Empty the buffer of a stream that was opened by Python, which leads nowhere from now on.

    The descriptor is left alone: another file may have got its number.
    """
    stream.buffer.raw.__init__(os.open(os.devnull, os.O_WRONLY), "w")
    stream.flush()


def _stay_interrupted() -> None:
    """Let Python still end by SIGINT where a KeyboardInterrupt ended the program.

    Python remembers that in a flag which each `exec` of text clears, and the imports of the report
    call it, to make dataclasses. An `exec` that is interrupted itself sets the flag again.
    """
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - see above


def _program_began() -> bool:
    """Tell whether Python found the program; if not, it has said so, and that is enough."""
    # What Python sets when it runs a program and leaves set afterwards, unlike `__file__`.
    loader = getattr(sys.modules.get("__main__"), "__loader__", None)
    return loader is not None and loader is not BuiltinImporter

"""`pocketflow-trace run`: runs a program as Python would, and prints what its flows did.

The process becomes the real interpreter running the real program. A `sitecustomize` module, first
on PYTHONPATH, sets up tracing before the program starts and removes itself from its sight.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.views.verbosity import verbosity_named, verbosity_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STARTUP_VARIABLE: Final = "POCKETFLOW_TRACE_STARTUP"
"""Carries JSON to `startup/sitecustomize.py`.

It is `{"pythonpath": str | null, "name": str, "clients": bool, "look": {...}, "file": str | null}`;
`look` holds the fields of `verbosity.Look`, `file` is that of `tracing.start_tracing`.
"""

_STARTUP_DIRECTORY: Final = Path(__file__).with_name("startup")

_INSTALL: Final = "pip install 'opentelemetry-instrumentation-pocketflow[terminal]'"

_COERCED: Final = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})

_OPTIONS: Final[Mapping[str, bool]] = {
    "--ascii": False,
    "--live": False,
    "--no-clients": False,
    "--no-file": False,
    "--no-live": False,
    "--out": True,
    "--verbosity": True,
}
"""Our own options, which stand before the program, and whether they have a value."""

_HELP: Final = """\
Runs a program exactly as Python would, and shows on stderr what its flows do: while it runs, and in
full when it ends.

usage: pocketflow-trace run [OPTIONS] PROGRAM [ARGS...]
       pocketflow-trace run [OPTIONS] -m MODULE [ARGS...]

The exit code, stdin and stdout are the program's own. Child processes are not traced. A program
that is killed or ends with os._exit prints no tree. Where the program sets a tracer provider of its
own, PocketFlow's spans go there too. Install this package where the program's own packages are: the
program runs with the same interpreter.

The tokens of model calls are counted through an OpenTelemetry instrumentation of the client, where
one is installed: for openai, anthropic and google-genai, this package's extras of these names. It
is not activated where the program does so itself, and it records no prompts and no answers unless
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT asks for them. A client's warnings about the line
that called it are then about a line of the instrumentation, and Python may not show them.

On a terminal, the tree grows in the bottom rows once something has run for half a second; the
program's own output and its prompts are in the rows above. Where there is no terminal, plain lines
are printed as things happen.

The run is kept as a file that is written while the program runs: after a crash or a kill it tells
of everything up to some milliseconds before. The newest 100 runs stay, as long as they have no more
than 1,000 MB in all; of one run, 64 MB are kept. Only you can read the file.

options:
  --verbosity minimal|normal|verbose
                                   minimal: errors and totals; verbose: everything, with inputs,
                                   outputs, and the attributes of model calls
  --no-live                        show nothing before the end
  --live                           show the tree as it grows also on a terminal of unknown type
  --ascii                          print ASCII characters only
  --no-clients                     leave the clients of model providers alone
  --out FILE                       keep the run in this file; FILE.partial while the program runs
  --no-file                        do not keep the run

environment:
  OTEL_EXPORTER_OTLP_ENDPOINT      also send the spans to this collector; if it does not answer,
                                   they are written to a file, and one line says where
  OTEL_EXPORTER_OTLP_PROTOCOL      http/protobuf (the default) or grpc
  OTEL_SERVICE_NAME                the program's name there; otherwise that of its file
  OTEL_PYTHON_POCKETFLOW_CONTENT   off, keys or values (the default): what is shown of the store
  OTEL_PYTHON_POCKETFLOW_MODULE    import name of PocketFlow, where the program has its own copy
  OTEL_PYTHON_POCKETFLOW_SELF_REPORT
                                   false: do not measure what tracing itself takes
  OTEL_PYTHON_DISABLED_INSTRUMENTATIONS
                                   names of instrumentations not to use, such as openai; * for all
  OTEL_SDK_DISABLED                true: run the program without tracing it
  POCKETFLOW_TRACE_DIR             folder of kept runs, instead of that in your state folder
  POCKETFLOW_TRACE_VERBOSITY       what --verbosity is without the option
  NO_COLOR                         print without colours

examples:
  pocketflow-trace run main.py --topic cats
  pocketflow-trace run -m mypackage.app
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 pocketflow-trace run main.py
"""


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace run` with these arguments; on POSIX a program's start is no return.

    Raises:
        CliError: Wrong usage, or the program could not be traced as asked.
    """
    if args and args[0] in {"-h", "--help"}:
        sys.stdout.write(_HELP)
        return 0
    options, args = _options(args)
    look, file = _look(options), _file(options)
    program = _program(args)
    _check_interpreter()
    _check_packages()
    command = [sys.executable, *_interpreter_options(), *program]
    settings = {"clients": "--no-clients" not in options, "look": look, "file": file}
    return _become(command, _environment(_name(program), os.environ, settings))


def _interpreter_options() -> list[str]:
    """Return the options that this interpreter was started with, such as `-W error` or `-X dev`."""
    # Private, but what multiprocessing starts its workers with.
    options: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list[str])()
    return options


def _options(args: Sequence[str]) -> tuple[Mapping[str, str], Sequence[str]]:
    """Return our own options with their values, which are empty for most, and the arguments left.

    Raises:
        CliError: An option lacks its value, or has one that it does not take.
    """
    options: dict[str, str] = {}
    rest = list(args)
    while rest and (name := rest[0].partition("=")[0]) in _OPTIONS:
        _, equals, value = rest.pop(0).partition("=")
        if _OPTIONS[name] and not equals and rest:
            equals, value = "=", rest.pop(0)
        if bool(equals) != _OPTIONS[name]:
            takes = "needs a value" if _OPTIONS[name] else "takes no value"
            raise CliError(f"{name} {takes}; see: pocketflow-trace run --help")
        options[name] = value
    return options, rest


def _look(options: Mapping[str, str]) -> dict[str, object]:
    """Return how the run is to be shown: the fields of `verbosity.Look`.

    Raises:
        CliError: Options contradict each other, or there is no such verbosity.
    """
    if "--live" in options and "--no-live" in options:
        raise CliError("--live and --no-live contradict each other")
    try:
        named = options.get("--verbosity")
        verbosity = verbosity_of(os.environ) if named is None else verbosity_named(named)
    except ValueError as exc:
        raise CliError(str(exc)) from exc
    live = True if "--live" in options else False if "--no-live" in options else None
    return {"verbosity": verbosity, "live": live, "ascii": "--ascii" in options}


def _file(options: Mapping[str, str]) -> str | None:
    """Return where to keep the run, as `tracing.start_tracing` takes it.

    Raises:
        CliError: Options contradict each other, or there can be no such file.
    """
    if "--out" not in options:
        return None if "--no-file" in options else ""
    if "--no-file" in options:
        raise CliError("--out and --no-file contradict each other")
    try:
        path = Path(options["--out"]).absolute()
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as exc:
        raise CliError(f"--out: {exc}") from exc
    if is_folder or not has_folder:
        raise CliError(f"--out: {path} is a folder" if is_folder else f"no folder {path.parent}")
    return str(path)


def _program(args: Sequence[str]) -> list[str]:
    """Return the interpreter's arguments for the program: `[FILE, ...]` or `["-m", NAME, ...]`.

    Raises:
        CliError: No program is given, or an option is unknown.
    """
    rest = list(args[1:] if args and args[0] == "--" else args)
    if not rest or rest == ["-m"]:
        raise CliError("no program to run; see: pocketflow-trace run --help")
    if rest[0].startswith("-m"):
        module, given = (rest[1], rest[2:]) if rest[0] == "-m" else (rest[0][2:], rest[1:])
        return ["-m", module, *given]
    if rest[0].startswith("-") and rest[0] != "-" and args[0] != "--":
        raise CliError(f"unknown option {rest[0]!r}; see: pocketflow-trace run --help")
    return ["--", *rest] if rest[0].startswith("-") and rest[0] != "-" else rest


def _name(program: Sequence[str]) -> str:
    """Return the program's name for `service.name`: the module, or the file without `.py`."""
    if program[0] == "-m":
        return program[1]
    path = program[1] if program[0] == "--" else program[0]
    return "stdin" if path == "-" else Path(path).name.removesuffix(".py")


def _check_interpreter() -> None:
    """Refuse what would keep tracing out of the program.

    Raises:
        CliError: The interpreter ignores PYTHONPATH or `sitecustomize`, or has no executable.
    """
    if sys.flags.ignore_environment or sys.flags.isolated or sys.flags.no_site:
        raise CliError("cannot trace under Python's options -E, -I and -S")
    if not sys.executable:
        raise CliError("cannot find the Python interpreter to run the program with")


def _check_packages() -> None:
    """Refuse to run the program half traced.

    Raises:
        CliError: A package that tracing needs is missing; the message holds the line to install.
    """
    for package in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common", "rich"):
        if not _is_installed(package):
            raise CliError(f"{package} is missing; install it with:\n  {_INSTALL}")
    _check_export()


def _check_export() -> None:
    from pocketflow_trace.sending.exporter import ExportError, export_target  # noqa: PLC0415

    try:
        export_target(os.environ)
    except ExportError as exc:
        raise CliError(str(exc)) from exc


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _environment(
    name: str, environ: Mapping[str, str], settings: Mapping[str, object]
) -> dict[str, str]:
    """Return the environment with `startup` first on PYTHONPATH, and how to undo that."""
    before = environ.get("PYTHONPATH")
    # An empty PYTHONPATH means none; with a separator it would mean the working directory.
    path = f"{_STARTUP_DIRECTORY}{os.pathsep}{before}" if before else str(_STARTUP_DIRECTORY)
    startup = json.dumps({"pythonpath": before, "name": name, **settings})
    result = {**environ, "PYTHONPATH": path, STARTUP_VARIABLE: startup}
    if _coerced_locale(environ):
        del result["LC_CTYPE"]
    return result


def _coerced_locale(environ: Mapping[str, str]) -> bool:
    """Did this interpreter set LC_CTYPE, since it found the C locale (PEP 538)?

    It also turned UTF-8 mode on then. The program's interpreter does the same only if it finds
    what this one has found.
    """
    asked = "utf8" in sys._xoptions or "PYTHONUTF8" in environ  # noqa: SLF001 - documented so
    return bool(sys.flags.utf8_mode) and not asked and environ.get("LC_CTYPE") in _COERCED


def _become(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Turn this process into the program; on Windows, which cannot, wait for it instead."""
    if os.name == "posix":
        os.execve(command[0], list(command), dict(environ))  # noqa: S606 - the user's own program
    process = subprocess.Popen(command, env=dict(environ))  # noqa: S603 - the user's own program
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C reaches the program as well, and is its to answer.

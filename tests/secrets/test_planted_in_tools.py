"""What `pocketflow-trace` prints, keeps, reports and sends of a program full of credentials."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from support.planted import SENTENCES, SHAPED, Planted, made, named, seen
from support.programs import TIMEOUT, clean_environment
from support.sink import running_sink

if sys.platform != "win32":
    import pty

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

ALL = (SHAPED + SENTENCES)[::6]
TOOL = (sys.executable, "-m", "pocketflow_trace")
TESTS = str(Path(__file__).parents[1])

PROGRAM = """\
import logging, sys

from support.places import named_values, run_with, run_with_value
from support.planted import SENTENCES, SHAPED, named

logging.disable()
run_with_value({"arguments": len(sys.argv), "note": SHAPED[0].text})
for planted in (SHAPED + SENTENCES)[::6]:
    run_with(planted.text)
for planted in named()[::5]:
    run_with_value(named_values(planted.name, planted.secret))
"""

ARGUMENTS = {
    "flag": ("--api-key", "{}"),
    "flag with =": ("--token={}",),
    "login": ("-u", "ada:{}"),
    "header": ("-H", "X-Api-Key: {}"),
    "URL": ("postgres://ada:{}@db.example/x",),
    "variable": ("DB_PASSWORD={}",),
}


def arguments() -> tuple[list[str], list[Planted]]:
    """Return a command line and what is planted in it."""
    planted = [Planted(name, (secret := made(name, "abcd0123", 30)), secret) for name in ARGUMENTS]
    line = [
        part.format(secret.text)
        for secret, parts in zip(planted, ARGUMENTS.values(), strict=True)
        for part in parts
    ]
    return [*line, SHAPED[3].text], [*planted, SHAPED[3]]


RESOURCE = Planted("resource", (secret := made("resource", "abcd0123", 30)), secret)
REMOTE = Planted("remote", (secret := made("remote", "abcd0123", 30)), secret)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """All that the tool says of some runs, by command."""
    with running_sink() as sink:
        cwd = tmp_path_factory.mktemp("program")
        yield {**tell(cwd, sink.url), "sent": sink.data}
        assert {"/v1/traces"} <= set(sink.paths)


def tell(cwd: Path, url: str) -> dict[str, bytes]:
    """Run a program three times in a repository, and ask the tool about it."""
    (cwd / "main.py").write_text(PROGRAM, encoding="utf-8")
    clone(cwd)
    line, _ = arguments()
    told = {
        "run, live": in_a_terminal(cwd, url),
        "run, verbosely": tool(cwd, url, "run", "--no-live", "main.py", verbosity="verbose"),
        "run": tool(cwd, url, "run", "--no-live", "main.py", *line),
    }
    for command in (
        *(("list",), ("show",), ("store",), ("graph",), ("stats",), ("report",), ("doctor",)),
        ("diff", "last~1", "last"),
        ("export", "--to", "otlp-json"),
        ("export", "--to", "otlp", "--endpoint", url),
    ):
        told[" ".join(command[:3])] = tool(cwd, url, *command, verbosity="verbose")
    kept = [path.read_bytes() for path in (cwd / "state").rglob("*") if path.is_file()]
    return {**told, "kept": b"\n".join(kept)}


def clone(cwd: Path) -> None:
    """Make a repository of a folder, with a password in the URL of its remote."""
    if git := shutil.which("git"):
        url = f"https://ada:{REMOTE.text}@git.example/ada/x.git"
        for arguments in (("init", "-q"), ("remote", "add", "origin", url)):
            subprocess.run([git, *arguments], cwd=cwd, check=True, env=environment(cwd))


def tool(cwd: Path, url: str, *arguments: str, verbosity: str = "") -> bytes:
    """Run the tool; return what it prints."""
    env = environment(cwd) | {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
    env |= {"POCKETFLOW_TRACE_VERBOSITY": verbosity} if verbosity else {}
    done = subprocess.run(
        [*TOOL, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.stdout + done.stderr


def in_a_terminal(cwd: Path, url: str) -> bytes:
    """Run the program as the tool does it where it can draw; return all that it drew."""
    if sys.platform == "win32":
        return b""
    main, side = pty.openpty()
    env = environment(cwd) | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*TOOL, "run", "main.py"], cwd=cwd, env=env, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    drawn = b""
    with contextlib.suppress(OSError):  # what Linux says when nobody has the terminal open
        while data := os.read(main, 65_536):
            drawn += data
    os.close(main)
    assert process.wait(TIMEOUT) == 0
    return drawn


def environment(cwd: Path) -> dict[str, str]:
    """Return variables with a password in them."""
    resource = f"deployment.environment.name=prod,db=postgres://ada:{RESOURCE.text}@db.example/x"
    return clean_environment(
        {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {RESOURCE.text}",
            "OTEL_RESOURCE_ATTRIBUTES": resource,
            "PYTHONPATH": TESTS,
            "XDG_STATE_HOME": str(cwd / "state"),
        }
    )


def test_nothing_is_seen_anywhere(told: dict[str, bytes]) -> None:
    """Terminal, files, pages, exports, and what goes to the collector."""
    planted = [*ALL, *named(), *arguments()[1], RESOURCE, REMOTE]
    found = {place: seen(planted, data) for place, data in told.items()}
    assert [place for place in found if found[place]] == [], found


@pytest.mark.parametrize(
    "place", ["run", "run, live", "show", "report", "store", "diff last~1 last", "sent", "kept"]
)
def test_the_rest_is_there(place: str, told: dict[str, bytes]) -> None:
    """Each place shows the program, and that something was hidden."""
    assert b"[REDACTED]" in told[place], told[place][-2000:]


def test_the_resource_is_told(told: dict[str, bytes]) -> None:
    """Command line, remote and attributes of the user's, without what is secret in them."""
    kept = told["kept"].decode()
    assert '"--api-key","[REDACTED]"' in kept
    assert "https://git.example/ada/x" in kept
    assert "postgres://[REDACTED]@db.example/x" in kept
    assert "ada:[REDACTED]" in kept

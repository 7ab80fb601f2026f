"""The programs in ``examples/``, run as a newcomer runs them: as files, in their own process."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Env = Mapping[str, str]

EXAMPLES = Path(__file__).parents[2] / "examples"

HELPERS = {"call_llm.py", "scripted_model.py"}

ONLINE = {"support_mail.py"}
"""Asks a real model through a client of its own; `test_openai_example.py` runs it."""

FACTS: dict[str, list[str]] = {
    "chat.py": [
        "Model: 12 times 7 is 84.",
        "You: What is my name?\nModel: You are Ada.",
        'So far you said: "Hello!"; "My name is Ada."; "What is 12 times 7?"',
        "Goodbye, after 5 turns.",
    ],
    "map_reduce.py": [
        "Amara Okafor: yes, has all that is asked for\n",
        "Bo Lindqvist: no, lacks Python\n",
        "Carmen Ruiz: yes, has all that is asked for (after 2 attempts)\n",
        "Dev Patel: no, lacks 5 years\n",
        "Invite Carmen Ruiz (11 years) first, then Amara Okafor (8 years).",
    ],
    "order_pipeline.py": [
        "Payment of 40.00 euros: paid\nStock left: {'cup': 10, 'teapot': 2}\n",
        "(attempt 3 of 3)\nNo courier (courier does not answer for A-1001), taking the post\n",
        "Label: A-1001 / Ada / post\nE-mail: Dear Ada",
    ],
    "parallel_translation.py": [
        "Spanish (rounds: 1)\n  PocketFlow es un framework",
        "French (rounds: 2)\n  PocketFlow est un framework",
        "German (rounds: 2)\n  PocketFlow ist ein Framework",
        "Italian (rounds: 1)\n  PocketFlow è un framework",
    ],
    "rag.py": [
        "Indexed 6 passages of 3 documents\n",
        "Found in returns",
        "Answer: A late return costs 5 euros an hour.\n",
    ],
    "research_agent.py": [
        "Search: Mont Blanc -> Mont Blanc in the Alps is 4,806 m high.\nDecide: search.",
        "Search: Mount Fuji -> Mount Fuji in Japan is 3,776 m high.\nDecide: answer.",
        "Answer: Mont Blanc is the highest, with 4,806 m: 1,030 m more than Mount Fuji.\n",
    ],
}
"""Program -> what a reader of its output must find."""

every_example = pytest.mark.parametrize("name", sorted(FACTS))


def run(
    name: str, *args: str, stdin: int = subprocess.DEVNULL, env: Env | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one example in a process that has ``env`` and none of the developer's model settings."""
    ours = ("OPENAI_", "POCKETFLOW_EXAMPLES_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *args],
        stdin=stdin,
        capture_output=True,
        encoding="utf-8",
        env={**inherited, "PYTHONUTF8": "1", "NO_PROXY": "127.0.0.1", **(env or {})},
        timeout=30,  # well below the examples' own default of 60
        check=False,
    )


def output(name: str, *args: str, env: Env | None = None) -> str:
    """Return what an example prints; it must succeed and complain about nothing."""
    done = run(name, *args, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- Offline ----------------------------------------------------------------------------------


def test_no_example_is_forgotten() -> None:
    """Every Python file in the folder is tested here or beside this file, or a known helper."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == HELPERS | ONLINE | FACTS.keys()


@every_example
def test_prints_the_expected_facts(name: str) -> None:
    """The program ends well, says nothing on stderr, and finds what it should."""
    printed = output(name)
    assert [fact for fact in FACTS[name] if fact not in printed] == []


@every_example
def test_prints_the_same_again(name: str) -> None:
    """Neither parallel branches nor the hash seed change what is printed."""
    assert output(name, env={"PYTHONHASHSEED": "1"}) == output(name, env={"PYTHONHASHSEED": "2"})


@pytest.mark.parametrize("name", sorted(ONLINE | FACTS.keys()))
def test_explains_itself(name: str) -> None:
    """The docstring says how to run the program, ``main`` runs it, and the README lists it."""
    tree = ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert f"python examples/{name}" in (ast.get_docstring(tree) or "")
    assert "main" in functions
    assert f"[`{name}`]({name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(HELPERS | ONLINE | FACTS.keys()))
def test_needs_only_pocketflow(name: str) -> None:
    """An example imports PocketFlow, its helpers and the standard library, and no tracing."""
    tree = ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
    allowed = {"pocketflow", *(Path(helper).stem for helper in HELPERS), *sys.stdlib_module_names}
    client = {"openai"} if name in ONLINE else set[str]()
    assert imported_by(tree) - allowed == client


def imported_by(tree: ast.Module) -> set[str]:
    """Return the top-level names of all modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("name", "args", "fact"),
    [
        (
            "research_agent.py",
            ["Which is longer, the Danube or the Rhine?"],
            "Danube is the longest, with 2,850 km: 1,620 km more than Rhine.",
        ),
        (
            "research_agent.py",
            ["Is Atlantis higher than Kilimanjaro?"],
            "Kilimanjaro in Tanzania is 5,895 m high. I found nothing about Atlantis.",
        ),
        (
            "research_agent.py",
            ["Which is highest, Ada, Bea, Cleo, Dora, Edda or Fay?"],
            "Enough: 5 searches must do.\nAnswer: The notes do not say.",
        ),
        ("rag.py", ["Are helmets free?"], "Answer: Helmets and locks are free.\n"),
        ("rag.py", ["Who was Napoleon?"], "Answer: The notes do not say.\n"),
        ("order_pipeline.py", ["A-1002"], "declined\nE-mail: Dear Bruno"),
        ("chat.py", ["I am Bo", "who am I?"], "You have not told me yet.\nGoodbye, after 2 turns."),
        ("chat.py", ["Hi", "EXIT", "unheard"], "do for you?\nYou: EXIT\nGoodbye, after 1 turns."),
    ],
)
def test_takes_another_route(name: str, args: list[str], fact: str) -> None:
    """The arguments decide where the flow goes and what the scripted model says."""
    assert fact in output(name, *args)


def test_prints_no_card_token() -> None:
    """The order's card token stays in the store."""
    assert "tok_demo" not in output("order_pipeline.py")


def test_chat_reads_the_keyboard() -> None:
    """On a terminal the turns are typed, until one of them is "exit"."""
    pty = pytest.importorskip("pty")
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, b"My name is Grace.\nWhat is my name?\nexit\n")
        done = run("chat.py", stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert (done.returncode, done.stderr) == (0, "")
    assert "You: Model: You are Grace.\n" in done.stdout
    assert "Goodbye, after 2 turns.\n" in done.stdout


# --- Against a server -------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What reached the server."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class ModelServer:
    """A model's server on the loopback interface; ``respond`` returns a status and a body."""

    url: str
    requests: list[Request] = field(default_factory=list[Request])
    respond: Callable[[Request], tuple[int, str]] = lambda _request: (200, completion("Pong."))

    def env(self, **more: str) -> dict[str, str]:
        """Return the variables that point an example at this server."""
        return {"OPENAI_BASE_URL": self.url, "POCKETFLOW_EXAMPLES_MODEL": "test-model", **more}


def completion(content: str | None) -> str:
    """Return a chat completion in the shape OpenAI gives it."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"object": "chat.completion", "choices": [{"index": 0, "message": message}]})


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """Serve on a free port for one test."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(self.path, dict(self.headers), json.loads(body))
            model.requests.append(request)
            status, text = model.respond(request)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        model = ModelServer(f"http://127.0.0.1:{httpd.server_port}/v1")
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield model
        httpd.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def scripted_answer() -> Callable[[list[dict[str, str]]], str]:
    """Return the scripted model's function, loaded from its file."""
    spec = importlib.util.spec_from_file_location("scripted", EXAMPLES / "scripted_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.answer


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of a failed program's traceback."""
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_asks_the_server_that_the_variables_name(server: ModelServer) -> None:
    """Address, key, model and conversation arrive as an OpenAI client sends them."""
    printed = output("chat.py", "Ping?", env=server.env(OPENAI_API_KEY="sk-test"))
    assert "Model: Pong.\n" in printed
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer sk-test"
    assert request.body["model"] == "test-model"
    assert [message["role"] for message in request.body["messages"]] == ["system", "user"]
    assert request.body["messages"][-1]["content"] == "Ping?"


def test_sends_no_authorization_without_a_key(server: ModelServer) -> None:
    """A local server without keys is asked without a key."""
    output("chat.py", "Ping?", env=server.env())
    assert "Authorization" not in server.requests[0].headers


def test_a_key_alone_sends_nothing(server: ModelServer) -> None:
    """Somebody with a key in the shell still runs offline until they name a model."""
    env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-test"}
    printed = output("chat.py", "Hello", env=env)
    assert "Model: Hello! What can I do for you?" in printed
    assert server.requests == []


@every_example
def test_every_example_works_over_http(
    name: str, server: ModelServer, scripted_answer: Callable[[list[dict[str, str]]], str]
) -> None:
    """With the scripted model behind HTTP, each program asks it and prints what it does offline."""
    server.respond = lambda request: (200, completion(scripted_answer(request.body["messages"])))
    assert output(name, env=server.env()) == output(name)
    assert server.requests


def test_a_server_error_is_named(server: ModelServer) -> None:
    """Status 500 ends the program with the address, the status and the server's own words."""
    server.respond = lambda _request: (500, "the model is asleep")
    done = run("chat.py", "Ping?", env=server.env(OPENAI_API_KEY="sk-test"))
    expected = f"{server.url}/chat/completions answered 500: the model is asleep"
    assert error_of(done) == f"call_llm.ModelError: {expected}"
    assert "sk-test" not in done.stderr


def test_a_silent_server_is_named(server: ModelServer) -> None:
    """A server that does not answer in time ends the program with the address and the time."""
    finished = threading.Event()

    def hang(_request: Request) -> tuple[int, str]:
        finished.wait(timeout=60)
        return 200, completion("Too late.")

    server.respond = hang
    try:
        done = run("chat.py", "Ping?", env=server.env(POCKETFLOW_EXAMPLES_TIMEOUT="0.2"))
    finally:
        finished.set()
    expected = f"{server.url}/chat/completions did not answer within 0.2 s"
    assert error_of(done) == f"call_llm.ModelError: {expected}"


def test_an_absent_server_is_named() -> None:
    """A port where nobody listens ends the program with the address and the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can answer here
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        done = run("chat.py", "Ping?", env=ModelServer(url).env())
    assert error_of(done).startswith(f"call_llm.ModelError: {url}/chat/completions could not be")


@pytest.mark.parametrize("body", ["<html>", "[]", '{"choices": []}', completion(None)])
def test_an_answer_of_another_kind_is_named(server: ModelServer, body: str) -> None:
    """Whatever is no chat completion is shown instead of crashing on its shape."""
    server.respond = lambda _request: (200, body)
    error = error_of(run("chat.py", "Ping?", env=server.env()))
    assert "sent something that is no chat completion" in error
    assert body[:20] in error


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_BASE_URL", "file:///etc/passwd"),
        ("POCKETFLOW_EXAMPLES_TIMEOUT", "soon"),
        ("POCKETFLOW_EXAMPLES_TIMEOUT", "0"),
        ("POCKETFLOW_EXAMPLES_TIMEOUT", "nan"),
    ],
)
def test_a_wrong_setting_is_named(server: ModelServer, variable: str, value: str) -> None:
    """A setting that cannot work ends the program with its name and value."""
    error = error_of(run("chat.py", "Ping?", env=server.env(**{variable: value})))
    assert error.startswith(f"call_llm.ModelError: {variable} must ")
    assert repr(value) in error
    assert server.requests == []

"""Runs the examples and a program with problems against the stack, zero-code.

Each writes a local file beside, so that what the stack shows can be compared with what was made.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import typing
from dataclasses import dataclass

from pocketflow_trace.keeping.shelf import SUFFIX, read
from pocketflow_trace.record.model import walk
from support import programs
from support.providers import Providers
from support.stack import ROOT, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pocketflow_trace.record.model import Entry
    from support.stack import Stack

SERVICES = (
    "chat",
    "map_reduce",
    "order_pipeline",
    "parallel_translation",
    "problems",
    "rag",
    "research_agent",
    "support_mail",
)
"""The examples and the program with problems."""

PROBLEMS = '''\
"""A shop's mails: a model that fails once, a dead end, a lost item and a crash."""
from pocketflow import BatchNode, Flow, Node
from opentelemetry.instrumentation.pocketflow import record_usage

class Draft(Node):
    def exec(self, prep_res):
        record_usage(
            provider="openai", model="gpt-5", input_tokens=1000, output_tokens=200, cost=0.25
        )
        if self.cur_retry == 0:
            raise TimeoutError("the model took too long")
        return "Dear Ada"
    def post(self, shared, prep_res, exec_res):
        shared["draft"] = exec_res

class Check(Node):
    def post(self, shared, prep_res, exec_res):
        return "rewrite"  # nobody follows on that

class Send(Node):
    pass

class Weigh(BatchNode):
    def prep(self, shared):
        return [1, 2, None]
    def exec(self, item):
        return item + 1
    def exec_fallback(self, item, exc):
        return 0

class Charge(Node):
    def exec(self, prep_res):
        return {}["iban"]

draft, check, send = Draft(max_retries=2), Check(), Send()
draft >> check
check - "send" >> send
shared = {}
Flow(start=draft).run(shared)
Flow(start=Weigh()).run(shared)
try:
    Flow(start=Charge()).run(shared)
except KeyError as exc:
    print("not charged:", exc)
print(shared)
'''

REMOTE = "https://somebody:s3cret@git.example.com/team/shop.git"


@dataclass(frozen=True)
class Ran:
    """What was run against the stack, by the name of its service.

    Attributes:
        stack: Where it went.
        commit: The commit of the repository that all programs are in.
        spans: Every span of a service, as the local file has it.
        runs: How often each was run.
        told_at: When Prometheus knew the runs in progress of every process, in seconds since 1970.
            The collector forgets them after 5 minutes, so that later they are asked for as of then.
    """

    stack: Stack
    commit: str
    spans: Mapping[str, tuple[Entry, ...]]
    runs: Mapping[str, int]
    told_at: float


def run_all(stack: Stack, folder: Path) -> Ran:
    """Run every program, some over http and some over grpc, and wait until it can be asked for.

    Each must print and return what it does without tracing.
    """
    commit = _repository(folder)
    # What was there before Prometheus looked for the first time counts as never added.
    wait_until(lambda: stack.query("pocketflow:watching"), "Prometheus is watching")
    runs = dict.fromkeys(SERVICES, 1) | {"problems": 3}
    with Providers() as providers:
        for number, (name, times) in enumerate(runs.items()):
            protocol = "grpc" if number % 2 else "http/protobuf"
            env = stack.environment(protocol) | _model(name, providers)
            for _ in range(times):
                _run_both(folder, name, env)
    told_at = _wait_for_processes(stack, runs)
    spans = {name: _kept(folder, name) for name in runs}
    _wait_for_metrics(stack, spans)
    return Ran(stack, commit, spans, runs, told_at)


def _model(name: str, providers: Providers) -> dict[str, str]:
    """Return what the example that asks a model is told; the others must not ask any."""
    if name != "support_mail":
        return {}
    return {
        "POCKETFLOW_EXAMPLES_MODEL": "gpt-4o-mini",
        "OPENAI_BASE_URL": f"{providers.url}/v1",
    }


def _run_both(folder: Path, name: str, env: Mapping[str, str]) -> None:
    """Run a program plain and traced, and compare all that a user would see."""
    script = folder / f"{name}.py"
    plain = programs.run(script, {key: env[key] for key in env if not key.startswith("OTEL_")})
    told = {
        "OTEL_SERVICE_NAME": name,
        "OTEL_TRACES_EXPORTER": "otlp,pocketflow_file",
        "POCKETFLOW_TRACE_DIR": str(folder / "kept" / name),
    }
    traced = programs.run(script, {**env, **told}, zero_code=True)
    assert (traced.outcome, traced.stderr) == (plain.outcome, plain.stderr)


def _kept(folder: Path, name: str) -> tuple[Entry, ...]:
    """Return all spans of the local files, one run after the other."""
    files = sorted((folder / "kept" / name).glob(f"*{SUFFIX}"))
    return tuple(entry for file in files for entry in walk(read(file).run.roots))


def _repository(folder: Path) -> str:
    """Make a repository of the examples and the program with problems; return the commit."""
    for example in (ROOT / "examples").glob("*.py"):
        shutil.copy(example, folder)
    (folder / "problems.py").write_text(PROBLEMS, encoding="utf-8")
    (folder / ".gitignore").write_text("kept/\n__pycache__/\n", encoding="utf-8")
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    for arguments in (
        ("init", "--quiet", "--initial-branch=trunk"),
        ("remote", "add", "origin", REMOTE),
        ("add", "."),
        (*identity, "commit", "--quiet", "--message=first"),
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        head, cwd=folder, check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


def _wait_for_processes(stack: Stack, runs: Mapping[str, int]) -> float:
    """Block until every process has told its runs in progress; return when that was."""
    for service, times in runs.items():
        active = f'pocketflow_active_runs{{job="{service}"}}'
        processes = f"count(count by (service_instance_id) ({active}))"
        _wait_for_value(stack, processes, times)
    return time.time()


def _wait_for_metrics(stack: Stack, spans: Mapping[str, tuple[Entry, ...]]) -> None:
    """Block until Prometheus has counted every span, and Jaeger can find them."""
    for service, entries in spans.items():
        _wait_for_service(stack, service, len(entries))


def _wait_for_service(stack: Stack, service: str, wanted: int) -> None:
    _wait_for_value(stack, f'sum(pocketflow_spans_calls_total{{job="{service}"}})', wanted)
    wait_until(lambda: _stored(stack, service) == wanted, f"Jaeger has {wanted} of {service}")


def _wait_for_value(stack: Stack, expression: str, wanted: float) -> None:
    wait_until(lambda: _value(stack, expression) == wanted, f"{expression} is {wanted}")


def _value(stack: Stack, expression: str) -> float | None:
    found = stack.query(expression)
    return float(found[0]["value"][1]) if found else None


def _stored(stack: Stack, service: str) -> int:
    return sum(len(trace["spans"]) for trace in stack.traces(service))

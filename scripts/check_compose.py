"""Start docker-compose.yml and check, through its published addresses, what it promises.

    python scripts/check_compose.py           start, check, remove
    python scripts/check_compose.py --keep    leave it running; this removes it later:
                                              docker compose -p pocketflow-check down -v

Needs Docker with Compose, and this package with its extras `pocketflow` and `otlp` in the Python
that runs it. The stack gets a project name of its own, so that the volumes of one that is in use
are not touched; but its ports must be free. A `docker-compose.override.yml` is left out.

Jaeger and the collector are restarted in an orderly way, so that they may finish what is under way;
what a crash leaves is tested without containers, in `tests/stack`.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import typing
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "pocketflow-check"
EXAMPLE = ROOT / "examples" / "order_pipeline.py"
EXPECTED_SPANS = {
    "invoke_workflow TakeOrderFlow",
    "invoke_workflow Payment",
    "BookCourier",
    "BookCourier attempt",
}
MODEL_CALLS = """
from opentelemetry.instrumentation.pocketflow import record_usage
from pocketflow import Flow, Node

class Ask(Node):
    def exec(self, prep_res):
        record_usage(model="gpt-5", input_tokens=1000, output_tokens=200, cost=0.25)
        if self.cur_retry == 0:
            raise TimeoutError("the model took too long")

Flow(start=Ask(max_retries=2)).run({})
"""
"""No example uses tokens without a real model; this says that it did, and wasted the first ones."""
DASHBOARDS = {"pocketflow-runs", "pocketflow-flow", "pocketflow-models"}
DATA_SOURCES = ("prometheus", "jaeger")

START_TIMEOUT = 300
COMMAND_TIMEOUT = 2 * START_TIMEOUT
ANSWER_TIMEOUT = 90.0
"""Seconds until what was sent can be asked for."""
HTTP_OK = 200
REFUSED = (401, 403)


class CheckError(Exception):
    """The stack does not do what it promises; the message says what."""


@dataclass(frozen=True)
class Server:
    """One published address: who answers there, and how to ask."""

    name: str
    port: int

    def ask(
        self,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, typing.Any]:
        """Send a request, a POST where it has a body.

        Returns:
            The status and what the answer's JSON says; None where it has none.

        Raises:
            OSError: It does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                "GET" if body is None else "POST",
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json", **(headers or {})},
            )
            answer = connection.getresponse()
            return answer.status, _decoded(answer.read())
        except http.client.HTTPException as exc:
            raise OSError(f"{self.name}: {exc!r}") from exc
        finally:
            connection.close()

    def get(self, path: str) -> typing.Any:
        """Return what it answers.

        Raises:
            CheckError: It refuses.
        """
        status, said = self.ask(path)
        if status != HTTP_OK:
            raise CheckError(f"{self.name} answers {path} with {status}: {said}")
        return said


GRAFANA = Server("Grafana", 3000)
JAEGER = Server("Jaeger", 16686)
PROMETHEUS = Server("Prometheus", 9090)


def main() -> int:
    """Run the checks; 1 where one fails."""
    parser = argparse.ArgumentParser(description="Start docker-compose.yml and check what it does.")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    keep = parser.parse_args().keep
    if not succeeds(lambda: compose("config", "--quiet")):
        return 1
    try:
        passed = succeeds(check_all)
        if not passed:
            succeeds(show_logs)
    finally:
        removed = keep or succeeds(lambda: compose("down", "--volumes"))
    return 0 if passed and removed else 1


def succeeds(step: Callable[[], object]) -> bool:
    """Do a step, and say at once why it fails: what fails after it must not hide that."""
    try:
        step()
    except (CheckError, OSError) as exc:
        print(f"check_compose: {exc}", file=sys.stderr, flush=True)
        return False
    return True


def show_logs() -> None:
    """Write the last that each service said."""
    print(compose("logs", "--no-color", "--tail", "40"), file=sys.stderr)


def check_all() -> None:
    """Start the stack and check it, from what a program sends to what Grafana shows.

    Raises:
        CheckError: Something is not as it should be.
    """
    done("the stack starts", start)
    done("Prometheus reads all its targets and rules", check_prometheus)
    done("programs send, zero-code", send)
    trace_id = done("Jaeger has the trace", lambda: await_trace("check-first"))
    done("its numbers lead to the trace", lambda: check_exemplars("check-first"))
    done("Grafana has its data sources and dashboards", check_grafana)
    done("every panel's query is answered", check_panels)
    done("nobody changes Grafana or logs in", check_grafana_is_closed)
    done("a trace outlives an orderly restart of Jaeger", lambda: check_restart(trace_id))
    done("the queue outlives an orderly restart of the collector", check_queue)


Result = typing.TypeVar("Result")


def done(what: str, check: Callable[[], Result]) -> Result:
    """Run a check and tell that it went well."""
    began = time.monotonic()
    result = check()
    print(f"ok   {what} ({time.monotonic() - began:.0f} s)", flush=True)
    return result


def compose(*arguments: str) -> str:
    """Run `docker compose` on the file and return what it wrote.

    Raises:
        CheckError: It failed, or there is no Docker.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise CheckError("no `docker` on the PATH")
    # A named file is the only one: an override would be merged in, and checked, too.
    project = ("--project-name", PROJECT, "--file", "docker-compose.yml")
    return _run(docker, "compose", *project, *arguments)


def start() -> None:
    """Start what does not run, and wait until all of it answers."""
    compose("up", "--detach", "--wait", "--wait-timeout", str(START_TIMEOUT))


def send() -> None:
    """Run an example, and a program that calls a model."""
    run_program("check-first", str(EXAMPLE))
    run_program("check-models", "-c", MODEL_CALLS)


def run_program(service: str, *arguments: str) -> None:
    """Run Python as docs/production.md says, under a service name of its own."""
    program = Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument"
    settings = {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
    }
    _run(str(program), sys.executable, *arguments, env={**os.environ, **settings})


def await_trace(service: str) -> str:
    """Wait until Jaeger has all of the example's trace, and return its id."""

    def found() -> str | None:
        for trace in JAEGER.get(f"/api/traces?service={service}")["data"]:
            if {span["operationName"] for span in trace["spans"]} >= EXPECTED_SPANS:
                return str(trace["traceID"])
        return None

    return awaited(f"Jaeger has the trace of {service}", found)


def check_prometheus() -> None:
    """Every target answers, no rule fails, and what comes from now on counts as new."""

    def all_up() -> bool:
        targets = PROMETHEUS.get("/api/v1/targets?state=active")["data"]["activeTargets"]
        return bool(targets) and all(target["health"] == "up" for target in targets)

    awaited("Prometheus reads all its targets", all_up)
    awaited("its recording rules have begun", lambda: query("pocketflow:watching"))
    groups = PROMETHEUS.get("/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    failing = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if _is_failing(rule)]
    if failing or not rules:
        raise CheckError(f"of {len(rules)} rules fail: {failing}")


def check_exemplars(service: str) -> None:
    """The duration of the example's spans names traces, and Jaeger has them."""
    name = f'pocketflow_spans_duration_seconds_bucket{{job="{service}"}}'

    def found() -> set[str]:
        now = time.time()
        asked = urllib.parse.urlencode({"query": name, "start": now - 900, "end": now})
        series = PROMETHEUS.get(f"/api/v1/query_exemplars?{asked}")["data"]
        labels = [exemplar["labels"] for each in series for exemplar in each["exemplars"]]
        return {each["trace_id"] for each in labels}

    for trace_id in awaited(f"Prometheus has exemplars of {service}", found):
        JAEGER.get(f"/api/traces/{trace_id}")


def check_grafana() -> None:
    """The data sources answer, and the dashboards are there."""
    for uid in DATA_SOURCES:
        said = GRAFANA.get(f"/api/datasources/uid/{uid}/health")
        if said["status"] != "OK":
            raise CheckError(f"Grafana on its data source {uid}: {said}")
    found = {each["uid"] for each in GRAFANA.get("/api/search?type=dash-db")}
    if not found >= DASHBOARDS:
        raise CheckError(f"Grafana has the dashboards {found}; expected {DASHBOARDS}")


def check_panels() -> None:
    """Grafana answers the query of every panel, and on every dashboard some have data."""
    awaited(
        "what runs cost is recorded",
        lambda: query("sum_over_time(pocketflow:cost:increase[15m]) > 0"),
    )
    for uid in sorted(DASHBOARDS):
        filled = awaited(f"a panel of {uid} has data", functools.partial(_filled_panels, uid))
        print(f"     {uid}: {filled} panels have data")


def check_grafana_is_closed() -> None:
    """Who is not known may look, and the password that everybody knows opens nothing."""
    status, _ = GRAFANA.ask("/api/dashboards/db", {"dashboard": {"title": "Mine"}})
    if status not in REFUSED:
        raise CheckError(f"Grafana lets a stranger save a dashboard ({status})")
    known = base64.b64encode(b"admin:admin").decode()
    status, _ = GRAFANA.ask("/api/admin/settings", headers={"Authorization": f"Basic {known}"})
    if status not in REFUSED:
        raise CheckError(f"Grafana knows the user admin with the password admin ({status})")


def check_restart(trace_id: str) -> None:
    """Jaeger has on disk what it took before an orderly restart."""
    compose("restart", "jaeger")
    start()
    JAEGER.get(f"/api/traces/{trace_id}")


def check_queue() -> None:
    """What Jaeger can't take waits on disk, also through an orderly restart of the collector."""
    compose("stop", "jaeger")
    run_program("check-queued", str(EXAMPLE))
    compose("restart", "collector")
    start()
    await_trace("check-queued")


def query(expression: str) -> list[typing.Any]:
    """Ask Prometheus for an expression's value now: the list of its series."""
    asked = urllib.parse.urlencode({"query": expression})
    series: list[typing.Any] = PROMETHEUS.get(f"/api/v1/query?{asked}")["data"]["result"]
    return series


def awaited(what: str, found: Callable[[], Result | None]) -> Result:
    """Ask again until there is an answer.

    Raises:
        CheckError: There was none in time.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(1)
    raise CheckError(f"not within {ANSWER_TIMEOUT:.0f} s: {what}")


def _is_failing(rule: Mapping[str, typing.Any]) -> bool:
    # A rule that was not evaluated yet is `unknown`.
    return rule["health"] == "err"


def _filled_panels(uid: str) -> str | None:
    """Ask for all panels of a dashboard; return how many have data, None where none has."""
    dashboard = GRAFANA.get(f"/api/dashboards/uid/{uid}")["dashboard"]
    values = _variables(dashboard)
    filled = [_has_data(panel, values) for panel in _panels(dashboard)]
    return f"{sum(filled)} of {len(filled)}" if any(filled) else None


def _panels(dashboard: Mapping[str, typing.Any]) -> Iterator[Mapping[str, typing.Any]]:
    """Yield the panels that ask something, those in rows, too."""
    for panel in dashboard.get("panels", ()):
        yield from _panels(panel)
        if panel.get("targets"):
            yield panel


def _variables(dashboard: Mapping[str, typing.Any]) -> dict[str, str]:
    """Return a value for each variable of a dashboard: all, where one can choose that."""
    values: dict[str, str] = {}
    for variable in dashboard.get("templating", {}).get("list", ()):
        chosen: str | list[str] = variable.get("current", {}).get("value", "")
        text = chosen if isinstance(chosen, str) else "|".join(chosen)
        everything = variable.get("includeAll") or not text or text == "$__all"
        values[variable["name"]] = (variable.get("allValue") or ".*") if everything else text
    return values


def _has_data(panel: Mapping[str, typing.Any], values: Mapping[str, str]) -> bool:
    """Ask Grafana what it would ask for a panel.

    Raises:
        CheckError: Grafana, or the data source behind it, refuses.
    """
    queries = [_filled_in(target, panel, values) for target in panel["targets"]]
    status, said = GRAFANA.ask(
        "/api/ds/query", {"queries": queries, "from": "now-15m", "to": "now"}
    )
    if status != HTTP_OK:
        raise CheckError(f"Grafana answers the panel {panel['title']!r} with {status}: {said}")
    frames = [frame for result in said["results"].values() for frame in result.get("frames", ())]
    return any(values and values[0] for frame in frames for values in [frame["data"]["values"]])


def _filled_in(
    target: Mapping[str, typing.Any],
    panel: Mapping[str, typing.Any],
    values: Mapping[str, str],
) -> dict[str, typing.Any]:
    """Return a panel's query as the browser sends it: variables replaced, a source, a width."""
    text = json.dumps(target)
    for name, value in values.items():
        # What a JSON string holds in place of the value, without the quotes around it.
        written = json.dumps(value)[1:-1]
        pattern = rf"\$\{{{name}(:\w+)?\}}|\${name}\b"
        text = re.sub(pattern, written.replace("\\", r"\\"), text)
    asked: dict[str, typing.Any] = json.loads(text)
    source = asked.get("datasource") or panel.get("datasource")
    return {**asked, "datasource": source, "intervalMs": 5000, "maxDataPoints": 500}


def _decoded(body: bytes) -> typing.Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it wrote to stdout.

    Raises:
        CheckError: It failed, or did not end; the message ends with the last it said.
    """
    try:
        ended = subprocess.run(  # noqa: S603 - the commands are written here, but for paths
            command,
            cwd=ROOT,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise CheckError(f"{' '.join(command)} did not end within {COMMAND_TIMEOUT} s") from exc
    if ended.returncode:
        said = (ended.stderr or ended.stdout)[-2000:]
        raise CheckError(f"{' '.join(command)} failed with {ended.returncode}:\n{said}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())

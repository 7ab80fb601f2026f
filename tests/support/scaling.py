"""The chain of docs/scaling.md, started natively: agent, gateway, two samplers and Jaeger.

They run with the files of deploy/scale/, with only addresses and folders replaced, and with their
thresholds set by the environment variables that the files read.
"""

from __future__ import annotations

import contextlib
import json
import re
import typing
import urllib.parse
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from support.collector import free_port
from support.stack import COLLECTOR, ROOT, Program, get, required, substituted

if typing.TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from pathlib import Path

SCALE = ROOT / "deploy" / "scale"

AGENT = (SCALE / "agent.yaml",)
GATEWAY = (ROOT / "collector-config.yaml", SCALE / "gateway-loadbalancer.yaml")
SAMPLER = (SCALE / "gateway-sampler.yaml",)
PRODUCER = (ROOT / "collector-config.yaml", SCALE / "kafka-producer.yaml")
CONSUMER = (*SAMPLER, SCALE / "kafka-consumer.yaml")
"""Each collector's files; where there are two, the second one is laid over the first."""

PERCENT = 50
"""What the samplers keep of the rest, so that some is kept and some is not."""

SLOW_MS = 1500
DECISION_WAIT = 5
"""Seconds; longer than a request takes to the sampler, as a program sends all in one."""

PLAIN_TEXT = ("GATEWAY_INSECURE", "SAMPLER_INSECURE", "JAEGER_INSECURE", "KAFKA_INSECURE")
"""What the variables are called that switch TLS off."""

STORE = """\
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}}}
extensions:
  healthcheckv2: {{use_v2: true, http: {{endpoint: "{health}"}}}}
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "{query}"}}
    grpc: {{endpoint: "{query_grpc}"}}
    enable_tracing: false
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 10000}}}}}}}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{otlp}"}}}}}}}}
exporters: {{jaeger_storage_exporter: {{trace_storage: memory}}}}
"""
"""Jaeger as the chain's end; what it stores in is no part of the chain."""


@dataclass(frozen=True)
class Kept:
    """A trace as Jaeger shows it: its root's name, and how many spans it has, each counted once.

    `copies` is the number of spans that Jaeger was told of more than once.
    """

    root: str
    spans: int
    copies: int


class Ports:
    """Free loopback addresses by name, the same for the same name."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}

    def port(self, name: str) -> str:
        """Return the port of that name."""
        return str(self._ports.setdefault(name, free_port()))

    def at(self, name: str) -> str:
        """Return its address."""
        return f"127.0.0.1:{self.port(name)}"


class Chain:
    """Agent, gateway, samplers and Jaeger, each a process with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.ports = Ports()
        self.folder = folder
        self.jaeger = self._jaeger()
        self.samplers = [self._sampler(f"sampler-{number}") for number in (1, 2)]
        self.gateway = self._gateway()
        self.agent = self._agent()

    @property
    def programs(self) -> list[Program]:
        """All of them, in the order in which they start."""
        return [self.jaeger, *self.samplers, self.gateway, self.agent]

    def environment(self, service: str) -> dict[str, str]:
        """Return what a program is told: OTLP to the agent, and its spans on stdout as well."""
        return {
            "OTEL_SERVICE_NAME": service,
            "OTEL_TRACES_EXPORTER": "otlp,console",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.ports.at('agent http')}",
            # A program's spans leave when it ends: no trace is cut in two, however slow it was.
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
        }

    def kept(self, service: str) -> dict[str, Kept]:
        """Ask Jaeger for the traces of a service, by trace id."""
        query = urllib.parse.urlencode({"service": service, "limit": 5000})
        said = get(f"http://{self.ports.at('query')}/api/traces?{query}").json()
        traces: list[typing.Any] = said["data"] or []
        return {trace["traceID"]: _kept(trace["spans"]) for trace in traces}

    def metric(self, port: str, name: str, **labels: str) -> float:
        """Add up the series of a metric that have `labels`, as Prometheus would read them."""
        return _sum(get(f"http://{self.ports.at(port)}/metrics").body.decode(), name, labels)

    def _jaeger(self) -> Program:
        names = ("health", "query", "query_grpc", "otlp")
        addresses = {
            name: self.ports.at("jaeger health" if name == "health" else name) for name in names
        }
        config = self.folder / "jaeger.yaml"
        config.write_text(STORE.format(**addresses), encoding="utf-8")
        command = (str(required("jaeger")), f"--config={config}")
        return Program("jaeger", command, f"http://{addresses['health']}/status", self.folder)

    def _sampler(self, name: str) -> Program:
        texts = {
            "0.0.0.0:4317": self.ports.at(f"{name} otlp"),
            "jaeger:4317": self.ports.at("otlp"),
            **self._common(name, "0.0.0.0"),  # noqa: S104 - the text in the file
        }
        return collector(name, SAMPLER, (texts,), self.folder, self.ports)

    def _gateway(self) -> Program:
        base = {
            "0.0.0.0:4317": self.ports.at("gateway otlp"),
            "0.0.0.0:4318": self.ports.at("gateway http"),
            "0.0.0.0:8889": self.ports.at("gateway prometheus"),
            "0.0.0.0:8890": self.ports.at("gateway prometheus now"),
            "jaeger:4317": self.ports.at("otlp"),  # which the gateway does not send to itself
            **self._common("gateway", "0.0.0.0"),  # noqa: S104 - the text in the file
        }
        over = {
            f"{name}:4317": self.ports.at(f"{name} otlp") for name in ("sampler-1", "sampler-2")
        }
        return collector("gateway", GATEWAY, (base, over), self.folder, self.ports)

    def _agent(self) -> Program:
        texts = {
            "127.0.0.1:4317": self.ports.at("agent otlp"),
            "127.0.0.1:4318": self.ports.at("agent http"),
            "gateway:4317": self.ports.at("gateway otlp"),
            **self._common("agent", "127.0.0.1"),
        }
        return collector("agent", AGENT, (texts,), self.folder, self.ports)

    def _common(self, name: str, host: str) -> dict[str, str]:
        """What stands in each of the files."""
        return {
            f"{host}:13133": self.ports.at(f"{name} health"),
            f"host: {host}": "host: 127.0.0.1",
            "port: 8888": f"port: {self.ports.port(f'{name} metrics')}",
            "/var/lib/otelcol": str(self.folder / name),
        }


def collector(
    name: str,
    files: Sequence[Path],
    texts: Sequence[Mapping[str, str]],
    folder: Path,
    ports: Ports,
) -> Program:
    """Prepare a collector, for a test to start.

    Args:
        name: What it is called; its health is asked for at the port called `{name} health`.
        files: Its configuration; each is laid over the one before it.
        texts: For each of `files`, what is replaced in it.
        folder: Where its log and its configuration are written.
        ports: The addresses.
    """
    configs = [
        substituted(file, folder / f"{name}-{file.name}", replaced)
        for file, replaced in zip(files, texts, strict=True)
    ]
    binary = str(required(COLLECTOR))
    command = ("env", *_variables(), binary, *(f"--config={config}" for config in configs))
    return Program(name, command, f"http://{ports.at(f'{name} health')}/status", folder)


@contextlib.contextmanager
def running(programs: Sequence[Program]) -> Generator[None]:
    """Run programs, which start in order and stop in reverse, until the block ends."""
    with contextlib.ExitStack() as stack:
        for program in programs:
            stack.callback(program.stop)
            program.start()
        yield


def sent(stdout: str) -> list[dict[str, typing.Any]]:
    """Read the spans that the SDK's console exporter wrote among a program's own lines."""
    found = re.findall(r"^\{\n.*?^\}", stdout, flags=re.MULTILINE | re.DOTALL)
    return [span for span in map(json.loads, found) if "context" in span]


def trace_id(span: Mapping[str, typing.Any]) -> str:
    """Return a written span's trace id as Jaeger writes it."""
    return str(span["context"]["trace_id"]).removeprefix("0x")


def roots(spans: Iterable[Mapping[str, typing.Any]]) -> dict[str, str]:
    """Map the trace ids of written spans to the names of their roots."""
    return {trace_id(span): span["name"] for span in spans if span["parent_id"] is None}


def sizes(spans: Iterable[Mapping[str, typing.Any]]) -> Counter[str]:
    """Count written spans by trace id."""
    return Counter(map(trace_id, spans))


def slow(spans: Iterable[Mapping[str, typing.Any]]) -> set[str]:
    """Return the traces of written spans that took `SLOW_MS` from first start to last end."""
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for span in spans:
        ends = (span["start_time"], span["end_time"])
        times[trace_id(span)] += [datetime.strptime(end, "%Y-%m-%dT%H:%M:%S.%f%z") for end in ends]
    least = timedelta(milliseconds=SLOW_MS)
    return {trace for trace, each in times.items() if max(each) - min(each) >= least}


def drawn(trace: str, percent: float = PERCENT) -> bool:
    """Tell whether the samplers' policy for the rest keeps a trace: 64-bit FNV-1a of its id."""
    value = 0xCBF29CE484222325
    for byte in b"default-hash-seed" + bytes.fromhex(trace):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value <= (2**64 - 1) * percent / 100


def _variables() -> list[str]:
    thresholds = {
        "SAMPLING_DECISION_WAIT": f"{DECISION_WAIT}s",
        "SAMPLING_SLOW_MS": str(SLOW_MS),
        "SAMPLING_PERCENT": str(PERCENT),
    }
    plain = dict.fromkeys(PLAIN_TEXT, "true")
    return [f"{name}={value}" for name, value in (thresholds | plain).items()]


def _kept(spans: Sequence[Mapping[str, typing.Any]]) -> Kept:
    ids = {span["spanID"] for span in spans}
    root = next((span["operationName"] for span in spans if not span["references"]), "none")
    return Kept(root, len(ids), len(spans) - len(ids))


def _sum(text: str, name: str, labels: Mapping[str, str]) -> float:
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if re.match(rf"{name}(\{{| )", line)]
    values = (
        line.partition(" # ")[0].rpartition("} ")[2].split()[0]
        for line in lines
        if all(label in line for label in wanted)
    )
    return sum(map(float, values))

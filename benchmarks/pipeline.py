"""What each step of docs/scaling.md costs: ``python -m benchmarks.pipeline`` writes its tables.

Real collectors run on loopback, each a process, with the configurations of deploy/, and spans that
our examples made go through them. It takes about four minutes, and needs the collector that
`scripts/stack_binaries.py` builds, and a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from benchmarks import machine, replay, report
from benchmarks.collectors import MISSING, ROOT, SCALE, Collector, Relay, binary, sink, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from benchmarks.collectors import Settings

_PAGE: Final = ROOT / "docs" / "scaling.md"
_RATE: Final = 2_500
"""Spans a second at which CPU and memory are measured: neither idle nor at the limit."""
_SPANS: Final = 81_920
_PACED: Final = 20_480
_HELD: Final = 40_960
_WAIT: Final = 3
"""Seconds that samplers wait, where it is not what is measured."""
_MIB: Final = 1 << 20
_QUIET: Final = 1.5
"""The load up to which others leave the stages a core: above, the numbers are theirs, too."""


class Chain(NamedTuple):
    """Collectors in a row, the sink last, and those whose received spans are counted."""

    stages: list[Collector]
    counted: list[Collector]


class Cost(NamedTuple):
    """What a step costs."""

    most: float
    """Spans a second, as fast as it goes."""
    cpu: dict[str, float]
    """Seconds of CPU for 1,000 spans, by stage, at `_RATE`."""
    mib: dict[str, float]
    """Memory at its peak, by stage, at `_RATE`."""


MakeChain: TypeAlias = "Callable[[Path], contextlib.AbstractContextManager[Chain]]"
"""Starts a chain with its files in a folder, and ends it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and writes the tables between the markers of docs/scaling.md.

    Args:
        arguments: of the command; by default those of the process.

    Returns:
        1 where the collector is not there or the machine is busy, else 0.
    """
    options = _parser().parse_args(arguments)
    hindrance = MISSING if binary() is None else None if options.anyway else _busy()
    if hindrance is not None:
        print(hindrance, file=sys.stderr)
        return 1
    recording = replay.record()
    requests = replay.batches(recording, _SPANS)
    tables = {
        "machine": report.table(("measured on", ""), list(machine.describe().items())),
        "bytes": _bytes_table(requests),
        "steps": _steps_table(requests),
        "memory": _memory_table(recording),
    }
    _PAGE.write_text(_filled(_PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description="Write the tables of docs/scaling.md."
    )
    parser.add_argument("--anyway", action="store_true", help="also where the machine is busy")
    return parser


def _busy() -> str | None:
    """What to say where others use the machine; None where they don't.

    It is asked before anything is measured, since what is measured is a load, too.
    """
    load = os.getloadavg()[0]
    if load <= _QUIET:
        return None
    return (
        f"the load of the last minute is {load:.1f}, above {_QUIET}: the numbers would be those of "
        f"others, too, so {_PAGE.name} stays as it is; wait, or give --anyway"
    )


# --- The steps ------------------------------------------------------------------------------


@contextlib.contextmanager
def _agent(folder: Path, **settings: object) -> Generator[Chain]:
    """The agent, which sends to the sink."""
    with sink(folder) as last:
        laid_over = {"exporters": {"otlp/gateway": _to(last) | settings}}
        with Collector("agent", (SCALE / "agent.yaml",), laid_over, folder) as agent:
            yield Chain([agent, last], [last])


@contextlib.contextmanager
def _one_machine(folder: Path, **settings: object) -> Generator[Chain]:
    """The collector of docker-compose.yml: redaction, metrics from spans, queue on disk."""
    files = (ROOT / "collector-config.yaml",)
    with sink(folder) as last:
        settings["exporters"] = {"otlp/jaeger": _to(last), **_PROMETHEUS}
        with Collector("collector", files, settings, folder) as collector:
            yield Chain([collector, last], [last])


@contextlib.contextmanager
def _whole(folder: Path) -> Generator[Chain]:
    """Agent, gateway, two samplers: the way up but for what stores."""
    files = (ROOT / "collector-config.yaml", SCALE / "gateway-loadbalancer.yaml")
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(sink(folder))
        samplers = [stack.enter_context(_sampler(n, last, folder)) for n in ("sampler", "second")]
        names = [f"127.0.0.1:{sampler.grpc}" for sampler in samplers]
        over: Settings = {
            "exporters": {"loadbalancing": {"resolver": {"static": {"hostnames": names}}}}
        }
        over["exporters"] |= _PROMETHEUS
        gateway = stack.enter_context(Collector("gateway", files, over, folder))
        to_gateway = {"exporters": {"otlp/gateway": _to(gateway)}}
        agent = stack.enter_context(Collector("agent", (SCALE / "agent.yaml",), to_gateway, folder))
        yield Chain([agent, gateway, *samplers, last], samplers)


def _sampler(name: str, last: Collector, folder: Path, **variables: str) -> Collector:
    """A sampler that keeps a tenth of what is not kept in any case."""
    told = {"SAMPLING_DECISION_WAIT": f"{_WAIT}s"} | variables
    settings = {"exporters": {"otlp/jaeger": _to(last)}}
    return Collector(name, (SCALE / "gateway-sampler.yaml",), settings, folder, told)


_PROMETHEUS: Final = {
    name: {"endpoint": "127.0.0.1:0"} for name in ("prometheus", "prometheus/now")
}


_ALLOW_ALL: Final[Settings] = {
    "blocked_key_patterns": [],
    "blocked_values": [],
    "summary": "silent",
}


def _to(stage: Collector | Relay) -> Settings:
    port = stage.port if isinstance(stage, Relay) else stage.grpc
    return {"endpoint": f"127.0.0.1:{port}", "tls": {"insecure": True}}


def _steps_table(requests: Sequence[bytes]) -> str:
    rows: list[Sequence[str]] = []
    for name, make, protocol in _steps():
        cost = _cost(make, protocol, requests)
        rows.extend(_step_rows(name, cost))
        print(f"{name}: {cost}", flush=True)
    head = ("step", "spans/s at most", "CPU s for 1,000 spans", "MiB at its peak")
    return report.table(head, rows)


def _steps() -> list[tuple[str, MakeChain, str]]:
    """Name, chain, and how programs send to it."""
    in_memory = {"sending_queue": {"storage": None}}
    no_redaction: Settings = {"processors": {"redaction": _ALLOW_ALL}}
    return [
        ("agent, OTLP over http", _agent, "http"),
        ("agent, OTLP over http with gzip", _agent, "http gzip"),
        ("agent, OTLP over grpc", _agent, "grpc"),
        ("... its queue in memory", lambda folder: _agent(folder, **in_memory), "grpc"),
        ("... gzip in place of zstd", lambda folder: _agent(folder, compression="gzip"), "grpc"),
        ("... no compression", lambda folder: _agent(folder, compression="none"), "grpc"),
        ("the collector of one machine", _one_machine, "http"),
        ("... without redaction", lambda folder: _one_machine(folder, **no_redaction), "http"),
        ("agent, gateway, two samplers", _whole, "http"),
    ]


def _step_rows(name: str, cost: Cost) -> Iterator[Sequence[str]]:
    """One row for the step, and where there are several stages one for each."""
    stages = [stage for stage in cost.cpu if stage != "sink"]
    total = sum(cost.cpu[stage] for stage in stages)
    mib = sum(cost.mib[stage] for stage in stages)
    yield name, f"{cost.most:,.0f}", f"{total:.3f}", f"{mib:.0f}"
    for stage in stages if len(stages) > 1 else ():
        yield f"&nbsp;&nbsp;{stage}", "", f"{cost.cpu[stage]:.3f}", f"{cost.mib[stage]:.0f}"


def _cost(make: MakeChain, protocol: str, requests: Sequence[bytes]) -> Cost:
    """Runs a step twice: at `_RATE` for CPU and memory, then as fast as it goes."""
    some = requests[: _PACED // replay.BATCH]
    with _folder() as folder, make(folder) as chain:
        before = [stage.usage.cpu for stage in chain.stages]
        _through(chain, protocol, some, _RATE)
        time.sleep(_WAIT + 2)  # until what waits is decided upon, and sent
        used = [stage.usage for stage in chain.stages]
    names = [stage.name for stage in chain.stages]
    cpu = [(after.cpu - start) / _PACED * 1000 for after, start in zip(used, before, strict=True)]
    with _folder() as folder, make(folder) as chain:
        seconds = _through(chain, protocol, requests, None)
    mib = [after.mib for after in used]
    return Cost(
        _SPANS / seconds, dict(zip(names, cpu, strict=True)), dict(zip(names, mib, strict=True))
    )


def _through(chain: Chain, protocol: str, requests: Sequence[bytes], rate: float | None) -> float:
    """Seconds until all requests are through."""
    first = chain.stages[0]
    bodies = replay.compress(requests) if protocol == "http gzip" else requests
    sender = (
        replay.over_grpc(first.grpc)
        if protocol == "grpc"
        else replay.over_http(first.http, compressed=protocol == "http gzip")
    )
    wanted = len(requests) * replay.BATCH
    start = time.monotonic()
    replay.send(bodies, sender, None if rate is None else rate / replay.BATCH)
    wait_until(
        lambda: sum(stage.received() for stage in chain.counted) >= wanted, "all spans are through"
    )
    return time.monotonic() - start


# --- Bytes on the wire ----------------------------------------------------------------------


def _bytes_table(requests: Sequence[bytes]) -> str:
    some = requests[:20]
    spans = len(some) * replay.BATCH
    rows = [
        ("program to agent, as it is", f"{sum(map(len, some)) / spans:,.0f}"),
        ("... gzip", f"{sum(map(len, replay.compress(some))) / spans:,.0f}"),
        *(
            (f"agent to gateway, {name}", f"{_sent_by_agent(some, name):,.0f}")
            for name in ("none", "gzip", "zstd")
        ),
        *(
            (f"sampler to Jaeger, {name}", f"{_sent_by_sampler(some, name):,.0f}")
            for name in ("none", "zstd")
        ),
    ]
    return report.table(("link", "bytes a span"), rows)


def _sent_by_agent(requests: Sequence[bytes], compression: str) -> float:
    with _folder() as folder, sink(folder) as last:
        relay = Relay(last.grpc)
        settings = {"exporters": {"otlp/gateway": _to(relay) | {"compression": compression}}}
        with Collector("agent", (SCALE / "agent.yaml",), settings, folder) as agent:
            _through(Chain([agent, last], [last]), "http", requests, None)
            return relay.bytes / (len(requests) * replay.BATCH)


def _sent_by_sampler(requests: Sequence[bytes], compression: str) -> float:
    """Of all that it takes: each trace leaves with a resource of its own."""
    with _folder() as folder, sink(folder) as last:
        relay = Relay(last.grpc)
        settings = {"exporters": {"otlp/jaeger": _to(relay) | {"compression": compression}}}
        told = {"SAMPLING_DECISION_WAIT": f"{_WAIT}s", "SAMPLING_PERCENT": "100"}
        files = (SCALE / "gateway-sampler.yaml",)
        with Collector("sampler", files, settings, folder, told) as sampler:
            _through(Chain([sampler, last], [last]), "grpc", requests, None)
            return relay.bytes / (len(requests) * replay.BATCH)


# --- What waits for a decision --------------------------------------------------------------


def _memory_table(recording: replay.Recording) -> str:
    """The memory of a sampler that decides upon nothing yet, by how many spans came at once."""
    rows: list[Sequence[str]] = []
    for at_once in (replay.BATCH, 8):
        held = _held(recording, at_once)
        rows.append((f"{at_once} spans in a request", f"{held:,.0f}"))
    return report.table(("spans come to the sampler as", "bytes of memory a span"), rows)


def _held(recording: replay.Recording, at_once: int) -> float:
    requests = replay.batches(recording, _HELD, at_once)
    with (
        _folder() as folder,
        sink(folder) as last,
        _sampler("sampler", last, folder, SAMPLING_DECISION_WAIT="600s") as sampler,
    ):
        before = sampler.usage.mib
        replay.send(requests, replay.over_grpc(sampler.grpc), _RATE / at_once)
        return (sampler.usage.mib - before) * _MIB / _HELD


# --- The page -------------------------------------------------------------------------------


def _filled(page: str, tables: dict[str, str]) -> str:
    """The page with each table between its markers.

    Raises:
        SystemExit: A marker is missing, so there is no place for the table.
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in page or end not in page:
            sys.exit(f"{_PAGE.name}: no place for a table between {begin} and {end}")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{table}\n{end}{after}"
    return page


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="pocketflow-pipeline-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    sys.exit(main())

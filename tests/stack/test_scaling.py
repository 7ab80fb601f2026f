"""The way up from one machine: the configurations of deploy/scale/, validated and run."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import typing
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import programs, scaling
from support.stack import COLLECTOR, ROOT, required, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stack is built for Linux")

KINDS = """\
import sys
import time

from opentelemetry.instrumentation.pocketflow import record_usage
from pocketflow import BatchNode, Flow, Node


class Step(Node):
    def exec(self, prep_res):
        return "done"


class Pause(Node):
    def exec(self, prep_res):
        time.sleep(2)


class Fail(Node):
    def exec(self, prep_res):
        raise ValueError("no such order")


class FailOnce(Node):
    def exec(self, prep_res):
        if self.cur_retry == 0:
            raise ConnectionError("busy")


class FallBack(Node):
    def exec(self, prep_res):
        raise TimeoutError("too slow")

    def exec_fallback(self, prep_res, exc):
        return "something else"


class Batch(BatchNode):
    def prep(self, shared):
        return [1, 2, 3]

    def exec(self, item):
        return item


class BatchFailOnce(Batch):
    def exec(self, item):
        if item == 2 and self.cur_retry == 0:
            raise ConnectionError("busy")


class Pay(Node):
    cost = 0.5

    def exec(self, prep_res):
        record_usage(model="large", input_tokens=10, output_tokens=10, cost=self.cost)


class PayLess(Pay):
    cost = 0.49


def run(kind, *nodes):
    for node, follower in zip(nodes, nodes[1:]):
        node >> follower
    try:
        type(kind, (Flow,), {})(start=nodes[0]).run({})
    except ValueError:
        pass


for _ in range(40):
    run("Plain", Step(), Step())
for _ in range(10):
    run("PlainBatch", Batch(max_retries=2))
    run("Cheap", PayLess())
for _ in range(3):
    run("Failed", Step(), Fail())
    run("TriedAgain", FailOnce(max_retries=2), Step())
    run("FellBack", FallBack())
    run("BatchTriedAgain", BatchFailOnce(max_retries=2))
    run("Expensive", Pay(), Step())
run("Slow", Step(), Pause(), Step())
"""
"""Runs of every kind; the name of a run's flow is its kind."""

MEANWHILE = (
    KINDS.partition("for _ in")[0]
    + """
for _ in range(20):
    run("Failed", Step(), Fail())
"""
)
"""Runs that are all kept."""

POLICY_OF = {
    "Failed": "errors",
    "TriedAgain": "retries",
    "FellBack": "retries",
    "BatchTriedAgain": "retries",
    "Expensive": "expensive",
    "Slow": "slow",
    "EvaluateResumesFlow": "retries",  # of map_reduce.py: one resume is tried again
    "TakeOrderFlow": "retries",  # of order_pipeline.py: a node falls back
}
"""The policy that keeps every run of a kind; of other kinds, those that were slow or are drawn."""

EXAMPLES = ("map_reduce", "order_pipeline", "research_agent", "parallel_translation")
SERVICES = ("kinds", *EXAMPLES)

DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
KEPT_BY = "otelcol_processor_tail_sampling_count_traces_sampled_total"
NEW_TRACES = "otelcol_processor_tail_sampling_new_trace_id_received_total"
QUEUED = "otelcol_exporter_queue_size"
"""The collectors' own metrics, as Prometheus reads them."""

CONFIGURATIONS = {
    "agent": (COLLECTOR, scaling.AGENT),
    "gateway-loadbalancer": (COLLECTOR, scaling.GATEWAY),
    "gateway-sampler": (COLLECTOR, scaling.SAMPLER),
    "kafka-producer": (COLLECTOR, scaling.PRODUCER),
    "kafka-consumer": (COLLECTOR, scaling.CONSUMER),
    "jaeger-opensearch": ("jaeger", (scaling.SCALE / "jaeger-opensearch.yaml",)),
    "jaeger-clickhouse": ("jaeger", (scaling.SCALE / "jaeger-clickhouse.yaml",)),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_are_valid(name: str) -> None:
    """The engine that each configuration is for takes it."""
    binary, files = CONFIGURATIONS[name]
    done = _validate(binary, files)
    assert done.returncode == 0, done.stderr


def test_validation_finds_a_setting_that_does_not_exist(tmp_path: Path) -> None:
    """A setting that the engine does not know is an error, not passed over."""
    wrong = tmp_path / "agent.yaml"
    text = scaling.AGENT[0].read_text(encoding="utf-8")
    wrong.write_text(text.replace("queue_size", "queue_length"), encoding="utf-8")
    done = _validate(COLLECTOR, (wrong,))
    assert done.returncode != 0
    assert "queue_length" in done.stderr


def test_every_configuration_is_validated() -> None:
    """No file of deploy/scale/ is left out above."""
    named = {file for _, files in CONFIGURATIONS.values() for file in files}
    assert set(scaling.SCALE.glob("*.yaml")) <= named


def _validate(binary: str, files: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    command = [str(required(binary)), "validate", *(f"--config={file}" for file in files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class Ran(typing.NamedTuple):
    """What ran through the chain: the spans that each program wrote, by service, and the chain."""

    chain: scaling.Chain
    by_service: dict[str, list[dict[str, typing.Any]]]

    @property
    def spans(self) -> list[dict[str, typing.Any]]:
        """The spans of all programs."""
        return [span for spans in self.by_service.values() for span in spans]

    @property
    def sizes(self) -> dict[str, int]:
        """How many spans each service sent."""
        return {service: len(spans) for service, spans in self.by_service.items()}

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each run by trace id."""
        names = scaling.roots(self.spans).items()
        return {trace: name.removeprefix("invoke_workflow ") for trace, name in names}

    @property
    def policies(self) -> dict[str, str]:
        """The first policy of docs/scaling.md that keeps a trace, by trace id."""
        slow = scaling.slow(self.spans)  # on a machine that is busy, any run may be
        kept = {
            trace: "slow" if trace in slow else "rest"
            for trace in self.kinds
            if trace in slow or scaling.drawn(trace)
        }
        named = {t: POLICY_OF[kind] for t, kind in self.kinds.items() if kind in POLICY_OF}
        return kept | named

    @property
    def to_keep(self) -> set[str]:
        """The traces that some policy keeps."""
        return set(self.policies)

    def kept(self) -> dict[str, scaling.Kept]:
        """Ask Jaeger for the services' traces, by trace id."""
        found = map(self.chain.kept, self.by_service)
        return {trace: kept for of_service in found for trace, kept in of_service.items()}

    def counted(self) -> dict[str, float]:
        """Ask the gateway how many spans it has counted, by service."""
        return {
            service: self.of_gateway("pocketflow_spans_calls_total", job=service)
            for service in self.by_service
        }

    def of_gateway(self, name: str, **labels: str) -> float:
        """Add up a metric that the gateway tells Prometheus."""
        return self.chain.metric("gateway prometheus", name, **labels)

    def of_samplers(self, name: str, **labels: str) -> float:
        """Add up a metric of both samplers' own."""
        ports = (f"{sampler.name} metrics" for sampler in self.chain.samplers)
        return sum(self.chain.metric(port, name, **labels) for port in ports)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ran]:
    """Runs of every kind and the examples, sent through the whole chain and decided upon."""
    folder = tmp_path_factory.mktemp("chain")
    chain = scaling.Chain(folder)
    kinds = programs.write_program(folder / "kinds", KINDS)
    with scaling.running(chain.programs):
        yield _through(chain, kinds)


def test_what_is_kept_is_exactly_what_the_policies_say(ran: Ran) -> None:
    """Errors, retries, expensive and slow runs are kept, and of the rest those that were drawn."""
    assert set(ran.kept()) == ran.to_keep
    dropped = {ran.kinds[trace] for trace in ran.kinds.keys() - ran.to_keep}
    assert dropped & {"Plain", "PlainBatch", "Cheap"}, "nothing was there to be dropped"


def test_each_policy_keeps_its_own(ran: Ran) -> None:
    """Every policy keeps the runs that it is for, and none is kept by another one before it."""
    wanted = Counter(ran.policies.values())
    assert {
        policy: ran.of_samplers(KEPT_BY, policy=policy, sampled="true") for policy in wanted
    } == wanted


def test_kept_traces_are_whole(ran: Ran) -> None:
    """Every kept trace has all spans that the program sent, each once, under its root."""
    sizes, roots = scaling.sizes(ran.spans), scaling.roots(ran.spans)
    wanted = {trace: scaling.Kept(roots[trace], sizes[trace], 0) for trace in ran.to_keep}
    assert ran.kept() == wanted


def test_a_trace_comes_to_one_sampler(ran: Ran) -> None:
    """Both samplers have traces of one and the same program, and none has a part of another's."""
    of_each = [
        ran.chain.metric(f"{sampler.name} metrics", NEW_TRACES) for sampler in ran.chain.samplers
    ]
    assert min(of_each) > len(EXAMPLES)  # with a service each, one would have no more
    assert sum(of_each) == len(ran.kinds)


def test_spans_are_counted_before_they_are_sampled(ran: Ran) -> None:
    """The gateway's metrics from spans count every span that was sent, kept or not."""
    assert ran.counted() == ran.sizes


def test_what_programs_measure_comes_through_agent_and_gateway(ran: Ran) -> None:
    """The cost of all runs, dropped ones too, is what the gateway tells Prometheus."""
    assert ran.of_gateway("pocketflow_cost_total", job="kinds") == pytest.approx(
        3 * 0.5 + 10 * 0.49
    )


def test_a_sampler_that_restarts_gets_what_came_meanwhile(ran: Ran) -> None:
    """While one sampler is down its traces wait in the gateway, and the other's go on."""
    chain = ran.chain
    down, up = chain.samplers
    before = chain.metric(f"{up.name} metrics", NEW_TRACES)
    down.stop()
    try:
        spans = _run(chain, "meanwhile", _script(chain, MEANWHILE))
        wait_until(lambda: chain.metric(f"{up.name} metrics", NEW_TRACES) > before, "the other")
    finally:
        down.start()
    _assert_kept(chain, "meanwhile", spans)


def test_an_agent_that_is_killed_keeps_what_it_has(ran: Ran) -> None:
    """What a gateway that is down did not take is on the agent's disk, and comes after a crash."""
    chain = ran.chain
    chain.gateway.stop()
    try:
        spans = _run(chain, "crash", _script(chain, MEANWHILE))
        wait_until(lambda: chain.metric("agent metrics", QUEUED, data_type="traces") > 0, "queue")
        chain.agent.stop(signal.SIGKILL)
    finally:
        chain.gateway.start()
    chain.agent.start()
    _assert_kept(chain, "crash", spans)


def _assert_kept(chain: scaling.Chain, service: str, spans: list[dict[str, typing.Any]]) -> None:
    sizes, roots = scaling.sizes(spans), scaling.roots(spans)
    wanted = {trace: scaling.Kept(root, sizes[trace], 0) for trace, root in roots.items()}
    wait_until(lambda: len(chain.kept(service)) >= len(wanted), "all traces are in Jaeger")
    assert chain.kept(service) == wanted


def _script(chain: scaling.Chain, source: str) -> Path:
    return programs.write_program(chain.folder / "meanwhile", source)


def _run(chain: scaling.Chain, service: str, script: Path) -> list[dict[str, typing.Any]]:
    done = programs.run(script, chain.environment(service), zero_code=True)
    assert done.exit_code == 0, done.stderr
    return scaling.sent(done.stdout)


def _through(chain: scaling.Chain, kinds: Path) -> Ran:
    """Run `kinds` and the examples, and wait until the chain is done with what they sent."""
    scripts = (kinds, *(ROOT / "examples" / f"{name}.py" for name in EXAMPLES))
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(functools.partial(_run, chain), SERVICES, scripts)
        ran = Ran(chain, dict(zip(SERVICES, done, strict=True)))
    wait_until(lambda: ran.of_samplers(DECIDED) == len(ran.kinds), "all traces are decided upon")
    wait_until(lambda: len(ran.kept()) >= len(ran.to_keep), "what was kept is in Jaeger")
    wait_until(lambda: ran.counted() == ran.sizes, "all spans are counted")
    return ran

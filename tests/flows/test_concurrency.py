"""Several tasks and threads: every span under its own parent, every attempt with its own node."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Stage, act, traced, tracing


class Leaf(Node):
    """Does nothing."""


class Unsteady(Node):
    """Fails as often as the store says; one object may run in many threads."""

    def prep(self, shared: Any) -> Any:
        """How often to fail."""
        return shared

    def exec(self, prep_res: Any) -> Any:
        """One attempt."""
        prep_res["tries"] += 1
        if prep_res["tries"] <= prep_res["failures"]:
            raise ConnectionError(prep_res["failures"])
        return prep_res["failures"]


def in_thread(function: Any, *args: Any) -> Any:
    """Runs a function in a thread that has a copy of the context."""
    context = contextvars.copy_context()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(context.run(function, *args)))
    thread.start()
    thread.join()
    return results[0]


def test_a_thread_with_a_copied_context_stays_below_its_node() -> None:
    """What the thread runs belongs to the node that started it."""

    class Starts(Node):
        def exec(self, prep_res: Any) -> Any:
            return in_thread(Flow(start=Leaf()).run, {})

    assert traced(lambda stage: stage.run(Starts())).lines() == [
        "Starts",
        "  invoke_workflow LeafFlow",
        "    Leaf",
    ]


def test_a_thread_without_a_context_is_a_trace_of_its_own() -> None:
    """A bare thread starts from nothing, as OpenTelemetry has it."""

    def program(stage: Stage) -> Any:
        thread = threading.Thread(target=Flow(start=Leaf()).run, args=({},))
        thread.start()
        thread.join()

    assert traced(program).lines() == ["invoke_workflow LeafFlow", "  Leaf"]


def test_to_thread_keeps_the_parent() -> None:
    """`asyncio.to_thread` copies the context."""

    class Starts(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.gather(*(asyncio.to_thread(Leaf().run, {}) for _ in range(3)))

    assert traced(lambda stage: stage.run_async(Starts())).lines() == ["Starts", *["  Leaf"] * 3]


def test_one_node_object_in_many_threads() -> None:
    """Runs that overlap in one object keep their attempts apart."""
    node = Unsteady(max_retries=5)
    with tracing() as running, ThreadPoolExecutor(4) as pool:
        stores = [{"failures": n % 4, "tries": 0} for n in range(40)]
        list(pool.map(node.run, stores))
    trace = running.trace()

    assert len(trace.all("Unsteady")) == 40
    for span in trace.all("Unsteady"):
        failures = span.json("shared.initial")["failures"]
        assert span["node.attempts"] == failures + 1
        labels = [child.label for child in trace.children(span)]
        failed = "Unsteady attempt [ConnectionError, recorded]"
        assert labels == [failed] * failures + ["Unsteady attempt"]
    assert not trace.values("shared.concurrent")


def test_one_flow_object_in_many_threads() -> None:
    """Each run has its own route."""
    first = Leaf()
    first >> Unsteady(max_retries=3) >> Leaf()
    flow = Flow(start=first)
    with tracing() as running, ThreadPoolExecutor(4) as pool:
        list(pool.map(flow.run, [{"failures": n % 3, "tries": 0} for n in range(30)]))
    trace = running.trace()

    path = ("Leaf", "Unsteady", "Leaf#2")
    assert trace.values("flow.path") == [path] * 30
    assert all(len(trace.children(span)) == 3 for span in trace.all("invoke_workflow LeafFlow"))


def test_threads_on_one_store_are_told_to_be_concurrent() -> None:
    """Threads that overlap on one store: each change is told once, and the doubt is said."""
    barrier = threading.Barrier(2)

    class Meets(Node):
        def exec(self, prep_res: Any) -> Any:
            barrier.wait()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared[self.params["name"]] = True

    def flow(name: str) -> Any:
        made = Flow(start=Meets())
        made.set_params({"name": name})
        return made

    store: dict[str, Any] = {}
    with tracing() as running, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: flow(name).run(store), ["a", "b"]))
    trace = running.trace()

    assert sorted(change["path"] for change in trace.patches()) == ["/a", "/b"]
    assert all(span["shared.concurrent"] for span in trace.all("Meets"))
    assert len(set(trace.values("shared.id"))) == 1


def test_gathered_flows_on_one_store_conflict() -> None:
    """Two branches that write one key are both shown, and the conflict is flagged."""

    class Writes(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            await asyncio.sleep(0)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["winner"] = self.params["name"]
            shared[self.params["name"]] = True
            await asyncio.sleep(0)

    def flow(name: str) -> Any:
        made = AsyncFlow(start=Writes())
        made.set_params({"name": name})
        return made

    async def program(stage: Stage) -> Any:
        store: dict[str, Any] = {"begun": True}
        flows = [flow("left"), flow("right")]
        for each in flows:
            stage.watch(each, store)
        await asyncio.gather(*(each.run_async(store) for each in flows))

    trace = traced(program)
    assert [
        (change["path"], change["value"])
        for change in trace.patches()
        if "winner" in change["path"]
    ] == [("/winner", "left"), ("/winner", "right")]
    assert trace.values("shared.conflicts", "Writes") == [("/winner",), ("/winner",)]


def test_the_framework_loses_params_of_parallel_runs_of_one_object_as_before() -> None:
    """Tracing neither mends nor worsens what runs of one object do to each other."""

    class Echo(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            return self.params["n"]

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared[exec_res] = exec_res

    class All(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": n} for n in range(5)]

    trace = traced(lambda stage: stage.run_async(All(start=Echo())))

    assert [item.json("node.params") for item in trace.all("All item")] == [
        {"n": n} for n in range(5)
    ]
    for item in trace.all("All item"):
        (child,) = trace.children(item)
        assert child.json("output.value") == item.json("node.params")["n"]


def test_retries_of_parallel_items_keep_apart() -> None:
    """`cur_retry` races in an object that runs many items; the count of attempts does not."""

    class Mixed(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            tries.clear()
            return list(range(6))

        async def exec_async(self, prep_res: Any) -> Any:
            tries[prep_res] = tries.get(prep_res, 0) + 1
            await asyncio.sleep(0.0005 * (prep_res % 3))
            if tries[prep_res] <= prep_res % 3:
                raise OSError(prep_res)

    tries: dict[int, int] = {}
    trace = traced(lambda stage: stage.run_async(Mixed(max_retries=4, wait=0.0005)))

    assert trace.values("node.attempts", "Mixed item") == [1, 2, 3, 1, 2, 3]
    for item in trace.all("Mixed item"):
        assert len(trace.children(item)) == item["node.attempts"]
        assert [a["attempt.number"] for a in trace.children(item)] == list(
            range(1, item["node.attempts"] + 1)
        )


def test_a_batch_in_threads() -> None:
    """A user's batch node that maps its items over a pool with copied contexts."""

    class Pooled(BatchNode):
        def prep(self, shared: Any) -> Any:
            return list(range(8))

        def _exec(self, items: Any) -> Any:
            with ThreadPoolExecutor(3) as pool:
                jobs = [
                    pool.submit(contextvars.copy_context().run, Node._exec, self, item)
                    for item in items
                ]
                return [job.result() for job in jobs]

        def exec(self, prep_res: Any) -> Any:
            return prep_res * 10

    trace = traced(lambda stage: stage.run(Pooled()))

    assert trace.lines()[0] == "Pooled"
    assert {node.name for node in trace.nodes[1:]} <= {"Pooled item", "Pooled attempt"}


def test_a_task_that_outlives_its_node() -> None:
    """A background task started by a node ends after it, and breaks nothing."""

    class Spawns(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            tasks.append(asyncio.create_task(AsyncFlow(start=Slow()).run_async({})))

    class Slow(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0.002)

    tasks: list[Any] = []

    async def program(stage: Stage) -> Any:
        await stage.run_async(Spawns())
        await tasks[-1]

    assert traced(program, nested=False).lines() == [
        "Spawns",
        "  invoke_workflow SlowFlow",
        "    Slow",
    ]


def test_nothing_of_a_run_is_kept_after_it() -> None:
    """Store, nodes and results are free to go when the program lets go of them."""

    class Big:
        pass

    class Holds(Node):
        def prep(self, shared: Any) -> Any:
            return shared["big"]

        def exec(self, prep_res: Any) -> Any:
            return prep_res

    kept: list[weakref.ref[Any]] = []

    def program(stage: Stage) -> Any:
        big, node = Big(), Holds(max_retries=2)
        kept.extend((weakref.ref(big), weakref.ref(node)))
        Flow(start=node).run({"big": big})

    with tracing():
        act(program)
        gc.collect()
        assert [reference() for reference in kept] == [None, None]

"""Event loops other than asyncio's own, and servers that run flows in requests and after them."""

from __future__ import annotations

import typing

import pytest
from lives import FLUSH

if typing.TYPE_CHECKING:
    from lives import Lives

ASYNC = """\
import asyncio, contextvars
from pocketflow import AsyncFlow, AsyncNode, AsyncParallelBatchNode

class Hello(AsyncNode):
    async def exec_async(self, prep_res):
        await checkpoint()
        return os.getpid()

class Items(AsyncParallelBatchNode):
    async def prep_async(self, shared):
        return [1, 2]

    async def exec_async(self, item):
        await checkpoint()
        return f"item {item}"

class Fails(AsyncNode):
    async def exec_async(self, prep_res):
        await checkpoint()
        raise LookupError("no such thing")

def async_flow(*more):
    hello = node = Hello()
    for following in more:
        node = node >> following()
    return AsyncFlow(hello)

"""

HELLO = ["invoke_workflow HelloFlow", "  Hello"]

RUN_ALL = """\
begun = asyncio.Event()

async def main():
    print(await async_flow(Items).run_async({}))
    slow = asyncio.create_task(async_flow(Endless).run_async({}))
    await begun.wait()
    slow.cancel()
    print(await asyncio.gather(slow, async_flow(Fails).run_async({}), return_exceptions=True))

class Endless(AsyncNode):
    async def exec_async(self, prep_res):
        begun.set()
        await asyncio.Event().wait()

def checkpoint():
    return asyncio.sleep(0)

"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_loops(loop: str, lives: Lives) -> None:
    """Batches side by side, a failure and a cancellation come out as on the loop alone."""
    pytest.importorskip(loop, reason=f"needs {loop}")
    life = lives.live(f"{ASYNC}{RUN_ALL}import {loop}\n{loop}.run(main())\n")
    assert life.names() == sorted(
        ["invoke_workflow HelloFlow", "Hello"] * 3
        + ["Items", "Items item", "Items item", "Endless", "Fails"]
    )
    statuses = {span.name: span.status for span in life.spans}
    assert statuses["Fails"] == "ERROR"
    assert statuses["Endless"] == "UNSET"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(backend: str, lives: Lives) -> None:
    """What of PocketFlow needs no asyncio runs under anyio's task groups, on trio too."""
    pytest.importorskip("anyio", reason="needs anyio")
    pytest.importorskip(backend, reason=f"needs {backend}")
    life = lives.live(
        ASYNC
        + f"""\
import anyio
checkpoint = lambda: anyio.sleep(0)

class Endless(AsyncNode):
    async def exec_async(self, prep_res):
        scope.cancel()
        await anyio.sleep_forever()

class Starts(AsyncNode):
    async def exec_async(self, prep_res):
        async with anyio.create_task_group() as group:
            group.start_soon(async_flow().run_async, {{}})
            group.start_soon(async_flow().run_async, {{}})

async def main():
    global scope
    scope = anyio.CancelScope()
    print(await async_flow(Starts).run_async({{}}))
    with scope:
        await async_flow(Endless).run_async({{}})
    print(scope.cancelled_caught)
    try:
        await async_flow(Fails).run_async({{}})
    except LookupError as exc:
        print(repr(exc))

anyio.run(main, backend={backend!r})
"""
    )
    assert life.outline == [
        *HELLO,
        "  Starts",
        *(f"    {line}" for line in HELLO * 2),
        *HELLO,
        "  Endless",
        *HELLO,
        "  Fails",
    ]
    assert {span.name for span in life.spans if span.status == "ERROR"} == {
        "Fails",
        "invoke_workflow HelloFlow",
    }


def test_parallel_batches_on_trio(lives: Lives) -> None:
    """What PocketFlow does with asyncio fails on trio with the very error of the plain program."""
    pytest.importorskip("trio", reason="needs trio")
    life = lives.live(
        f"""{ASYNC}
import trio
checkpoint = lambda: trio.sleep(0)

async def main():
    try:
        await async_flow(Items).run_async({{}})
    except BaseException as exc:
        print(type(exc), exc)

trio.run(main)
"""
    )
    assert life.outline[:2] == HELLO
    assert "Items" in life.names()


SERVER = f"""{ASYNC}{FLUSH}
import threading
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse
from starlette.routing import Route

checkpoint = lambda: asyncio.sleep(0)
done = threading.Event()

async def hello(request):
    shared = {{}}
    action = await async_flow().run_async(shared)
    return JSONResponse({{"action": action}}, background=BackgroundTask(later))

async def later():
    await async_flow(Items).run_async({{}})
    done.set()

def threaded(request):
    flow().run({{}})
    return JSONResponse({{}}, background=BackgroundTask(flow().run, {{}}))

async def failing(request):
    await async_flow(Fails).run_async({{}})

app = Starlette(routes=[
    Route("/hello", hello), Route("/threaded", threaded), Route("/failing", failing)
])
"""

CLIENT = """
import socket, time, urllib.error, urllib.request
import uvicorn

def get(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
server = uvicorn.Server(uvicorn.Config(app, log_level="critical", loop=LOOP))
thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
thread.start()
print(get("/hello"), get("/threaded"), get("/failing"))
print(done.wait(10))
server.should_exit = True
thread.join()
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_asgi(loop: str, lives: Lives) -> None:
    """Requests answer as without us; each is a trace of its own, and so is each task after it."""
    for package in ("uvicorn", "starlette", loop):
        pytest.importorskip(package, reason=f"needs {package}")
    life = lives.live(f"{SERVER}\nLOOP = {loop!r}\n{CLIENT}")
    assert sorted(life.outline) == sorted(
        HELLO * 3
        + ["  Items", "    Items item", "    Items item", "  Fails"]
        + ["invoke_workflow WhereFlow", "  Where", "  Then"] * 2
    )
    roots = [span for span in life.spans if span.parent_span_id is None]
    assert len({root.trace_id for root in roots}) == len(roots) == 5
    assert len(life.processes()) == 1

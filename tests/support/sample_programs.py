"""PocketFlow programs as users write them, as texts; each prints the same in every run."""

from __future__ import annotations

RESEARCH = '''\
"""An agent that searches until it knows enough, answers, has it reviewed and translates it."""
import asyncio
import json

from pocketflow import AsyncFlow, AsyncParallelBatchNode, BatchNode, Flow, Node


class Decide(Node):
    def prep(self, shared):
        return len(shared["facts"])

    def exec(self, known):
        return "search" if known < 2 else "answer"

    def post(self, shared, prep_res, exec_res):
        return exec_res


class Search(Node):
    """Fails when it is called first, so that a second attempt helps."""

    calls = 0

    def exec(self, prep_res):
        Search.calls += 1
        if Search.calls == 1:
            raise ConnectionError("search is busy")
        return f"fact {Search.calls}"

    def post(self, shared, prep_res, exec_res):
        shared["facts"].append(exec_res)
        return "decide"


class Answer(Node):
    """Fails always, so that its fallback answers."""

    def prep(self, shared):
        return shared["facts"]

    def exec(self, facts):
        raise TimeoutError("model overloaded")

    def exec_fallback(self, facts, exc):
        return " and ".join(facts)

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


class Count(BatchNode):
    def prep(self, shared):
        return shared["answer"].split(" and ")

    def exec(self, part):
        return len(part)

    def post(self, shared, prep_res, exec_res):
        shared["length"] = sum(exec_res)


class Check(Node):
    def post(self, shared, prep_res, exec_res):
        shared["checked"] = True


class Review(Flow):
    pass


class Translate(AsyncParallelBatchNode):
    async def prep_async(self, shared):
        return [f"{language}: {shared['answer']}" for language in ("de", "fr", "it")]

    async def exec_async(self, text):
        await asyncio.sleep(0)
        return text.upper()

    async def post_async(self, shared, prep_res, exec_res):
        shared["translations"] = exec_res
        return "done"


class Research(AsyncFlow):
    pass


decide, search, answer = Decide(), Search(max_retries=3), Answer(max_retries=2)
decide - "search" >> search
search - "decide" >> decide
count = Count()
count >> Check()
decide - "answer" >> answer >> Review(start=count) >> Translate()
shared = {"question": "why?", "facts": []}
action = asyncio.run(Research(start=decide).run_async(shared))
print(action, json.dumps(shared, indent=1))
'''

RESEARCH_OUTLINE = [
    "invoke_workflow Research",
    "  Decide",
    "  Search",
    "    Search attempt",
    "    Search attempt",
    "  Decide",
    "  Search",
    "    Search attempt",
    "  Decide",
    "  Answer",
    "    Answer attempt",
    "    Answer attempt",
    "  invoke_workflow Review",
    "    Count",
    "      Count item",
    "      Count item",
    "    Check",
    "  Translate",
    "    Translate item",
    "    Translate item",
    "    Translate item",
]
"""What `outline` draws of a run of `RESEARCH`."""

FAILING = '''\
"""An ETL whose innermost step fails for good, two flows deep."""
from pocketflow import Flow, Node


class Fetch(Node):
    def post(self, shared, prep_res, exec_res):
        shared["rows"] = ["1", "x"]
        print("fetched")


class Parse(Node):
    def prep(self, shared):
        return shared["rows"]

    def exec(self, rows):
        return [int(row) for row in rows]


class Transform(Flow):
    pass


class Etl(Flow):
    pass


fetch = Fetch()
fetch >> Transform(start=Parse(max_retries=2))
Etl(start=fetch).run({})
'''

FAILING_OUTLINE = [
    "invoke_workflow Etl",
    "  Fetch",
    "  invoke_workflow Transform",
    "    Parse",
    "      Parse attempt",
    "      Parse attempt",
]
"""What `outline` draws of a run of `FAILING`."""

LEAVING = '''\
"""A node ends the whole process by itself."""
import sys

from pocketflow import Flow, Node


class Leave(Node):
    def exec(self, prep_res):
        print("leaving")
        sys.exit(3)


class Main(Flow):
    pass


Main(start=Leave()).run({})
'''

TINY = """\
from pocketflow import Flow, Node


class Greet(Node):
    def post(self, shared, prep_res, exec_res):
        shared["greeting"] = "hello"


class Tiny(Flow):
    pass


shared = {}
Tiny(start=Greet()).run(shared)
print(shared)
"""

TINY_OUTLINE = ["invoke_workflow Tiny", "  Greet"]
"""What `outline` draws of a run of `TINY`."""

"""PocketFlow as other versions have it, and as people copy it: made from the installed source."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING, Any

from support.framework import pocketflow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INSTALLED: tuple[tuple[str, str], ...] = ()
"""The file as it is, copied into a program."""

FIRST = (
    ("def next(", "def add_successor("),
    ("self.next(", "self.add_successor("),
    ("self.src.next(", "self.src.add_successor("),
    ("def __init__(self,start=None)", "def __init__(self,start)"),
    ("    def start(self,start): self.start_node=start; return start\n", ""),
    ("self.start_node", "self.start"),
    ("        return last_action\n", ""),
    ("    def post(self,shared,prep_res,exec_res): return exec_res\n", ""),
    ("    async def post_async(self,shared,prep_res,exec_res): return exec_res\n", ""),
    ("for i in (items or [])", "for i in items"),
)
"""0.0.1: other names, and a flow that returns nothing of its nodes'."""

HEAD = (
    (
        "        for i in range(self.max_retries):\n            try: return await",
        "        for self.cur_retry in range(self.max_retries):\n            try: return await",
    ),
    (
        "if i==self.max_retries-1: return await",
        "if self.cur_retry==self.max_retries-1: return await",
    ),
)
"""GitHub's: async nodes count their attempts on the node."""

KEYWORDS = (
    ("self._exec(p)", "self._exec(prep_res=p)"),
    ("self._run(shared)", "self._run(shared=shared)"),
    ("self._run_async(shared)", "self._run_async(shared=shared)"),
    ("curr._run(shared)", "curr._run(shared=shared)"),
    ("curr._run_async(shared)", "curr._run_async(shared=shared)"),
    ("self.exec(prep_res)", "self.exec(prep_res=prep_res)"),
    ("self.exec_async(prep_res)", "self.exec_async(prep_res=prep_res)"),
    ("self._orch(shared)", "self._orch(shared=shared)"),
    ("self._orch_async(shared)", "self._orch_async(shared=shared)"),
    (
        "self._orch(shared,{**self.params,**bp})",
        "self._orch(params={**self.params,**bp},shared=shared)",
    ),
    (
        "self._orch_async(shared,{**self.params,**bp})",
        "self._orch_async(shared=shared,params={**self.params,**bp})",
    ),
    ("self.get_next_node(curr,last_action)", "self.get_next_node(action=last_action,curr=curr)"),
    ("def _exec(self,items): return", "def _exec(self,prep_res): items=prep_res; return"),
    ("._exec(i)", "._exec(prep_res=i)"),
)
"""A copy whose author calls everything by keyword."""

VARIANTS = {"copied": INSTALLED, "0.0.1": FIRST, "github": HEAD, "keywords": KEYWORDS}


def load(name: str, changes: Sequence[tuple[str, str]], folder: Path) -> Any:
    """Writes a variant into a folder and imports it under a name of its own.

    Raises:
        AssertionError: the installed source does not have what is to be changed.
    """
    source = inspect.getsource(pocketflow)
    for before, after in changes:
        assert before in source or after in source, before
        source = source.replace(before, after)
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

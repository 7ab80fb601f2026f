"""PocketFlow's classes, with their types put aside.

Its stub makes them generic, which they are not when they run; and the tests override methods in
ways that no stub allows, as programs do.
"""

from __future__ import annotations

import importlib
from typing import Any

pocketflow: Any = importlib.import_module("pocketflow")

BaseNode: Any = pocketflow.BaseNode
Node: Any = pocketflow.Node
BatchNode: Any = pocketflow.BatchNode
Flow: Any = pocketflow.Flow
BatchFlow: Any = pocketflow.BatchFlow
AsyncNode: Any = pocketflow.AsyncNode
AsyncBatchNode: Any = pocketflow.AsyncBatchNode
AsyncParallelBatchNode: Any = pocketflow.AsyncParallelBatchNode
AsyncFlow: Any = pocketflow.AsyncFlow
AsyncBatchFlow: Any = pocketflow.AsyncBatchFlow
AsyncParallelBatchFlow: Any = pocketflow.AsyncParallelBatchFlow

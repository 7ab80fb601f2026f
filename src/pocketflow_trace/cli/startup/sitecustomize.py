"""Starts tracing in the interpreter that is about to run the user's program.

Python imports a module of this name at its start. This one first removes itself from everything
that the program or its child processes could see, then lets the user's own `sitecustomize` run,
then starts tracing. Where the user has none, the import below fails with the very ImportError that
Python expects then.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

_directory = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is not needed this early
_startup = json.loads(os.environ.pop("POCKETFLOW_TRACE_STARTUP", "null"))

sys.path[:] = [path for path in sys.path if path != _directory]
sys.path_importer_cache.pop(_directory, None)
sys.modules.pop(__name__, None)
if _startup is not None:
    os.environ.pop("PYTHONPATH", None)
    if _startup["pythonpath"] is not None:
        os.environ["PYTHONPATH"] = _startup["pythonpath"]

try:
    importlib.import_module("sitecustomize")  # The user's own.
finally:
    if _startup is not None:
        from pocketflow_trace.cli.inside import begin

        begin(
            _startup["name"],
            clients=_startup["clients"],
            look=_startup["look"],
            file=_startup["file"],
        )

"""Instruments from outside and runs a program, as `opentelemetry-instrument` does.

That command puts its own `sitecustomize` before ours, which would see nothing then.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from opentelemetry.instrumentation import auto_instrumentation

del sys.argv[0]
sys.path[0] = str(Path(sys.argv[0]).parent)
auto_instrumentation.initialize(swallow_exceptions=False)
runpy.run_path(sys.argv[0], run_name="__main__")

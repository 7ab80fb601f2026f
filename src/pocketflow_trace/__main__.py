"""Makes `python -m pocketflow_trace` the same as `pocketflow-trace`."""

from __future__ import annotations

import sys

from pocketflow_trace.cli import main

if __name__ == "__main__":
    sys.exit(main())

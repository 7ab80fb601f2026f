"""The benchmarks are no part of the package: they are imported from the repository."""

from __future__ import annotations

import sys
from pathlib import Path

# Ahead of `tests`, where this very folder has the same name.
sys.path.insert(0, str(Path(__file__).parents[2]))

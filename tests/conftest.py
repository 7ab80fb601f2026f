"""For all tests: in CI, random tests draw the same examples every time.

A failure there is then the change's own. Elsewhere they go on searching.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

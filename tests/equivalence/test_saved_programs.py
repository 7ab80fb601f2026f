"""Programs that once did not come out the same, each as small as it could be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from saved_programs import PROGRAMS

from support.random_programs_compared import equivalent

if TYPE_CHECKING:
    from support.random_programs import Program, Tracer


@pytest.mark.parametrize(("program", "tracer"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_saved_program(program: Program, tracer: Tracer) -> None:
    """What was wrong stays right."""
    equivalent(program, tracer)

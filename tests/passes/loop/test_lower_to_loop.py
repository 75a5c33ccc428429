"""Every operator means the same on the graph, on loops, on buffers and in the arena."""

from __future__ import annotations

import pytest

from support.loop_cases import CASES
from support.loop_programs import Program, check_stages


@pytest.mark.parametrize("name", sorted(CASES))
def test_operator_keeps_its_meaning(name: str) -> None:
    program = Program(seed=len(name))
    outputs = CASES[name](program)
    tolerance = (
        1e-3 if "16" in name or "half" in name or "softmax" in name or "resize" in name else 1e-5
    )
    check_stages(program.module(outputs), program.ctx, program.inputs, tolerance)

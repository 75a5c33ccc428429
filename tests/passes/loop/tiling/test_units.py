"""The model's commands and cycles of the array are those of lowering and of the simulator."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from support.npu_passes import LOWERING, target, tile
from tilewright.backends.targets.cycles import matrix_cycles, step_cycles
from tilewright.dialects.loop import NestOp
from tilewright.dialects.npu import Command
from tilewright.dialects.npu.attributes import AccessAttr
from tilewright.dialects.npu.operands import loop_trips
from tilewright.passes.loop.tiling.selection import select
from tilewright.passes.loop.tiling.units import matrix_work, turnaround_cycles, unrolls
from tilewright.passes.loop.tiling.work import analyse

from .test_selection import product


@pytest.mark.parametrize("dataflow", ["weight-stationary", "output-stationary", "dot-product"])
@pytest.mark.parametrize("tiles", [1, 4])
@pytest.mark.parametrize(("m", "n", "k"), [(40, 64, 64), (8, 32, 48), (100, 48, 16), (3, 16, 7)])
def test_a_tile_takes_the_commands_of_its_leaf(
    m: int, n: int, k: int, tiles: int, dataflow: str
) -> None:
    base = target("gemmini-16x16")
    machine = replace(base, matrix=replace(base.matrix, max_tiles=tiles, dataflow=dataflow))
    module = product(m, n, k).module()
    (work,) = [analyse(op, machine).work for op in module.walk() if isinstance(op, NestOp)]
    tiling = select(work, machine, None, cold=True)
    assert tiling is not None
    cycles, commands = matrix_work(work, [np.array([t]) for t in tiling.tile], machine)
    leaves = math.prod(-(-n // t) for n, t in zip(work.domain, tiling.tile, strict=True))
    tile(module, machine, LOWERING)
    expected = total = 0
    for op in module.walk():
        if isinstance(op, Command) and op.instruction.mnemonic == "matmul":
            times = int(np.prod(loop_trips(op), dtype=int))
            rows, columns, sums = (
                access.dims for access in op.accesses.data if isinstance(access, AccessAttr)
            )
            assert len(rows) == 2 and len(columns) == 2 and len(sums) == 2
            shape = rows[0][0], columns[1][0], rows[1][0]
            phases = matrix_cycles(machine, *shape, rows[1][0] * -(-columns[1][0] // 16))
            expected += times
            total += times * step_cycles(machine.matrix, phases.work, phases.before)
    assert leaves * int(commands[0]) == expected
    assert leaves * int(cycles[0]) == pytest.approx(total, rel=0.25)


def test_arrays_with_a_pipeline_are_unrolled_for() -> None:
    assert [unrolls(target(t)) for t in ("tpu-v1", "gemmini-16x16", "vta-pynq")] == [
        True, False, False,
    ]  # fmt: skip


def test_turnaround_is_filling_and_draining() -> None:
    """16 rows of weights, then 4 + 16 + 16 - 2 cycles for the last row (and 2 between)."""
    assert turnaround_cycles(target("gemmini-16x16")) == 16 + 2 + 34
    assert turnaround_cycles(target("vta-pynq")) == target("vta-pynq").scratchpad.latency

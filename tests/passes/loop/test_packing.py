"""The constants block holds every global, equal contents once, aligned, always the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

from support.loop_programs import Program, check_stages
from tilewright.dialects.errors import IRError
from tilewright.dialects.graph import MapOp
from tilewright.dialects.loop import GlobalOp
from tilewright.passes.base import main_function
from tilewright.passes.loop.packing import ALIGNMENT, global_array, pack_constants


def program() -> tuple[Program, ModuleOp]:
    p = Program()
    x = p.input(p.floats(40))
    y = x
    for array in (np.arange(40, dtype=np.float32), p.floats(40), np.arange(40, dtype=np.float32)):
        y = p.add(MapOp("add", [y, p.constant(array)]))
    return p, p.module([y])


def test_block_holds_every_constant_once() -> None:
    p, module = program()
    check_stages(module, p.ctx, p.inputs)
    block = pack_constants(module, p.ctx.constants)
    assert len(block) == 2 * 256  # two distinct arrays of 160 bytes
    for op in main_function(module).walk():
        if isinstance(op, GlobalOp):
            assert op.offset is not None and op.offset.value.data % ALIGNMENT == 0
            array = global_array(op, p.ctx.constants)
            start = op.offset.value.data
            assert block[start : start + array.nbytes] == array.tobytes()


def test_block_is_reproducible() -> None:
    blocks: set[bytes] = set()
    for _ in range(2):
        p, module = program()
        check_stages(module, p.ctx, p.inputs)
        blocks.add(pack_constants(module, p.ctx.constants))
    assert len(blocks) == 1


def test_unallocated_module_is_refused() -> None:
    p, module = program()
    with pytest.raises(IRError, match="const_bytes"):
        pack_constants(module, p.ctx.constants)

"""Modules: shared kernels, segments, long programs, errors."""

from collections.abc import Sequence

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from support.cpu_nests import body, program, run_both
from tilewright.backends.cpu import jit
from tilewright.backends.cpu.emit import (
    CALLS_PER_FUNCTION,
    emit_function,
    emit_module,
    whole_function,
)
from tilewright.backends.cpu.schedule import VARIANTS
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.errors import IRError
from tilewright.dialects.loop import AllocOp, ApplyOp, CopyOp, Linear, NestOp
from tilewright.dialects.types import memref


def step(x: SSAValue, y: SSAValue, fn: str = "add", device: str | None = None) -> NestOp:
    map = Linear.select([0], 1)

    def make(v: SSAValue) -> list[Operation]:
        return [ApplyOp(fn, [v, v], f32)]

    return NestOp([16], [x], [], [map, map], body([f32], make), outs=[y], device=device)


def chain(length: int, devices: Sequence[str | None] = (None,)) -> FuncOp:
    """y = x * 2^length through buffers in the arena; the last device of `devices` repeats."""

    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        ops: list[Operation] = []
        current = x
        for k in range(length - 1):
            buffer = AllocOp(memref([16], f32, "dram"), offset=256 + 64 * (k % 2))
            ops += [buffer, step(current, buffer.result, device=devices[min(k, len(devices) - 1)])]
            current = buffer.result
        return [*ops, step(current, y, device=devices[-1])]

    func = program([((16,), f32)], [((16,), f32)], make)
    from tilewright.dialects.types import integer

    func.attributes["arena_bytes"] = integer(384)
    return func


def whole(func: FuncOp) -> str:
    return emit_function(func, whole_function(func))


def kernels(ir: str) -> int:
    return ir.count("define internal void @kernel_")


def test_equal_nests_share_a_kernel() -> None:
    assert kernels(whole(chain(9))) == 1

    def make(x: SSAValue, y: SSAValue, z: SSAValue) -> list[Operation]:
        return [step(x, y), step(x, z, "mul")]

    func = program([((16,), f32)], [((16,), f32)] * 2, make)
    assert kernels(whole(func)) == 2


def test_segments_are_entries_of_their_own() -> None:
    func = chain(6, ("npu", "cpu", "cpu", "npu", "cpu"))
    text = emit_module(ModuleOp([func]), ConstantStore())
    assert text.count("tilewright module for") == len(VARIANTS)
    ir = jit.select_variant(text)
    entries = [k for k in range(9) if f"define  void @tw_segment_{k}(" in ir]
    assert entries == [1, 3]
    module, arena = jit.load(text), jit.aligned(384)
    arena[:64].view(np.float32)[:] = 1
    module.call("tw_main", jit.aligned(64), arena)
    assert (arena[128:192].view(np.float32) == 64).all()


@pytest.mark.slow
def test_a_long_chain_is_cut_into_functions_of_bounded_length() -> None:
    length = 3000
    ir = whole(chain(length))
    jit.compile_object(ir)
    assert ir.count("define internal void @part_") == -(-length // CALLS_PER_FUNCTION)


def test_a_chain_over_several_parts_runs_in_order() -> None:
    x = np.ones(16, np.float32)
    got, want = run_both(chain(2 * CALLS_PER_FUNCTION - 10), [x], guarded=False)
    assert np.array_equal(got[0], want[0])


def test_unallocated_programs_are_refused() -> None:
    block = Block(arg_types=[memref([16], f32, "dram")] * 2)
    block.add_ops([step(block.args[0], block.args[1]), ReturnOp()])
    func = FuncOp("main", ([a.type for a in block.args], []), Region(block))
    with pytest.raises(IRError, match="not allocated"):
        whole(func)

    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        buffer = AllocOp(memref([16], f32, "dram"))
        return [buffer, step(x, buffer.result)]

    with pytest.raises(IRError, match="without an address"):
        whole(program([((16,), f32)], [((16,), f32)], make))


def test_operations_of_tiled_programs_are_refused() -> None:
    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        return [CopyOp("load", x, y, [], Linear.of([{}], 0))]

    with pytest.raises(IRError, match=r"loop\.copy"):
        whole(program([((16,), f32)], [((16,), f32)], make))

"""Hand-written machine programs and a small machine for simulator tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.backends.npu.program import DecodedProgram, Instruction, Operand
from tilewright.backends.npu.simulator import SimulationResult, simulate
from tilewright.backends.targets.machine import (
    Control,
    Dram,
    Machine,
    MatrixUnit,
    Memory,
    VectorUnit,
)
from tilewright.dialects.npu.descriptors import Strided, TensorBox
from tilewright.dialects.npu.isa import BY_MNEMONIC, PARAM_DEFAULTS


def tiny_machine(**changes: Any) -> Machine:
    """4 x 4 weight-stationary array, 4 lanes, everything small enough to count by hand."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "description": "for tests",
        "source": "test",
        "clock_hz": 1e9,
        "matrix": MatrixUnit(4, 4),
        "vector": VectorUnit(4, startup=2),
        "scratchpad": Memory(1024, banks=4, ports=2, width=4, latency=1),
        "accumulator": Memory(512, banks=2, ports=2, width=16),
        "dram": Dram(4.0, 16, 10, 5, 8, 8),
        "control": Control(8.0, 1, {"load": 8, "store": 8, "matrix": 8, "vector": 8}),
        "dma_bytes_per_cycle": 8.0,
        "alignment": 16,
    }
    return Machine(**{**fields, **changes})


def ins(
    mnemonic: str,
    *operands: Operand,
    waits: Sequence[int] = (),
    signals: Sequence[int] = (),
    layer: int = 0,
    all_cores: int = 0,
    **params: int,
) -> Instruction:
    """One instruction of one 8-byte word: a cycle of fetch on the tiny machine."""
    given = {p: params.get(p, PARAM_DEFAULTS.get(p, 0)) for p in BY_MNEMONIC[mnemonic].params}
    return Instruction(
        mnemonic, operands, given, tuple(waits), tuple(signals), layer, all_cores, words=1
    )


def spm(base: int, *dims: tuple[int, int], **kw: Any) -> Operand:
    """Scratchpad operand of (size, stride) dims."""
    return Operand("spm", Strided(base, dims, **kw))


def acc(base: int, *dims: tuple[int, int], **kw: Any) -> Operand:
    """Accumulator operand of (size, stride) dims."""
    return Operand("acc", Strided(base, dims, **kw))


def flat(base: int, n: int, space: str = "dram", loops: tuple[int, ...] = ()) -> Operand:
    """`n` bytes of DRAM at `base`, advancing by `loops` bytes."""
    extent = 1 << 20 if loops else n
    return Operand(space, TensorBox(base, (extent,), (1,), (0,), (1,), (n,), (loops,)))


def load(n: int, source: int = 0, target: int = 0, **kw: Any) -> Instruction:
    """Load `n` contiguous bytes."""
    space = kw.pop("space", "dram")
    return ins("load", flat(source, n, space), spm(target, (n, 1)), element=1, **kw)


def store(n: int, target: int = 0, source: int = 0, **kw: Any) -> Instruction:
    """Store `n` contiguous bytes."""
    return ins("store", flat(target, n), spm(source, (n, 1)), element=1, **kw)


def matmul(m: int, k: int, n: int, a: int = 0, b: int = 256, c: int = 0, **kw: Any) -> Instruction:
    """Contiguous m x k times k x n."""
    operands = spm(a, (m, k), (k, 1)), spm(b, (k, n), (n, 1)), acc(c, (m, 4 * n), (n, 4))
    return ins("matmul", *operands, m_rank=1, **kw)


def smatmul(m: int, k: int, n: int, a: int = 0, b: int = 256, c: int = 0, **kw: Any) -> Instruction:
    """Contiguous m x k times compressed k x n: values, index bytes behind them."""
    values, index = spm(b, (k // 2, n), (n, 1)), spm(b + k * n // 2, (k // 8, n), (n, 1))
    operands = spm(a, (m, k), (k, 1)), values, acc(c, (m, 4 * n), (n, 4)), index
    return ins("smatmul", *operands, m_rank=1, **kw)


def preload(k: int, n: int, b: int = 256, **kw: Any) -> Instruction:
    """Bring contiguous k x n weights into the array."""
    return ins("preload", spm(b, (k, n), (n, 1)), **kw)


def clip(n: int, source: int = 0, target: int = 512, **kw: Any) -> Instruction:
    """Copy `n` bytes within the scratchpad on the vector unit."""
    return ins("vclip", spm(source, (n, 1)), spm(target, (n, 1)), lo=-128, hi=127, **kw)


def fill(n: int, target: int = 0, value: int = 0, **kw: Any) -> Instruction:
    """Fill `n` bytes of scratchpad."""
    return ins("vfill", spm(target, (n, 1)), value=value, **kw)


def loop(count: int, *body: Instruction) -> list[Instruction]:
    """A hardware loop."""
    return [ins("loop", count=count), *body, ins("end")]


def program(
    *parts: Instruction | list[Instruction], semaphores: Sequence[int] = ()
) -> DecodedProgram:
    """A program ended by halt."""
    body = [i for part in parts for i in (part if isinstance(part, list) else [part])]
    return DecodedProgram(tuple(semaphores), (*body, ins("halt")))


def simulate_code(
    *parts: Instruction | list[Instruction],
    semaphores: Sequence[int] = (),
    machine: Machine | None = None,
    arena: Any = None,
    **kw: Any,
) -> SimulationResult:
    """Simulate a program on 4 KiB of arena and 4 KiB of constants; stalls must add up."""
    arena = np.zeros(4096, np.uint8) if arena is None else arena
    consts = np.arange(4096, dtype=np.int64).astype(np.uint8)
    kw = {"layers": (("conv1",), ("relu1", "add1"), ("pool1",)), **kw}
    code = program(*parts, semaphores=semaphores)
    result = simulate(code, machine or tiny_machine(), arena, consts, **kw)
    for unit, row in result.units.items():
        assert sum(row.values()) == result.cycles, unit
        assert min(row.values()) >= 0, unit
    assert result.cycles >= result.lower_bound_cycles
    assert all(layer.cycles >= layer.lower_bound_cycles for layer in result.layers)
    assert sum(layer.exclusive_cycles for layer in result.layers) in (0, result.cycles)
    return result


def stalls(result: SimulationResult, unit: str) -> dict[str, int]:
    """The nonzero counters of a unit."""
    return {k: v for k, v in result.units[unit].items() if v}

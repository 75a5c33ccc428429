"""Random but well-formed npu programs without tokens: nested loops, rotating buffers, aliasing DRAM."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from xdsl.dialects.builtin import i8
from xdsl.ir import Block, Region, SSAValue
from xdsl.parser import Parser

from tilewright.backends.targets.machine import Dram, Machine, MatrixUnit, Memory, VectorUnit
from tilewright.dialects.locations import location
from tilewright.dialects.npu import (
    COMMANDS,
    AccessAttr,
    AllocOp,
    DramOp,
    LoopOp,
    ProgramOp,
    TensorMapAttr,
    YieldOp,
)
from tilewright.dialects.types import memref
from tilewright.passes.base import CompilerContext

ARENA, CONSTS = 4096, 1024


def machine(spm: int = 4096, acc: int = 4096, alignment: int = 16) -> Machine:
    """A small machine."""
    return Machine(
        "test", "", "", 1e9, MatrixUnit(16, 16), VectorUnit(16), Memory(spm), Memory(acc), Dram(8.0), alignment=alignment
    )


@dataclass
class _Scope:
    """Buffers visible in a block."""

    spm: list[AllocOp]
    acc: list[AllocOp]
    trips: list[int] = field(default_factory=list[int])


class ProgramMaker:
    """Draws a program from `random`."""

    def __init__(self, random: Random, max_ops: int = 6, initialise: bool = False):
        self.random, self.max_ops, self.initialise = random, max_ops, initialise
        self.layer = 0
        self.top = Block()
        self.drams = [self._dram(random.choice(("dram", "dram", "dram", "const"))) for _ in range(random.randint(2, 4))]
        for dram in self.drams:
            self.top.add_op(dram)

    def program(self) -> ProgramOp:
        """The whole program."""
        self._block(self.top, _Scope([], []), 0)
        return ProgramOp("segment_0", Region(self.top))

    def _dram(self, space: str) -> DramOp:
        size = self.random.choice((64, 256))
        limit = (ARENA if space == "dram" else CONSTS) - size
        return DramOp(4 * self.random.randint(0, min(limit, 512) // 4), memref([size], i8, space))

    def _block(self, block: Block, outer: _Scope, depth: int) -> None:
        scope = _Scope(list(outer.spm), list(outer.acc), outer.trips)
        for _ in range(self.random.randint(1, 2) if depth else 3):
            space = self.random.choice(("spm", "spm", "acc"))
            alloc = AllocOp(memref([self.random.choice((64, 128))], i8, space), self.random.randint(1, 3) if depth else 1)
            (scope.spm if space == "spm" else scope.acc).append(alloc)
            block.add_op(alloc)
            if self.initialise:
                block.add_ops(self._initialise(alloc, space))
        for _ in range(self.random.randint(1, self.max_ops)):
            if depth == 0:
                self.layer += self.random.random() < 0.5
            if depth < 3 and self.random.random() < (0.5 if depth == 0 else 0.25):
                trips = self.random.randint(1, 4)
                inner = Block()
                self._block(inner, _Scope(scope.spm, scope.acc, [*scope.trips, trips]), depth + 1)
                inner.add_op(YieldOp())
                op: Any = LoopOp(trips, (), Region(inner))
            else:
                op = self._command(scope)
            if op is not None:
                op.location = location([f"node{self.layer}"])
                block.add_op(op)

    def _initialise(self, alloc: AllocOp, space: str) -> list[Any]:
        """Commands that write all of the buffer (an accumulator from another buffer, whatever it holds)."""
        value, size = self.random.randint(-128, 127), alloc.bytes
        if space == "spm":
            return [COMMANDS["vfill"]([alloc.result], [AccessAttr.get(0, (size,), (1,))], value=value)]
        source = AllocOp(memref([size // 4], i8, "spm"))
        whole = AccessAttr.get(0, (1, 1, size // 4), (0, 0, 1))
        fill = COMMANDS["vfill"]([source.result], [AccessAttr.get(0, (size // 4,), (1,))], value=value)
        target = AccessAttr.get(0, (1, size // 4), (0, 4))
        return [source, fill, COMMANDS["vsum"]([source.result, alloc.result], [whole, target], p_rank=1, t_rank=1, a_zp=5)]

    def _command(self, scope: _Scope) -> Any:
        kinds = ["load", "store", "vfill", "vclip", "vadd", "matmul", "vsum", "vrequant", "vmac", "vmax", "vmul", "vlut"]
        kind = self.random.choice(kinds[:2] * 3 + kinds)
        needs_acc = kind in ("matmul", "vsum", "vrequant", "vmac")
        if not scope.spm or (needs_acc and not scope.acc):
            return None
        return getattr(self, f"_{kind}")(scope) if hasattr(self, f"_{kind}") else self._elementwise(kind, scope)

    def _buffer(self, scope: _Scope, space: str) -> AllocOp:
        buffers = scope.spm if space == "spm" else scope.acc
        return buffers[-1 - min(int(self.random.expovariate(0.7)), len(buffers) - 1)]

    def _access(self, scope: _Scope, alloc: AllocOp, shape: tuple[int, ...], element: int) -> AccessAttr:
        """A random access that stays inside the buffer in every iteration."""
        strides, step = [], element
        for size in reversed(shape):
            strides.append(step if self.random.random() < 0.8 else 0)
            step *= size
        strides.reverse()
        room = (alloc.bytes - sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) - element) // element
        assert room >= 0, (alloc.bytes, shape)
        loops = []
        for trips in scope.trips:
            stride = self.random.choice((0, 0, self.random.randint(0, room // max(trips - 1, 1))))
            room -= stride * (trips - 1)
            loops.append(stride * element)
        return AccessAttr.get(self.random.randint(0, room) * element, shape, strides, loops)

    def _dense(self, scope: _Scope, alloc: AllocOp, shape: tuple[int, ...], element: int) -> AccessAttr:
        """A random access without stride 0, for results."""
        strides, step = [], element
        for size in reversed(shape):
            strides.append(step)
            step *= size
        room = (alloc.bytes - step) // element
        loops = []
        for trips in scope.trips:
            stride = self.random.choice((0, 0, self.random.randint(0, room // max(trips - 1, 1))))
            room -= stride * (trips - 1)
            loops.append(stride * element)
        return AccessAttr.get(self.random.randint(0, room) * element, shape, strides[::-1], loops)

    def _operands(self, scope: _Scope, rows: list[tuple[str, tuple[int, ...], int, bool]]) -> tuple[list[SSAValue], list[Any]]:
        values: list[SSAValue] = []
        accesses: list[Any] = []
        for space, shape, element, write in rows:
            alloc = self._buffer(scope, space)
            values.append(alloc.result)
            accesses.append((self._dense if write else self._access)(scope, alloc, shape, element))
        return values, accesses

    def _box(self, scope: _Scope, dram: DramOp, shape: tuple[int, ...]) -> TensorMapAttr:
        size = dram.result.type.get_shape()[0]  # pyright: ignore
        extents = (size // 8, 8)
        return TensorMapAttr.get(
            extents, (8, 1), [self.random.randint(-2, e - 1) for e in extents],
            [self.random.choice((1, 1, 2, -1)) for _ in extents], shape,
            [[self.random.choice((0, 0, 1, 2, n)) for _ in scope.trips] for n in shape],
        )  # fmt: skip

    def _load(self, scope: _Scope) -> Any:
        shape = (self.random.randint(1, 4), self.random.randint(1, 8))
        dram = self.random.choice(self.drams)
        values, accesses = self._operands(scope, [("spm", shape, 1, True)])
        return COMMANDS["load"]([dram.result, *values], [self._box(scope, dram, shape), *accesses], element=1, fill=7)

    def _store(self, scope: _Scope) -> Any:
        drams = [d for d in self.drams if d.result.type.memory_space.data == "dram"]  # pyright: ignore
        if not drams:
            return None
        shape = (self.random.randint(1, 4), self.random.randint(1, 8))
        dram = self.random.choice(drams)
        values, accesses = self._operands(scope, [("spm", shape, 1, False)])
        return COMMANDS["store"]([dram.result, *values], [self._box(scope, dram, shape), *accesses], element=1)

    def _matmul(self, scope: _Scope) -> Any:
        m, k, n = (self.random.randint(1, 4) for _ in range(3))
        values, accesses = self._operands(scope, [("spm", (m, k), 1, False), ("spm", (k, n), 1, False), ("acc", (m, n), 4, True)])
        mask = self.random.choice((0, -1, 1, 2, 3))
        return COMMANDS["matmul"](values, accesses, m_rank=1, a_zp=self.random.randint(-128, 127), b_zp=0, overwrite=mask)

    def _taps(self, kind: str, scope: _Scope) -> Any:
        p, t, c = (self.random.randint(1, 3) for _ in range(3))
        rows = [("spm", (p, t, c), 1, False)]
        rows += [("spm", (t, c), 1, False)] if kind == "vmac" else []
        rows += [("spm", (p, c), 1, True)] if kind == "vmax" else [("acc", (p, c), 4, True)]
        values, accesses = self._operands(scope, rows)
        zero_points = {"vmac": {"a_zp": 3, "b_zp": -1}, "vsum": {"a_zp": 5}, "vmax": {}}[kind]
        return COMMANDS[kind](values, accesses, p_rank=1, t_rank=1, **zero_points)

    def _vmac(self, scope: _Scope) -> Any:
        return self._taps("vmac", scope)

    def _vsum(self, scope: _Scope) -> Any:
        return self._taps("vsum", scope)

    def _vmax(self, scope: _Scope) -> Any:
        return self._taps("vmax", scope)

    def _elementwise(self, kind: str, scope: _Scope) -> Any:
        shape = (self.random.randint(1, 4), self.random.randint(1, 4))
        one = ("spm", shape, 1, False)
        clamp = {"zp": 1, "lo": -128, "hi": 127}
        wide = [("acc", shape, 4, False)]
        rows, params = {
            "vfill": ([], {"value": self.random.randint(-128, 127)}),
            "vclip": ([one], {"lo": -100, "hi": 100}),
            "vadd": ([one, one], {"za": 1, "ma": 1 << 20, "mb": 1 << 19, "multiplier": 1 << 30, "shift": 51, **clamp}),
            "vmul": ([one, one], {"za": 1, "zb": -3, "multiplier": 1 << 30, "shift": 36, **clamp}),
            "vrequant": (wide, {}),
            "vlut": (None, {}),
        }[kind]
        if rows is None or kind == "vrequant":
            return None
        values, accesses = self._operands(scope, [*rows, ("spm", shape, 1, True)])
        return COMMANDS[kind](values, accesses, **params)


def parse_program(text: str) -> ProgramOp:
    """The first program in IR text."""
    module = Parser(CompilerContext(), text).parse_module()
    program = next(op for op in module.walk() if isinstance(op, ProgramOp))
    program.verify()
    return program

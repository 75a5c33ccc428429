"""Random well-formed npu programs without tokens: nested loops, rotating buffers, aliased DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from xdsl.dialects.builtin import i8
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.parser import Parser

from tilewright.backends.targets.machine import (
    Dram,
    Machine,
    MatrixUnit,
    Memory,
    Sparsity,
    VectorUnit,
)
from tilewright.dialects.locations import location
from tilewright.dialects.loop.structure import space_of
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
from tilewright.dialects.types import memref, shape_of
from tilewright.passes.base import CompilerContext

ARENA, CONSTS = 4096, 1024
KINDS = (
    *("load", "store") * 4, "vfill", "vclip", "vadd", "vmul", "vlut",
    "matmul", "matmul", "smatmul", "vmac", "vsum", "vmax", "vrequant", "vrequant",
    "mmac", "msum", "mmax",
)  # fmt: skip
_SUMMING = ("matmul", "smatmul", "vrequant", "vsum", "vmac", "msum", "mmac")
_Row = tuple[str, tuple[int, ...], int, bool]
"""An operand to make up: memory, shape, element bytes, whether it is written."""


def machine(spm: int = 4096, acc: int = 4096, alignment: int = 16, banks: int = 1) -> Machine:
    """A small machine."""
    return Machine(
        "test",
        "",
        "",
        1e9,
        MatrixUnit(16, 16, window_channels=8),
        VectorUnit(16),
        Memory(spm, banks),
        Memory(acc, banks),
        Dram(8.0),
        sparsity=Sparsity("2:4", 10.0, 2),
        alignment=alignment,
    )


@dataclass
class Scope:
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
        self.drams = [
            self._dram(random.choice(("dram", "dram", "dram", "const")))
            for _ in range(random.randint(2, 4))
        ]
        for dram in self.drams:
            self.top.add_op(dram)

    def program(self) -> ProgramOp:
        """The whole program."""
        self._block(self.top, Scope([], []), 0)
        return ProgramOp("segment_0", Region(self.top))

    def _dram(self, space: str) -> DramOp:
        size = self.random.choice((64, 256))
        limit = (ARENA if space == "dram" else CONSTS) - size
        return DramOp(4 * self.random.randint(0, min(limit, 512) // 4), memref([size], i8, space))

    def _block(self, block: Block, outer: Scope, depth: int) -> None:
        scope = Scope(list(outer.spm), list(outer.acc), outer.trips)
        for _ in range(self.random.randint(1, 2) if depth else 3):
            space = self.random.choice(("spm", "spm", "acc"))
            alloc = AllocOp(
                memref([self.random.choice((64, 128))], i8, space),
                self.random.randint(1, 3) if depth else 1,
            )
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
                self._block(inner, Scope(scope.spm, scope.acc, [*scope.trips, trips]), depth + 1)
                inner.add_op(YieldOp())
                ops: list[Operation] = [LoopOp(trips, (), Region(inner))]
            else:
                ops = self._commands(scope)
            for op in ops:
                op.location = location([f"node{self.layer}"])
            block.add_ops(ops)

    def _initialise(self, alloc: AllocOp, space: str) -> list[Operation]:
        """Commands that write all of the buffer (an accumulator from another, filled buffer)."""
        params, size = {"value": self.random.randint(-128, 127)}, alloc.bytes
        if space == "spm":
            return [_command("vfill", [alloc.result], [AccessAttr.get(0, (size,), (1,))], params)]
        source = AllocOp(memref([size // 4], i8, "spm"))
        fill = _command("vfill", [source.result], [AccessAttr.get(0, (size // 4,), (1,))], params)
        whole = AccessAttr.get(0, (1, 1, size // 4), (0, 0, 1))
        target = AccessAttr.get(0, (1, size // 4), (0, 4))
        sum_params = {"p_rank": 1, "t_rank": 1, "a_zp": 5}
        total = _command("vsum", [source.result, alloc.result], [whole, target], sum_params)
        return [source, fill, total]

    def _commands(self, scope: Scope) -> list[Operation]:
        kind = self.random.choice(KINDS)
        if not scope.spm or (kind in _SUMMING and not scope.acc):
            return []
        match kind:
            case "load" | "store":
                return self._transfer(kind, scope)
            case "matmul" | "smatmul":
                return self._matmul(kind, scope)
            case "vmac" | "vsum" | "vmax" | "mmac" | "msum" | "mmax":
                return self._taps(kind, scope)
            case "vrequant":
                return self._vrequant(scope)
            case "vlut":
                return self._vlut(scope)
            case _:
                return self._elementwise(kind, scope)

    def _buffer(self, scope: Scope, space: str) -> AllocOp:
        buffers = scope.spm if space == "spm" else scope.acc
        return buffers[-1 - min(int(self.random.expovariate(0.7)), len(buffers) - 1)]

    def _access(
        self, scope: Scope, alloc: AllocOp, shape: tuple[int, ...], element: int, dense: bool
    ) -> AccessAttr:
        """A random access that stays inside the buffer in every iteration; results are dense."""
        strides: list[int] = []
        step = last = element
        for size in reversed(shape):
            strides.insert(0, step if dense or self.random.random() < 0.8 else 0)
            last += (size - 1) * strides[0]
            step *= size
        room = (alloc.bytes - last) // element
        loops: list[int] = []
        for trips in scope.trips:
            stride = self.random.choice((0, 0, self.random.randint(0, room // max(trips - 1, 1))))
            room -= stride * (trips - 1)
            loops.append(stride * element)
        return AccessAttr.get(self.random.randint(0, room) * element, shape, strides, loops)

    def _operands(
        self, scope: Scope, rows: Sequence[_Row]
    ) -> tuple[list[SSAValue], list[AccessAttr | TensorMapAttr]]:
        values: list[SSAValue] = []
        accesses: list[AccessAttr | TensorMapAttr] = []
        for space, shape, element, write in rows:
            alloc = self._buffer(scope, space)
            values.append(alloc.result)
            accesses.append(self._access(scope, alloc, shape, element, write))
        return values, accesses

    def _box(self, scope: Scope, dram: DramOp, shape: tuple[int, ...]) -> TensorMapAttr:
        size = shape_of(dram.result)[0]
        extents = (size // 8, 8)
        return TensorMapAttr.get(
            extents, (8, 1), [self.random.randint(-2, e - 1) for e in extents],
            [self.random.choice((1, 1, 2, -1)) for _ in extents], shape,
            [[self.random.choice((0, 0, 1, 2, n)) for _ in scope.trips] for n in shape],
        )  # fmt: skip

    def _transfer(self, kind: str, scope: Scope) -> list[Operation]:
        spaces = ("dram", "const") if kind == "load" else ("dram",)
        drams = [d for d in self.drams if space_of(d.result) in spaces]
        if not drams:
            return []
        shape = (self.random.randint(1, 4), self.random.randint(1, 8))
        dram = self.random.choice(drams)
        values, accesses = self._operands(scope, [("spm", shape, 1, kind == "load")])
        params = {"element": 1, "fill": 7} if kind == "load" else {"element": 1}
        box = self._box(scope, dram, shape)
        return [_command(kind, [dram.result, *values], [box, *accesses], params)]

    def _matmul(self, kind: str, scope: Scope) -> list[Operation]:
        m, k, n = (self.random.randint(1, 4) for _ in range(3))
        k, kept = (8, 4) if kind == "smatmul" else (k, k)
        rows: list[_Row] = [
            ("spm", (m, k), 1, False),
            ("spm", (kept, n), 1, False),
            ("acc", (m, n), 4, True),
        ]
        if kind == "smatmul":
            rows.append(("spm", (1, n), 1, False))
        mask = self.random.choice((0, -1, 1, 2, 3))
        params = {"m_rank": 1, "a_zp": self.random.randint(-128, 127), "overwrite": mask}
        return [_command(kind, *self._operands(scope, rows), params)]

    def _taps(self, kind: str, scope: Scope) -> list[Operation]:
        p, t, c = (self.random.randint(1, 3) for _ in range(3))
        rows: list[_Row] = [("spm", (p, t, c), 1, False)]
        what = kind[1:]
        rows += [("spm", (t, c), 1, False)] if what == "mac" else []
        rows += [("spm", (p, c), 1, True)] if what == "max" else [("acc", (p, c), 4, True)]
        params = {"mac": {"a_zp": 3, "b_zp": -1}, "sum": {"a_zp": 5}, "max": {}}[what]
        params = {
            "p_rank": 1,
            "t_rank": 1,
            "overwrite": self.random.choice((0, 0, -1, 1)),
            **params,
        }
        return [_command(kind, *self._operands(scope, rows), params)]

    def _elementwise(self, kind: str, scope: Scope) -> list[Operation]:
        shape = (self.random.randint(1, 4), self.random.randint(1, 4))
        one: _Row = ("spm", shape, 1, False)
        clamp = {"zp": 1, "lo": -128, "hi": 127, "multiplier": 1 << 30}
        table: dict[str, tuple[list[_Row], dict[str, int]]] = {
            "vfill": ([], {"value": self.random.randint(-128, 127)}),
            "vclip": ([one], {"lo": -100, "hi": 100}),
            "vadd": ([one, one], {"za": 1, "ma": 1 << 20, "mb": 1 << 19, "shift": 51, **clamp}),
            "vmul": ([one, one], {"za": 1, "zb": -3, "shift": 36, **clamp}),
        }
        rows, params = table[kind]
        return [_command(kind, *self._operands(scope, [*rows, ("spm", shape, 1, True)]), params)]

    def _vlut(self, scope: Scope) -> list[Operation]:
        values, accesses = self._operands(scope, [("spm", (3,), 1, False), ("spm", (3,), 1, True)])
        table = self._buffer(scope, "spm").result
        accesses.insert(1, AccessAttr.get(0, (4, 64), (0, 1)))
        return [_command("vlut", [values[0], table, values[1]], accesses, {})]

    def _vrequant(self, scope: Scope) -> list[Operation]:
        """With bias, multiplier and shift 20: the fill value of a load that is all outside."""
        alloc = AllocOp(memref([16], i8, "spm"), 2 if scope.trips else 1)
        outside = TensorMapAttr.get((1,), (4,), (1,), (1,), (4,))
        dense = AccessAttr.get(0, (4,), (4,))
        params = {"element": 4, "fill": 20}
        load = _command("load", [self.drams[0].result, alloc.result], [outside, dense], params)
        shape = (self.random.randint(1, 3), 4)
        rows: list[_Row] = [("acc", shape, 4, False), ("spm", shape, 1, True)]
        values, accesses = self._operands(scope, rows)
        values[1:1] = [alloc.result] * 3
        accesses[1:1] = [AccessAttr.get(0, shape, (0, 4))] * 3
        clamp = {"zp": 0, "lo": -128, "hi": 127}
        return [alloc, load, _command("vrequant", values, accesses, clamp)]


def _command(
    mnemonic: str,
    values: Sequence[SSAValue],
    accesses: Sequence[AccessAttr | TensorMapAttr],
    params: dict[str, int],
) -> Operation:
    return COMMANDS[mnemonic](values, accesses, waits=(), all_cores=False, **params)


def parse_program(text: str) -> ProgramOp:
    """The first program in IR text."""
    module = Parser(CompilerContext(), text).parse_module()
    program = next(op for op in module.walk() if isinstance(op, ProgramOp))
    program.verify()
    return program

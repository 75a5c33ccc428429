"""Reference semantics of the npu dialect: a program's commands one after the other.

Tokens are ignored: a program whose tokens are right computes the same in every order they allow.
On several cores each execution of a command runs in core 0, core 1, .. before the next one runs in
any.  That is the meaning of every program whose tokens are right and order what cores exchange as
the commands stand: what one core writes and another reads or writes, too, belongs to different
executions, of which the first in program order comes first.
Buffers with addresses live in one scratchpad and one accumulator memory; buffers without have
memory of their own (so programs can be run before allocation).  On-chip memory starts as garbage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ..constants import Array
from ..errors import SimulationError
from ..locations import describe
from ..loop.structure import space_of
from ..multicast import receivers
from ..npu.commands import Command
from ..npu.cores import spreads
from ..npu.descriptors import Strided, TensorBox, overwrites
from ..npu.operands import buffer_of, descriptor, element_bytes, loop_trips, slot_stride
from ..npu.shapes import misfit
from ..npu.structure import AllocOp, CoresOp, DramOp, LoopOp, ProgramOp
from .instructions import execute, view_of


@dataclass(frozen=True)
class _Operand:
    """`memories` are those of each core; DRAM is the same for all."""

    memories: list[Array]
    access: Strided | TensorBox
    element: int


@dataclass(frozen=True)
class _Step:
    """A command ready to run."""

    mnemonic: str
    operands: tuple[_Operand, ...]
    params: dict[str, int]
    trips: tuple[int, ...]
    where: str
    grid: tuple[int, ...]

    def run(self, iterations: tuple[int, ...]) -> None:
        """In every core, for these iterations of the loops inside the core levels."""
        for core, position in enumerate(np.ndindex(self.grid)):
            self._run(core, (*position, *iterations))

    def _run(self, core: int, iterations: Sequence[int]) -> None:
        views = [self._view(o, core, iterations) for o in self.operands]
        overwrite = overwrites(self.params.get("overwrite", 0), iterations)
        execute(self.mnemonic, views, self.params, overwrite=overwrite)
        if spreads(self.mnemonic, self.params):
            for other in receivers(core, self.grid, self.params["levels"]):
                self._view(self.operands[1], other, iterations)[...] = views[1]

    def _view(self, o: _Operand, core: int, iterations: Sequence[int]) -> Any:
        memory, first = o.memories[core], len(self.grid)
        return view_of(memory, o.access, iterations, self.trips, o.element, self.where, first)


@dataclass(frozen=True)
class _Loop:
    count: int
    body: list[_Step | _Loop]


def programs(module: ModuleOp) -> list[ProgramOp]:
    """The NPU programs of a module, in order."""
    return [op for op in module.ops if isinstance(op, ProgramOp)]


def run(
    program: ProgramOp, arena: Array, consts: Array,
    on_chip: Mapping[str, Array] | Sequence[Mapping[str, Array]] | None = None,
) -> None:  # fmt: skip
    """Run `program` in program order on `arena` (uint8, read and written) and `consts` (uint8).

    `on_chip` gives the memories "spm" and "acc" (uint8, read and written) of allocated programs;
    for several cores, one such mapping per core; by default they are as big as needed and start as
    garbage.  SimulationError names the command
    that leaves its memory or does not fit its operands.
    """
    level = next((op for op in program.body.block.ops if isinstance(op, CoresOp)), None)
    grid = () if level is None else level.grid
    cores = prod(grid)
    nothing: Mapping[str, Array] = {}
    given: Sequence[Mapping[str, Array]] = [nothing] * cores
    if on_chip is not None:
        given = on_chip if isinstance(on_chip, Sequence) else [on_chip]
    if len(given) != cores:
        raise ValueError(f"on_chip of {cores} cores must be one mapping per core")
    memories = [_memories(program, one) for one in given]

    def prepare(command: Command) -> _Step:
        spec, params = command.instruction, command.param_values
        operands: list[_Operand] = []
        for row, value, access in zip(
            spec.operands, command.buffers, command.accesses.data, strict=True
        ):
            places = [_place(value, one, arena, consts) for one in memories]
            plain = descriptor(value, access, places[0][1])
            operands.append(_Operand([m for m, _ in places], plain, element_bytes(row, params)))
        where = describe(command)
        if problem := misfit(spec.mnemonic, [o.access.shape for o in operands], params):
            raise SimulationError(f"{where}: {problem}")
        return _Step(spec.mnemonic, tuple(operands), params, loop_trips(command), where, grid)

    def prepare_block(block: Block) -> list[_Step | _Loop]:
        steps: list[_Step | _Loop] = []
        for op in block.ops:
            if isinstance(op, Command):
                steps.append(prepare(op))
            elif isinstance(op, LoopOp):
                steps.append(_Loop(op.count.value.data, prepare_block(op.body.block)))
        return steps

    def run_block(steps: list[_Step | _Loop], iterations: tuple[int, ...]) -> None:
        for step in steps:
            if isinstance(step, _Step):
                step.run(iterations)
            else:
                for i in range(step.count):
                    run_block(step.body, (*iterations, i))

    run_block(prepare_block((program if level is None else level).body.block), ())


def _memories(program: ProgramOp, given: Mapping[str, Array]) -> dict[SSAValue, tuple[Array, int]]:
    """The memory and address of each on-chip buffer."""
    allocs = [op for op in program.walk() if isinstance(op, AllocOp)]
    shared: dict[str, Array] = {}
    for space in ("spm", "acc"):
        placed = [a for a in allocs if a.address is not None and space_of(a.result) == space]
        shared[space] = (
            given[space] if space in given else _garbage(max(map(_end, placed), default=0))
        )
    return {
        a.result: (_garbage(_bytes(a)), 0)
        if a.address is None
        else (shared[space_of(a.result)], a.address.value.data)
        for a in allocs
    }


def _bytes(alloc: AllocOp) -> int:
    return (alloc.slots.value.data - 1) * slot_stride(alloc) + alloc.bytes


def _end(alloc: AllocOp) -> int:
    return _bytes(alloc) + (alloc.address.value.data if alloc.address is not None else 0)


def _garbage(size: int) -> Array:
    """Deterministic bytes that are wrong as inputs to anything."""
    return np.random.default_rng(size).integers(0, 256, size, np.uint8)


def _place(
    value: SSAValue, memories: dict[SSAValue, tuple[Array, int]], arena: Array, consts: Array
) -> tuple[Array, int]:
    buffer = buffer_of(value)
    if isinstance(buffer, DramOp):
        return (consts if space_of(value) == "const" else arena), buffer.address.value.data
    return memories[value]

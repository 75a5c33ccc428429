"""Reference semantics of the npu dialect: a program's commands one after the other.

Tokens are ignored: a program whose tokens are right computes the same in every order they allow.
Buffers with addresses live in one scratchpad and one accumulator memory; buffers without have
memory of their own (so programs can be run before allocation).  On-chip memory starts as garbage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ..constants import Array
from ..errors import SimulationError
from ..locations import describe
from ..loop.structure import space_of
from ..npu.commands import Command
from ..npu.descriptors import Strided, TensorBox, overwrites
from ..npu.operands import buffer_of, descriptor, element_bytes, loop_trips, slot_stride
from ..npu.shapes import misfit
from ..npu.structure import AllocOp, DramOp, LoopOp, ProgramOp
from .instructions import execute, view_of


@dataclass(frozen=True)
class _Operand:
    memory: Array
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

    def run(self, iterations: Sequence[int]) -> None:
        views = [
            view_of(o.memory, o.access, iterations, self.trips, o.element, self.where)
            for o in self.operands
        ]
        execute(
            self.mnemonic,
            views,
            self.params,
            overwrite=overwrites(self.params.get("overwrite", 0), iterations),
        )


@dataclass(frozen=True)
class _Loop:
    count: int
    body: list[_Step | _Loop]


def programs(module: ModuleOp) -> list[ProgramOp]:
    """The NPU programs of a module, in order."""
    return [op for op in module.ops if isinstance(op, ProgramOp)]


def run(
    program: ProgramOp, arena: Array, consts: Array, on_chip: Mapping[str, Array] | None = None
) -> None:
    """Run `program` in program order on `arena` (uint8, read and written) and `consts` (uint8).

    `on_chip` gives the memories "spm" and "acc" (uint8, read and written) of allocated programs;
    by default they are as big as needed and start as garbage.  SimulationError names the command
    that leaves its memory or does not fit its operands.
    """
    memories = _memories(program, on_chip or {})

    def prepare(command: Command) -> _Step:
        spec, params = command.instruction, command.param_values
        operands: list[_Operand] = []
        for row, value, access in zip(
            spec.operands, command.buffers, command.accesses.data, strict=True
        ):
            memory, address = _place(value, memories, arena, consts)
            operands.append(
                _Operand(memory, descriptor(value, access, address), element_bytes(row, params))
            )
        where = describe(command)
        if problem := misfit(spec.mnemonic, [o.access.shape for o in operands], params):
            raise SimulationError(f"{where}: {problem}")
        return _Step(spec.mnemonic, tuple(operands), params, loop_trips(command), where)

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

    run_block(prepare_block(program.body.block), ())


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

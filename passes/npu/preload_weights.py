"""Bring weights into the array before a matmul waits for its activations.

    matmul  (layer 1)                         matmul  (layer 1)
    send, vrequant ...                        preload (weights of layer 2)
    matmul  (layer 2, waits for both)   ->    send, vrequant ...
                                              matmul  (layer 2, waits for activations)

The matrix queue runs in order, so that a matmul that waits for activations holds up the preload of
its own weights, however long they have been in the scratchpad.  A preload of its own waits for the
weights alone.  One is put in front of every matmul, or loop that begins with one, of the top level,
where the array keeps weights, has room for the next tile, and a matmul takes one tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from ...backends.targets.cycles import array_tiles
from ...backends.targets.machine import Machine
from ...dialects.npu.attributes import AccessAttr
from ...dialects.npu.commands import COMMANDS, Command
from ...dialects.npu.isa import Queue
from ...dialects.npu.operands import buffer_of, loop_trips
from ...dialects.npu.structure import ProgramOp
from ...dialects.types import int_values
from ..base import CompilerContext, Pass
from .traffic import program_block


@dataclass(frozen=True)
class PreloadWeightsPass(Pass):
    """Preload weights while the matmul that uses them waits for its activations."""

    name = "preload-weights"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Add preloads to every program (before insert-sync)."""
        machine = ctx.machine
        if machine is None or not self.enable or not _profits(machine):
            return
        for op in module.ops:
            if isinstance(op, ProgramOp):
                preload(op, machine)


def _profits(machine: Machine) -> bool:
    unit = machine.matrix
    return unit.dataflow == "weight-stationary" and unit.double_buffered_weights


def preload(program: ProgramOp, machine: Machine) -> None:
    """Put preloads in front of the matmuls at the top level of one program."""
    block = program_block(program)
    for op in list(block.ops):
        first = _first_on_array(op)
        if first is None or not _one_tile(first, machine):
            continue
        if buffer_of(first.buffers[1]).parent is block:  # not a buffer of the loop's own
            made = _preload(first, len(loop_trips(op)))
            made.location = first.location
            block.insert_op_before(made, op)


def _first_on_array(op: Operation) -> Command | None:
    """The first command of the matrix unit in a top-level operation."""
    return next((c for c in op.walk() if isinstance(c, Command) and c.queue is Queue.MATRIX), None)


def _one_tile(command: Command, machine: Machine) -> bool:
    """Whether it is a matmul whose weights are a single tile."""
    if command.instruction.mnemonic != "matmul":
        return False
    access = command.accesses.data[1]
    assert isinstance(access, AccessAttr)
    *reduced, columns = int_values(access.sizes)
    return prod(array_tiles(machine.matrix, 1, columns, prod(reduced))) == 1


def _preload(command: Command, depth: int) -> Command:
    """A preload of the weights of a command's first execution, inside the outer `depth` loops."""
    access = command.accesses.data[1]
    assert isinstance(access, AccessAttr)
    sizes, strides = zip(*access.dims, strict=True)
    placed = AccessAttr.get(access.base.data, sizes, strides, access.loop_strides[:depth])
    return COMMANDS["preload"]([command.buffers[1]], [placed])


PASS = PreloadWeightsPass

"""What the commands of a program ask of on-chip memories: the demand behind bank conflicts.

    npu.load    16 bytes a cycle into %x   ->  %x: load queue, 1 access a cycle, 1000 cycles
    npu.matmul  a row of %x a cycle        ->  %x: matrix queue, 1 access a cycle, 3000 cycles

An estimate for placement, by the formulas of `targets.cycles`, with transfers as one run of bytes.
The weights of a matmul are not counted: the preload that reads them does not contend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod

from xdsl.ir import Block

from ...backends.targets.cycles import (
    accesses,
    matrix_cycles,
    reduction_cycles,
    step_cycles,
    transfer_cycles,
    vector_cycles,
    window_cycles,
)
from ...backends.targets.machine import Machine
from ...dialects.loop.structure import space_of
from ...dialects.npu.attributes import AccessAttr, TensorMapAttr
from ...dialects.npu.commands import Command
from ...dialects.npu.isa import PRODUCTS, WINDOWS, Queue
from ...dialects.npu.operands import core_levels, element_bytes, loop_trips
from ...dialects.npu.structure import AllocOp, CoresOp, ProgramOp
from ...dialects.types import int_values


@dataclass
class Use:
    """A queue's work with a buffer: accesses of the memory's width, and the cycles they take."""

    accesses: float = 0.0
    cycles: float = 0.0

    @property
    def rate(self) -> float:
        """Accesses a cycle."""
        return self.accesses / self.cycles if self.cycles else 0.0


@dataclass
class Traffic:
    """Uses by buffer and queue; cycles of commands that use two buffers."""

    uses: dict[AllocOp, dict[Queue, Use]] = field(default_factory=dict[AllocOp, dict[Queue, Use]])
    pairs: dict[tuple[AllocOp, AllocOp], float] = field(
        default_factory=lambda: defaultdict[tuple[AllocOp, AllocOp], float](float)
    )


def traffic_of(program: ProgramOp, machine: Machine) -> Traffic:
    """The traffic of all commands of one program."""
    out = Traffic()
    memories = {"spm": machine.scratchpad, "acc": machine.accumulator}
    for op in program.walk():
        if not isinstance(op, Command):
            continue
        times = executions(op)
        cycles = times * command_cycles(op, machine)
        found: list[AllocOp] = []
        for index, (row, value, access) in enumerate(
            zip(op.instruction.operands, op.buffers, op.accesses.data, strict=True)
        ):
            weights = op.instruction.mnemonic in (*PRODUCTS, "mmac") and index in (1, 3)
            alloc, stationary = value.owner, weights
            if not isinstance(alloc, AllocOp) or stationary:
                continue
            assert isinstance(access, AccessAttr)
            element = element_bytes(row, op.param_values)
            amount = times * accesses(access.dims, element, memories[space_of(value)].width)
            use = out.uses.setdefault(alloc, {}).setdefault(op.queue, Use())
            use.accesses += amount * (2 if row.direction == "rw" else 1)
            use.cycles += cycles
            for other in found:
                if other is not alloc:
                    out.pairs[other, alloc] += cycles
            found.append(alloc)
    return out


def program_block(program: ProgramOp) -> Block:
    """The block whose operations are the program's, in order: that of its core level, if any."""
    level = next((op for op in program.body.block.ops if isinstance(op, CoresOp)), program)
    return level.body.block


def executions(op: Command) -> int:
    """How often a core runs a command."""
    return prod(loop_trips(op)[core_levels(op) :])


def command_cycles(op: Command, machine: Machine) -> float:
    """Cycles of work of one execution."""
    name, params = op.instruction.mnemonic, op.param_values
    if op.queue in (Queue.LOAD, Queue.STORE):
        access = op.accesses.data[1 if name == "load" else 0]
        sizes = int_values(access.box if isinstance(access, TensorMapAttr) else access.sizes)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
        moved = prod(sizes) * params["element"]
        if name == "send":
            return max(1.0, moved / max(machine.network.bytes_per_cycle, 1.0))
        requests = ceil(moved / machine.dram.burst_bytes)
        return transfer_cycles(machine, moved, requests, name == "load")
    first = op.accesses.data[0]
    assert isinstance(first, AccessAttr)
    sizes = [n for n, _ in first.dims]
    positions, taps = _window(sizes, params["p_rank"]) if name in WINDOWS else (prod(sizes), 1)
    if op.queue is not Queue.MATRIX:
        unit = machine.vector
        if name in WINDOWS:
            return reduction_cycles(unit, name, positions, taps, sizes[-1])
        return vector_cycles(unit, name, ceil(positions / unit.lanes))
    if name in WINDOWS:
        return window_cycles(machine, positions, taps, sizes[-1], 0).work
    m, k = prod(sizes[: params["m_rank"]]), prod(sizes[params["m_rank"] :])
    second, sparse = op.accesses.data[1], name == "smatmul"
    assert isinstance(second, AccessAttr)
    read = accesses(second.dims, 1, machine.scratchpad.width)
    phases = matrix_cycles(machine, m, second.dims[-1][0], k, read, sparse)
    return step_cycles(machine.matrix, phases.work, phases.before)


def _window(sizes: Sequence[int], rank: int) -> tuple[int, int]:
    """(positions, taps) where the first `rank` sizes are positions, and the last is channels."""
    return prod(sizes[:rank]), prod(sizes[rank:-1])

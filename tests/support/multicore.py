"""Random programs of several cores, and the strictest synchronisation there is."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from xdsl.ir import Block, Operation, Region, SSAValue

from tilewright.backends.npu.encode import decode, encode
from tilewright.backends.npu.program import DecodedProgram, Instruction
from tilewright.backends.targets.machine import Machine, Network
from tilewright.dialects.loop.structure import space_of
from tilewright.dialects.npu import COMMANDS, AllocOp, Command, CoresOp, ProgramOp, Queue
from tilewright.dialects.npu.cores import core_trips
from tilewright.dialects.types import integer, params_attr, params_dict

from .npu_programs import ProgramMaker, Scope, machine

BYTES = 16384


def cored_machine(cores: int = 4) -> Machine:
    """`machine` of `npu_programs`, several times, with a network."""
    return replace(machine(BYTES, BYTES), cores=cores, network=Network(4.0, 7))


def place(program: ProgramOp) -> None:
    """Buffers one behind the other, so that only commands share bytes that name the same buffer."""
    end = {"spm": 0, "acc": 0}
    for op in program.walk():
        if isinstance(op, AllocOp):
            space = space_of(op.result)
            op.address, op.slot_stride = integer(end[space]), integer(op.bytes)
            end[space] += op.bytes * op.slots.value.data


class CoredMaker(ProgramMaker):
    """Programs inside a core level, with loops or without; tokens are left to others.

    Every access may move with the core, or with its row and column in a grid; some loads broadcast,
    some copies are sends.
    """

    def __init__(self, random: Random, cores: int, loops: bool):
        super().__init__(random)
        self.cores, self.loops = cores, loops
        self.inner = random.choice([d for d in range(1, cores + 1) if cores % d == 0])

    def program(self) -> ProgramOp:
        """The whole program."""
        body = Block()
        grid = core_trips(self.cores, self.inner)
        self._block(body, Scope([], [], [*grid]), 1 if self.loops else 3)
        for op in list(body.walk()):
            if isinstance(op, Command):
                self._adapt(op, len(grid))
        self.top.add_op(CoresOp(self.cores, self.inner, Region(body)))
        return ProgramOp("segment_0", Region(self.top))

    def _adapt(self, op: Command, levels: int) -> None:
        """No overwriting by core; broadcasts and sends where they fit."""
        params = params_dict(op.params)
        mask = int(params.get("overwrite", 0))
        if op.name == "npu.load" and self.random.random() < 0.3:
            params["broadcast"] = 1
            params["levels"] = self.random.randrange(1 << levels)
        if mask > 0:
            params["overwrite"] = mask >> levels << levels
        op.params = params_attr(params)

    def _commands(self, scope: Scope) -> list[Operation]:
        if self.random.random() < 0.1 and scope.spm:
            shape = (self.random.randint(1, 4), self.random.randint(1, 4))
            values, accesses = self._operands(
                scope, [("spm", shape, 1, False), ("spm", shape, 1, True)]
            )
            levels = self.random.randrange(1 << len(core_trips(self.cores, self.inner)))
            return [COMMANDS["send"](values, accesses, element=1, levels=levels)]
        return super()._commands(scope)


def chain_tokens(program: ProgramOp) -> None:
    """Every command of a program without loops waits for the one before it in all cores."""
    before: SSAValue | None = None
    for op in list(program.walk()):
        if isinstance(op, Command):
            new = type(op)(
                list(op.buffers), list(op.accesses.data),  # pyright: ignore[reportArgumentType]
                waits=[before] if before is not None else [], all_cores=True,
                **{k: int(v) for k, v in params_dict(op.params).items()},
            )  # fmt: skip
            new.location = op.location
            block = op.parent
            assert block is not None
            block.insert_op_before(new, op)
            op.detach()
            op.erase()
            before = new.token


def chained(program: ProgramOp) -> DecodedProgram:
    """Machine code in which a core runs one command at a time, for up to 4 cores."""
    code = decode(encode(program).code)
    cores = code.cores
    waits = tuple(range(cores))

    def link(i: Instruction) -> Instruction:
        if i.queue is Queue.CONTROL:
            return i
        return replace(i, waits=waits, signals=(0,), all_cores=1)

    return DecodedProgram((1,) * cores, tuple(link(i) for i in code.instructions))

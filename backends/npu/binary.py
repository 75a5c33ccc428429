"""Machine code as bytes: a header, the semaphores' initial counts, the instructions; little-endian.

    word 0   "TWNP" | version 16 | number of semaphores 16
    word 1   number of words, all included 32 | number of layers 32
    then     initial counts, 16 bits each, four a word
    then     instructions (`words.py`), the last one `halt`

`decode` accepts exactly what `pack` writes: anything else is an ArtefactError with the byte offset.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod

from ...dialects.errors import ArtefactError
from ...dialects.npu.cores import core_trips, spreads
from ...dialects.npu.descriptors import Strided, TensorBox, core_level_in
from ...dialects.npu.isa import (
    BY_MNEMONIC,
    MAX_LOOP_DEPTH,
    NUM_SEMAPHORES,
    Queue,
)
from ...dialects.npu.shapes import misfit
from .program import DecodedProgram, Instruction
from .words import instruction_words, read_instruction

MAGIC = b"TWNP"
VERSION = 1
_HEADER = struct.Struct("<4sHHII")
HEADER_BYTES = _HEADER.size


def pack(program: DecodedProgram, layers: int) -> bytes:
    """Machine code of `program`, whose instructions belong to `layers` layers.

    ValueError names an instruction with a field that does not fit.
    """
    words: list[int] = []
    for number, instruction in enumerate(program.instructions):
        try:
            words += instruction_words(instruction)
        except ValueError as error:
            raise ValueError(f"instruction {number} ({instruction.mnemonic}): {error}") from None
    return pack_words(program.semaphores, words, layers)


def pack_words(semaphores: Sequence[int], words: Sequence[int], layers: int) -> bytes:
    """Put the header in front of encoded instructions."""
    padded = [*semaphores, *[0] * (-len(semaphores) % 4)]
    total = len(words) + len(padded) // 4 + _HEADER.size // 8
    header = _HEADER.pack(MAGIC, VERSION, len(semaphores), total, layers)
    return (
        header + struct.pack(f"<{len(padded)}H", *padded) + struct.pack(f"<{len(words)}Q", *words)
    )


def decode(code: bytes) -> DecodedProgram:
    """The program in `code`; ArtefactError with the byte offset if it is damaged or malformed."""
    if len(code) < _HEADER.size or len(code) % 8:
        raise ArtefactError(f"machine code of {len(code)} bytes is cut off")
    magic, version, semaphores, total, layers = _HEADER.unpack_from(code)
    if magic != MAGIC:
        raise ArtefactError("not machine code: it does not start with 'TWNP'")
    if version != VERSION:
        raise ArtefactError(
            f"machine code of version {version}; this tilewright reads version {VERSION}"
        )
    if total * 8 != len(code):
        raise ArtefactError(f"machine code has {len(code)} bytes, its header says {total * 8}")
    table = -(-semaphores // 4)
    if semaphores > NUM_SEMAPHORES or _HEADER.size // 8 + table > total:
        raise ArtefactError(f"machine code at byte 6: {semaphores} semaphores")
    counts = struct.unpack_from(f"<{table * 4}H", code, _HEADER.size)
    if any(counts[semaphores:]):
        raise ArtefactError(f"machine code at byte {_HEADER.size}: padding is not zero")
    words = struct.unpack(f"<{total}Q", code)
    position = _HEADER.size // 8 + table
    instructions: list[Instruction] = []
    checker = Checker(semaphores, layers)
    while position < total:
        try:
            instruction = read_instruction(words, position)
            checker.check(instruction)
        except ArtefactError as error:
            raise ArtefactError(f"machine code at byte {8 * position}: {error.message}") from None
        instructions.append(instruction)
        position += instruction.words
    if not checker.halted:
        raise ArtefactError(f"machine code at byte {8 * position}: ends without halt")
    return DecodedProgram(counts[:semaphores], tuple(instructions))


def layer_count(code: bytes) -> int:
    """Number of layers that (well-formed) machine code refers to."""
    return int(_HEADER.unpack_from(code)[4])


class Checker:
    """What an instruction must satisfy beyond its own encoding."""

    def __init__(self, semaphores: int, layers: int):
        self.semaphores, self.layers, self.depth, self.halted = semaphores, layers, 0, False
        self.grid: tuple[int, ...] = ()
        self.first = True

    def check(self, instruction: Instruction) -> None:
        """ArtefactError if `instruction` cannot stand here."""
        mnemonic = instruction.mnemonic
        if self.halted:
            raise ArtefactError(f"{mnemonic} after halt")
        if any(s >= self.semaphores for s in (*instruction.waits, *instruction.signals)):
            raise ArtefactError(f"{mnemonic}: semaphore outside the table of {self.semaphores}")
        self.check_cores(instruction)
        if instruction.layer >= self.layers:
            raise ArtefactError(f"{mnemonic}: layer {instruction.layer} of {self.layers}")
        self.check_operands(instruction)
        if instruction.queue is Queue.CONTROL and (instruction.waits or instruction.signals):
            raise ArtefactError(f"{mnemonic} cannot wait or signal")
        if mnemonic == "loop":
            self.depth += 1
        elif mnemonic == "cores":
            self.depth = len(self.grid)
        elif mnemonic == "end":
            outermost = self.depth == len(self.grid)
            self.depth -= max(len(self.grid), 1) if outermost else 1
        if not 0 <= self.depth <= MAX_LOOP_DEPTH or (mnemonic == "halt" and self.depth):
            raise ArtefactError(
                f"{mnemonic}: loops are not properly nested (at most {MAX_LOOP_DEPTH} deep)"
            )
        self.halted, self.first = mnemonic == "halt", False

    def check_cores(self, instruction: Instruction) -> None:
        """What belongs to programs of several cores, and what does not."""
        mnemonic, params = instruction.mnemonic, instruction.params
        if mnemonic == "cores":
            if not self.first:
                raise ArtefactError("cores is not the first instruction")
            self.grid = core_trips(params["count"], params["inner"])
        elif self.grid and not self.depth and mnemonic != "halt":
            raise ArtefactError(f"{mnemonic} behind the end of cores")
        elif not self.grid and (instruction.all_cores or spreads(mnemonic, params)):
            raise ArtefactError(f"{mnemonic}: reaches other cores in a program without cores")
        level = core_level_in(params.get("overwrite", 0), len(self.grid))
        if level is not None:
            raise ArtefactError(f"{mnemonic}: overwrite names loop level {level}, the cores")
        if params.get("levels", 0) >> len(self.grid):
            raise ArtefactError(f"{mnemonic}: levels names more core levels than there are")
        cores = prod(self.grid)
        for i, s in enumerate(instruction.signals):
            if instruction.all_cores >> i & 1 and s + cores > self.semaphores:
                raise ArtefactError(
                    f"{mnemonic}: {cores} cores signal semaphores from {s} on, outside the"
                    f" table of {self.semaphores}"
                )

    def check_operands(self, instruction: Instruction) -> None:
        """Spaces, loop levels, shapes and parameters."""
        mnemonic, operands = instruction.mnemonic, instruction.operands
        if problem := misfit(mnemonic, [o.access.shape for o in operands], instruction.params):
            raise ArtefactError(f"{mnemonic}: {problem}")
        for spec, operand in zip(BY_MNEMONIC[mnemonic].operands, operands, strict=True):
            if operand.space not in spec.spaces:
                raise ArtefactError(f"{mnemonic}: {spec.name} is in {operand.space}")
            if (level := _levels(operand.access)) > self.depth:
                raise ArtefactError(
                    f"{mnemonic}: {spec.name} uses loop level {level - 1} at depth {self.depth}"
                )


def _levels(access: Strided | TensorBox) -> int:
    """Number of enclosing loops an access needs."""
    if isinstance(access, Strided):
        return max(len(access.loops), access.slot_level)
    return max((len(row) for row in access.loops), default=0)

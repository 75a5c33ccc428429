"""One instruction as 64-bit words: a header, an optional semaphore word, then tagged words.

    header      opcode 8 | words 8 | waits 3 | signals 3 | all cores 4 | 0 (14 bits) | layer 24
    semaphores  signals 4 x 8 | waits 4 x 8                 only when there are any
    tag 1  OPERAND  tag 4 | space 2 | operand 3 | 0 (7 bits) | address 48 (signed)
    tag 2  DIM      tag 4 | size 28 | stride 32 (signed)
    tag 3  LOOP     tag 4 | level 4 | 0 (8 bits) | stride 48 (signed)
    tag 4  SLOTS    tag 4 | level 4 | slots 16 | slot stride 40
    tag 5  AXIS     tag 4 | extent 28 | stride 32 (signed)
    tag 6  BOX      tag 4 | box 28 | start 32 (signed)
    tag 7  STEP     tag 4 | 0 (28 bits) | step 32 (signed)  only when not 1
    tag 8  ADVANCE  tag 4 | level 4 | 0 (8 bits) | coordinates per iteration 48 (signed)
    tag 9  PARAM    tag 4 | parameter 8 | 0 (4 bits) | value 48 (signed)

Fields are listed from the most significant bit.  `all cores` is a bit mask
over the signals, the lowest bit for the first.  DIM, LOOP and SLOTS belong to the OPERAND before
them, STEP and ADVANCE to the AXIS before them.  Zero strides per loop, single slots and parameters
at their default (0, but 1 for `inner` of `cores`) are left out; so every instruction has exactly
one encoding, and decoding rejects others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...dialects.errors import ArtefactError
from ...dialects.npu.descriptors import Strided, TensorBox
from ...dialects.npu.isa import (
    BY_CODE,
    BY_MNEMONIC,
    MAX_LOOP_DEPTH,
    MAX_SIGNALS,
    MAX_WAITS,
    NUM_SEMAPHORES,
    PARAM_DEFAULTS,
)
from .program import Instruction, Operand

SPACES = ("dram", "const", "spm", "acc")
MAX_WORDS = 255


@dataclass(frozen=True)
class Tag:
    """A kind of tagged word: its number and its fields (name, bits; negative bits: signed)."""

    number: int
    fields: tuple[tuple[str, int], ...]

    def pack(self, *values: int) -> int:
        """The word with these field values; ValueError names the field that does not fit."""
        word = self.number
        for (name, bits), value in zip(self.fields, values, strict=True):
            width = abs(bits)
            low, high = (
                (-(1 << (width - 1)), (1 << (width - 1)) - 1) if bits < 0 else (0, (1 << width) - 1)
            )
            if not low <= value <= high:
                raise ValueError(f"{name} {value} is outside [{low}, {high}]")
            word = word << width | value & ((1 << width) - 1)
        return word

    def unpack(self, word: int) -> tuple[int, ...]:
        """Field values of `word`."""
        values: list[int] = []
        for _, bits in reversed(self.fields):
            width = abs(bits)
            value = word & ((1 << width) - 1)
            if bits < 0 and value >> (width - 1):
                value -= 1 << width
            values.append(value)
            word >>= width
        return tuple(reversed(values))


OPERAND = Tag(1, (("space", 2), ("operand", 3), ("reserved", 7), ("address", -48)))
DIM = Tag(2, (("size", 28), ("stride", -32)))
LOOP = Tag(3, (("loop level", 4), ("reserved", 8), ("stride per iteration", -48)))
SLOTS = Tag(4, (("loop level", 4), ("slots", 16), ("slot stride", 40)))
AXIS = Tag(5, (("extent", 28), ("stride", -32)))
BOX = Tag(6, (("box", 28), ("start", -32)))
STEP = Tag(7, (("reserved", 28), ("step", -32)))
ADVANCE = Tag(8, (("loop level", 4), ("reserved", 8), ("coordinates per iteration", -48)))
PARAM = Tag(9, (("parameter", 8), ("reserved", 4), ("value", -48)))
HEADER = Tag(
    0,
    (
        ("opcode", 8),
        ("words", 8),
        ("waits", 3),
        ("signals", 3),
        ("all cores", 4),
        ("reserved", 14),
        ("layer", 24),
    ),
)
TAGS = {t.number: t for t in (OPERAND, DIM, LOOP, SLOTS, AXIS, BOX, STEP, ADVANCE, PARAM)}


def _loops(tag: Tag, strides: Sequence[int]) -> Iterator[int]:
    return (tag.pack(level, 0, stride) for level, stride in enumerate(strides) if stride)


def _operand_words(index: int, operand: Operand) -> Iterator[int]:
    access = operand.access
    yield OPERAND.pack(SPACES.index(operand.space), index, 0, access.base)
    if isinstance(access, Strided):
        for dim in access.dims:
            yield DIM.pack(*dim)
        yield from _loops(LOOP, access.loops)
        if access.slots > 1:
            yield SLOTS.pack(access.slot_level, access.slots, access.slot_stride)
        return
    axes = zip(
        access.extents,
        access.strides,
        access.box,
        access.start,
        access.steps,
        access.loops,
        strict=True,
    )
    for extent, stride, box, start, step, loops in axes:
        yield AXIS.pack(extent, stride)
        yield BOX.pack(box, start)
        if step != 1:
            yield STEP.pack(0, step)
        yield from _loops(ADVANCE, loops)


def instruction_words(instruction: Instruction) -> list[int]:
    """Encode; ValueError names a field that does not fit its bits."""
    waits, signals = instruction.waits, instruction.signals
    body: list[int] = []
    if waits or signals:
        if len(waits) > MAX_WAITS or len(signals) > MAX_SIGNALS:
            raise ValueError(
                f"{len(waits)} waits, {len(signals)} signals: at most {MAX_WAITS}, {MAX_SIGNALS}"
            )
        if any(not 0 <= s < NUM_SEMAPHORES for s in (*waits, *signals)):
            raise ValueError(
                f"semaphores {[*waits, *signals]} are outside [0, {NUM_SEMAPHORES - 1}]"
            )
        body.append(
            sum(s << 8 * i for i, s in enumerate(waits))
            | sum(s << 8 * i for i, s in enumerate(signals, 4))
        )
    if instruction.all_cores >> len(signals):
        raise ValueError(f"all cores {instruction.all_cores:#x} of {len(signals)} signals")
    for index, operand in enumerate(instruction.operands):
        body += _operand_words(index, operand)
    spec = BY_MNEMONIC[instruction.mnemonic]
    for index, name in enumerate(spec.params):
        default = PARAM_DEFAULTS.get(name, 0)
        if (value := instruction.params.get(name, default)) != default:
            body.append(PARAM.pack(index, 0, value))
    if len(body) >= MAX_WORDS:
        raise ValueError(f"{len(body) + 1} words are more than {MAX_WORDS}")
    all_cores, layer = instruction.all_cores, instruction.layer
    header = HEADER.pack(spec.code, len(body) + 1, len(waits), len(signals), all_cores, 0, layer)
    return [header, *body]


@dataclass
class _Axis:
    extent: int
    stride: int
    box: int = 0
    start: int = 0
    step: int = 1
    loops: list[int] = field(default_factory=list[int])


@dataclass
class _Partial:
    """An operand while its words are read."""

    space: str
    base: int
    dims: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    loops: list[int] = field(default_factory=list[int])
    slots: tuple[int, int, int] = (1, 0, 0)
    axes: list[_Axis] = field(default_factory=list[_Axis])

    def finish(self) -> Operand:
        if self.space in ("spm", "acc"):
            return Operand(
                self.space, Strided(self.base, tuple(self.dims), tuple(self.loops), *self.slots)
            )
        a = self.axes
        box = TensorBox(
            self.base,
            tuple(x.extent for x in a),
            tuple(x.stride for x in a),
            tuple(x.start for x in a),
            tuple(x.step for x in a),
            tuple(x.box for x in a),
            tuple(tuple(x.loops) for x in a),
        )
        return Operand(self.space, box)


def _set_level(strides: list[int], level: int, value: int) -> None:
    if level >= MAX_LOOP_DEPTH or value == 0:
        raise ArtefactError(f"loop level {level} with stride {value}")
    strides.extend([0] * (level + 1 - len(strides)))
    strides[level] = value


def _read_tagged(word: int, params: dict[int, int], operands: list[_Partial]) -> None:
    tag = TAGS.get(word >> 60)
    if tag is None:
        raise ArtefactError(f"unknown tag {word >> 60}")
    values = tag.unpack(word)
    if tag is PARAM:
        params[values[0]] = values[2]
        return
    if tag is OPERAND:
        operands.append(_Partial(SPACES[values[0]], values[3]))
        return
    if not operands or (tag in (BOX, STEP, ADVANCE) and not operands[-1].axes):
        raise ArtefactError(f"word with tag {tag.number} has no operand or axis before it")
    operand = operands[-1]
    if tag is DIM:
        operand.dims.append((values[0], values[1]))
    elif tag is LOOP:
        _set_level(operand.loops, values[0], values[2])
    elif tag is SLOTS:
        operand.slots = (values[1], values[2], values[0])
    elif tag is AXIS:
        operand.axes.append(_Axis(values[0], values[1]))
    elif tag is BOX:
        operand.axes[-1].box, operand.axes[-1].start = values
    elif tag is STEP:
        operand.axes[-1].step = values[1]
    else:
        _set_level(operand.axes[-1].loops, values[0], values[2])


def read_instruction(words: Sequence[int], position: int) -> Instruction:
    """The instruction at word `position`; ArtefactError (which does not say where) if malformed."""
    code, count, waits, signals, all_cores, _, layer = HEADER.unpack(words[position])
    spec = BY_CODE.get(code)
    if spec is None:
        raise ArtefactError(f"unknown opcode {code:#04x}")
    if count == 0 or position + count > len(words):
        raise ArtefactError(f"{spec.mnemonic} of {count} words is cut off")
    rest = list(words[position + 1 : position + count])
    semaphores = rest.pop(0) if waits or (signals and rest) else 0
    params: dict[int, int] = {}
    operands: list[_Partial] = []
    for word in rest:
        _read_tagged(word, params, operands)
    instruction = Instruction(
        spec.mnemonic,
        tuple(o.finish() for o in operands),
        {p: params.get(i, PARAM_DEFAULTS.get(p, 0)) for i, p in enumerate(spec.params)},
        tuple(semaphores >> 8 * i & 255 for i in range(waits)),
        tuple(semaphores >> 8 * i & 255 for i in range(4, 4 + signals)),
        layer,
        all_cores,
        count,
        8 * position,
    )
    try:
        canonical = instruction_words(instruction)
    except ValueError as error:
        raise ArtefactError(f"{spec.mnemonic}: {error}") from None
    if canonical != list(words[position : position + count]):
        raise ArtefactError(f"{spec.mnemonic}: not in canonical form")
    return instruction

"""Hypothesis strategies for well-formed machine programs, every field over its whole range."""

from __future__ import annotations

from random import Random

from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.program import DecodedProgram, EncodedProgram, Instruction, Operand
from tilewright.dialects.npu import BY_MNEMONIC, INSTRUCTIONS
from tilewright.dialects.npu.cores import core_trips
from tilewright.dialects.npu.descriptors import Strided, TensorBox
from tilewright.dialects.npu.isa import PARAM_RANGES, WINDOWS
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.insert_sync import synchronize

from .npu_programs import ProgramMaker, machine


def encoded(seed: int) -> EncodedProgram:
    """A random program through the whole npu level."""
    program = ProgramMaker(Random(seed)).program()
    allocate(program, machine())
    synchronize(program)
    return encode(program)


def _signed(random: Random, bits: int) -> int:
    return random.choice(
        (
            0,
            1,
            -1,
            5,
            random.randrange(-(1 << (bits - 1)), 1 << (bits - 1)),
            (1 << (bits - 1)) - 1,
            -(1 << (bits - 1)),
        )
    )


def _loops(random: Random, depth: int) -> tuple[int, ...]:
    row = [_signed(random, 48) for _ in range(random.randint(0, depth))]
    while row and row[-1] == 0:
        row.pop()
    return tuple(row)


def _strided(random: Random, shape: tuple[int, ...], depth: int) -> Strided:
    slots = random.choice((1, 2, 65535))
    rotation = (
        (slots, random.randrange(1 << 40), random.randint(0, depth)) if slots > 1 else (1, 0, 0)
    )
    return Strided(
        _signed(random, 48),
        tuple((n, _signed(random, 32)) for n in shape),
        _loops(random, depth),
        *rotation,
    )


def _box(random: Random, shape: tuple[int, ...], depth: int) -> TensorBox:
    def each(bits: int) -> tuple[int, ...]:
        return tuple(_signed(random, bits) for _ in shape)

    extents = tuple(random.randrange(1 << 28) for _ in shape)
    return TensorBox(
        _signed(random, 48),
        extents,
        each(32),
        each(32),
        each(32),
        shape,
        tuple(_loops(random, depth) for _ in shape),
    )


def _shapes(mnemonic: str, random: Random) -> tuple[list[tuple[int, ...]], dict[str, int]]:
    def dims(low: int, high: int) -> tuple[int, ...]:
        return tuple(random.choice((1, 3, 1 << 20)) for _ in range(random.randint(low, high)))

    if mnemonic == "matmul":
        m, k, n = dims(0, 3), dims(1, 4), (7,)
        return [(*m, *k), (*k, *n), (*m, *n)], {"m_rank": len(m)}
    if mnemonic == "smatmul":
        m, k, units, n = dims(0, 3), dims(0, 3), random.choice((1, 3, 1 << 20)), (7,)
        weights = [(*k, units * size, *n) for size in (4, 1)]
        return [(*m, *k, 8 * units), weights[0], (*m, *n), weights[1]], {"m_rank": len(m)}
    if mnemonic in WINDOWS:
        p, t, c = dims(0, 3), dims(0, 3), (5,)
        middle = {"vmac": [(*t, *c)], "mmac": [(*t, *c)], "vsumexp": [(*p, *c), (256,)]}.get(
            mnemonic, []
        )
        return [(*p, *t, *c), *middle, (*p, *c)], {"p_rank": len(p), "t_rank": len(t)}
    shape = dims(1, 6)
    operands = BY_MNEMONIC[mnemonic].operands
    return [(256,) if o.name == "table" else shape for o in operands], {}


def _instruction(
    random: Random,
    mnemonic: str,
    depth: int,
    semaphores: int,
    layers: int,
    cores: int = 0,
    levels: int = 1,
) -> Instruction:
    spec = BY_MNEMONIC[mnemonic]
    shapes, fixed = _shapes(mnemonic, random) if spec.operands else ([], {})
    params = {
        p: random.choice((PARAM_RANGES[p][0], PARAM_RANGES[p][1], random.randint(*PARAM_RANGES[p])))
        for p in spec.params
    }
    params |= fixed
    if "element" in params:
        params["element"] = random.choice((1, 2, 4, 8))
    if "fill" in params:
        params["fill"] = random.randint(-128, 127)
    if "broadcast" in params and not cores:
        params["broadcast"] = 0
    if "levels" in params:
        params["levels"] &= (1 << levels) - 1 if cores else 0
    if cores and params.get("overwrite", 0) > 0:
        params["overwrite"] &= -1 << levels
    operands: list[Operand] = []
    for row, shape in zip(spec.operands, shapes, strict=True):
        space = random.choice(row.spaces)
        make = _box if space in ("dram", "const") else _strided
        operands.append(Operand(space, make(random, shape, depth)))

    def some() -> tuple[int, ...]:
        return (
            tuple(random.randrange(semaphores) for _ in range(random.randint(0, 4)))
            if semaphores
            else ()
        )

    waits, signals = (some(), some()) if spec.operands or mnemonic == "sync" else ((), ())
    everywhere = sum(
        1 << i
        for i, s in enumerate(signals)
        if cores and s + cores <= semaphores and random.random() < 0.5
    )
    layer = random.randrange(layers)
    return Instruction(mnemonic, tuple(operands), params, waits, signals, layer, everywhere)


def random_program(random: Random) -> tuple[DecodedProgram, int]:
    """A random machine program (it need not make sense) and its number of layers."""
    semaphores, layers = random.choice((0, 1, 5, 255)), random.choice((1, 3, 1 << 24))
    names = [i.mnemonic for i in INSTRUCTIONS if i.operands or i.mnemonic == "sync"]
    cores, inner = random.choice(((0, 1), (1, 1), (3, 1), (1024, 1), (4, 2), (3, 3), (1024, 8)))
    code: list[Instruction] = []
    if cores:
        grid = {"count": cores, "inner": inner}
        code.append(Instruction("cores", (), grid, layer=random.randrange(layers)))
    else:
        names.remove("send")
    depth = outer = len(core_trips(cores, inner)) if cores else 0
    for _ in range(random.randint(0, 12)):
        kind = random.choice((*names, "loop", "loop", "end"))
        if (kind == "end" and depth == outer) or (kind == "loop" and depth == 12):
            continue
        code.append(_instruction(random, kind, depth, semaphores, layers, cores, outer))
        depth += (kind == "loop") - (kind == "end")
    code += [_instruction(random, "end", 0, 0, layers)] * (depth - outer + bool(cores))
    code.append(Instruction("halt", layer=random.randrange(layers)))
    return DecodedProgram(
        tuple(random.randrange(1 << 16) for _ in range(semaphores)), tuple(code)
    ), layers

"""Machine code as text that `assembler.py` turns back into the same bytes.

    .layers 2
    .semaphore 0 = 2
    .layer 0                                       ; /conv1/Conv
    loop count=14
      load src=dram[4096](17 of 224:672 at -1+16*i0) dst=spm[0+544*(n1%2)](17:32)
           element=1 fill=3 wait s0 signal s1            (all on one line)
    end
    halt

On chip: `space[base + stride*iL + slot_stride*(nLEVEL%SLOTS)](size:stride, ...)`, where `iL` is the
iteration of loop level L (0 outermost) and `nLEVEL` the running count of executions of the body
inside LEVEL loops.  In DRAM, per axis: `box of extent:stride at start+advance*iL step N`.
A program of several cores stands between `cores count=4` and `end` (of a grid of 2 x 2: `cores
count=4 inner=2` and `end`); `signal s8*` goes to all cores.
Parameters at their default are left out; `sync` names its queue; all behind `;` is comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...dialects.npu.descriptors import Strided, TensorBox
from ...dialects.npu.isa import BY_MNEMONIC, PARAM_DEFAULTS
from .binary import decode, layer_count
from .program import Instruction, Operand


def disassemble(code: bytes, layers: Sequence[Sequence[str]] = ()) -> str:
    """Text of machine code, with ONNX node names by layer as comments.

    ArtefactError if the code is malformed.
    """
    return "\n".join(_lines(code, layers)) + "\n"


def _lines(code: bytes, layers: Sequence[Sequence[str]]) -> Iterator[str]:
    program = decode(code)
    yield f".layers {layer_count(code)}"
    for semaphore, count in enumerate(program.semaphores):
        yield f".semaphore {semaphore} = {count}"
    layer, depth = -1, 0
    for instruction in program.instructions:
        if instruction.layer != layer:
            layer = instruction.layer
            names = ", ".join(layers[layer]) if layer < len(layers) else ""
            yield f".layer {layer}" + (f" ; {_printable(names)}" if names else "")
        depth -= instruction.mnemonic == "end"
        yield "  " * depth + instruction_text(instruction)
        depth += instruction.mnemonic in ("loop", "cores")


def _printable(names: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in names)


def instruction_text(instruction: Instruction) -> str:
    """One instruction on one line."""
    spec = BY_MNEMONIC[instruction.mnemonic]
    parts = [spec.mnemonic]
    parts += [
        f"{row.name}={_operand(o)}"
        for row, o in zip(spec.operands, instruction.operands, strict=True)
    ]
    if spec.mnemonic == "sync":
        parts.append(instruction.queue.value)
    else:
        parts += [
            f"{name}={instruction.params[name]}"
            for name in spec.params
            if instruction.params[name] != PARAM_DEFAULTS.get(name, 0)
        ]
    signals = enumerate(instruction.signals)
    stars = ["*" if instruction.all_cores >> i & 1 else "" for i, _ in signals]
    if instruction.waits:
        parts += ["wait", *(f"s{s}" for s in instruction.waits)]
    if instruction.signals:
        parts += ["signal", *(f"s{s}{x}" for s, x in zip(instruction.signals, stars, strict=True))]
    return " ".join(parts)


def _operand(operand: Operand) -> str:
    access = operand.access
    if isinstance(access, Strided):
        base = f"{access.base}{_loops(access.loops)}"
        if access.slots > 1:
            base += f"+{access.slot_stride}*(n{access.slot_level}%{access.slots})"
        dims = ", ".join(f"{size}:{stride}" for size, stride in access.dims)
        return f"{operand.space}[{base}]({dims})"
    return f"{operand.space}[{access.base}]({', '.join(_axes(access))})"


def _axes(box: TensorBox) -> Iterator[str]:
    for size, extent, stride, start, step, loops in zip(
        box.box, box.extents, box.strides, box.start, box.steps, box.loops, strict=True
    ):
        text = f"{size} of {extent}:{stride} at {start}{_loops(loops)}"
        yield text if step == 1 else f"{text} step {step}"


def _loops(strides: Sequence[int]) -> str:
    return "".join(f"{stride:+}*i{level}" for level, stride in enumerate(strides) if stride)

"""The LLVM module of a program: kernels, and functions that call them.

    define void @tw_main(ptr %consts, ptr %arena, ptr %scratch, ptr %packed)
    define void @tw_segment_0(...)   ; each CPU segment, with the same parameters
    define void @tw_prepare(...)     ; fills %packed from %consts, once

Nests equal as data share one internal kernel; calls go through functions of at most 64 calls each,
because LLVM's time is superlinear in straight-line code.  `scratch` holds padded copies of window
operands, `packed` wide constant matrices in panels; their sizes are the module's constants
`tw_scratch_bytes` and `tw_packed_bytes`.  `tw_arena_bytes` and `tw_consts_bytes` are how far the
functions reach in the other two.  All buffers start 64-byte aligned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.errors import IRError
from ...dialects.locations import describe, onnx_nodes
from ...dialects.loop import (
    AllocOp,
    FillOp,
    GlobalOp,
    NestOp,
    ReshapeOp,
    captured,
    fill_value,
    space_of,
)
from ...dialects.types import element_of, int_values, shape_of
from .copies import with_copies
from .kernel import emit_kernel
from .llvm_text import I8, Function, type_of
from .nest import Access, Nest, Program, Step, simplified
from .packing import packable, packed
from .schedule import VARIANTS, Schedule, Vectors, schedule, variant_header

CALLS_PER_FUNCTION = 64
ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """Where a buffer is: `base` is a parameter of the entry functions; the rest is in bytes."""

    base: str
    offset: int
    size: int

    def overlaps(self, other: Place) -> bool:
        """Whether any byte is shared."""
        return (
            self.base == other.base
            and self.offset < other.offset + other.size
            and other.offset < self.offset + self.size
        )


def places(func: FuncOp) -> dict[SSAValue, Place]:
    """The place of every buffer of an allocated `@main`; IRError if one has none."""
    found: dict[SSAValue, Place] = {}
    block = func.body.block
    offsets = func.attributes.get("arg_offsets")
    if block.args and offsets is None:
        raise IRError(
            f"func @{func.sym_name.data} is not allocated", hint="run allocate-arena first"
        )
    for arg, offset in zip(block.args, int_values(offsets) if block.args else (), strict=True):  # pyright: ignore[reportArgumentType]
        found[arg] = Place("arena", offset, _bytes(arg))
    for op in block.ops:
        match op:
            case AllocOp():
                found[op.result] = Place("arena", _offset(op, op.offset), _bytes(op.result))
            case GlobalOp():
                found[op.result] = Place("consts", _offset(op, op.offset), _bytes(op.result))
            case ReshapeOp():
                found[op.result] = found[op.x]
            case _:
                pass
    return found


def _bytes(value: SSAValue) -> int:
    return prod(shape_of(value)) * type_of(element_of(value)).bytes


def _offset(op: Operation, offset: IntegerAttr | None) -> int:  # pyright: ignore[reportMissingTypeArgument]
    if offset is None or space_of(op.results[0]) not in ("dram", "const"):
        raise IRError(
            f"{describe(op)}: a buffer without an address in the arena",
            hint="run allocate-arena first",
        )
    return offset.value.data


@dataclass
class _Module:
    """The kernels emitted so far, by nest."""

    machine: Vectors
    kernels: dict[Nest, str] = field(default_factory=dict[Nest, str])
    functions: list[str] = field(default_factory=list[str])
    declarations: set[str] = field(default_factory=set[str])
    plans: dict[Nest, Schedule] = field(default_factory=dict[Nest, Schedule])
    panels: dict[tuple[Place, Nest], Place] = field(default_factory=dict[tuple[Place, Nest], Place])
    prepare: list[tuple[str, list[Place]]] = field(default_factory=list[tuple[str, list[Place]]])
    scratch_bytes: int = 0
    packed_bytes: int = 0

    def kernel(self, nest: Nest, origin: Iterable[str], plan: Schedule | None = None) -> str:
        """The name of the kernel of `nest`, emitted when first asked for."""
        if plan is None:
            nest = simplified(nest)
        if (known := self.kernels.get(nest)) is None:
            known = self.kernels[nest] = f"kernel_{len(self.kernels)}"
            function = emit_kernel(known, nest, plan or schedule(nest, self.machine))
            note = " ".join(repr(n) for n in origin).replace("\n", " ")
            self.functions.append(
                f"; first used by {note}\n{function.text()}" if note else function.text()
            )
            self.declarations |= function.declarations
        return known

    def call(
        self, nest: Nest, operands: list[Place], origin: tuple[str, ...]
    ) -> tuple[str, list[Place]]:
        """A call of the kernel of `nest`, with wide constant matrices packed."""
        nest = simplified(nest)
        if (plan := self.plans.get(nest)) is None:
            plan = self.plans[nest] = schedule(nest, self.machine)
        i = packable(nest, plan)
        if i is not None and operands[i].base == "consts":
            nest, makers, size = packed(nest, plan, i)
            key = (operands[i], makers[0])
            if (place := self.panels.get(key)) is None:
                place = self.panels[key] = Place("packed", self.packed_bytes, size)
                self.packed_bytes += -(-size // ALIGNMENT) * ALIGNMENT
                self.prepare += [(self.kernel(m, origin), [operands[i], place]) for m in makers]
            operands = [place if k == i else p for k, p in enumerate(operands)]
        return self.kernel(nest, origin, plan), operands

    def calls(self, op: Operation, where: dict[SSAValue, Place]) -> list[tuple[str, list[Place]]]:
        """The kernel calls that carry out one operation."""
        match op:
            case NestOp():
                reads, output = [where[v] for v in op.reads], where[op.output]
                sources = [where[v] for v in captured(op)]
                nest = Nest.of(op, any(output.overlaps(p) for p in (*reads, *sources)))
                nest, copies = with_copies(op, nest)
                out: list[tuple[str, list[Place]]] = []
                at = 0
                for i, copy in copies.items():
                    size = prod(copy.sizes) * copy.output.type.bytes
                    padded = Place("scratch", at, size)
                    at += -(-size // ALIGNMENT) * ALIGNMENT
                    out.append((self.kernel(copy, onnx_nodes(op)), [reads[i], padded]))
                    reads[i] = padded
                self.scratch_bytes = max(self.scratch_bytes, at)
                return [*out, self.call(nest, [*reads, output, *sources], onnx_nodes(op))]
            case FillOp():
                value, type = fill_value(op.value), type_of(element_of(op.buffer))
                size = prod(shape_of(op.buffer))
                program = Program((), (Step("const", (value,), (), type),), 0)
                nest = Nest(
                    (size,),
                    frozenset(),
                    "none",
                    False,
                    0,
                    (Access(type, (1,), 0),),
                    (),
                    program,
                    None,
                    False,
                )
                return [(self.kernel(nest, onnx_nodes(op)), [where[op.buffer]])]
            case AllocOp() | GlobalOp() | ReshapeOp() | ReturnOp():
                return []
            case _:
                raise IRError(f"{describe(op)}: cannot be compiled for the CPU")


def emit_module(module: ModuleOp, store: ConstantStore) -> str:
    """LLVM IR of an allocated program: `tw_main`, and `tw_segment_K` for each CPU segment.

    The text does not depend on this machine: it holds one module for each of `VARIANTS`, of which
    `jit.load` takes the one that fits.  `store` is not needed for contents: constants are read from
    the packed blob at run time.  Raises IRError if the program is not allocated or has an operation
    the CPU cannot run.
    """
    from ...passes.base import main_function

    func = main_function(module)
    runs = _segments(func)
    return "".join(variant_header(v) + emit_function(func, runs, v) for v in VARIANTS)


def _segments(func: FuncOp) -> list[tuple[str | None, list[Operation]]]:
    """Runs of operations with the name of the entry function of each CPU segment."""
    from ...passes.loop.segments import segments

    return [
        (f"tw_segment_{s.index}" if s.kind == "cpu" else None, list(s.ops)) for s in segments(func)
    ]


def emit_function(
    func: FuncOp,
    runs: Sequence[tuple[str | None, Sequence[Operation]]],
    machine: Vectors | None = None,
) -> str:
    """LLVM IR of `func` as `tw_main`; runs of its operations with a name also become functions."""
    where = places(func)
    target = _Module(machine or Vectors())
    whole: list[str] = []
    entries: list[str] = []
    parts = 0
    for name, ops in runs:
        calls = [call for op in ops for call in target.calls(op, where)]
        names: list[str] = []
        for at in range(0, len(calls), CALLS_PER_FUNCTION):
            names.append(f"part_{parts}")
            entries.append(_part(names[-1], calls[at : at + CALLS_PER_FUNCTION]))
            parts += 1
        whole += names
        if name is not None:
            entries.append(_entry(name, names))
    entries.append(_entry("tw_main", whole))
    entries.append(_part("tw_prepare", target.prepare, ""))
    sizes = {"scratch": target.scratch_bytes, "packed": target.packed_bytes}
    for base in ("arena", "consts"):
        ends = (p.offset + p.size for p in where.values() if p.base == base)
        sizes[base] = max(ends, default=0)
    return "\n".join(
        [
            *target.functions,
            *entries,
            *sorted(target.declarations),
            *(f"@tw_{base}_bytes = constant i64 {size}" for base, size in sizes.items()),
            "!0 = distinct !{!0, !1}",
            '!1 = !{!"llvm.loop.unroll.disable"}',
            "",
        ]
    )


def whole_function(func: FuncOp) -> list[tuple[str | None, list[Operation]]]:
    """All operations of `func` as one run without an entry of its own."""
    block: Block = func.body.block
    return [(None, list(block.ops))]


_BASES = ("consts", "arena", "scratch", "packed")


def _part(name: str, calls: Sequence[tuple[str, list[Place]]], linkage: str = "internal") -> str:
    f = Function(name, _BASES, linkage)
    for kernel, arguments in calls:
        pointers = [f.address(f"%{p.base}", p.offset, I8) for p in arguments]
        f.effect(f"call void @{kernel}({', '.join(f'ptr {p}' for p in pointers)})")
    return f.text()


def _entry(name: str, parts: Sequence[str]) -> str:
    f = Function(name, _BASES)
    for part in parts:
        f.effect(f"call void @{part}({', '.join(f'ptr %{b}' for b in _BASES)})")
    return f.text()

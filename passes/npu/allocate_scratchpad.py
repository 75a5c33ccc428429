"""allocate-scratchpad: give every on-chip buffer an address.

Before insert-sync, which then orders whatever reuses an address:

    %b = npu.alloc {slots = 2} : memref<544xi8, "spm">
    ->   npu.alloc {slots = 2, address = 1024, slot_stride = 576} : memref<544xi8, "spm">

A buffer lives from the first to the last top-level operation that uses it; buffers inside one
top-level loop all live at once.  Buffers are placed layer by layer (runs of top-level operations of
the same ONNX nodes), biggest first, each where it overlaps least with the layer before, then as low
as possible: disjoint neighbours let the next layer's loads run ahead.  A layer that does not fit
that way is packed from the bottom; if that fails all buffers are placed anew, biggest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError, TargetError
from ...dialects.locations import onnx_nodes
from ...dialects.loop.structure import space_of
from ...dialects.npu.structure import AllocOp, ProgramOp
from ...dialects.types import integer
from ..base import CompilerContext, Pass


@dataclass(frozen=True)
class AllocateScratchpadPass(Pass):
    """Place on-chip buffers in scratchpad and accumulator, reusing memory between layers."""

    name = "allocate-scratchpad"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """CapacityError names the nodes whose buffers do not fit."""
        programs = [op for op in module.ops if isinstance(op, ProgramOp)]
        if programs and ctx.machine is None:
            raise TargetError("allocate-scratchpad needs a machine")
        for program in programs:
            assert ctx.machine is not None
            allocate(program, ctx.machine)


PASS = AllocateScratchpadPass


@dataclass(eq=False)
class Buffer:
    """A buffer to place: bytes, first and last top-level operation, the layer of the first."""

    alloc: AllocOp
    size: int
    first: int
    last: int
    layer: int
    address: int = -1

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.address + self.size


def allocate(program: ProgramOp, machine: Machine) -> None:
    """Set the addresses of all buffers of one program; CapacityError if they do not fit."""
    lifetimes, layers = _lifetimes(program)
    for space, memory in (("spm", machine.scratchpad), ("acc", machine.accumulator)):
        buffers: list[Buffer] = []
        for alloc, (first, last) in lifetimes.items():
            if space_of(alloc.result) == space:
                stride = _align(alloc.bytes, machine.alignment)
                alloc.slot_stride = integer(stride)
                buffers.append(
                    Buffer(alloc, stride * alloc.slots.value.data, first, last, layers[first])
                )
        worst = _most_alive(buffers)
        fits = sum(b.size for b in worst) <= memory.bytes
        if not (fits and (_by_layer(buffers, memory.bytes) or _by_size(buffers, memory.bytes))):
            raise _does_not_fit(worst, space, memory.bytes)
        for buffer in buffers:
            buffer.alloc.address = integer(buffer.address)


def _align(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _lifetimes(program: ProgramOp) -> tuple[dict[AllocOp, tuple[int, int]], list[int]]:
    """First and last top-level operation of every buffer, in program order; layer per operation."""
    lifetimes: dict[AllocOp, tuple[int, int]] = {}
    layers: list[int] = []
    nodes: tuple[str, ...] | None = None
    for index, top in enumerate(program.body.block.ops):
        layers.append(layers[-1] if layers else 0)
        if not isinstance(top, AllocOp):
            found = next((n for op in top.walk() if (n := onnx_nodes(op))), ())
            if found and found != nodes:
                nodes = found
                layers[-1] += 1
            for op in top.walk():
                for alloc in _mentioned(op):
                    lifetimes[alloc] = (lifetimes.get(alloc, (index, index))[0], index)
    unused = [op for op in program.walk() if isinstance(op, AllocOp) and op not in lifetimes]
    return lifetimes | dict.fromkeys(unused, (0, 0)), layers


def _mentioned(op: Operation) -> list[AllocOp]:
    """The buffer an operation declares, or those it uses."""
    if isinstance(op, AllocOp):
        return [op]
    return [value.owner for value in op.operands if isinstance(value.owner, AllocOp)]


def _by_layer(buffers: Sequence[Buffer], capacity: int) -> bool:
    """Place layer by layer; False when some layer does not fit beside what outlives it."""
    groups: dict[int, list[Buffer]] = {}
    for buffer in buffers:
        groups.setdefault(buffer.layer, []).append(buffer)
    alive: list[Buffer] = []
    before: list[Buffer] = []
    for layer in sorted(groups):
        group = sorted(groups[layer], key=lambda b: (-b.size, b.first))
        start = min(b.first for b in group)
        alive = [b for b in alive if b.last >= start]
        if not (_place(group, alive, before, capacity) or _place(group, alive, [], capacity)):
            return False
        alive += group
        before = group
    return True


def _by_size(buffers: Sequence[Buffer], capacity: int) -> bool:
    """Place all buffers, biggest first, lowest address first."""
    return _place(sorted(buffers, key=lambda b: (-b.size, b.first)), [], [], capacity)


def _place(
    group: Sequence[Buffer], fixed: Sequence[Buffer], avoid: Sequence[Buffer], capacity: int
) -> bool:
    """Addresses for `group` beside `fixed`, overlapping `avoid` as little as possible."""
    placed = list(fixed)
    for buffer in group:
        taken = [p for p in placed if p.first <= buffer.last and buffer.first <= p.last]
        candidates = {0, *(p.end for p in taken), *(p.end for p in avoid)}
        candidates |= {max(p.address - buffer.size, 0) for p in avoid}
        free = [a for a in candidates if _fits(a, a + buffer.size, taken, capacity)]
        if not free:
            return False
        buffer.address = min(free, key=lambda a: (_overlap(a, a + buffer.size, avoid), a))
        placed.append(buffer)
    return True


def _fits(low: int, high: int, taken: Sequence[Buffer], capacity: int) -> bool:
    return high <= capacity and all(high <= p.address or p.end <= low for p in taken)


def _overlap(low: int, high: int, others: Sequence[Buffer]) -> int:
    return sum(max(0, min(high, b.end) - max(low, b.address)) for b in others)


def _most_alive(buffers: Sequence[Buffer]) -> list[Buffer]:
    """The buffers alive where most bytes are."""
    alive: list[Buffer] = []
    worst: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: b.first):
        alive = [b for b in alive if b.last >= buffer.first] + [buffer]
        if sum(b.size for b in alive) > sum(b.size for b in worst):
            worst = alive
    return worst


def _does_not_fit(alive: Sequence[Buffer], space: str, capacity: int) -> CapacityError:
    nodes = tuple(dict.fromkeys(n for b in alive for n in _nodes(b.alloc)))
    total = sum(b.size for b in alive)
    return CapacityError(
        f"buffers of {total} bytes do not fit the {capacity} bytes of {space}"
        + (": too fragmented" if total <= capacity else ""),
        node=" + ".join(nodes) or None, hint="use smaller tiles or fewer slots",
    )  # fmt: skip


def _nodes(op: Operation | None) -> tuple[str, ...]:
    """ONNX nodes of an operation, or of the nearest around it that has any."""
    while op is not None and not onnx_nodes(op):
        op = op.parent_op()
    return onnx_nodes(op) if op is not None else ()

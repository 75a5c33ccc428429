"""allocate-scratchpad: give every on-chip buffer an address.

Before insert-sync, which then orders whatever reuses an address:

    %b = npu.alloc {slots = 2} : memref<544xi8, "spm">
    ->   npu.alloc {slots = 2, address = 1024, slot_stride = 576} : memref<544xi8, "spm">

A buffer lives from the first to the last top-level operation that uses it; buffers inside one
top-level loop all live at once.  Buffers are placed layer by layer (runs of top-level operations of
the same ONNX nodes), biggest first, where queues get into each other's banks least (`banks.py`); a
layer that does not fit that way, where it overlaps least with the layer before, so that its loads
can run ahead; else it is packed from the bottom.  If that fails all buffers are placed anew,
biggest first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError, TargetError
from ...dialects.locations import onnx_nodes
from ...dialects.loop.structure import space_of
from ...dialects.npu.structure import AllocOp, ProgramOp
from ...dialects.types import integer
from ..base import CompilerContext, Pass
from ..memory import buffers as planning
from ..memory.planning import plan
from .ages import place_by_age
from .banks import Buffer, Spreader
from .traffic import Traffic, program_block, traffic_of


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


def allocate(program: ProgramOp, machine: Machine) -> None:
    """Set the addresses of all buffers of one program; CapacityError if they do not fit."""
    for buffer in arrange(program, machine):
        first, *more = buffer.addresses
        buffer.alloc.slot_stride = integer(more[0] - first if more else buffer.size)
        buffer.alloc.address = integer(first)


def arrange(program: ProgramOp, machine: Machine, *, search: bool = True) -> list[Buffer]:
    """All buffers of a program with addresses; CapacityError if they do not fit.

    Without `search` only what takes time in proportion to the program is tried.
    """
    lifetimes, layers = _lifetimes(program)
    memories = {"spm": machine.scratchpad, "acc": machine.accumulator}
    spreads = any(memory.regions > 1 for memory in memories.values())
    traffic = traffic_of(program, machine) if spreads else Traffic()
    out: list[Buffer] = []
    for space, memory in memories.items():
        buffers: list[Buffer] = []
        for alloc, (first, last) in lifetimes.items():
            if space_of(alloc.result) == space:
                stride = _align(alloc.bytes, machine.alignment)
                slots = alloc.slots.value.data
                buffer = Buffer(alloc, stride, slots, first, last, layers[first])
                if alloc.address is not None:  # placed by promote-buffers
                    buffer.addresses = [alloc.address.value.data]
                buffers.append(buffer)
        pinned = _succeeding([b for b in buffers if b.addresses])
        others = [b for b in buffers if not b.addresses]
        worst = _most_alive(buffers)
        fits = sum(b.total for b in worst) <= memory.bytes
        spreader = Spreader(memory, machine, traffic) if memory.regions > 1 else None
        if not (
            fits
            and (
                (spreader is None and place_by_age(others, pinned, memory.bytes))
                or _by_layer(others, pinned, memory.bytes, spreader)
                or (search and _planned(others, pinned, memory.bytes))
            )
        ):
            raise _does_not_fit(worst, space, memory.bytes)
        out += buffers
    return out


def _succeeding(pinned: list[Buffer]) -> list[Buffer]:
    """Pinned buffers; one that takes the place of another (in place) begins where that ends."""
    latest: dict[tuple[int, int], Buffer] = {}
    for buffer in sorted(pinned, key=lambda b: b.first):
        before = latest.get((buffer.addresses[0], buffer.total))
        if before is not None:
            buffer.first = max(buffer.first, before.last + 1)
            buffer.last = max(buffer.last, buffer.first)
        latest[buffer.addresses[0], buffer.total] = buffer
    return pinned


def _planned(buffers: Sequence[Buffer], pinned: Sequence[Buffer], capacity: int) -> bool:
    """Addresses by search for the smallest memory."""
    for buffer in buffers:
        buffer.addresses = []
    wanted = [
        planning.Buffer(b.first, b.last, b.total, b.addresses[0] if b.addresses else None)
        for b in (*buffers, *pinned)
    ]
    found = plan(wanted)
    if found.size > capacity:
        return False
    for buffer, start in zip(buffers, found.offsets, strict=False):
        buffer.addresses = [start + i * buffer.size for i in range(buffer.slots)]
    return True


def _align(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _lifetimes(program: ProgramOp) -> tuple[dict[AllocOp, tuple[int, int]], list[int]]:
    """First and last top-level operation of every buffer, in program order; layer per operation."""
    lifetimes: dict[AllocOp, tuple[int, int]] = {}
    layers: list[int] = []
    nodes: tuple[str, ...] | None = None
    for index, top in enumerate(program_block(program).ops):
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


def _by_layer(
    buffers: Sequence[Buffer],
    pinned: Sequence[Buffer],
    capacity: int,
    spreader: Spreader | None,
) -> bool:
    """Place layer by layer; False when some layer does not fit beside what outlives it."""
    groups: dict[int, list[Buffer]] = {}
    for buffer in buffers:
        groups.setdefault(buffer.layer, []).append(buffer)
    waiting = deque(sorted(pinned, key=lambda b: b.first))
    alive: list[Buffer] = []
    held: list[Buffer] = []  # pinned ones of this time
    before: list[Buffer] = []
    for layer in sorted(groups):
        group = sorted(groups[layer], key=lambda b: (-b.total, b.first))
        start, end = min(b.first for b in group), max(b.last for b in group)
        while waiting and waiting[0].first <= end:
            held.append(waiting.popleft())
        alive = [b for b in alive if b.last >= start]
        held = [b for b in held if b.last >= start]
        fixed = [*alive, *held]
        if not (
            (spreader is not None and spreader.place(group, fixed, before))
            or _place(group, fixed, before, capacity)
            or _place(group, fixed, [], capacity)
        ):
            return False
        alive += group
        before = group
    return True


def _place(
    group: Sequence[Buffer], fixed: Sequence[Buffer], avoid: Sequence[Buffer], capacity: int
) -> bool:
    """Addresses for `group` beside `fixed`, overlapping `avoid` as little as possible."""
    placed = list(fixed)
    shunned = [i for p in avoid for i in p.intervals]
    for buffer in group:
        gaps = _gaps([i for p in placed if p.meets(buffer) for i in p.intervals], capacity)
        lows, size = [low for low, _ in gaps], buffer.total
        free = [low for low, high in gaps if low + size <= high]
        for start in (a for low, high in shunned for a in (max(low - size, 0), high)):
            gap = bisect_right(lows, start) - 1
            if gap >= 0 and start + size <= gaps[gap][1]:
                free.append(start)
        if not free:
            return False
        start = min(free, key=lambda a: (_overlap(a, a + size, shunned), a))
        buffer.addresses = [start + i * buffer.size for i in range(buffer.slots)]
        placed.append(buffer)
    return True


def _gaps(taken: Sequence[tuple[int, int]], capacity: int) -> list[tuple[int, int]]:
    """The bytes [low, high) that nothing has taken, ascending."""
    out: list[tuple[int, int]] = []
    end = 0
    for low, high in (*sorted(taken), (capacity, capacity)):
        if low > end:
            out.append((end, low))
        end = max(end, high)
    return out


def _overlap(low: int, high: int, others: Sequence[tuple[int, int]]) -> int:
    return sum(max(0, min(high, b) - max(low, a)) for a, b in others)


def _most_alive(buffers: Sequence[Buffer]) -> list[Buffer]:
    """The buffers alive where most bytes are."""
    order = sorted(buffers, key=lambda b: b.first)
    alive: list[tuple[int, int]] = []  # a heap of (last operation, bytes)
    now = most = count = 0
    for i, buffer in enumerate(order):
        while alive and alive[0][0] < buffer.first:
            now -= heappop(alive)[1]
        heappush(alive, (buffer.last, buffer.total))
        now += buffer.total
        if now > most:
            most, count = now, i + 1
    return [b for b in order[:count] if b.last >= order[count - 1].first]


def _does_not_fit(alive: Sequence[Buffer], space: str, capacity: int) -> CapacityError:
    nodes = tuple(dict.fromkeys(n for b in alive for n in _nodes(b.alloc)))
    total = sum(b.total for b in alive)
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

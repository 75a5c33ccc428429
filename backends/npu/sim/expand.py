"""Hardware loops resolved: every static command with the addresses of all its executions.

    loop 2                        sites     executions (address of operand 0)
      load  dst = 0 + 64 * i0     load      [0, 64]
      matmul a  = 0 + 64 * i0     matmul    [0, 64]
    end                           order     load matmul load matmul

A `Site` is one instruction; its executions are numbered in program order, which is the row-major
order of its loop nest's iterations.  Where a program runs on several cores, they are the outermost
loop: all executions of core 0 come first, then those of core 1.  Addresses, clipped boxes and
bounds checks are numpy arithmetic over that grid, so the cost per execution is far below a Python
call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ....dialects.constants import Array
from ....dialects.errors import SimulationError
from ....dialects.multicast import receivers
from ....dialects.npu.cores import spreads
from ....dialects.npu.descriptors import Strided, TensorBox, byte_span
from ....dialects.npu.isa import BY_MNEMONIC, QUEUES, OperandSpec, Queue
from ....dialects.npu.operands import element_bytes
from ....dialects.semantics.instructions import check_bounds
from ...targets.cycles import fetch_cycles, issue_cycles
from ...targets.machine import Control
from ..program import DecodedProgram, Instruction, Operand
from .configuration import configures

MAX_EXECUTIONS = 5_000_000
"""Dynamic instructions a program may expand to; more is taken for a mistake in a loop count."""

Dims = tuple[tuple[int, int], ...]
Sizes = dict[str, int]
QUEUE_INDEX = {queue: i for i, queue in enumerate(QUEUES)}


@dataclass
class Place:
    """One operand of a site over all executions.

    `addresses[i]` is the byte address of element 0 (of the part inside the tensor, in DRAM) and
    [addresses[i] + low[i], addresses[i] + high[i]) the bytes it spans.  On chip `dims` is the same
    for all executions; in DRAM `clips[i]` has the half-open box range inside the tensor per axis.
    `top` is one past the highest byte of any execution.
    """

    spec: OperandSpec
    operand: Operand
    element: int
    addresses: list[int]
    dims: Dims = ()
    low: int = 0
    high: int = 0
    top: int = 0
    clips: list[tuple[tuple[int, int], ...]] = field(
        default_factory=list[tuple[tuple[int, int], ...]]
    )
    box_strides: tuple[int, ...] = ()

    @property
    def in_dram(self) -> bool:
        """Whether it is a box of a DRAM tensor."""
        return isinstance(self.operand.access, TensorBox)

    @property
    def space(self) -> str:
        """One of "spm", "acc", "dram" and "const"."""
        return self.operand.space

    def reads(self) -> bool:
        """Whether its instruction reads it (a reduction's result: only where it accumulates)."""
        return "r" in self.spec.direction

    def writes(self) -> bool:
        """Whether its instruction writes it."""
        return "w" in self.spec.direction

    def clipped(self, i: int) -> Dims:
        """(size, byte stride) per axis of execution `i`'s part inside the DRAM tensor."""
        sizes = (high - low for low, high in self.clips[i])
        return tuple(zip(sizes, self.box_strides, strict=True))


@dataclass
class Site:
    """One static command: its instruction, loop trip counts, operands; `queue` indexes QUEUES.

    `grid`: the trip counts of the core levels, the first of `trips`.
    """

    index: int
    instruction: Instruction
    queue: int
    trips: tuple[int, ...]
    places: list[Place]
    overwrite: list[bool]
    grid: tuple[int, ...] = ()

    @property
    def cores(self) -> int:
        """How many cores run it."""
        return math.prod(self.grid)

    @property
    def cored(self) -> bool:
        """Whether its program has a core level."""
        return bool(self.grid)

    @cached_property
    def receivers(self) -> tuple[tuple[int, ...], ...]:
        """Per core, the others in which it writes what it writes."""
        name, params = self.instruction.mnemonic, self.instruction.params
        if not spreads(name, params):
            return ((),) * self.cores
        return tuple(receivers(core, self.grid, params["levels"]) for core in range(self.cores))

    @property
    def executions(self) -> int:
        """How often it runs."""
        return math.prod(self.trips)

    @property
    def per_core(self) -> int:
        """How often each core runs it."""
        return self.executions // self.cores

    def iteration(self, i: int) -> tuple[int, ...]:
        """Loop iterations of execution `i`, outermost first."""
        return tuple(int(x) for x in np.unravel_index(i, self.trips)) if self.trips else ()

    def inside(self, i: int) -> tuple[int, ...]:
        """Iterations of the loops inside the core levels."""
        return self.iteration(i)[len(self.grid) :]


@dataclass
class Expansion:
    """All executions: `site[c]` of the c-th command, in program order, core after core.

    `cores` run the program, `per_core` commands each; `cored` says whether it has a core level.
    `control[c]` is what the control processor spends up to the issue of command c since the one
    before it (fetch and issue, including loop instructions between them), `tail` what remains.
    """

    sites: list[Site]
    site: list[int]
    control: list[int]
    tail: int
    layers: Sequence[Sequence[str]]
    cores: int = 1
    cored: bool = False

    @property
    def per_core(self) -> int:
        """Commands of each core."""
        return len(self.site) // self.cores

    def in_step(self) -> Iterator[int]:
        """Commands in the order of the reference semantics: each one in all cores, then the next.

        Without cores, program order.
        """
        n = self.per_core
        return (core * n + c for c in range(n) for core in range(self.cores))

    def where(self, site: int, step: int | None = None) -> str:
        """`matmul (instruction 7, layer 'conv1', iteration (0, 3))` for error messages."""
        return describe(self.sites[site], self.layers, step)


def describe(site: Site, layers: Sequence[Sequence[str]], step: int | None = None) -> str:
    """Name a site, and an execution of it where `step` is given."""
    layer = layer_name(layers, site.instruction.layer)
    iteration = () if step is None else site.inside(step)
    core = f", core {step // site.per_core}" if step is not None and site.cored else ""
    at = f", iteration {iteration}" if iteration else ""
    return f"{site.instruction.mnemonic} (instruction {site.index}, layer {layer}{core}{at})"


def layer_name(layers: Sequence[Sequence[str]], index: int) -> str:
    """Quoted ONNX node names of layer `index`."""
    names = layers[index] if index < len(layers) else ()
    return " + ".join(repr(n) for n in names) or f"#{index}"


def expand(
    program: DecodedProgram, control: Control, sizes: Sizes, layers: Sequence[Sequence[str]]
) -> Expansion:  # fmt: skip
    """Resolve all loops; `sizes` are the bytes of "spm", "acc", "dram" and "const".

    Raises SimulationError for an access outside its memory, misaligned 32-bit elements, or a
    program that runs more than `MAX_EXECUTIONS` instructions.
    """
    cores = max(program.cores, 1)
    items, positions, total = _positions(program.instructions)
    if total * cores > MAX_EXECUTIONS:
        raise SimulationError(f"the program runs more than {MAX_EXECUTIONS} instructions")
    static = np.empty(total, np.int32)
    sites: list[Site] = []
    site_of = np.full(len(items), -1, np.int32)
    costs = np.zeros(len(items), np.int64)
    for index, (instruction, trips) in enumerate(items):
        static[positions[index]] = index
        costs[index] = fetch_cycles(control, instruction.words)
        if instruction.queue is not Queue.CONTROL:
            costs[index] = issue_cycles(control, instruction.words)
            site_of[index] = len(sites)
            if program.grid:
                trips = (*program.grid, *trips[1:])
            sites.append(_site(index, instruction, trips, sizes, layers, program.grid))
    site = site_of[static]
    commands = np.flatnonzero(site >= 0)
    dynamic = costs[static]
    if control.config_cycles:
        changed = configures([(s.instruction, s.queue) for s in sites], site[commands])
        dynamic[commands] += control.config_cycles * changed
    elapsed = np.cumsum(dynamic)
    at_command = elapsed[commands]
    spent = np.diff(at_command, prepend=0)
    end = int(elapsed[-1]) if total else 0
    tail = end - (int(at_command[-1]) if len(at_command) else 0)
    return Expansion(
        sites,
        site[commands].tolist() * cores,
        spent.tolist() * cores,
        tail,
        layers,
        cores,
        bool(program.grid),
    )


def _positions(
    instructions: Sequence[Instruction],
) -> tuple[list[tuple[Instruction, tuple[int, ...]]], list[Array], int]:
    """Per instruction its loop counts and its positions in the dynamic order; and the total.

    `cores` counts as a loop of one iteration: the order is that of one core.
    """
    length = [0]
    lengths: dict[int, int] = {}
    opens: list[int] = []
    for i, ins in enumerate(instructions):  # dynamic length of each loop body, its `end` included
        if ins.mnemonic in ("loop", "cores"):
            opens.append(i)
            length.append(0)
        elif ins.mnemonic == "end":
            body, start = length.pop() + 1, opens.pop()
            lengths[start] = body
            length[-1] += 1 + body * _count(instructions[start])
        else:
            length[-1] += 1
        if length[-1] > MAX_EXECUTIONS:
            raise SimulationError(f"the program runs more than {MAX_EXECUTIONS} instructions")
    items: list[tuple[Instruction, tuple[int, ...]]] = []
    positions: list[Array] = []
    grid: list[Array] = [np.zeros(1, np.int64)]
    trips: list[int] = []
    offset = [0]
    bodies: list[int] = []
    for i, ins in enumerate(instructions):
        items.append((ins, tuple(trips)))
        positions.append(grid[-1] + offset[-1])
        offset[-1] += 1
        if ins.mnemonic in ("loop", "cores"):
            count, body = _count(ins), lengths[i]
            grid.append((positions[-1][:, None] + 1 + np.arange(count) * body).ravel())
            trips.append(count)
            bodies.append(body)
            offset.append(0)
        elif ins.mnemonic == "end":
            grid.pop()
            offset.pop()
            offset[-1] += bodies.pop() * trips.pop()
    return items, positions, length[0]


def _count(loop: Instruction) -> int:
    return loop.params["count"] if loop.mnemonic == "loop" else 1


def _site(
    index: int, instruction: Instruction, trips: tuple[int, ...], sizes: Sizes,
    layers: Sequence[Sequence[str]], grid: tuple[int, ...],
) -> Site:  # fmt: skip
    specs = BY_MNEMONIC[instruction.mnemonic].operands
    queue = QUEUE_INDEX[instruction.queue]
    site = Site(index, instruction, queue, trips, [], [], grid)
    iterations: list[Array] = [g.ravel() for g in np.indices(trips)] if trips else []
    for spec, operand in zip(specs, instruction.operands, strict=True):
        element = element_bytes(spec, instruction.params)
        resolve = _on_chip if isinstance(operand.access, Strided) else _in_dram
        site.places.append(resolve(site, spec, operand, element, iterations, sizes, layers))
    if "overwrite" in instruction.params:
        site.overwrite = _overwrites(instruction.params["overwrite"], iterations, site.executions)
    return site


def _overwrites(mask: int, iterations: Sequence[Array], count: int) -> list[bool]:
    """`descriptors.overwrites` over all executions."""
    if mask < 0:
        return [False] * count
    first = np.ones(count, bool)
    for level, iteration in enumerate(iterations):
        if mask >> level & 1:
            first &= iteration == 0
    return first.tolist()


def _combine(base: int, strides: Sequence[int], iterations: Sequence[Array], count: int) -> Array:
    """Base + sum of stride * iteration, over all executions."""
    out = np.full(count, base, np.int64)
    for stride, iteration in zip(strides, iterations, strict=False):
        if stride:
            out += stride * iteration
    return out


def _on_chip(
    site: Site, spec: OperandSpec, operand: Operand, element: int, iterations: Sequence[Array],
    sizes: Sizes, layers: Sequence[Sequence[str]],
) -> Place:  # fmt: skip
    access = operand.access
    assert isinstance(access, Strided)
    address = _combine(access.base, access.loops, iterations, site.executions)
    if access.slots > 1:
        count = np.zeros(site.executions, np.int64)
        levels = list(zip(site.trips[: access.slot_level], iterations, strict=False))
        for trips, iteration in levels[len(site.grid) :]:
            count = count * trips + iteration
        address += access.slot_stride * (count % access.slots)
    low, high = byte_span(access.dims, element)
    for step in (int(address.argmin()), int(address.argmax())):
        where = f"{describe(site, layers, step)}: {spec.name} in {operand.space}"
        check_bounds(
            int(address[step]) + low, int(address[step]) + high, sizes[operand.space], where
        )
    if element == 4 and (bool((address % 4).any()) or any(s % 4 for s in access.strides)):
        raise SimulationError(
            f"{describe(site, layers)}: 32-bit elements of {spec.name} are not aligned to 4 bytes"
        )
    return Place(
        spec, operand, element, address.tolist(), access.dims, low, high, int(address.max()) + high
    )


def _in_dram(
    site: Site, spec: OperandSpec, operand: Operand, element: int, iterations: Sequence[Array],
    sizes: Sizes, layers: Sequence[Sequence[str]],
) -> Place:  # fmt: skip
    box = operand.access
    assert isinstance(box, TensorBox)
    count = site.executions
    address = np.full(count, box.base, np.int64)
    low, high = np.zeros(count, np.int64), np.full(count, element, np.int64)
    clips: list[Any] = []
    empty = np.zeros(count, bool)
    for d in range(len(box.box)):
        start = _combine(box.start[d], box.loops[d], iterations, count)
        first, last = _inside(start, box.steps[d], box.box[d], box.extents[d])
        clips.append(list(zip(first.tolist(), last.tolist(), strict=True)))
        address += (start + first * box.steps[d]) * box.strides[d]
        reach = (last - first - 1) * box.steps[d] * box.strides[d]
        empty |= last <= first
        low += np.minimum(reach, 0)
        high += np.maximum(reach, 0)
    outside = ~empty & ((address + low < 0) | (address + high > sizes[operand.space]))
    if outside.any():
        i = int(outside.argmax())
        where = f"{describe(site, layers, i)}: {spec.name} in {operand.space}"
        check_bounds(
            int(address[i] + low[i]), int(address[i] + high[i]), sizes[operand.space], where
        )
    strides = tuple(step * stride for step, stride in zip(box.steps, box.strides, strict=True))
    rows = list(zip(*clips, strict=True)) if clips else [()] * count
    top = int(np.where(empty, 0, address + high).max())
    return Place(spec, operand, element, address.tolist(), top=top, clips=rows, box_strides=strides)


def _inside(start: Array, step: int, box: int, extent: int) -> tuple[Array, Array]:
    """Half-open range of t < box with 0 <= start + t * step < extent, per execution."""
    if step == 0:
        ok = (start >= 0) & (start < extent)
        return np.zeros_like(start), np.where(ok, box, 0)
    if step > 0:
        low, high = -(start // step), -((start - extent) // step)
    else:
        low, high = -((start - extent + 1) // step), start // -step + 1
    low = np.maximum(low, 0)
    return low, np.maximum(low, np.minimum(high, box))

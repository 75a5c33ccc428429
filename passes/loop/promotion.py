"""Choosing the tensors that stay in the scratchpad (promote-buffers), without rewriting anything.

A candidate is a buffer, the nests that touch it, and the border that they read around it.  It stays
if the modelled cycles of all operations of its life fall: a resident tensor saves transfers but
leaves less room for the tiles of every operation it lives through.

What padded nests touch beyond the end of a tensor is border too.  Where such a nest writes it, all
of the end of that axis is written; else it is filled, as is what windows read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, prod

from xdsl.dialects.builtin import i8
from xdsl.ir import Operation, SSAValue

from ...backends.targets.machine import Machine
from ...dialects.loop import AllocOp, GlobalOp, NestOp, ReshapeOp, captured
from ...dialects.types import element_of, numpy_dtype, shape_of
from .aliases import aliases, twin
from .cores import SHARDED
from .padding import ANY, padded_axes, survives
from .sharding import own_rows
from .tiling.bounds import HALO
from .tiling.residents import Resident, place, room
from .tiling.selection import select
from .tiling.work import Work, analyse, keep

GRAIN = 64
"""Parts of the scratchpad in which free room is counted: fewer distinct tile searches."""


@dataclass
class Candidate:
    """A buffer that could stay: who touches it, its border, and bytes of DRAM traffic saved.

    `low` and `high` are the extents of the border on either side, by axis, `written` the part of
    `high` next to the tensor that padded nests write; the rest is to be filled.
    """

    alloc: AllocOp | GlobalOp
    values: list[SSAValue]
    nests: list[NestOp] = field(default_factory=list[NestOp])
    low: list[int] = field(default_factory=list[int])
    high: list[int] = field(default_factory=list[int])
    written: list[int] = field(default_factory=list[int])
    fill: float | int | None = None
    traffic: int = 0
    first: int = 0
    last: int = 0

    @property
    def sharded(self) -> bool:
        """Whether a core only ever uses its own rows."""
        return isinstance(self.alloc, AllocOp) and all(SHARDED in n.attributes for n in self.nests)

    @property
    def shape(self) -> list[int]:
        """Extents with the border."""
        return self.shape_with_border(self.alloc.result)

    def shape_with_border(self, value: SSAValue) -> list[int]:
        """Extents of the buffer, or a reshape of it, with the border."""
        shape, out = shape_of(self.alloc.result), list(shape_of(value))
        for axis, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if low or high:
                here = twin(shape, axis, shape_of(value))
                assert here is not None
                out[here] += low + high
        return out

    @property
    def bordered(self) -> bool:
        """Whether anything is read outside the tensor."""
        return any(self.low) or any(self.high)


def candidates_of(ops: Sequence[Operation], promotion: Promotion) -> list[Candidate]:
    """Buffers of this segment alone, and constants, that could stay."""
    return [
        c
        for op in ops
        if isinstance(op, GlobalOp) or (isinstance(op, AllocOp) and "local" in op.attributes)
        if (c := candidate(op, promotion.order)) is not None
    ]


def candidate(alloc: AllocOp | GlobalOp, order: dict[Operation, int]) -> Candidate | None:
    """The buffer as a candidate; None if something stands against keeping it."""
    rank = len(shape_of(alloc.result))
    none = [0] * rank
    out = Candidate(alloc, aliases(alloc.result), low=[*none], high=[*none], written=[*none])
    if not rank:
        return None
    for value in out.values:
        for use in value.uses:
            op = use.operation
            if isinstance(op, ReshapeOp):
                continue
            if not isinstance(op, NestOp) or value in captured(op):
                return None
            if op not in out.nests:
                out.nests.append(op)
            if not _read(op, value, out):
                return None
    if not out.nests or (any(out.low) and len(out.values) > 1):
        return None
    if any(high and not survives(alloc.result, axis) for axis, high in enumerate(out.high)):
        return None
    out.fill = ANY if out.fill is None else out.fill
    if out.sharded and not all(own_rows(n, v) for n in out.nests for v in out.values):
        return None
    if isinstance(alloc, GlobalOp):  # loaded once instead of by every stripe of a cascade
        if len(out.nests) < 2 or out.bordered or not all(HALO in n.attributes for n in out.nests):
            return None
        out.traffic -= out.traffic // len(out.nests)
    places = [order[op] for op in out.nests]
    out.first, out.last = min(places), max(places)
    return out


def _read(nest: NestOp, value: SSAValue, out: Candidate) -> bool:
    """Note what `nest` touches of `value`; False if that does not go with others."""
    size = prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize
    whole = shape_of(out.alloc.result)
    for i, (map, other, fill) in enumerate(
        zip(nest.linear_maps, (*nest.reads, nest.output), (*nest.fill_values, None), strict=True)
    ):
        if other is not value:
            continue
        out.traffic += size
        free = padded_axes(nest, map)
        for axis, ((low, high), n) in enumerate(
            zip(map.bounds(nest.sizes), shape_of(value), strict=True)
        ):
            if low >= 0 and high < n:
                continue
            at = twin(shape_of(value), axis, whole)
            if at is None or (low < 0 and value is not out.alloc.result):
                return False
            if axis not in free:
                if fill is None or (out.fill is not None and out.fill != fill):
                    return False
                out.fill = fill
            elif i == len(nest.reads):
                out.written[at] = max(out.written[at], high - n + 1)
            out.low[at] = max(out.low[at], -low)
            out.high[at] = max(out.high[at], high - n + 1)
    return True


def replaces(nest: Operation, old: Candidate, new: Candidate) -> bool:
    """Whether `nest`, last to read `old` and first to write `new`, does so element by element.

    Then the new tensor can take the place of the old one: a residual sum that of the shortcut.
    """
    if not isinstance(nest, NestOp) or nest.output not in new.values or nest not in old.nests:
        return False
    reads = [
        (map, x) for map, x in zip(nest.linear_maps, nest.reads, strict=False) if x in old.values
    ]
    same = [
        map == nest.linear_maps[-1]
        and shape_of(x) == shape_of(nest.output)
        and element_of(x) == element_of(nest.output)
        for map, x in reads
    ]
    return (
        old.last == new.first
        and bool(reads)
        and all(same)
        and nest.reduce.data != "max"
        and (old.shape, old.low) == (new.shape, new.low)
    )


@dataclass
class Plan:
    """A tensor at an address: what nests keep on chip then, and what that costs in cycles."""

    resident: Resident
    in_place: frozenset[Operation]
    cost: float = 0.0
    changes: dict[NestOp, tuple[frozenset[int], float]] = field(
        default_factory=dict[NestOp, tuple[frozenset[int], float]]
    )


class Promotion:
    """Chooses the resident tensors of a sequence of operations, and rewrites what uses them.

    `cores`: extents of the core loops around the operations.
    """

    def __init__(self, ops: Sequence[Operation], machine: Machine, cores: Sequence[int] = ()):
        self.ops, self.machine, self.cores = list(ops), machine, cores
        self.capacity = machine.scratchpad.bytes // machine.alignment * machine.alignment
        # Banks that are ranges of addresses: leave half of them to transfers, which would hold up
        # whoever works with a resident tensor in the same bank.
        self.floor = self.capacity // 2 if machine.scratchpad.regions > 1 else 0
        self.order = {op: i for i, op in enumerate(self.ops)}
        self.works: dict[NestOp, Work] = {}
        self.kept: dict[NestOp, frozenset[int]] = {}
        self.cycles: dict[NestOp, float] = {}
        self.alive: dict[int, list[Resident]] = {}
        self.owners: dict[Resident, Candidate] = {}
        self.in_place: set[Operation] = set()  # nests whose result takes the place of an operand

    def choose(self, found: list[Candidate]) -> list[tuple[Candidate, int]]:
        """The candidates to keep, with their addresses."""
        ranked = sorted(
            found,
            key=lambda c: (-c.traffic / (self.size(c) * (c.last - c.first + 1)), c.first),
        )
        return [(c, address) for c in ranked if (address := self.consider(c)) is not None]

    def size(self, c: Candidate) -> int:
        """Bytes of a candidate, or of a core's rows, with its border, aligned."""
        align = self.machine.alignment
        size = prod(c.shape) * numpy_dtype(element_of(c.alloc.result)).itemsize
        size //= prod(self.cores) if c.sharded else 1
        return -(-size // align) * align

    def consider(self, c: Candidate) -> int | None:
        """The address of the tensor if keeping it pays; None if not."""
        near = {r for i in range(c.first, c.last + 1) for r in self.alive.get(i, ())}
        residents = sorted(near, key=lambda r: r.address)
        apart = place(residents, self.size(c), c.first, c.last, self.capacity)
        places = [(apart, frozenset[Operation]()), *self.places_of_others(c, residents)]
        plans = [
            plan
            for address, replaced in places
            if address >= self.floor and (plan := self.plan(c, address, replaced)) is not None
        ]
        best = min(plans, key=lambda plan: plan.cost, default=None)
        if best is None or best.cost >= 0:
            return None
        for nest, (kept, cost) in best.changes.items():
            self.kept[nest], self.cycles[nest] = kept, cost
        for i in range(c.first, c.last + 1):
            self.alive.setdefault(i, []).append(best.resident)
        self.owners[best.resident] = c
        self.in_place |= best.in_place
        return best.resident.address

    def places_of_others(
        self, c: Candidate, residents: Sequence[Resident]
    ) -> list[tuple[int, frozenset[Operation]]]:
        """Addresses that `c` can take over or hand on in place, and the nests that do so."""
        found: dict[int, dict[Resident, Operation]] = {}
        for r in residents:
            for nest, old, new in (
                (self.ops[c.first], self.owners[r], c), (self.ops[c.last], c, self.owners[r])
            ):  # fmt: skip
                if replaces(nest, old, new):
                    found.setdefault(r.address, {})[r] = nest
        size = self.size(c)
        return [
            (address, frozenset(twins.values()))
            for address, twins in found.items()
            if all(
                r in twins or r.address >= address + size or address >= r.address + r.size
                for r in residents
            )
        ]

    def plan(self, c: Candidate, address: int, in_place: frozenset[Operation]) -> Plan | None:
        """What changes with `c` at an address; None if something no longer fits."""
        plan = Plan(Resident(address, self.size(c), c.first, c.last), in_place)
        values, wide = set(c.values), element_of(c.alloc.result) != i8
        for i in range(c.first, c.last + 1):
            nest = self.ops[i]
            if not isinstance(nest, NestOp):
                continue
            kept = self.kept.get(nest, frozenset())
            if nest in c.nests:
                operands = (*nest.reads, nest.output)
                kept |= {k for k, v in enumerate(operands) if v in values}
                if wide and not self.work(nest).temporaries:
                    return None  # the vector unit copies 8-bit elements only
            alive = [*self.alive.get(i, ()), plan.resident]
            cost = self.cost(nest, kept, alive, nest in self.in_place or nest in in_place)
            if cost == inf:
                return None
            plan.cost += cost - self.cycles_of(nest)
            plan.changes[nest] = kept, cost
        return plan

    def cycles_of(self, nest: NestOp) -> float:
        """Modelled cycles of a nest with what has been chosen so far."""
        if nest not in self.cycles:
            self.cycles[nest] = self.cost(nest, frozenset(), [], False)
        return self.cycles[nest]

    def work(self, nest: NestOp) -> Work:
        """What tile-size selection knows of a nest that reads and writes DRAM."""
        if nest not in self.works:
            self.works[nest] = analyse(nest, self.machine, self.cores).work
        return self.works[nest]

    def cost(
        self, nest: NestOp, kept: frozenset[int], alive: Sequence[Resident], in_place: bool
    ) -> float:
        """Modelled cycles of a nest; infinite if no tile fits."""
        grain = max(self.capacity // GRAIN, 1)
        free = room(alive, self.order[nest], self.capacity) // grain * grain
        work = keep(self.work(nest), kept, in_place) if kept else self.work(nest)
        tiling = select(work, self.machine, free)
        return inf if tiling is None else tiling.cycles

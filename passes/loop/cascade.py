"""Run layers depth-first, stripe by stripe, where what lies between them does not fit on chip.

    loop.nest domain [1, 112, 112, 96, ..] outs(%y)              %y: 1x112x112x96, 1.2 MB
    loop.nest domain [1, 56, 56, 96, 3, 3] ins(%y) outs(%z)      stride 2, padding behind

becomes

    %y0 = loop.alloc : memref<1x29x112x96xi8, "dram">
    loop.nest domain [1, 29, 112, 96, ..] outs(%y0)              (rows 0 to 28)
    loop.nest domain [1, 14, 56, 96, 3, 3] ins(%y0) outs(%z)     (rows 0 to 13)
    %y1 = loop.alloc : memref<1x29x112x96xi8, "dram">
    loop.nest domain [1, 29, 112, 96, ..] outs(%y1)              (rows 28 to 56)
    ...

Stripes of the intermediate tensors fit the scratchpad, where promote-buffers keeps them, and so do
the weights that all stripes use.  Rows that two stripes need (the halo of a window) are computed
twice.  A cascade is a run of consecutive NPU nests whose intermediate tensors nobody else reads;
where cascades begin and end, and in how many stripes, is chosen by dynamic programming over the
modelled cycles of nests (the tiling search), against those that promote-buffers alone leads to.
Arm's Vela and Apache TVM (Ethos-U cascader) do the same with rolling buffers.  Of a batch, stripes
are images.  Several cores share every stripe (distribute), if it has no halo: images they divide as
evenly as a whole batch, rows and their halos not.  Stripes are multiples of the number of cores
high, but for the last, which can be padded.  Each core has its part of the work and of the
bandwidth, so that one core with all of both tells where cascades pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...backends.targets.machine import Machine
from ...dialects.loop import AllocOp, GlobalOp, NestOp
from ...dialects.types import element_of, ints, numpy_dtype, shape_of
from ..base import CompilerContext, Pass, main_function
from .cores import padded_extent
from .promotion import GRAIN, Promotion, candidate
from .segments import device_of_nest, segments
from .sharding import shards
from .stripes import Stripes, row_axis, row_dim, stripe
from .tiling.bounds import HALO
from .tiling.selection import select
from .tiling.work import Work, keep

MOST_LAYERS = 10
"""Layers of a cascade at most: halos add up."""
STRIPES = (2, 3, 4, 6, 8, 12, 16)
"""Numbers of stripes to try."""
SHARE = 0.75
"""Share of the scratchpad that stripes and weights may take; tiles use the rest."""
GAIN = 0.92
"""A cascade is made if it takes at most this share of the modelled cycles without it."""


@dataclass(frozen=True)
class CascadePass(Pass):
    """Run layers depth-first in stripes where intermediate tensors then stay on chip.

    With `stripes`, every cascade there can be is made, of that many stripes, whatever it costs.
    """

    name = "cascade"
    enable: bool = True
    stripes: int = 0

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite the cascades that pay in @main."""
        machine = ctx.machine
        if machine is None or not self.enable:
            return
        func = main_function(module)
        block, segment = func.body.block, {op: s.ops for s in segments(func) for op in s.ops}
        for nests in runs(list(block.ops)):
            joint = together(segment[nests[0]], machine)
            choice = _Choice(nests, list(block.ops), machine, joint)
            for cascade in choice.longest(self.stripes) if self.stripes else choice.best():
                rewrite(cascade)


@dataclass(frozen=True)
class Cascade:
    """Consecutive nests, the buffers between them, and the number of stripes."""

    nests: tuple[NestOp, ...]
    inner: frozenset[SSAValue]
    count: int
    multiple: int = 1
    """Of which heights of stripes are multiples: the number of cores."""

    @cached_property
    def stripes(self) -> list[Stripes]:
        """Rows of every nest, stripe by stripe."""
        rows = shape_of(self.nests[-1].output)[row_axis(shape_of(self.nests[-1].output))]
        height = padded_extent(-(-rows // self.count), self.multiple)
        made = [
            stripe(self.nests, self.inner, a, min(a + height, rows)) for a in range(0, rows, height)
        ]
        return [s for s in made if s is not None] if None not in made else []


def runs(ops: Sequence[Operation]) -> list[list[NestOp]]:
    """Runs of NPU nests with nothing else that is executed between them."""
    out: list[list[NestOp]] = [[]]
    for op in ops:
        if isinstance(op, NestOp) and device_of_nest(op) == "npu" and op.outs:
            out[-1].append(op)
        elif not isinstance(op, AllocOp | GlobalOp):
            out.append([])
    return [run for run in out if len(run) > 1]


def together(segment: Sequence[Operation], machine: Machine) -> Machine:
    """The machine with the scratchpads of all cores as one, if each can have its own images."""
    nests = [op for op in segment if isinstance(op, NestOp)]
    if machine.cores < 2 or not machine.network.bytes_per_cycle:
        return machine
    if shards(nests, machine.cores) is None:
        return machine
    size = machine.scratchpad.bytes * machine.cores
    return replace(machine, scratchpad=replace(machine.scratchpad, bytes=size))


class _Choice:
    """Chooses the cascades of one run of nests."""

    def __init__(
        self, nests: Sequence[NestOp], ops: list[Operation], one: Machine, machine: Machine
    ):
        self.nests, self.machine = nests, machine
        self.copies = machine.scratchpad.bytes // one.scratchpad.bytes  # of weights: each core's
        self.multiple = machine.cores if machine.network.bytes_per_cycle else 1
        self.index = {nest: i for i, nest in enumerate(nests)}
        self.promotion = Promotion(ops, machine)
        local = [op for op in ops if isinstance(op, AllocOp) and self._within(op)]
        found = [c for op in local if (c := candidate(op, self.promotion.order)) is not None]
        kept = {c.alloc for c, _ in self.promotion.choose(found)}
        small = {c.alloc for c in found if self.promotion.size(c) <= self.capacity // GRAIN}
        self.big = {op.result for op in local if op not in kept | small}  # what cascades are for
        self.local = {op.result for op in local}
        self.rows = [row_dim(nest) for nest in nests]

    def _within(self, alloc: AllocOp) -> bool:
        return all(use.operation in self.index for use in alloc.result.uses)

    def best(self) -> list[Cascade]:
        """The cascades of the cheapest division of the run, in order."""
        n = len(self.nests)
        cost: list[float] = [0.0] * (n + 1)
        choice: list[Cascade | None] = [None] * n
        for i in reversed(range(n)):
            cost[i] = self.alone(self.nests[i]) + cost[i + 1]
            for cascade in self.candidates(i):
                end = i + len(cascade.nests)
                cycles = self.cycles(cascade)
                if cycles > GAIN * sum(self.alone(nest) for nest in cascade.nests):
                    continue
                if cycles + cost[end] < cost[i]:
                    cost[i], choice[i] = cycles + cost[end], cascade
        out: list[Cascade] = []
        i = 0
        while i < n:
            if (found := choice[i]) is not None:
                out.append(found)
            i += len(found.nests) if found is not None else 1
        return out

    def longest(self, count: int) -> list[Cascade]:
        """From the first nest on, the longest cascades of `count` stripes."""
        out: list[Cascade] = []
        i = 0
        while i < len(self.nests):
            found = [c for c in self.closed_from(i, count) if len(c.stripes) > 1]
            if found:
                out.append(found[-1])
            i += len(found[-1].nests) if found else 1
        return out

    def alone(self, nest: NestOp) -> float:
        """Modelled cycles of a nest outside any cascade."""
        return self.promotion.cycles_of(nest)

    def candidates(self, start: int) -> list[Cascade]:
        """Cascades that begin with a nest, each in the fewest stripes that fit: least halo."""
        out: list[Cascade] = []
        for closed in self.closed_from(start, 1, self.big):
            for count in STRIPES:
                cascade = replace(closed, count=count)
                stripes = cascade.stripes
                if len(stripes) <= count // 2 or self.uneven(stripes):  # fewer rows than that
                    break
                if self.bytes(cascade, stripes[len(stripes) // 2]) <= SHARE * self.capacity:
                    out.append(cascade)
                    break
        return out

    def uneven(self, stripes: Sequence[Stripes]) -> bool:
        """Whether stripes have halos, which several cores could not divide among themselves."""
        return self.machine.cores > 1 and any(len(set(s.nests.values())) > 1 for s in stripes)

    def closed_from(
        self, start: int, count: int, some: AbstractSet[SSAValue] | None = None
    ) -> list[Cascade]:
        """All runs from a nest on whose intermediate tensors nobody else uses, as cascades.

        With `some`: only those with one of these tensors between.
        """
        out: list[Cascade] = []
        inner: set[SSAValue] = set()
        for end in range(start + 1, min(start + MOST_LAYERS, len(self.nests))):
            before = self.nests[end - 1]
            if self.rows[end - 1] is None or before.output not in self.local:
                break
            inner.add(before.output)
            wanted = some is None or inner & some
            if wanted and self.rows[end] is not None and self.closed(inner, start, end):
                nests = tuple(self.nests[start : end + 1])
                cascade = Cascade(nests, frozenset(inner), count, self.multiple)
                if cascade.stripes:
                    out.append(cascade)
        return out

    @property
    def capacity(self) -> int:
        return self.machine.scratchpad.bytes

    def closed(self, inner: set[SSAValue], start: int, end: int) -> bool:
        """Whether only nests from `start` to `end` use the buffers, the last one's result aside."""
        last = self.nests[end]
        return last.output not in inner and all(
            start <= self.index[use.operation] <= end  # pyright: ignore[reportArgumentType]
            for value in inner
            for use in value.uses
        )

    def bytes(self, cascade: Cascade, stripes: Stripes) -> int:
        """Most scratchpad bytes alive: stripes of intermediate tensors, and all weights."""
        return max(self.alive(cascade, stripes)) + self.copies * weights(cascade.nests)

    def alive(self, cascade: Cascade, stripes: Stripes) -> list[int]:
        """Bytes of the stripes of intermediate tensors alive while each nest runs."""
        out = [0] * len(cascade.nests)
        for value in cascade.inner:
            uses = [i for i, nest in enumerate(cascade.nests) if value in nest.operands]
            shape = list(shape_of(value))
            low, high = stripes.buffers[value]
            shape[row_axis(shape)] = high - low
            size = prod(shape) * numpy_dtype(element_of(value)).itemsize
            for i in range(min(uses), max(uses) + 1):
                out[i] += size
        return out

    def cycles(self, cascade: Cascade) -> float:
        """Modelled cycles: all stripes like one in the middle, weights loaded once."""
        stripes = cascade.stripes
        middle = stripes[len(stripes) // 2]
        held = weights(cascade.nests)
        total = held / min(self.machine.dram.bytes_per_cycle, self.machine.dma_bytes_per_cycle)
        for nest, alive in zip(cascade.nests, self.alive(cascade, middle), strict=True):
            others = [
                r
                for r in self.promotion.alive.get(self.promotion.order[nest], ())
                if self.promotion.owners[r].alloc.result not in cascade.inner
            ]
            free = self.capacity - alive - self.copies * held - sum(r.size for r in others)
            grain = max(self.capacity // 64, 1)
            tiling = select(
                self.part(nest, cascade, middle), self.machine, max(free, 0) // grain * grain
            )
            if tiling is None:
                return inf
            total += len(stripes) * tiling.cycles
        return total

    def part(self, nest: NestOp, cascade: Cascade, stripes: Stripes) -> Work:
        """The work of a nest in one stripe, with intermediate tensors and weights on chip."""
        work, (low, high), dim = self.promotion.work(nest), stripes.nests[nest], row_dim(nest)
        assert dim is not None
        domain = tuple(high - low if d == dim else n for d, n in enumerate(work.domain))
        values = (*nest.reads, nest.output)
        resident = self.promotion.kept.get(nest, frozenset()) | {
            k for k, v in enumerate(values) if v in cascade.inner or isinstance(v.owner, GlobalOp)
        }
        return keep(work.sized(domain, dim), resident)


def weights(nests: Sequence[NestOp]) -> int:
    """Bytes of the constants that nests read."""
    found = {v for nest in nests for v in nest.reads if isinstance(v.owner, GlobalOp)}
    return sum(prod(shape_of(v)) * numpy_dtype(element_of(v)).itemsize for v in found)


def rewrite(cascade: Cascade) -> None:
    """Replace the nests of a cascade by their stripes."""
    first = cascade.nests[0]
    block = first.parent_block()
    assert block is not None
    op: Operation = first
    while op is not cascade.nests[-1]:  # what later nests use is declared in front of all stripes
        following = op.next_op
        assert following is not None
        if isinstance(op, AllocOp | GlobalOp):
            op.detach()
            block.insert_op_before(op, first)
        op = following
    done: dict[NestOp, int] = {}
    for stripes in cascade.stripes:
        mapping, shifts = dict[SSAValue, SSAValue](), dict[SSAValue, int]()
        for nest in cascade.nests:
            for value in (nest.output, *nest.reads):
                if value in cascade.inner and value not in mapping:
                    made = stripes.buffer(value)
                    block.insert_op_before(made, first)
                    mapping[value], shifts[value] = made.result, stripes.buffers[value][0]
            made = stripes.nest(nest, mapping, shifts)
            (low, high), dim = stripes.nests[nest], row_dim(nest)
            assert dim is not None
            made.attributes[HALO] = ints([dim, max(min(done.get(nest, low), high) - low, 0)])
            done[nest] = max(done.get(nest, high), high)
            block.insert_op_before(made, first)
    for nest in cascade.nests:
        nest.detach()
        nest.erase()
    for value in cascade.inner:
        assert isinstance(value.owner, AllocOp)
        value.owner.detach()
        value.owner.erase()


PASS = CascadePass

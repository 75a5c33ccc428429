"""Divide the nests of a segment among the cores of the machine.

    func.func @npu_segment_0() {             func.func @npu_segment_0() {
      loop.nest domain [1, 56, 56, 64, ..]     loop.for %core = 0 to 4 step 1 {
      ...                               ->       loop.nest domain [1, 56, 56, 64, ..] {split = 1}
    }                                            ...
                                               } {cores}

All cores run one program, each on its part of every nest: one parallel dimension is divided evenly.
Rows split the pixels, and all cores need all weights, which they load together (share-loads);
output channels split the weights.  Either way what a core makes of a tensor that stays on chip is
sent to all (loop.broadcast), so that the next nest may be split differently.  The dimension is the
one with the least modelled cycles of a core and transfers between cores, activations being on chip;
where dividing does not pay, or nothing divides evenly, every core computes all of the nest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.loop import ForOp, Linear, NestOp
from ...dialects.types import element_of, integer, numpy_dtype, shape_of
from ..base import CompilerContext, Pass
from .cores import CORES, SPLIT
from .tile_npu import npu_segments
from .tiling.selection import select
from .tiling.work import Work, analyse, keep

GAIN = 0.9
"""A nest is divided if that takes at most this share of the cycles it takes undivided."""


@dataclass(frozen=True)
class DistributePass(Pass):
    """Divide nests among cores by rows, output channels or batch, whichever is cheapest."""

    name = "distribute"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Put every NPU segment into a core loop, if the machine has several connected cores."""
        machine = ctx.machine
        if machine is None or machine.cores < 2 or not machine.network.bytes_per_cycle:
            return
        if not self.enable:
            return
        for func in npu_segments(module):
            nests = [op for op in func.body.block.ops if isinstance(op, NestOp)]
            if any(not shape_of(nest.output) for nest in nests):
                continue
            chosen = {nest: choose(nest, machine) for nest in nests}
            if all(split is None for split in chosen.values()):
                continue
            for nest, split in chosen.items():
                if split is not None:
                    nest.attributes[SPLIT] = integer(split)
            enclose(func, machine.cores)


def enclose(func: FuncOp, cores: int) -> None:
    """Move all of a segment into a core loop."""
    block = func.body.block
    loop = ForOp(0, cores, 1)
    loop.iv.name_hint = "core"
    loop.attributes[CORES] = integer(cores)
    for op in list(block.ops):
        if not isinstance(op, ReturnOp):
            op.detach()
            loop.body.block.add_op(op)
    assert block.last_op is not None
    block.insert_op_before(loop, block.last_op)


def candidates(nest: NestOp, cores: int) -> list[int]:
    """Parallel dimensions that divide evenly, into boxes of the output."""
    return [
        d
        for d in nest.parallel
        if nest.sizes[d] % cores == 0 and _alone(nest.linear_maps[-1], d, nest.sizes)
    ]


def _alone(output: Linear, dim: int, sizes: tuple[int, ...]) -> bool:
    """Whether `dim` runs along an axis of the output that no other dimension runs along."""
    rows = [row for row in output.coeffs if row[dim]]
    return len(rows) == 1 and not any(
        a and n > 1 for d, (a, n) in enumerate(zip(rows[0], sizes, strict=True)) if d != dim
    )


def choose(nest: NestOp, machine: Machine) -> int | None:
    """The dimension to divide; None for none."""
    whole = _cycles(analyse(nest, machine).work, machine)
    best: tuple[float, int] | None = None
    for dim in candidates(nest, machine.cores):
        nest.attributes[SPLIT] = integer(dim)
        try:
            work = analyse(nest, machine, machine.cores).work
        except CapacityError:
            continue
        finally:
            del nest.attributes[SPLIT]
        cycles = _cycles(work, machine)
        sent = prod(shape_of(nest.output)) * numpy_dtype(element_of(nest.output)).itemsize
        received = sum(o.bytes * prod(o.shape) for o in work.reads if o.constant and o.share > 1)
        cycles = max(cycles, (sent + received) / machine.network.bytes_per_cycle)
        if best is None or cycles < best[0]:
            best = cycles, dim
    if best is None or best[0] > GAIN * whole:
        return None
    return best[1]


def _cycles(work: Work, machine: Machine) -> float:
    """Modelled cycles with activations on chip; infinite if no tile fits."""
    kept = {i for i, o in enumerate(work.reads) if not o.constant} | {len(work.reads)}
    tiling = select(keep(work, frozenset(kept)), machine)
    if tiling is None:
        tiling = select(work, machine)
    return float("inf") if tiling is None else tiling.cycles


PASS = DistributePass

"""Tile the nests of NPU segments: scratchpad tiles, copies, and leaf nests for single commands.

    loop.nest domain [1, 56, 56, 64, 3, 3, 32] reduce "add" ...      (memrefs in dram and const)

becomes

    loop.for %h = 0 to 56 step 14 {
      %acc = loop.alloc : memref<1x14x56x64xi32, "acc">
      %xt = loop.alloc : memref<1x16x58x32xi8, "spm">
      loop.copy load %x[%h] at affine_map<(d0) -> (0, d0 - 1, -1, 0)> tile %xt fill 3
      ...                                            (weights)
      loop.nest ... outs(%acc) {tensorize = "matmul"}
      ...                                            (bias, multipliers, shifts)
      loop.nest ... ins(%acc, %bias, %m, %s) outs(%yt) {tensorize = "vrequant"}
      loop.copy store %y[%h] ... tile %yt
    }

Copies clip at tensor edges, so padding and ragged tiles need no code: garbage rows are dropped by
the store, and beyond the end of a reduction weights read as their zero point.  Where a ragged tile
would reach a neighbour (slices of a concatenation), tile sizes divide.  Each leaf is one command or
a few hardware loops around it; `tensorize` names the instruction.  Loads stay beside their use:
hoist-copies moves them out, double-buffer gives buffers their slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.locations import onnx_nodes
from ...dialects.loop import NestOp
from ..base import CompilerContext, Pass
from .cores import core_loops, counts, in_turn, top_block
from .sharding import shrink
from .tile_nest import tile_nest
from .tiling.model import Tiling
from .tiling.residents import free_scratchpad
from .tiling.selection import select
from .tiling.units import unrolls
from .tiling.work import Nest, Work, analyse

SEGMENT_PREFIX = "npu_segment_"

FOLLOWING = 1.25
"""How many times the cycles a tiling may take that starts on the first results of another nest."""
ALMOST = 1.02
"""The same where weights are loaded for every tile of rows."""


@dataclass(frozen=True)
class TileNpuPass(Pass):
    """Tile NPU nests for the scratchpad: tile loops, copies into it and leaf nests on tiles."""

    name = "tile-npu"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Tile every nest of every NPU segment; CapacityError if one does not fit."""
        if ctx.machine is None:
            return
        for func in npu_segments(module):
            free, loops = free_scratchpad(func, ctx.machine), core_loops(func)
            nests = [op for op in top_block(func).ops if isinstance(op, NestOp)]
            made: dict[SSAValue, dict[int, int]] = {}  # rows that all cores make at a time, by axis
            for op in nests:
                if "tensorize" in op.attributes:
                    continue
                cold = op is nests[0]
                info, tiling = tiling_of(op, ctx.machine, free[op], counts(loops), cold)
                turns = in_turn(op, counts(loops))
                if unrolls(ctx.machine) and (given := piece_by_piece(op, info.work, turns, made)):
                    tiling = following(info.work, ctx.machine, free[op], given, tiling)
                made[op.output] = {
                    axis: tiling.tile[d] * turns.get(d, 1)
                    for axis, row in enumerate(op.linear_maps[-1].coeffs)
                    for d, a in enumerate(row)
                    if a and tiling.tile[d] < info.work.domain[d]
                }
                ctx.tilings.append(_row(onnx_nodes(op), info.work.domain, tiling))
                tile_nest(op, info, tiling, loops)
            shrink(func)


def tiling_of(
    nest: NestOp,
    machine: Machine,
    capacity: int | None = None,
    cores: Sequence[int] = (),
    cold: bool = False,
) -> tuple[Nest, Tiling]:
    """What a nest (in either form) computes, and its tiling; CapacityError if none fits.

    `cold`: nothing runs before it.
    """
    info = analyse(nest, machine, cores)
    capacity = machine.scratchpad.bytes if capacity is None else capacity
    tiling = select(info.work, machine, capacity, cold)
    if tiling is None:
        raise CapacityError(
            f"not even the smallest tiles fit the {capacity} bytes of scratchpad"
            f" and {machine.accumulator.bytes} bytes of accumulators of {machine.name}",
            node=" + ".join(onnx_nodes(nest)) or None,
            op=nest.name,
            hint="choose a target with more memory, or run fit-npu before",
        )
    return info, tiling


def piece_by_piece(
    nest: NestOp,
    work: Work,
    turns: Mapping[int, int],
    made: Mapping[SSAValue, Mapping[int, int]],
) -> dict[int, int]:
    """Tile sizes with which `nest` reads tensors as they are made (heads of attention, rows).

    `turns`: among how many cores that take tiles in turn each dimension is divided.
    """
    out: dict[int, int] = {}
    free = set(work.parallel) - work.fixed - work.unit
    for map, x in zip(nest.linear_maps, nest.reads, strict=False):
        for axis, rows in made.get(x, {}).items():
            dims = [d for d, a in enumerate(map.coeffs[axis]) if a]
            if len(dims) != 1 or dims[0] not in free:
                continue
            [d] = dims
            size = rows // (abs(map.coeffs[axis][d]) * turns.get(d, 1))
            if 0 < size < work.domain[d] and work.domain[d] % size == 0:
                out[d] = min(size, out.get(d, size))
    return out


def following(
    work: Work, machine: Machine, capacity: int, given: Mapping[int, int], best: Tiling
) -> Tiling:
    """A tiling with `given` sizes, if it costs little: it begins with the first results."""
    for tile in (given, {d: size for d, size in given.items() if size == 1}):
        if tile and any(best.tile[d] != size for d, size in tile.items()):
            tiling = select(replace(work, given=tuple(sorted(tile.items()))), machine, capacity)
            limit = FOLLOWING if work.kind != "matmul" or max(tile.values()) == 1 else ALMOST
            if tiling is not None and tiling.cycles <= best.cycles * limit:
                return tiling
    return best


def npu_segments(module: ModuleOp) -> list[FuncOp]:
    """The functions that outline-npu made, in order."""
    return [
        op
        for op in module.ops
        if isinstance(op, FuncOp) and op.sym_name.data.startswith(SEGMENT_PREFIX)
    ]


def _row(nodes: tuple[str, ...], domain: Sequence[int], tiling: Tiling) -> dict[str, Any]:
    """How a nest was tiled, as plain values: loops by dimension, from the outermost."""
    tiled = [d for d in tiling.order if tiling.tile[d] < domain[d]]
    return {
        "nodes": list(nodes),
        "domain": list(domain),
        "tile": list(tiling.tile),
        "loops": tiled,
        "cycles": round(tiling.cycles),
        "bound": round(tiling.bound),
        "gap": round(tiling.gap, 4),
    }


PASS = TileNpuPass

"""The tiled form of one nest: loops over tiles, copies, and leaf nests for single commands.

`tile_npu` shows what it looks like.  Loads stay beside their use.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import UnitAttr, i8, i32
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ...dialects.loop import (
    AllocOp,
    BroadcastOp,
    CopyOp,
    ExtractOp,
    FillOp,
    ForOp,
    Linear,
    NestOp,
    ReshapeOp,
    ScalarYieldOp,
    SubviewOp,
    captured,
    space_of,
)
from ...dialects.types import element_of, memref, shape_of, string
from .aliases import whole
from .cores import BLOCKED, SHARDED, split_of
from .stage_ops import scalar_ops
from .tiling.chain import WIDE, Stage, assign_buffers, reduced_value
from .tiling.classify import SPARSE
from .tiling.footprint import TileBox, restrict, tile_box
from .tiling.model import Tiling
from .tiling.residents import overwritten
from .tiling.work import Nest

Access = tuple[SSAValue, Linear]
"""A tile and the local map by which a leaf (over parallel dimensions) reads it."""


def tile_nest(nest: NestOp, info: Nest, tiling: Tiling, cores: Sequence[ForOp] = ()) -> None:
    """Replace `nest` by its tiled form, inside the core levels `cores`."""
    _Tiler(nest, info, tiling, cores).run()


class _Tiler:
    """Emits the tiled form of one nest in front of it, then erases it."""

    def __init__(self, nest: NestOp, info: Nest, tiling: Tiling, cores: Sequence[ForOp] = ()):
        self.nest, self.info, self.tile, self.sparse = nest, info, tiling.tile, tiling.sparse
        self.cores, self.split = cores, split_of(nest)
        self.blocked, self.sharded = BLOCKED in nest.attributes, SHARDED in nest.attributes
        self.domain = domain = info.work.domain
        self.loops = [d for d in tiling.order if self.tile[d] < domain[d]]
        self.maps, self.parallel, self.reduced = nest.linear_maps, nest.parallel, set(nest.reduced)
        self.covered = tuple(-(-n // t) * t for n, t in zip(domain, self.tile, strict=True))
        self.ivs: dict[int, SSAValue] = {}
        self.block: Block | None = None  # None: in front of the nest
        self.out_box = tile_box(self.maps[-1], self.tile)
        self.out_local = restrict(self.out_box.local, self.parallel)
        self.tiles: dict[int, SSAValue] = {}
        self.constants: dict[int | SSAValue, SSAValue] = {}

    def emit(self, op: Operation, hint: str | None = None) -> Operation:
        op.location = self.nest.location
        if hint and op.results:
            op.results[0].name_hint = hint
        if self.block is not None:
            self.block.add_op(op)
        else:
            block = self.nest.parent_block()
            assert block is not None
            block.insert_op_before(op, self.nest)
        return op

    def alloc(self, shape: Sequence[int], element: Attribute, space: str, hint: str) -> SSAValue:
        return self.emit(AllocOp(memref(shape, element, space)), hint).results[0]

    def enter(self, dims: Sequence[int]) -> None:
        for d in dims:
            loop = ForOp(0, self.domain[d], self.tile[d])
            loop.iv.name_hint = f"d{d}"
            self.emit(loop)
            self.block, self.ivs[d] = loop.body.block, loop.iv

    def run(self) -> None:
        info = self.info
        for stage in info.chain:
            self.prepare(stage)
        for table in captured(self.nest):
            self.prepare_table(table)
        self.enter([d for d in self.loops if d not in self.reduced])
        outer = self.block
        if info.direct:
            self.move()
        else:
            start = self.reduce() if info.reduction.kind != "none" else None
            self.block = outer
            self.store(self.finish(start))
        self.nest.detach()
        self.nest.erase()

    # --- constants, loads, the store ---
    def prepare(self, stage: Stage) -> None:
        """Scalars, once in front of all loops."""
        for x in stage.operands:
            if isinstance(x, int) and x not in self.constants:
                buffer = self.alloc([1], i32, "spm", "scalar")
                self.emit(FillOp(buffer, x))
                self.constants[x] = buffer

    def prepare_table(self, table: SSAValue) -> None:
        """A table of look-ups, once in front of all loops."""
        tile = self.alloc(shape_of(table), element_of(table), "spm", "table")
        self.emit(CopyOp("load", table, tile, [], Linear.of([{}], 0)))
        self.constants[table] = tile

    def coordinates(
        self, map: Linear, low: Sequence[int], own: bool = False
    ) -> tuple[list[SSAValue], Linear]:
        """Loop variables that move a tile, and its start coordinates in terms of them.

        `own`: in a tensor of which each core holds its own rows.
        """
        dims = [d for d in self.loops if d in self.ivs and any(row[d] for row in map.coeffs)]
        rows = [{i: row[d] for i, d in enumerate(dims)} for row in map.coeffs]
        ivs = [self.ivs[d] for d in dims]
        around = dict.fromkeys(self.split, 1)
        turns = dict(around)  # cores that take tiles in turn
        for i, (level, d) in reversed(list(enumerate(zip(self.cores, self.split, strict=False)))):
            block = self.sharded or (self.blocked and d not in self.split[:i])
            if any(row[d] for row in map.coeffs) and not own:
                step = (self.domain if block else self.tile)[d] * around[d]
                for row, full in zip(rows, map.coeffs, strict=True):
                    row[len(ivs)] = full[d] * step
                ivs.append(level.iv)
            around[d] *= len(level.values)
            if not block:
                turns[d] *= len(level.values)
        for d, count in turns.items():
            if d in dims:
                for row in rows:
                    row[dims.index(d)] *= count
        return ivs, Linear.of(rows, len(ivs), low)

    def load(self, index: int, default: int = 0) -> SSAValue:
        """Load the tile of read `index`; outside the tensor its fill, or `default`."""
        if index in self.tiles:
            return self.tiles[index]
        source, map = self.nest.reads[index], self.maps[index]
        box = tile_box(map, self.tile)
        if space_of(source) == "spm":
            self.tiles[index] = self.view(source, map, box)
            return self.tiles[index]
        tile = self.alloc(box.box, element_of(source), "spm", f"{source.name_hint or 'in'}_tile")
        covered = list(self.covered)
        for d in self.split:
            covered[d] = self.nest.sizes[d]
        inside = all(
            low >= 0 and high < n
            for (low, high), n in zip(map.bounds(covered), shape_of(source), strict=True)
        )
        fill = self.nest.fill_values[index]
        fill = None if inside else default if fill is None else fill
        ivs, start = self.coordinates(map, box.low)
        self.emit(CopyOp("load", source, tile, ivs, start, steps=box.steps, fill=fill))
        self.tiles[index] = tile
        return tile

    def view(self, buffer: SSAValue, map: Linear, box: TileBox) -> SSAValue:
        """The tile's box of a tensor that stays in the scratchpad."""
        alloc = whole(buffer).owner
        own = isinstance(alloc, AllocOp) and SHARDED in alloc.attributes
        ivs, start = self.coordinates(map, box.low, own)
        type = memref(box.box, element_of(buffer), "spm")
        hint = f"{buffer.name_hint or 'x'}_tile"
        return self.emit(SubviewOp(buffer, ivs, start, type, box.steps), hint).results[0]

    def result(self, shape: Sequence[int], element: Attribute, hint: str) -> SSAValue:
        """Where the tile's result goes: a buffer to be stored, or in place if it stays on chip."""
        if space_of(self.nest.output) == "spm":
            return self.view(self.nest.output, self.maps[-1], self.out_box)
        return self.alloc(shape, element, "spm", hint)

    def store(self, tile: SSAValue, perm: Sequence[int] | None = None) -> None:
        if space_of(self.nest.output) == "spm":
            if self.split and not self.sharded:
                self.emit(BroadcastOp(tile))
            return
        if self.cores and not self.split:
            self.store_once(tile, perm)
            return
        ivs, start = self.coordinates(self.maps[-1], self.out_box.low)
        self.emit(
            CopyOp("store", self.nest.output, tile, ivs, start, perm=perm, steps=self.out_box.steps)
        )

    def store_once(self, tile: SSAValue, perm: Sequence[int] | None) -> None:
        """All cores have the same result: those but the first store it beyond the tensor."""
        ivs, start = self.coordinates(self.maps[-1], self.out_box.low)
        away = shape_of(self.nest.output)[0]
        rows = [dict(enumerate(row)) for row in start.coeffs]
        for loop in self.cores:
            rows[0][len(ivs)] = away
            ivs.append(loop.iv)
        coords = Linear.of(rows, len(ivs), start.consts)
        output, steps = self.nest.output, self.out_box.steps
        self.emit(CopyOp("store", output, tile, ivs, coords, perm=perm, steps=steps))

    def move(self) -> None:
        """Pure movement: load and store the same tile, axes in the order of either side."""
        index = next(i for i, arg in enumerate(self.nest.body.block.args) if arg is self.info.value)
        tile = self.load(index)

        def axes(map: Linear) -> list[int | None]:
            return [
                next((d for d, a in enumerate(row) if a and self.tile[d] > 1), None)
                for row in map.coeffs
            ]

        order = [d for d in axes(self.maps[index]) if d is not None]
        target = axes(self.maps[-1])
        perm = [target.index(d) for d in order] + [r for r, d in enumerate(target) if d is None]
        shape = [self.tile[d] for d in order] + [1] * (len(target) - len(order))
        if tuple(shape) != shape_of(tile):
            tile = self.emit(ReshapeOp(tile, memref(shape, element_of(tile), "spm"))).results[0]
        self.store(tile, perm)

    @property
    def final_slot(self) -> int | None:
        """The buffer in which the chain ends, counting a maximum's own as 0; None: no chain."""
        if not self.info.chain:
            return None
        return assign_buffers(self.info.chain, reduced_value(self.nest))[0][-1]

    # --- leaves ---
    def leaf(self, nest: NestOp, kind: str) -> None:
        nest.attributes["tensorize"] = string(kind)
        self.emit(nest)

    def reduce(self) -> SSAValue:
        """The reduction of one tile, in loops over tiles of the reduction; returns its buffer."""
        nest, reduction = self.nest, self.info.reduction
        space, element = ("spm", i8) if reduction.kind == "vmax" else ("acc", i32)
        if reduction.kind == "vmax" and self.final_slot in (None, 0):
            out = self.result(self.out_box.box, element, "max")
        else:
            out = self.alloc(self.out_box.box, element, space, "acc" if space == "acc" else "max")
        inner = [d for d in self.loops if d in self.reduced]
        if inner:
            self.emit(FillOp(out, -128 if reduction.kind == "vmax" else 0))
            self.enter(inner)
        tiles = [self.load(i, reduction.neutral.get(i, 0)) for i in range(len(nest.ins))]
        maps = [tile_box(self.maps[i], self.tile).local for i in range(len(tiles))]
        leaf = NestOp(
            self.tile,
            tiles,
            [],
            [*maps, self.out_box.local],
            nest.body.clone(),
            reduce=nest.reduce.data,
            reduction_dims=nest.reduced,
            outs=[out],
            accumulate=bool(inner),
        )
        if self.sparse:
            leaf.attributes[SPARSE] = UnitAttr()
        for op in leaf.body.block.ops:
            if isinstance(op, ExtractOp):
                op.operands[0] = self.constants[op.source]
        self.leaf(leaf, reduction.kind)
        return out

    def finish(self, start: SSAValue | None) -> SSAValue:
        """The elementwise chain of one tile; returns the tile to store."""
        nest, chain, value = self.nest, self.info.chain, self.info.value
        reduced = None if start is None else reduced_value(nest)
        in_spm = reduced if start is not None and self.info.reduction.kind == "vmax" else None
        slots, count = assign_buffers(chain, in_spm)
        final = slots[-1] if slots else None
        if slots and overwritten(nest) is not None:  # only the last stage may write there
            final = count
            slots = (*slots[:-1], final)
            count += 1
        buffers: list[SSAValue | None] = [None] * max(1, count)
        if in_spm is not None:
            buffers[0] = start
        known: dict[SSAValue, Access] = {}
        if reduced is not None and start is not None:
            known[reduced] = (start, self.out_local)
        if not chain and value.owner is nest.body.block and start is None:
            chain, slots = (Stage("vclip", (value,), value, (("lo", -128), ("hi", 127))),), (0,)
            final = 0
        for stage, slot in zip(chain, slots, strict=True):
            operands = [self.access(x, known, i, stage) for i, x in enumerate(stage.operands)]
            if (out := buffers[slot]) is None:
                element = i32 if stage.kind in WIDE else i8
                hint = f"{nest.output.name_hint or 'out'}_tile"
                if slot == final:
                    out = self.result(self.out_box.box, element, hint)
                else:
                    out = self.alloc(self.out_box.box, element, "spm", hint)
                buffers[slot] = out
            self.elementwise(stage, operands, out)
            known[stage.result] = (out, self.out_local)
        return known[value][0]

    def access(
        self, x: SSAValue | int, known: dict[SSAValue, Access], position: int, stage: Stage
    ) -> Access:
        """Where a stage finds an operand; loads it if it is a tensor."""
        if isinstance(x, int) or x in self.constants:
            return self.constants[x], Linear.of([{}], len(self.parallel))
        if x in known:
            return known[x]
        body, epilogue = self.nest.body.block, self.nest.epilogue_block
        if x.owner is body:
            index = next(i for i, arg in enumerate(body.args) if arg is x)
        else:
            assert epilogue is not None and x.owner is epilogue
            index = (
                len(self.nest.ins) + next(i for i, arg in enumerate(epilogue.args) if arg is x) - 1
            )
        shift = stage.kind == "vrequant" and position == 3
        tile = self.load(index, 1 if shift else 0)  # a shift of 0 has no meaning, even in garbage
        local = tile_box(self.maps[index], self.tile).local
        known[x] = (tile, restrict(local, self.parallel))
        return known[x]

    def elementwise(self, stage: Stage, operands: Sequence[Access], out: SSAValue) -> None:
        """One stage as a leaf nest over the parallel dimensions of the tile."""
        params = dict(stage.params)
        tables = set(captured(self.nest))
        table = next((self.constants[x] for x in stage.operands if x in tables), None)
        ins = [o for x, o in zip(stage.operands, operands, strict=True) if x not in tables]
        block = Block(arg_types=[element_of(value) for value, _ in ins])
        ops = scalar_ops(stage.kind, block, params, table)
        block.add_ops([*ops, ScalarYieldOp([ops[-1].results[0]])])
        maps = [*(map for _, map in ins), self.out_local]
        domain = [self.tile[d] for d in self.parallel]
        self.leaf(
            NestOp(domain, [v for v, _ in ins], [], maps, Region(block), outs=[out]), stage.kind
        )

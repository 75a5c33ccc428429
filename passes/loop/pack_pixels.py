"""Compute neighbouring pixels at once where a layer has too few channels for the array.

    %y = loop.nest domain [1, 56, 56, 64, 3, 3, 64] ... ins(%x, %w) outs(%y)
      (n, h, w, c, kh, kw, k):  x[n, h + kh - 1, w + kw - 1, k],  w[kh, kw, k, c],  y[n, h, w, c]

becomes, two pixels at a time,

    %y = loop.nest domain [1, 56, 28, 2, 64, 3, 4, 64] ... ins(%x, %w2) outs(%y)
      (n, h, w, p, c, kh, u, k):  x[n, h + kh - 1, 2w + u - 1, k],  w2[kh, u, k, p, c],
                                  y[n, h, 2w + p, c]
    w2[kh, u, k, p, c] = w[kh, u - p, k, c], the weights' zero point outside the kernel

On an array of 128 x 128 the 64 channels leave half of the columns idle; 2 x 64 fill them.  The
windows of P pixels, s apart, are one window of kw + (P - 1) s taps, so the reduction grows by less
than P while the pixels shrink by P; for a kernel of 1 the weights are block-diagonal, which fills
idle rows.  With dilation d the taps are gcd(d, s) apart.  Nothing else is read, and every product
that is added is of a weight at its zero point: results are the same bit for bit.  (p, c) is one
dimension of the accumulators' and the weights' memory, hence of one command; for what follows the
reduction, (w, p) is.  Slices of concatenations, residuals and parameters by channel need nothing.

P is what takes the fewest modelled cycles, loading the bigger weights included, if the matrix unit
alone saves a tenth or more.  Only NPU segments change: @main,
which the CPU end runs and useful work is counted from, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, inf

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...backends.targets.machine import Machine
from ...dialects.constants import Array
from ...dialects.loop import GlobalOp, Linear, NestOp
from ...dialects.npu.isa import MAX_TENSOR_DIMS
from ...dialects.types import element_of, memref, shape_of
from ..base import CompilerContext, Pass, main_function
from .packing import ConstantAppender, global_array
from .tile_npu import npu_segments
from .tiling.classify import Reduction
from .tiling.footprint import depends
from .tiling.selection import select
from .tiling.units import matrix_work
from .tiling.work import Nest, Work, analyse, keep

MOST = 16
"""Pixels considered at once."""
GAIN = 0.9
"""Matrix cycles with packing over those without it, at most."""


@dataclass(frozen=True)
class PackPixelsPass(Pass):
    """Compute neighbouring pixels at once where channels leave columns of the array idle.

    `pixels`: how many, wherever they divide the row; 0: what the cost model says.
    """

    name = "pack-pixels"
    enable: bool = True
    pixels: int = 0

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite contractions with constant weights in every NPU segment."""
        if ctx.machine is None or not self.enable:
            return
        constants = ConstantAppender(main_function(module), ctx.constants)
        if not constants.ready:
            return
        packer = _Packer(constants, ctx.machine, self.pixels)
        for func in npu_segments(module):
            for op in [o for o in func.walk() if isinstance(o, NestOp)]:
                packer.visit(op)


@dataclass(frozen=True)
class Site:
    """Where a nest can be packed.

    `x`, `w`: positions of activations and weights among `ins`; `pixel`: the dimension to split;
    `axis`: the axis of x it runs along, `stride` elements a step; `tap`: the reduction dimension on
    that axis, `dilation` elements a step, None where there is none; `channel`: the dimension of
    outputs that pixels are put beside; `zero`: the weights' zero point.
    """

    x: int
    w: int
    pixel: int
    axis: int
    stride: int
    tap: int | None
    dilation: int
    channel: int
    zero: int

    @property
    def grid(self) -> int:
        """Elements of x between two taps of the common window."""
        return gcd(self.stride, self.dilation)

    def taps(self, kernel: int, pixels: int) -> int:
        """Taps of the window of `pixels` pixels."""
        return ((kernel - 1) * self.dilation + (pixels - 1) * self.stride) // self.grid + 1


def site_of(nest: NestOp, info: Nest) -> Site | None:
    """The dimension of pixels next to the channels in the output; None if it cannot be split."""
    reduction = info.reduction
    if reduction.kind != "matmul" or reduction.b is None:
        return None
    zeros = {reduction.a: reduction.a_zp, reduction.b: reduction.b_zp}
    weights = [i for i in zeros if isinstance(nest.ins[i].owner, GlobalOp)]
    if len(weights) != 1:
        return None
    w = weights[0]
    x = next(i for i in zeros if i != w)
    domain, maps = nest.sizes, nest.linear_maps
    in_x, in_w = depends(maps[x]), depends(maps[w])
    channels = [d for d in nest.parallel if in_w[d] and not in_x[d]]
    if not _plain(maps[w], domain, shape_of(nest.ins[w])) or not channels:
        return None
    order = [
        (r, d)
        for r, row in enumerate(maps[-1].coeffs)
        for d, a in enumerate(row)
        if a and domain[d] > 1
    ]
    pixels = [(r, d) for r, d in order if in_x[d] and not in_w[d]]
    if not pixels or any(in_x[d] and in_w[d] for d in nest.parallel):
        return None
    at, pixel = pixels[-1]
    rows = [(r, row[pixel]) for r, row in enumerate(maps[x].coeffs) if row[pixel]]
    if len(rows) != 1 or rows[0][1] < 1 or maps[-1].coeffs[at][pixel] < 1:
        return None
    if any(r < at for r, d in order if d in channels):  # other layouts: channels are further out
        return None
    axis, stride = rows[0]
    others = [d for d, a in enumerate(maps[x].coeffs[axis]) if a and d != pixel]
    wide = [d for d in others if domain[d] > 1]
    tap = next((d for d in wide or others if _is_tap(nest, d, axis, maps[x], in_w)), None)
    if len(wide) > 1 or (wide and tap is None):
        return None
    if len(shape_of(nest.ins[w])) + (1 if tap is not None else 2) > MAX_TENSOR_DIMS:
        return None
    dilation = maps[x].coeffs[axis][tap] if tap is not None and wide else stride
    return Site(x, w, pixel, axis, stride, tap, dilation, channels[-1], zeros[w])


def _is_tap(nest: NestOp, dim: int, axis: int, x: Linear, in_w: tuple[bool, ...]) -> bool:
    """Whether `dim` is reduced, has weights of its own, and moves x along `axis` only, forwards."""
    rows = [r for r, row in enumerate(x.coeffs) if row[dim]]
    return dim in nest.reduced and in_w[dim] and rows == [axis] and x.coeffs[axis][dim] > 0


def _plain(map: Linear, domain: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether every axis is one dimension, and the whole tensor is read."""
    dims = [[d for d, a in enumerate(row) if a] for row in map.coeffs]
    return all(
        len(row) == 1 and map.coeffs[r][row[0]] == 1 and domain[row[0]] == shape[r] and not c
        for r, (row, c) in enumerate(zip(dims, map.consts, strict=True))
    ) and len({row[0] for row in dims}) == len(dims)


@dataclass
class Packed:
    """A nest that computes `pixels` at once, and which axes of the weights that concerns."""

    nest: NestOp
    weights: GlobalOp
    pixels: int
    tap_axis: int
    pixel_axis: int


def pack_nest(nest: NestOp, site: Site, pixels: int) -> Packed:
    """A copy of `nest` (unattached) for `pixels` at once, its weights a placeholder."""
    old = nest.ins[site.w]
    maps, sizes, reduced = nest.linear_maps, list(nest.sizes), set(nest.reduced)
    new_tap = min(reduced) if site.tap is None else None
    # names of dimensions in their new order; strings are new ones
    order: list[int | str] = []
    for d in range(len(sizes)):
        if d == new_tap:
            order.append("tap")
        if d == site.channel:
            order.append("pixel")
        order.append(d)
    tap: int | str = "tap" if site.tap is None else site.tap
    extents: dict[int | str, int] = {**dict(enumerate(sizes)), "pixel": pixels}
    kernel = 1 if site.tap is None else sizes[site.tap]
    extents |= {site.pixel: sizes[site.pixel] // pixels, tap: site.taps(kernel, pixels)}

    def remap(map: Linear, tapped: int | None = None) -> Linear:
        rows: list[tuple[int, ...]] = []
        for r, row in enumerate(map.coeffs):
            new: dict[int | str, int] = dict(enumerate(row))
            new |= {"pixel": row[site.pixel], site.pixel: row[site.pixel] * pixels}
            if r == tapped:
                new |= {"pixel": 0, tap: site.grid}
            rows.append(tuple(new.get(d, 0) for d in order))
        return Linear(tuple(rows), map.consts, len(order))

    # weights: one axis per dimension, pixels in front of the channel
    dims: list[int | str] = [next(d for d, a in enumerate(row) if a) for row in maps[site.w].coeffs]
    if site.tap is None:
        dims.insert(min(i for i, d in enumerate(dims) if d in reduced), "tap")
    before = dims.index(site.channel)
    tap_axis = dims.index(tap)
    dims.insert(before, "pixel")
    place = {d: i for i, d in enumerate(order)}
    new_maps = [remap(m, site.axis if i == site.x else None) for i, m in enumerate(maps)]
    new_maps[site.w] = Linear.select([place[d] for d in dims], len(order))
    owner = old.owner
    assert isinstance(owner, GlobalOp)
    weights = GlobalOp(owner.value, memref([extents[d] for d in dims], element_of(old), "const"))
    ins = [weights.result if i == site.w else v for i, v in enumerate(nest.ins)]
    body, epilogue = nest.body.clone(), nest.epilogue.clone()
    out = NestOp(
        [extents[d] for d in order],
        ins,
        nest.epilogue_ins,
        new_maps,
        body,
        epilogue,
        reduce=nest.reduce.data,
        reduction_dims=[i for i, d in enumerate(order) if d in reduced or d == "tap"],
        fills=nest.fill_values,
        outs=nest.outs,
    )
    out.device, out.location = nest.device, nest.location
    out.attributes |= nest.attributes
    return Packed(out, weights, pixels, tap_axis, before)


def packed_weights(array: Array, made: Packed, site: Site) -> Array:
    """Copies of the weights, shifted along the axis of taps, one per pixel on a new axis."""
    kernel = array.shape[made.tap_axis]
    shape = list(array.shape)
    shape[made.tap_axis] = site.taps(kernel, made.pixels)
    shape.insert(made.pixel_axis, made.pixels)
    out = np.full(shape, site.zero, array.dtype)
    copies = np.moveaxis(out, made.pixel_axis, 0)
    begin, step = site.stride // site.grid, site.dilation // site.grid
    for p in range(made.pixels):
        place = [slice(None)] * array.ndim
        place[made.tap_axis] = slice(p * begin, p * begin + (kernel - 1) * step + 1, step)
        copies[p][tuple(place)] = array
    return out


def ideal(work: Work, machine: Machine) -> float:
    """Cycles of the matrix unit for the whole nest as one tile."""
    whole, _ = matrix_work(work, [np.array([n]) for n in work.domain], machine)
    return float(whole[0])


def modelled(work: Work, machine: Machine) -> float:
    """Cycles of a nest with activations on the chip, plus those with them in DRAM; inf: no tiles.

    Which it will be is decided later (promote-buffers), and not independently of the cycles.
    """
    activations = (i for i, o in enumerate((*work.reads, work.output)) if not o.constant)
    tilings = (select(w, machine) for w in (keep(work, frozenset(activations)), work))
    return sum(inf if t is None else t.cycles for t in tilings)


class _Packer:
    """Rewrites nests; segments share constants, and equal layers the search."""

    def __init__(self, constants: ConstantAppender, machine: Machine, pixels: int):
        self.constants, self.machine, self.pixels = constants, machine, pixels
        self.chosen: dict[tuple[Work, Reduction, Site, tuple[float | int | None, ...]], int] = {}

    def choose(self, nest: NestOp, info: Nest, site: Site) -> Packed | None:
        """The packed nest that takes fewest cycles; None if none is worth it."""
        key = info.work, info.reduction, site, tuple(nest.fill_values)
        if self.pixels:
            fits = nest.sizes[site.pixel] % self.pixels == 0
            pixels = self.pixels if fits else 1
        elif key in self.chosen:
            pixels = self.chosen[key]
        else:
            pixels = self.chosen[key] = self.search(nest, info.work, site)
        return pack_nest(nest, site, pixels) if pixels > 1 else None

    def search(self, nest: NestOp, work: Work, site: Site) -> int:
        """How many pixels at once take fewest cycles; 1 if no number is worth it."""
        extent = nest.sizes[site.pixel]
        matrix, unit = ideal(work, self.machine), self.machine.matrix
        if work.macs > GAIN * matrix * unit.macs_per_cycle:
            return 1
        best, cost = 1, None
        for pixels in (p for p in range(2, MOST + 1) if extent % p == 0):
            made = pack_nest(nest, site, pixels)
            packed = analyse(made.nest, self.machine).work
            made.nest.erase()
            if ideal(packed, self.machine) <= GAIN * matrix:
                cost = modelled(work, self.machine) if cost is None else cost
                if (now := modelled(packed, self.machine)) < cost:
                    best, cost = pixels, now
        return best

    def visit(self, nest: NestOp) -> None:
        """Replace a nest where that pays."""
        info = analyse(nest, self.machine)
        site = site_of(nest, info)
        made = None if site is None else self.choose(nest, info, site)
        if site is None or made is None:
            return
        old = nest.ins[site.w].owner
        assert isinstance(old, GlobalOp)
        array = global_array(old, self.constants.store)
        if site.tap is None:
            array = np.expand_dims(array, made.tap_axis)
        type = made.weights.result.type
        weights = self.constants.add(packed_weights(array, made, site), type, old)
        made.weights.result.replace_all_uses_with(weights.result)
        made.weights.erase()
        block = nest.parent_block()
        assert block is not None
        block.insert_ops_before([weights, made.nest], nest)
        nest.detach()
        nest.erase()
        if not any(True for _ in old.result.uses):
            old.detach()
            old.erase()


PASS = PackPixelsPass

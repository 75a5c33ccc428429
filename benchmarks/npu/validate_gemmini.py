"""What Gemmini's own library makes of a network: its tiles and its transfers, layer by layer.

Our compiler keeps weights or activations on chip over many tiles; the library that the published
figures were measured with (`tiled_matmul_auto`, `tiled_conv_auto` and `tiled_resadd_auto` of
gemmini.h in ucb-bar/gemmini-rocc-tests) loads both operands, and the biases as 32-bit rows, anew
for every tile.  What the library decides is followed; the machine is the target's:

- tiles: half of scratchpad and accumulators (the other half is being loaded or stored).  Products
  (1 x 1 convolutions of stride 1 among them, strided ones as products of sampled rows) begin from
  the largest square of accumulator blocks and the reduction that fits, then grow; convolutions
  shrink their largest extent until they fit, then grow, and avoid narrowing rows below the array.
- transfers: rows of at most `dram.burst_bytes` are one request each.  A request takes its beats on
  the bus (`dma_bytes_per_cycle`), but no less than `read_latency` / `outstanding_reads`.
- array: a block of weights meets at most `matrix.rows` positions of one output row at a time.
- a tile takes the longest of its loads, its products and its stores; the first load and the last
  store of a layer are exposed (a fence follows each layer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from math import ceil, isqrt, prod

from tilewright.backends.targets.machine import Machine

from .validate_layers import Layer
from .validate_results import Estimate

Extents = tuple[int, ...]
"""Of a convolution's tile: batch, output rows, output columns, filters, kernel y, x, channels."""
BATCH, ROWS, COLUMNS, FILTERS, KERNEL_Y, KERNEL_X, CHANNELS = range(7)


def estimate(layers: Sequence[Layer], machine: Machine) -> Estimate:
    """Cycles of a network on the machine with Gemmini's library."""
    model = _Library(machine)
    cycles = busy = 0.0
    fused = _fused_pools(layers)
    for layer in layers:
        if layer.name in fused:
            continue  # pools of windows are done while the convolution before is stored
        total, work = model.layer(layer)
        cycles, busy = cycles + total, busy + work
    macs = sum(layer.macs for layer in layers)
    units = {"matrix": {"busy": round(busy), "wait_load": round(cycles - busy)}}
    return Estimate(round(cycles), macs, units)


def _fused_pools(layers: Sequence[Layer]) -> set[str]:
    pairs = pairwise(layers)
    return {b.name for a, b in pairs if a.kind == "conv" and b.kind == "pool" and b.out_height > 1}


class _Library:
    """The library on one machine."""

    def __init__(self, machine: Machine):
        self.block = machine.matrix.rows  # DIM of gemmini.h; the array is square
        self.spad_rows = machine.scratchpad.bytes // self.block // 2
        self.acc_rows = machine.accumulator.bytes // (4 * self.block) // 2
        dram = machine.dram
        self.bus, self.line = machine.dma_bytes_per_cycle, dram.burst_bytes
        self.read_floor = dram.read_latency / dram.outstanding_reads
        self.write_floor = dram.write_latency / dram.outstanding_writes
        self.latency = dram.read_latency

    # --- transfers ---

    def load(self, rows: float, bytes_: int) -> float:
        """Cycles to load `rows` rows of `bytes_` bytes."""
        return rows * self._row(bytes_, self.read_floor)

    def store(self, rows: float, bytes_: int) -> float:
        """Cycles to store `rows` rows of `bytes_` bytes."""
        return rows * self._row(bytes_, self.write_floor)

    def _row(self, bytes_: int, floor: float) -> float:
        whole, rest = divmod(bytes_, self.line)
        cycles = whole * max(self.line / self.bus, floor)
        return cycles + (max(ceil(rest / self.bus), floor) if rest else 0)

    # --- layers ---

    def layer(self, layer: Layer) -> tuple[float, float]:
        """(cycles, cycles of the array) of a layer."""
        if layer.kind == "add":
            rows = layer.outputs / self.line
            load, store = self.load(2 * rows, self.line), self.store(rows, self.line)
            return max(load, store) + self.latency, 0.0
        if layer.kind == "pool":
            load = self.load(layer.inputs / self.line, self.line)
            return load + self.store(layer.outputs / self.line, self.line) + self.latency, 0.0
        if layer.groups > 1:  # one convolution after another
            part = replace(
                layer, groups=1, channels=layer.channels // layer.groups,
                filters=layer.filters // layer.groups,
            )  # fmt: skip
            cycles, work = self.layer(part)
            return cycles * layer.groups, work * layer.groups
        tiles = self.product(layer) if layer.kernel == (1, 1) else self.convolution(layer)
        cycles = busy = first = last = 0.0
        for count, load, work, store in tiles:
            cycles += count * max(load, work, store)
            busy += count * work
            first, last = first or load, store or last
        return cycles + first + last + self.latency, busy

    def product(self, layer: Layer) -> Iterator[tuple[int, float, float, float]]:
        """(how many, load, array, store cycles) of the tiles of a matrix product."""
        size = self.block
        m = layer.batch * layer.out_height * layer.out_width
        dims = [ceil(n / size) for n in (m, layer.filters, layer.channels)]
        side = isqrt(self.acc_rows // size)
        depth = self.spad_rows // size // 2 // max(side, 1)
        tile: list[int] = [
            max(1, min(d, t)) for d, t in zip(dims, (side, side, depth), strict=True)
        ]
        while True:
            grown = False
            for axis in (1, 0, 2):
                more = [t + (i == axis) for i, t in enumerate(tile)]
                i, j, k = more
                fits = (i * k + k * j) * size <= self.spad_rows and i * j * size <= self.acc_rows
                if more[axis] <= dims[axis] and fits:
                    tile, grown = more, True
            if not grown:
                break
        parts = [_split(d, t) for d, t in zip(dims, tile, strict=True)]
        for (i, ni), (j, nj), (k, nk) in product(*parts):
            load = self.load(i * size, k * size) + self.load(k * size, j * size)
            work = i * j * k * size
            bias, store = self.load(i * size, 4 * j * size), self.store(i * size, j * size)
            yield ni * nj, load + bias, work, store if nk == 1 and k == dims[2] else 0.0
            if nk > 1 or k != dims[2]:
                yield ni * nj * (nk - 1), load, work, 0.0

    def convolution(self, layer: Layer) -> Iterator[tuple[int, float, float, float]]:
        """The same of a convolution."""
        most: Extents = (
            layer.batch, layer.out_height, layer.out_width, layer.filters, *layer.kernel,
            layer.channels,
        )  # fmt: skip
        tile = self._conv_tile(layer, most)
        parts = [_split(n, t) for n, t in zip(most, tile, strict=True)]
        size = self.block
        reductions = prod(sum(n for _, n in parts[i]) for i in (KERNEL_Y, KERNEL_X, CHANNELS))
        for combination in product(*parts):
            count = prod(n for _, n in combination)
            b, oh, ow, f, ky, kx, c = (extent for extent, _ in combination)
            ih, iw = (oh - 1) * layer.stride + ky, (ow - 1) * layer.stride + kx
            load = self.load(b * ih * iw, c) + self.load(ky * kx * c, f)
            blocks = ceil(f / size) * ceil(c / size) * ky * kx * b * oh
            work = blocks * sum(max(n, 4) * times for n, times in _split(ow, size))
            rows = b * oh * ow
            bias, store = self.load(rows, 4 * f), self.store(rows, f)
            yield count, load + bias / reductions, work, store / reductions

    def _conv_tile(self, layer: Layer, most: Extents) -> Extents:
        tile, size = list(most), self.block
        while not self._conv_fits(layer, tile):
            # columns stay as wide as the array while rows can be given up
            free = [
                i for i in range(7)
                if not (i == COLUMNS and tile[COLUMNS] <= size and tile[ROWS] > 1)
            ]  # fmt: skip
            axis = max(free, key=lambda i: (tile[i], -i))
            if tile[axis] == 1:
                break
            if axis in (FILTERS, CHANNELS):
                tile[axis] -= tile[axis] % size or size
                tile[axis] = max(1, tile[axis])
            else:
                tile[axis] -= 1
        for axes in ((COLUMNS,), range(7)):
            grown = True
            while grown:
                grown = False
                for axis in axes:
                    more = [t + (i == axis) for i, t in enumerate(tile)]
                    if more[axis] <= most[axis] and self._conv_fits(layer, more):
                        tile, grown = more, True
        return tuple(tile)

    def _conv_fits(self, layer: Layer, tile: Sequence[int]) -> bool:
        b, oh, ow, f, ky, kx, c = tile
        ih, iw = (oh - 1) * layer.stride + ky, (ow - 1) * layer.stride + kx
        size = self.block
        spad = ceil(c / size) * b * ih * iw + ceil(f / size) * ky * kx * c
        return spad <= self.spad_rows and ceil(f / size) * b * oh * ow <= self.acc_rows


def _split(extent: int, tile: int) -> list[tuple[int, int]]:
    """(extent, how many) of the parts of an extent in tiles: whole ones, then the rest."""
    whole, rest = divmod(extent, tile)
    return [p for p in ((tile, whole), (rest, 1)) if p[0] and p[1]]

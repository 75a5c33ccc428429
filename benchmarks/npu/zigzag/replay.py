"""A mapping of ZigZag's as a program of our instruction set, to be timed by our simulator.

Loops below the first point at which an operand goes to DRAM are a *block*; the loops above it step
from block to block.  Before a block the operands come in that changed since the block before, into
the other half of a double buffer (`loads`); outputs leave when nothing is added to them any more.

A block's inside is written as suits our array best, which holds a tile of weights and streams
positions: for each 32 output channels and as many rows of positions as half the accumulators take,
every tap and all input channels, then requantisation.  Our machine cannot change its weights every
cycle as ZigZag's registers do; the order inside does not change what goes to DRAM.

With `prefetch`, what a mapping keeps on chip for good comes in piece by piece in the order of use,
and the array starts when it has the first; without it, inputs are complete before it starts, as in
ZigZag's model.  Weights come in by output channels in both, for there ZigZag lets them give way.

    semaphores: W and I loaded -> matmul, half free -> load; sums complete -> vrequant, region free
    -> matmul; requantised -> store
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from tilewright.backends.npu.program import DecodedProgram, Instruction, Operand
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import CapacityError
from tilewright.dialects.npu.descriptors import Strided, TensorBox
from tilewright.dialects.npu.isa import BY_MNEMONIC, PARAM_DEFAULTS

from .cost import IRRELEVANT, Problem, settled
from .machine import Nest
from .ours import Run, run_of

W_IN, I_IN, W_FREE, I_FREE, SUMS, REGION, DONE, STAGE = range(8)
"""Semaphores."""
STAGES = 4
"""Tiles of finished outputs that wait to be stored."""
POSITIONS = (64, 128, 256, 1024)
"""Positions that a tile of weights serves in a row, where a block has so many."""
LIMIT = 50_000
"""Products of a replay at most: instructions are not looped."""
ARENA = 1 << 27
"""Bytes of DRAM that addresses lie in."""


@dataclass(frozen=True)
class Tile:
    """Extents of the loops that a part of a mapping covers."""

    K: int
    C: int
    OY: int
    OX: int
    FY: int
    FX: int

    @property
    def reduction(self) -> int:
        """Products in a sum."""
        return self.C * self.FY * self.FX


def _instruction(
    mnemonic: str, *operands: Operand, waits: Sequence[int] = (), signals: Sequence[int] = (),
    **params: int,
) -> Instruction:  # fmt: skip
    given = {p: params.get(p, PARAM_DEFAULTS.get(p, 0)) for p in BY_MNEMONIC[mnemonic].params}
    return Instruction(mnemonic, operands, given, tuple(waits), tuple(signals), words=8)


def _box(shape: tuple[int, ...], strides: tuple[int, ...]) -> Operand:
    n = len(shape)
    return Operand("dram", TensorBox(0, shape, strides, (0,) * n, (1,) * n, shape, ((),) * n))


def _chip(space: str, base: int, *dims: tuple[int, int]) -> Operand:
    return Operand(space, Strided(base, dims))


class _Program:
    """The program of one mapping, block by block."""

    def __init__(
        self, problem: Problem, nest: Nest, machine: Machine, prefetch: bool, positions: int
    ):  # fmt: skip
        self.problem, self.layer, self.machine = problem, problem.layer, machine
        self.loops, self.prefetch, self.positions = nest.loops, prefetch, positions
        if any(self.layer.dims.get(dim, 1) > 1 for dim in ("B", "G", "D")):
            raise CapacityError(f"{self.layer.name}: only one image and one group are replayed")
        cuts = settled(problem, nest)
        self.cut = {op: cuts[op][-2] for op in problem.operands}
        self.first = min(self.cut.values())
        self.block = self.tile(self.first)
        self.kept = {op: self.tile(self.cut[op]) for op in "WI"}
        self.halves = {op: 1 if self.cut[op] == len(self.loops) else 2 for op in "WI"}
        self.columns = machine.matrix.columns
        unrolled = [axis.get(d, 1) for d in ("FY", "FX") for axis in self.layer.unrolled.values()]
        half = len(unrolled) // 2
        self.at_once = {
            "FY": math.ceil(math.prod(unrolled[:half])), "FX": math.ceil(math.prod(unrolled[half:]))
        }  # fmt: skip
        # Inside a block, do output channels change less often than rows?
        order = [dim for dim, _ in self.loops[: self.first] if dim in ("K", "OY")]
        self.channels_outside = not order or order[-1] == "K"
        self.regions_used, self.stored = 0, 0
        self.out: list[Instruction] = []
        self.lay_out()

    def tile(self, cut: int) -> Tile:
        """What the unrolled loops and the first `cut` loops cover together."""
        sizes = dict[str, float]()
        for factors in (*self.layer.unrolled.values(), *({d: n} for d, n in self.loops[:cut])):
            for dim, steps in factors.items():
                sizes[dim] = sizes.get(dim, 1) * steps
        extents = {
            dim: min(math.ceil(sizes.get(dim, 1)), self.layer.dims.get(dim, 1))
            for dim in ("K", "C", "OY", "OX", "FY", "FX")
        }
        return Tile(**extents)

    def reach(self, output: str, outputs: int, taps: int, *, padded: bool) -> int:
        """Input indices along one side that outputs read; `padded`: beyond the edges too."""
        windows = [w for w in self.layer.windows.values() if w.output == output]
        if not windows:
            return outputs
        w = windows[0]
        span = (outputs - 1) * w.stride + (taps - 1) * w.dilation + 1
        return span if padded else w.size(outputs, taps)

    def stride(self, output: str) -> int:
        """Steps of the window along one side."""
        return next((w.stride for w in self.layer.windows.values() if w.output == output), 1)

    def lay_out(self) -> None:
        """Addresses and regions of sums; CapacityError if the mapping does not fit."""
        block, name = self.block, self.layer.name
        kinds = self.problem.kinds[self.problem.output]
        adding = [i for i, (dim, _) in enumerate(self.loops) if kinds[dim] == IRRELEVANT]
        self.adding = [i for i in adding if i >= self.first]
        rows_of_sums = self.machine.accumulator.bytes // (4 * self.columns)
        k_tiles = math.ceil(block.K / self.columns)
        half = rows_of_sums // 2
        self.rows = max(1, min(half // block.OX, math.ceil(self.positions / block.OX), block.OY))
        chunks = k_tiles * math.ceil(block.OY / self.rows)
        blocks = math.prod(n for _, n in self.loops[self.first :])
        taps = math.ceil(block.FY / self.at_once["FY"]) * math.ceil(block.FX / self.at_once["FX"])
        if blocks * chunks * taps > LIMIT:
            raise CapacityError(f"{name}: more than {LIMIT:,} products to replay")
        if self.adding:
            self.live = [i for i in range(self.first, self.adding[-1]) if i not in self.adding]
            self.regions = chunks * math.prod(self.loops[i][1] for i in self.live)
        else:
            self.regions = max(1, rows_of_sums // (self.rows * block.OX))
        self.region_bytes = self.rows * block.OX * 4 * self.columns
        if self.regions * self.region_bytes > self.machine.accumulator.bytes:
            raise CapacityError(f"{name}: the mapping's sums do not fit the accumulators")
        w, i = self.kept["W"], self.kept["I"]
        self.width = self.reach("OX", i.OX, i.FX, padded=True)
        height = self.reach("OY", i.OY, i.FY, padded=True)
        self.size = {"W": w.K * w.reduction, "I": height * self.width * i.C}
        self.base = {"W": 0, "I": self.halves["W"] * self.size["W"]}
        self.staging = self.base["I"] + self.halves["I"] * self.size["I"]
        self.stage = self.rows * block.OX * self.columns
        self.parameters = -(-(self.staging + STAGES * self.stage) // 64) * 64
        if self.parameters + 12 * self.columns > self.machine.scratchpad.bytes:
            raise CapacityError(f"{name}: the mapping does not fit the scratchpad")

    def rows_of_pieces(self) -> list[int]:
        """Rows of outputs that each piece of a load of inputs completes, the last all."""
        rows = self.kept["I"].OY
        if not self.prefetch or self.halves["I"] == 2:
            return [rows]
        return [*range(self.rows, rows, self.rows), rows]

    def load(self, op: str, half: int) -> list[Instruction]:
        """An operand's next tile: weights by output channels, inputs by rows."""
        tile, at = self.kept[op], self.base[op] + half * self.size[op]
        free, done = (W_FREE, W_IN) if op == "W" else (I_FREE, I_IN)
        boxes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        if op == "W":
            for start in range(0, tile.K, self.columns):
                count = min(self.columns, tile.K - start)
                boxes.append(((tile.reduction, count), (count, 1)))
        else:
            columns = self.reach("OX", tile.OX, tile.FX, padded=False)
            channels = self.layer.dims["C"]
            extents = [w.extent for w in self.layer.windows.values() if w.output == "OX"]
            before = 0
            for rows in self.rows_of_pieces():
                upto = self.reach("OY", rows, tile.FY, padded=False)
                shape = (max(upto - before, 1), columns, tile.C)
                boxes.append((shape, (max(extents, default=1) * channels, channels, 1)))
                before = upto
        loads: list[Instruction] = []
        for n, (shape, strides) in enumerate(boxes):
            dims = [(size, math.prod(shape[i + 1 :])) for i, size in enumerate(shape)]
            loads.append(
                _instruction(
                    "load", _box(shape, strides), _chip("spm", at, *dims),
                    waits=[free] if n == 0 else [], signals=[done], element=1,
                )
            )  # fmt: skip
        return loads

    def index(self, step: Sequence[int], dim: str, op: str) -> int:
        """Where along `dim` a block lies within what is kept of `op`."""
        at, size = 0, getattr(self.block, dim)
        for i in range(self.first, self.cut[op]):
            if self.loops[i][0] == dim:
                at += step[i - self.first] * size
                size *= self.loops[i][1]
        return at

    def within(self, step: Sequence[int], op: str, *, last: bool) -> bool:
        """Is a block the first (or last) of those that use what is kept of `op`?"""
        return all(
            step[i - self.first] == (self.loops[i][1] - 1 if last else 0)
            for i in range(self.first, self.cut[op])
        )

    def compute(self, step: Sequence[int], half: dict[str, int], got: dict[str, int]) -> None:
        """One block: each region of sums over all its taps and channels."""
        block, at_once = self.block, self.at_once
        taps = list(product(range(0, block.FY, at_once["FY"]), range(0, block.FX, at_once["FX"])))
        starts = [step[i - self.first] == 0 for i in self.adding]
        ends = [step[i - self.first] == self.loops[i][1] - 1 for i in self.adding]
        tiles = list(product(range(0, block.K, self.columns), range(0, block.OY, self.rows)))
        if not self.channels_outside:
            tiles.sort(key=lambda tile: tile[1])
        for number, (k, y) in enumerate(tiles):
            columns, rows = min(self.columns, block.K - k), min(self.rows, block.OY - y)
            region = self.region(step, number, len(tiles))
            waits = [REGION] if all(starts) else []
            need = {
                "W": math.ceil((self.index(step, "K", "W") + k + columns) / self.columns),
                "I": 1 + sum(
                    r < self.index(step, "OY", "I") + y + rows for r in self.rows_of_pieces()
                ),
            }  # fmt: skip
            for op, semaphore in (("W", W_IN), ("I", I_IN)):
                need[op] = min(need[op], self.pieces(op))
                waits += [semaphore] * max(0, need[op] - got[op])
                got[op] = max(got[op], need[op])
            for n, (fy, fx) in enumerate(taps):
                final = number == len(tiles) - 1 and n == len(taps) - 1
                signals = [SUMS] if all(ends) and n == len(taps) - 1 else []
                for op, semaphore in (("W", W_FREE), ("I", I_FREE)):
                    if final and self.within(step, op, last=True):
                        signals.append(semaphore)
                self.matmul(
                    (k, y, fy, fx), (rows, columns), region, half,
                    0 if all(starts) and n == 0 else -1, waits if n == 0 else [], signals,
                )  # fmt: skip
            if all(ends):
                self.finish(rows, columns, region)

    def pieces(self, op: str) -> int:
        """Loads that bring what is kept of `op`."""
        if op == "W":
            return math.ceil(self.kept["W"].K / self.columns)
        return len(self.rows_of_pieces())

    def region(self, step: Sequence[int], number: int, tiles: int) -> int:
        """Address of a region of sums: its own while loops outside add to it, else the next."""
        if not self.adding:
            self.regions_used += 1
            return self.regions_used % self.regions * self.region_bytes
        at = 0
        for i in reversed(self.live):
            at = at * self.loops[i][1] + step[i - self.first]
        return (at * tiles + number) * self.region_bytes

    def matmul(
        self, at: tuple[int, int, int, int], size: tuple[int, int], region: int,
        half: dict[str, int], overwrite: int, waits: list[int], signals: list[int],
    ) -> None:  # fmt: skip
        """All input channels of a block, of the taps unrolled over the array, into one region."""
        (k, y, fy, fx), (rows, columns), block = at, size, self.block
        channels = self.kept["I"].C
        taps = (min(self.at_once["FY"], block.FY - fy), min(self.at_once["FX"], block.FX - fx))
        weights = half["W"] * self.size["W"] + k * block.reduction
        weights += (fy * block.FX + fx) * block.C * columns
        line = self.width * channels
        inputs = self.base["I"] + half["I"] * self.size["I"]
        inputs += (y * self.stride("OY") + fy) * line + fx * channels
        self.out.append(
            _instruction(
                "matmul",
                _chip(
                    "spm", inputs, (rows, self.stride("OY") * line),
                    (block.OX, self.stride("OX") * channels),
                    (taps[0], line), (taps[1], channels), (block.C, 1),
                ),
                _chip(
                    "spm", weights, (taps[0], block.FX * block.C * columns),
                    (taps[1], block.C * columns), (block.C, columns), (columns, 1),
                ),
                _chip(
                    "acc", region, (rows, block.OX * 4 * self.columns),
                    (block.OX, 4 * self.columns), (columns, 4),
                ),
                waits=waits, signals=signals, m_rank=2, overwrite=overwrite,
            )
        )  # fmt: skip

    def finish(self, rows: int, columns: int, region: int) -> None:
        """Requantise and store a region of sums that is complete."""
        self.stored += 1
        base, wide = self.staging + self.stored % STAGES * self.stage, self.block.OX
        shape = (rows, wide, columns)
        dims = [(rows, wide * columns), (wide, columns), (columns, 1)]
        flat = [(rows, 0), (wide, 0), (columns, 4)]
        parameters = [_chip("spm", self.parameters + 4 * self.columns * i, *flat) for i in range(3)]
        sums = [(rows, wide * 4 * self.columns), (wide, 4 * self.columns), (columns, 4)]
        k, x = self.layer.dims["K"], self.layer.dims.get("OX", 1)
        self.out += [
            _instruction(
                "vrequant", _chip("acc", region, *sums), *parameters, _chip("spm", base, *dims),
                waits=[SUMS, STAGE], signals=[REGION, DONE], lo=-128, hi=127,
            ),
            _instruction(
                "store", _box(shape, (x * k, k, 1)), _chip("spm", base, *dims),
                waits=[DONE], signals=[STAGE], element=1,
            ),
        ]  # fmt: skip

    def emit(self) -> DecodedProgram:
        """The whole program; loads of a block stand before the computation of the one before."""
        outer = [range(n) for _, n in self.loops[self.first :]]
        half, used = {"W": 1, "I": 1}, {"W": 0, "I": 0}
        pending: tuple[tuple[int, ...], dict[str, int], set[str]] | None = None
        for backwards in product(*reversed(outer)):
            step = backwards[::-1]
            fresh = {op for op in "IW" if self.within(step, op, last=False)}
            half = {op: (half[op] + (op in fresh)) % self.halves[op] for op in half}
            first, inputs = (self.load(op, half[op]) if op in fresh else [] for op in "WI")
            # In the order of use: the first weights meet the first inputs.
            now = len(inputs) if self.channels_outside else 1
            self.out += [*first[:1], *inputs[:now], *first[1:], *inputs[now:]]
            if pending:
                used = {op: 0 if op in pending[2] else used[op] for op in used}
                self.compute(pending[0], pending[1], used)
            pending = step, dict(half), fresh
        assert pending is not None
        used = {op: 0 if op in pending[2] else used[op] for op in used}
        self.compute(pending[0], pending[1], used)
        semaphores = [0, 0, self.halves["W"], self.halves["I"], 0, self.regions, 0, STAGES]
        return DecodedProgram(tuple(semaphores), (*self.out, _instruction("halt")))


def replay(problem: Problem, nest: Nest, machine: Machine, *, prefetch: bool) -> Run:
    """A mapping on our machine, rows of positions as long as suits it best.

    CapacityError where the mapping cannot be expressed there.
    """
    runs: list[Run] = []
    for positions in POSITIONS:
        try:
            program = _Program(problem, nest, machine, prefetch, positions).emit()
        except CapacityError:
            if positions == POSITIONS[-1] and not runs:
                raise
            continue
        arena, consts = np.zeros(ARENA, np.uint8), np.zeros(0, np.uint8)
        result = simulate(program, machine, arena, consts, check=False, run=False, trace=True)
        runs.append(run_of(result))
    return min(runs, key=lambda run: run.cycles)

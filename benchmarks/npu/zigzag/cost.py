"""ZigZag's latency of a mapping, as pure functions: the cycles that its release 3.9.1 computes.

After the uniform latency model (L. Mei et al., DATE 2022), as the release applies it:

1. Every level of every operand is refilled once a *period*, the product of the loops up to its top;
   it receives what those loops touch.  Loops irrelevant to an operand just above a level's top do
   not change what it holds, and count as below it.
2. A transfer takes ceil(bits / bits of the port a cycle).  It may take the whole period where the
   level has room for two copies of what is being replaced (double buffering), else the period over
   the irrelevant loops at its top, after which the old contents are no longer used.
3. On a port alone, a movement stalls for (needed - allowed) * (periods - 1) cycles.  Movements that
   share a port also stall where together they need more than the union of their windows.  The array
   stalls for the worst port.
4. Before the first product the first contents of each level come in, after the last one results go
   out, level by level; what moves in one period only may give way to the idle time of its port
   during the computation, down to what the innermost level needs.
5. Along systolic dimensions of the array the last results leave a cycle per unit later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .machine import Architecture, Layer, Nest

RELEVANT, IRRELEVANT, PARTIAL = 0, 1, 2
Unrolled = Mapping[str, Mapping[str, float]]
"""Loops unrolled along each dimension of the array."""


@dataclass(frozen=True)
class Latency:
    """Cycles of a layer, by cause: `ideal` at full use of the array, `temporal` of this mapping's.

    `stall`, `onload`, `offload` and `drain` come on top of `temporal`.  `traffic`: cycles that the
    ports of the outermost memory move data.
    """

    ideal: int
    temporal: int
    stall: float
    onload: float
    offload: float
    drain: int
    traffic: int

    @property
    def cost(self) -> tuple[float, int]:
        """What a search minimises: the total, and among equals the traffic."""
        return self.total, self.traffic

    @property
    def total(self) -> float:
        """From the first load to the last result."""
        return self.temporal + self.stall + self.onload + self.offload + self.drain


@dataclass
class _Move:
    """A periodic transfer: cycles needed and allowed, its period, how often, average bits a cycle.

    `least`: cycles to move what the innermost level holds.
    """

    needed: int
    allowed: int
    period: int
    count: int
    average: int
    least: int


class Problem:
    """A layer on a machine, prepared for evaluating many mappings."""

    def __init__(self, machine: Architecture, layer: Layer):
        self.machine, self.layer = machine, layer
        self.operands = tuple(layer.operands)
        self.output, self.inputs = self.operands[0], self.operands[1:]
        self.levels = {op: machine.levels(op) for op in self.operands}
        self.kinds = {op: self._kinds(op) for op in self.operands}
        self.spread = {op: self._spread(op, layer.unrolled) for op in self.operands}
        whole: Unrolled = {
            axis: {dim: int(factor) for dim, factor in factors.items()}
            for axis, factors in layer.unrolled.items()
        }
        self.whole = {op: self._spread(op, whole) for op in self.operands}
        self.boost = {
            op: [round(self.elements(op, {}, high) / self.elements(op, {}, low))
                 for low, high in pairwise(self.whole[op])]
            for op in self.operands
        }  # fmt: skip
        self.spread_sums = self._unrolled_sums(layer.unrolled)
        self.whole_sums = self._unrolled_sums(whole)
        units = math.prod(machine.array.values())
        self.ideal = math.ceil(layer.macs / units)
        self.drain = sum(
            max(math.ceil(math.prod(layer.spatial[axis].values())) - 1, 0)
            for axis in machine.systolic
            if axis in layer.spatial
        )
        self.ports = [
            (port.bits, [
                (op, self.levels[op].index(i), move)
                for op, move in port.moves if op in self.operands
            ], len({op for op, _ in port.moves if op in ("I", "W")}) > 1)
            for i, memory in enumerate(machine.memories) for port in memory.ports
        ]  # fmt: skip
        last = len(machine.memories) - 1
        self.outermost = {
            (op, len(self.levels[op]) - 1, move)
            for port in machine.memories[last].ports
            for op, move in port.moves
            if op in self.operands
        }
        self.port_bits = {move: bits for bits, moves, _ in self.ports for move in moves}

    def _kinds(self, op: str) -> dict[str, int]:
        relevant = self.layer.operands[op]
        windows = [self.layer.windows[d] for d in relevant if d in self.layer.windows]
        partial = {dim for window in windows for dim in (window.output, window.tap)}
        return {
            dim: PARTIAL if dim in partial else RELEVANT if dim in relevant else IRRELEVANT
            for dim in self.layer.dims
        }

    def _spread(self, op: str, unrolled: Unrolled) -> list[Mapping[str, float]]:
        """For the array and then each level, the loops unrolled at or below it."""
        left, result = dict(unrolled), [dict[str, float]()]
        for index in self.levels[op]:
            below = dict(result[-1])
            for axis in self.machine.memories[index].serves:
                for dim, factor in left.pop(axis, {}).items():
                    below[dim] = below.get(dim, 1) * factor
            result.append(below)
        return list(result)

    def _unrolled_sums(self, unrolled: Unrolled) -> list[bool]:
        """For the array and then each level: are sums added up by units between it and the next?"""
        left, result = dict(unrolled), list[bool]()
        for index in self.levels[self.output]:
            between = [left.pop(axis, {}) for axis in self.machine.memories[index].serves]
            result.append(any(self._reduces(loops) for loops in between))
        return [*result, any(self._reduces(loops) for loops in left.values())]

    def _reduces(self, loops: Mapping[str, float]) -> bool:
        kinds = self.kinds[self.output]
        return any(kinds[dim] == IRRELEVANT and factor > 1 for dim, factor in loops.items())

    def elements(self, op: str, steps: Mapping[str, float], spread: Mapping[str, float]) -> float:
        """Elements of `op` that loops of so many `steps` touch, on top of unrolled ones."""
        layer, size = self.layer, 1.0
        for dim in layer.operands[op]:
            window = layer.windows.get(dim)
            if window is None:
                size *= steps.get(dim, 1) * spread.get(dim, 1)
            else:
                out, tap = window.output, window.tap
                size *= window.size(
                    int(steps.get(out, 1) * spread.get(out, 1)),
                    int(steps.get(tap, 1) * spread.get(tap, 1)),
                )
        return size


def settled(problem: Problem, nest: Nest) -> dict[str, tuple[int, ...]]:
    """Cuts with irrelevant loops just above a level moved below it; the last holds all loops."""
    result: dict[str, tuple[int, ...]] = {}
    for op in problem.operands:
        kinds, cuts = problem.kinds[op], list[int]()
        for cut in nest.cuts[op]:
            while cut < len(nest.loops) and kinds[nest.loops[cut][0]] == IRRELEVANT:
                cut += 1
            cuts.append(cut)
        result[op] = (*cuts, len(nest.loops))
    return result


class _Evaluation:
    """One mapping of a problem, step by step."""

    def __init__(self, problem: Problem, nest: Nest):
        self.problem, self.loops = problem, nest.loops
        self.cuts = settled(problem, nest)
        self.cycles = [1]
        for _, steps in nest.loops:
            self.cycles.append(self.cycles[-1] * steps)
        self.total = self.cycles[-1]
        self.whole = {op: self._contents(op, problem.whole[op]) for op in problem.operands}
        self.sums = self._partial(problem.whole_sums)
        self.moves = self._moves(self._doubled())

    def _contents(self, op: str, spread: Sequence[Mapping[str, float]]) -> list[int]:
        """Elements that the array and each level hold, in each unit."""
        steps, done, result = dict[str, int](), 0, [1]
        for cut, unrolled in zip(self.cuts[op], spread[1:], strict=True):
            for dim, size in self.loops[done:cut]:
                steps[dim] = steps.get(dim, 1) * size
            done = max(done, cut)
            result.append(round(self.problem.elements(op, steps, unrolled)))
        return result

    def _partial(self, unrolled: Sequence[bool]) -> list[bool]:
        """For the array and each level: are its outputs still to be added to above?"""
        kinds, cuts = self.problem.kinds[self.problem.output], self.cuts[self.problem.output]
        adds = [unrolled[0]]
        for level, (low, high) in enumerate(zip((0, *cuts), cuts, strict=False)):
            inside = any(kinds[dim] == IRRELEVANT for dim, _ in self.loops[low:high])
            adds.append(inside or unrolled[level + 1])
        return [any(adds[level + 1 :]) for level in range(len(adds))]

    def _bits(self, op: str, level: int, sums: Sequence[bool]) -> int:
        bits = self.problem.layer.bits
        return bits["final"] if op == self.problem.output and not sums[level] else bits[op]

    def _top(self, op: str, level: int, kind: int) -> int:
        """Steps of the loops of that kind right below the top of a level (0: the array)."""
        if level == 0:
            return 1
        cuts, kinds, steps = self.cuts[op], self.problem.kinds[op], 1
        low = cuts[level - 2] if level > 1 else 0
        for dim, size in reversed(self.loops[low : cuts[level - 1]]):
            if kinds[dim] != kind:
                break
            steps *= size
        return steps

    def _doubled(self) -> dict[str, list[bool]]:
        """For the array and each level, is there room for a second copy of what is replaced?"""
        problem = self.problem
        sums = self._partial(problem.spread_sums)
        alone: dict[tuple[str, int], float] = {}
        used: dict[int, float] = {}
        for op in problem.operands:
            contents = self._contents(op, problem.spread[op])
            for level, index in enumerate(problem.levels[op]):
                size = contents[level + 1] * self._bits(op, level + 1, sums)
                size //= self._top(op, level + 1, RELEVANT)
                alone[op, level] = size / problem.machine.memories[index].bits
                used[index] = used.get(index, 0) + alone[op, level]
        result: dict[str, list[bool]] = {}
        for op in problem.operands:
            result[op] = [False]
            for level, index in enumerate(problem.levels[op]):
                fits = used[index] <= 0.5
                if not fits and alone[op, level] <= 1 - used[index]:
                    fits = True
                    if len(problem.machine.memories[index].operands) > 1:
                        used[index] += alone[op, level]
                result[op].append(fits)
        return result

    def _moves(self, doubled: Mapping[str, Sequence[bool]]) -> dict[tuple[str, int, str], _Move]:
        problem, sums = self.problem, self.sums
        moves: dict[tuple[str, int, str], _Move] = {}
        for op in problem.operands:
            output = op == problem.output
            kept = 0
            while kept < len(self.loops) and problem.kinds[op][self.loops[kept][0]] == IRRELEVANT:
                kept += 1
            periods = [1 if output else self.cycles[kept], *(self.cycles[c] for c in self.cuts[op])]
            innermost = self.whole[op][1] * self._bits(op, 1, sums)
            for level in range(len(problem.levels[op])):
                top = level + 1 == len(problem.levels[op])
                for above in (False, True):
                    if above and top:
                        continue
                    at = level + above
                    partial = output and sums[at]
                    amount = self.whole[op][at] * (1 if above else problem.boost[op][at])
                    bits = problem.layer.bits[op]
                    held = self._bits(op, at, sums)
                    moved = bits if not output or partial else problem.layer.bits["final"]
                    rate = self.whole[op][at] * held / periods[at]
                    average = int(rate * (1 if above else problem.boost[op][at]))
                    window = periods[at]
                    if not doubled[op][at]:
                        window = int(window / self._top(op, at, IRRELEVANT))
                    names = ("fill", "emit") if above else ("feed", "collect")
                    for name in names:
                        forward = name in ("fill", "feed")
                        if (forward and output and not partial) or (not forward and not output):
                            continue
                        port = problem.port_bits.get((op, level, name))
                        if port is None:
                            continue
                        moves[op, level, name] = _Move(
                            math.ceil(amount * moved / port), window, periods[at],
                            self.total // periods[at], average, math.ceil(innermost / port),
                        )  # fmt: skip
        return moves

    def stall(self) -> int:
        """Cycles that the array waits for the port that keeps it waiting longest."""
        worst = 0
        for _, names, _ in self.problem.ports:
            moves = [self.moves[name] for name in names if name in self.moves]
            late = [(m.needed - m.allowed) * (m.count - 1) for m in moves]
            if len(moves) < 2:
                worst = max(worst, *late, 0)
                continue
            windows = sum(m.allowed * (m.count - 1) for m in moves)
            slack = sum(s for s in late if s < 0) + windows - self._union(moves)
            worst = max(worst, sum(s for s in late if s > 0) + max(0, slack))
        return worst

    def _union(self, moves: Sequence[_Move]) -> int:
        """Cycles in which some movement may run: each at the start of its periods."""
        if any(m.allowed == m.period for m in moves):
            return self.total
        return covered([(m.period, m.allowed) for m in moves], self.total)

    def boundary(self, stall: int) -> tuple[float, float]:
        """On-loading and off-loading cycles."""
        problem, output = self.problem, self.problem.output
        cycles: dict[tuple[str, int, str], tuple[float, bool]] = {}
        for bits, names, shared in problem.ports:
            once: list[tuple[str, int, str]] = []
            busy = 0
            for name in names:
                if name not in self.moves or (name[0] == output and name[2] in ("fill", "feed")):
                    continue
                move = self.moves[name]
                if move.count == 1:
                    once.append(name)
                else:
                    busy += move.average
                    cycles[name] = (move.needed, shared)
            spare = max(0.0, (bits - busy) / bits * (self.total + stall))
            for name in sorted(once, key=lambda n: -self.moves[n].needed):
                move = self.moves[name]
                given = min(max(0.0, move.needed - move.least), spare)
                spare -= given
                cycles[name] = (move.needed - given, shared)
        return self._onload(cycles), sum(
            max(cycles[output, level, "emit"][0], cycles[output, level + 1, "collect"][0])
            for level in range(len(problem.levels[output]) - 1)
        )

    def _onload(self, cycles: Mapping[tuple[str, int, str], tuple[float, bool]]) -> float:
        """Inputs come in side by side, but for ports that they share at both ends."""
        parts: list[tuple[float, float, float]] = []
        for op in self.problem.inputs:
            by_ends = [0.0, 0.0, 0.0]
            for level in range(len(self.problem.levels[op]) - 1):
                low, high = cycles[op, level, "fill"], cycles[op, level + 1, "feed"]
                ends = low[1] + high[1]
                # Half-shared links do not add up in the release.
                before = 0.0 if ends == 1 else by_ends[ends]
                by_ends[ends] = before + max(low[0], high[0])
            parts.append((by_ends[0], by_ends[1], by_ends[2]))
        if len(parts) == 1:
            return parts[0][0]
        (a0, a1, a2), (b0, b1, b2) = parts
        return min(a2 + max(b2 + b1 + b0, a1 + a0), b2 + max(a2 + a1 + a0, b1 + b0))


def covered(windows: Sequence[tuple[int, int]], total: int) -> int:
    """Cycles of `total` covered by (period, length) windows that start with each period.

    Periods divide each other and `total`.
    """
    ordered = sorted(windows)

    def up_to(count: int, end: int) -> int:
        """Cycles covered before `end` by the `count` windows of shortest period."""
        if count == 0:
            return 0
        period, length = ordered[count - 1]

        def within(limit: int) -> int:
            inside = min(limit, length)
            return inside + up_to(count - 1, limit) - up_to(count - 1, inside)

        whole, rest = divmod(end, period)
        return whole * within(period) + within(rest)

    return up_to(len(ordered), total)


def evaluate(problem: Problem, nest: Nest) -> Latency:
    """The latency of a mapping; its capacity is not checked (see `search.fits`)."""
    evaluation = _Evaluation(problem, nest)
    stall = evaluation.stall()
    onload, offload = evaluation.boundary(stall)
    traffic = sum(
        move.needed * move.count
        for name, move in evaluation.moves.items()
        if name in problem.outermost
    )
    return Latency(
        problem.ideal, evaluation.total, stall, onload, offload, problem.drain, traffic
    )  # fmt: skip

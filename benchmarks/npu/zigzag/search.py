"""Our search for a temporal mapping: orders of loops, factors split off them, and uneven cuts.

1. Loops that are relevant to the same operands form a group.  Every order of the groups, cut as
   high as capacities allow, is a start.
2. The best few starts climb: a loop moves, a prime factor is split off and moves, or a cut is
   shifted; the best step is taken until none is better.

ZigZag's own engine orders at most six factors, one per loop on large layers, and cuts each order to
move as little data as it can.  A level that holds less can be refilled while the array works, which
its latency model rewards; hence cuts are searched here.  Deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from tilewright.dialects.errors import CapacityError

from .cost import IRRELEVANT, Latency, Problem, evaluate
from .machine import Nest

STARTS = 3
"""Orders that climb."""

Loop = tuple[str, int]


@dataclass(frozen=True)
class Found:
    """The best mapping found, its latency, and how many mappings were looked at."""

    nest: Nest
    latency: Latency
    evaluated: int


def primes(number: int) -> list[int]:
    """Prime factors, smallest first."""
    factors: list[int] = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor = divisor + 1 if divisor * divisor <= number else max(number, divisor + 1)
    return factors


def fits(problem: Problem, nest: Nest) -> bool:
    """Does every memory hold what its operands keep there, once?

    Outputs count as partial sums where loops at that level or further out still add to them.
    """
    used: dict[int, float] = {}
    for op in problem.operands:
        for level, bits in enumerate(held_bits(problem, nest.loops, nest.cuts[op], op)):
            index = problem.levels[op][level]
            used[index] = used.get(index, 0) + bits
    return all(bits <= problem.machine.memories[i].bits for i, bits in used.items())


def held_bits(
    problem: Problem, loops: Sequence[Loop], cuts: Sequence[int], op: str
) -> Iterator[float]:
    """Bits of `op` in each of its levels but the outermost."""
    steps, done = dict[str, int](), 0
    for level, cut in enumerate(cuts):
        for dim, size in loops[done:cut]:
            steps[dim] = steps.get(dim, 1) * size
        bits = problem.layer.bits[op]
        if op == problem.output:
            kinds = problem.kinds[op]
            adds = any(kinds[dim] == IRRELEVANT for dim, _ in loops[done:])
            if not adds and not any(problem.spread_sums[level + 1 :]):
                bits = problem.layer.bits["final"]
        done = max(done, cut)
        yield bits * problem.elements(op, steps, problem.spread[op][level + 1])


def cut_high(problem: Problem, loops: tuple[Loop, ...]) -> Nest | None:
    """An order cut as high as its memories allow, operands that share one in turn; None if not."""
    cuts = {op: [0] * (len(problem.levels[op]) - 1) for op in problem.operands}

    def nest() -> Nest:
        return Nest(loops, {op: tuple(c) for op, c in cuts.items()})

    if not fits(problem, nest()):
        return None
    for level in range(max(map(len, cuts.values()))):
        growing = {op for op in problem.operands if level < len(cuts[op])}
        while growing:
            for op in sorted(growing):
                before = list(cuts[op])
                cuts[op][level:] = [cuts[op][level] + 1] * (len(before) - level)
                if cuts[op][level] > len(loops) or not fits(problem, nest()):
                    cuts[op] = before
                    growing.remove(op)
    return nest()


def starts(problem: Problem) -> list[Nest]:
    """Orders of the groups of loops that are relevant to the same operands."""
    groups: dict[tuple[int, ...], list[Loop]] = {}
    for dim, steps in problem.layer.temporal.items():
        kinds = tuple(problem.kinds[op][dim] for op in problem.operands)
        groups.setdefault(kinds, []).append((dim, steps))
    found = [
        nest
        for order in permutations(groups.values())
        if (nest := cut_high(problem, tuple(loop for group in order for loop in group)))
    ]
    if not found:
        raise CapacityError(f"{problem.layer.name}: nothing fits {problem.machine.name}")
    return found


def lowered(problem: Problem, nest: Nest) -> Nest | None:
    """The same with each operand's cuts lowered until memories hold what is kept."""
    while not fits(problem, nest):
        over = [op for op in problem.operands if any(nest.cuts[op])]
        if not over:
            return None
        sizes = {
            op: max(held_bits(problem, nest.loops, nest.cuts[op], op), default=0) for op in over
        }
        op = max(over, key=lambda o: sizes[o])
        top = max(nest.cuts[op])
        cuts = tuple(min(cut, top - 1) for cut in nest.cuts[op])
        nest = Nest(nest.loops, {**nest.cuts, op: cuts})
    return nest


def neighbours(problem: Problem, nest: Nest) -> Iterator[Nest]:
    """Mappings one step away, cuts lowered where they have become too high."""
    loops, cuts = nest.loops, nest.cuts
    for op in problem.operands:
        for level, cut in enumerate(cuts[op]):
            for other in range(len(loops) + 1):
                if other != cut:
                    moved = [*cuts[op]]
                    moved[level] = other
                    moved[:level] = [min(c, other) for c in moved[:level]]
                    moved[level + 1 :] = [max(c, other) for c in moved[level + 1 :]]
                    changed = Nest(loops, {**cuts, op: tuple(moved)})
                    if fits(problem, changed):
                        yield changed
    for at, (_, size) in enumerate(loops):
        for factor in dict.fromkeys([size, *primes(size), *(size // p for p in primes(size))]):
            if factor == 1:
                continue
            for to in range(len(loops) + 1):
                if to in (at, at + 1) and factor == size:
                    continue
                changed = lowered(problem, moved_loop(nest, at, factor, to))
                if changed is not None:
                    yield changed


def moved_loop(nest: Nest, at: int, factor: int, to: int) -> Nest:
    """`factor` of the loop at `at` moved to before what is now at `to`; cuts keep their loops."""
    dim, size = nest.loops[at]
    rest = size // factor
    pieces: list[tuple[Loop, float]] = []
    for i, loop in enumerate(nest.loops):
        if i == to:
            pieces.append(((dim, factor), to - 0.5))
        if i != at:
            pieces.append((loop, i))
        elif rest > 1:
            pieces.append(((dim, rest), i))
    if to == len(nest.loops):
        pieces.append(((dim, factor), to - 0.5))
    places = [place for _, place in pieces]
    cuts = {
        op: tuple(sum(place < cut for place in places) for cut in old)
        for op, old in nest.cuts.items()
    }
    return merged(Nest(tuple(loop for loop, _ in pieces), cuts))


def merged(nest: Nest) -> Nest:
    """Neighbouring loops over one dimension joined, where no cut parts them."""
    loops: list[Loop] = []
    parted = {cut for cuts in nest.cuts.values() for cut in cuts}
    place = [0]
    for i, (dim, size) in enumerate(nest.loops):
        if loops and loops[-1][0] == dim and i not in parted:
            loops[-1] = (dim, loops[-1][1] * size)
        else:
            loops.append((dim, size))
        place.append(len(loops))
    return Nest(
        tuple(loops), {op: tuple(place[cut] for cut in cuts) for op, cuts in nest.cuts.items()}
    )


def search(problem: Problem) -> Found:
    """The fastest mapping found, of those the one that moves least; CapacityError without any."""
    seen: dict[object, tuple[Nest, Latency]] = {}

    def cost(nest: Nest) -> tuple[float, int]:
        key = (nest.loops, *nest.cuts.values())
        if key not in seen:
            seen[key] = (nest, evaluate(problem, nest))
        return seen[key][1].cost

    climbing = sorted(starts(problem), key=cost)[:STARTS]
    for nest in climbing:
        while True:
            better = min(neighbours(problem, nest), key=cost, default=nest)
            if cost(better) >= cost(nest):
                break
            nest = better
    best, latency = min(seen.values(), key=lambda pair: pair[1].cost)
    return Found(best, latency, len(seen))

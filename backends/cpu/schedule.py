"""How a nest is run: vector dimension, register block, loop order; by a small cost model.

* The **vector** dimension is the one whose accesses are cheapest in lanes: unit stride is one load,
  invariant one broadcast, anything else a gather.  A parallel dimension vectorises the result; a
  reduction dimension (dot products, row sums) keeps vector accumulators, added up at the end.
* **Blocks** jam a few points of one or two parallel dimensions into the innermost loop, so that
  a load serves several multiply-adds and accumulators hide their latency.  Extents need not divide:
  the last block is moved back and computes some points twice.
* **Order**: parallel loops by falling output stride, the jammed ones innermost; the vector loop
  where that reads the fewest bytes from afar; then reductions, the contiguous one innermost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, prod

from .nest import Access, Nest, Program

CHEAP = frozenset(
    (
        "identity",
        "add",
        "sub",
        "mul",
        "minimum",
        "maximum",
        "relu",
        "clip",
        "neg",
        "abs",
        "select",
        "widen",
        "cast",
        "equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "and",
        "or",
        "xor",
        "not",
        "leaky_relu",
        "hard_sigmoid",
        "hard_swish",
    )
)
"""Functions of one to four instructions."""

LIBM = frozenset(
    (
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "asinh",
        "acosh",
        "atanh",
        "pow",
        "mod",
    )
)
"""Functions computed lane by lane."""


@dataclass(frozen=True)
class Vectors:
    """The machine's vectors: f32 lanes in a register, and how many accumulators to keep."""

    lanes: int = 8
    accumulators: int = 12


VARIANTS = (Vectors(8, 12), Vectors(16, 20))
"""256-bit vectors with 16 registers (the default), and 512-bit vectors with 32."""


VARIANT_MARK = "; ---- tilewright module for "


def variant_header(machine: Vectors) -> str:
    """The line before the module of one variant."""
    return f"{VARIANT_MARK}{machine.lanes} lanes\n"


@dataclass(frozen=True)
class Schedule:
    """Loop order (outer to inner, parallel first), vector dimension and block sizes.

    `blocks[d]` is in points; for the vector dimension in vectors of `lanes`.  `unroll` is
    the number of steps of the innermost reduction in one iteration.
    """

    order: tuple[int, ...]
    vector: int | None
    lanes: int
    blocks: dict[int, int] = field(default_factory=dict[int, int])
    unroll: int = 1


def schedule(nest: Nest, machine: Vectors) -> Schedule:
    """The schedule of a simplified nest."""
    parallel = [d for d in range(len(nest.sizes)) if d not in nest.reduced]
    widest = _lanes(nest, machine)
    vector = _vector_dimension(nest, parallel, widest)
    lanes = 1 if vector is None else min(widest, _floor_power(nest.sizes[vector]))
    if nest.aliased:
        blocks: dict[int, int] = {}
    elif nest.reduced:
        blocks = _register_block(nest, parallel, vector, lanes, machine)
    else:
        blocks = _elementwise_block(nest, parallel, vector, lanes)
    order = _parallel_order(nest, parallel, vector, blocks, lanes)
    reductions = sorted(
        nest.reduced,
        key=lambda d: (d == vector, -max((abs(a.strides[d]) for a in nest.accesses), default=0)),
    )
    unroll = _unroll(nest, reductions, vector, blocks)
    return Schedule((*order, *reductions), vector, lanes, blocks, unroll)


def _floor_power(n: int) -> int:
    return 1 << (n.bit_length() - 1) if n else 1


def _lanes(nest: Nest, machine: Vectors) -> int:
    """Lanes such that the widest value (64-bit intermediates aside) fills one register."""
    bits = {a.type.bits for a in nest.accesses} | {nest.body.type.bits}
    for program in (nest.body, nest.epilogue):
        bits |= {s.type.bits for s in program.steps} if program else set[int]()
    narrow = [b for b in bits if b <= 32]
    return machine.lanes * 32 // max(8, *narrow) if narrow else machine.lanes


def _work(program: Program | None, lanes: int) -> float:
    """Instructions a point of a scalar program."""
    total = 0.0
    for step in program.steps if program else ():
        name = step.payload[0]
        if step.op == "extract":
            total += 3
        elif step.op == "apply":
            total += 1.5 / lanes if name in CHEAP else 40 if name in LIBM else 20 / lanes
    return total


def _touch(access: Access, d: int | None, lanes: int) -> float:
    """Instructions a point to read or write one access with `d` in lanes."""
    if d is None:
        return 1.0
    stride = access.strides[d]
    return {0: 1.0, 1: 1.0, -1: 2.0}.get(stride, 1.5 * lanes) / lanes


def _windowed(nest: Nest) -> frozenset[int]:
    """Dimensions of bound conditions on several dimensions, decided point by point."""
    return frozenset(
        d for a in nest.accesses for c in a.conditions if len(c.dims) > 1 for d in c.dims
    )


def _vector_dimension(nest: Nest, parallel: list[int], widest: int) -> int | None:
    steps = prod(nest.sizes[d] for d in nest.reduced)
    ins, rest = nest.accesses[: nest.num_ins], nest.accesses[nest.num_ins :]
    checked = {d for a in nest.accesses for c in a.conditions for d in c.dims}
    best, chosen = float("inf"), None
    candidates: list[int | None] = [None, *(d for d in parallel if d not in _windowed(nest))]
    if not nest.accumulate:
        candidates += [d for d in sorted(nest.reduced) if d not in checked]
    for d in candidates:
        size = 1 if d is None else nest.sizes[d]
        lanes = min(widest, _floor_power(size))
        if d is not None and lanes == 1:
            continue
        cost = steps * (sum(_touch(a, d, lanes) for a in ins) + _work(nest.body, lanes) + 1 / lanes)
        if d in nest.reduced:
            cost += 12 + len(rest) + _work(nest.epilogue, 1)
        else:
            cost += sum(_touch(a, d, lanes) for a in rest) + _work(nest.epilogue, lanes)
            cost *= ceil(size / lanes) * lanes / size
        if cost < best * 0.999:
            best, chosen = cost, d
    return chosen


def _register_block(
    nest: Nest, parallel: list[int], vector: int | None, lanes: int, machine: Vectors
) -> dict[int, int]:
    """Block of at most `accumulators` results that minimises modelled cycles."""
    steps = prod(nest.sizes[d] for d in nest.reduced)
    ins = nest.accesses[: nest.num_ins]
    epilogue = 2 + _work(nest.epilogue, 1)
    best, chosen = float("inf"), dict[int, int]()
    for block in _blocks(nest, parallel, vector, lanes, machine.accumulators):
        results = prod(block.values())
        loads = sum(prod(n for d, n in block.items() if a.strides[d]) for a in ins)
        cycles = max(results / 2, loads / 2, (results + loads + 3) / 4, 4 if steps > 8 else 2)
        runs = 1
        for d in parallel:
            unit = lanes if d == vector else 1
            runs *= ceil(nest.sizes[d] / (block.get(d, 1) * unit))
        cost = runs * (steps * cycles + epilogue * results + 8)
        if cost < best * 0.999:
            best, chosen = cost, block
    return chosen


def _blocks(
    nest: Nest, parallel: list[int], vector: int | None, lanes: int, limit: int
) -> Iterator[dict[int, int]]:
    """Blocks of up to two dimensions, small ones first."""
    first = [vector] if vector in parallel else parallel
    ins = nest.accesses[: nest.num_ins]
    near = sorted(parallel, key=lambda d: max((abs(a.strides[d]) for a in ins), default=0))
    yield {}
    for a in first:
        points = nest.sizes[a] // lanes if a == vector else nest.sizes[a]
        for na in range(1, min(max(points, 1), 4) + 1):
            yield {a: na}
            for b in near:  # of equal ones, the nearest in memory
                if b != a:
                    for nb in range(2, min(nest.sizes[b], limit // na) + 1):
                        yield {a: na, b: nb}


def _elementwise_block(
    nest: Nest, parallel: list[int], vector: int | None, lanes: int
) -> dict[int, int]:
    """A few vectors an iteration for short bodies; square tiles for transposing copies."""
    if vector is None or not parallel:
        return {}
    for access in nest.accesses[: nest.num_ins]:
        if access.strides[vector] not in (0, 1, -1):
            along = [d for d in parallel if access.strides[d] == 1 and nest.sizes[d] >= 4]
            if along:
                return {along[0]: min(8, nest.sizes[along[0]])}
    room = max(nest.sizes[vector] // lanes, 1)
    return {vector: min(room, 4 if _work(nest.body, lanes) * lanes <= 4 else 1)}


def _parallel_order(
    nest: Nest, parallel: list[int], vector: int | None, blocks: dict[int, int], lanes: int
) -> list[int]:
    """Outer to inner; the vector loop goes outermost when that streams fewer bytes."""
    inner = [d for d in blocks if d != vector] + ([vector] if vector in parallel else [])
    outer = [d for d in parallel if d not in inner]
    outer.sort(key=lambda d: -abs(nest.output.strides[d]))
    order = outer + inner
    if not nest.reduced or vector not in parallel or len(order) < 2:
        return order

    ins = nest.accesses[: nest.num_ins]
    rows = [d for d in order if d != vector]
    trips = {
        d: ceil(nest.sizes[d] / (blocks.get(d, 1) * (lanes if d == vector else 1))) for d in order
    }

    def footprint(over: list[int], varies: bool) -> int:
        """Bytes that operands which do (not) vary along the vector touch over `over`."""
        dims = [*over, *nest.reduced]
        return sum(
            a.type.bytes * prod(nest.sizes[d] for d in dims if a.strides[d])
            for a in ins
            if bool(a.strides[vector]) == varies
        )

    def cost(at: int) -> float:
        """Modelled traffic with the vector loop before `rows[at]`."""
        outside, inside = rows[:at], rows[at:]
        again, block = prod(trips[d] for d in outside), prod(trips[d] for d in inside)
        columns = footprint([vector], True)
        panel, shared = columns // trips[vector], footprint(inside, False)
        reads = panel * _distance(columns) + (block - 1) * panel * _distance(panel)
        return again * trips[vector] * (shared * _distance(shared) + reads)

    best = min(range(len(rows) + 1), key=lambda at: (cost(at), -at))
    return [*rows[:best], vector, *rows[best:]]


def _distance(bytes: int) -> float:
    """Cost a byte of reading so many again: nearly free from the first cache."""
    return 0.1 if bytes < 1 << 14 else 1.0 if bytes < 1 << 19 else 3.0


def _unroll(nest: Nest, reductions: list[int], vector: int | None, blocks: dict[int, int]) -> int:
    """Steps of the innermost reduction in one iteration: a divisor, at most 48 results at once."""
    if not reductions:
        return 1
    results, last = prod(blocks.values()), reductions[-1]
    if last == vector:
        return 1
    size = nest.sizes[last]
    return next(
        (
            n
            for n in (9, 8, 7, 6, 5, 4, 3, 2)
            if size % n == 0 and n * results <= 48 and (n <= 4 or n == size)
        ),
        1,
    )

"""The loops of one nest: LLVM IR of a kernel from a nest and its schedule.

Parallel loops walk blocks; inside them the accumulators of one block live in SSA values carried by
the reduction loops; then the epilogue runs and results are stored.  Extents that blocks do not
divide end in a block moved back over points already computed, so that there is one copy of the
code; where the output may overlap an operand, scalar remainder loops run instead.

Reads outside an operand that depend on one dimension split that dimension's loop into ranges that
are wholly inside or outside (where the operand is its fill value); others are decided point by
point (`points`).

A kernel takes one base pointer an access (ins, epilogue ins, output), then the captured sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from math import prod

from .llvm_text import I32, Function, Index, Type, Value, constant
from .nest import Nest
from .pairs import dot, interleaved, paired
from .points import Point, Points
from .scalar_emit import emit
from .scalars import cast, extreme, truth
from .schedule import Schedule

CASCADE = 512
"""Terms a floating-point sum adds up at a time, so that its error grows with the square root."""


def identity(kind: str, type: Type) -> Value:
    """The value a reduction starts from."""
    if kind in ("max", "min"):
        sign = -1 if kind == "max" else 1
        if type.is_float:
            return constant(sign * float("inf"), type)
        if type.is_bool or type.kind == "u":
            return constant(0 if kind == "max" else (1 << type.bits) - 1, type)
        return constant(
            -(1 << (type.bits - 1)) if kind == "max" else (1 << (type.bits - 1)) - 1, type
        )
    return constant({"add": 0, "or": 0, "mul": 1, "and": 1}[kind], type)


def combine(f: Function, kind: str, a: Value, b: Value) -> Value:
    """One step of a reduction."""
    if kind in ("max", "min"):
        return extreme(f, b, a, kind == "max")
    if kind in ("or", "and"):
        return cast(f, f.binary(kind, truth(f, a), truth(f, b)), a.type)
    return emit(f, kind, [a, b], {}, a.type)


def emit_kernel(name: str, nest: Nest, plan: Schedule) -> Function:
    """The kernel of a simplified nest."""
    count = len(nest.accesses)
    names = [f"p{i}" for i in range(count)] + [f"s{i}" for i in range(len(nest.sources))]
    f = Function(name, names, "internal")
    if all(nest.sizes[d] for d in range(len(nest.sizes)) if d not in nest.reduced):
        _Kernel(f, nest, plan).run()
    return f


def _zeros(like: list[Value]) -> list[Value]:
    return [constant(0, v.type) for v in like]


class _Kernel(Points):
    """The loops around the points."""

    def __init__(self, f: Function, nest: Nest, plan: Schedule) -> None:
        super().__init__(f, nest, plan)
        self.parallel = [d for d in plan.order if d not in nest.reduced]
        self.reductions = [d for d in plan.order if d in nest.reduced]
        self.cascades = nest.reduce == "add" and nest.body.type.kind == "f"
        self.pairs = paired(nest, plan.vector, self.reductions[-1]) if self.reductions else None

    def run(self) -> None:
        """Emit everything; sums of floats run with denormals as zero (see `support`)."""
        if self.nest.reduce == "add" and self.nest.body.type.is_float:
            mode = self.f.op("call i32 @tw_flush()")
            self._parallel(0)
            self.f.effect(f"call void @tw_restore(i32 {mode})")
        else:
            self._parallel(0)

    # --- parallel loops ---
    def _parallel(self, level: int) -> None:
        if level == len(self.parallel):
            self._results()
            return
        d, before = self.parallel[level], (self.lanes, self.outside)
        for low, high, outside in self._ranges(d):
            self.outside = before[1] | outside
            for first, last, points in self._split(d, low, high):
                self.block[d] = points
                step = points * (self.lanes if d == self.plan.vector else 1)
                with self.f.loop(first, last, step) as loop:
                    at = (
                        self.f.minimum(loop.index, last - step)
                        if (last - first) % step
                        else loop.index
                    )
                    self.enter(d, at, loop.index)
                    self._parallel(level + 1)
                    self.leave()
                self.lanes = before[0]
        self.outside = before[1]
        self.block[d] = 1

    def _split(self, d: int, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """(first, last, block) of loops that cover [low, high); sets `lanes` along the vector."""
        wanted = self.plan.blocks.get(d, 1)
        if d != self.plan.vector:
            yield low, high, min(wanted, high - low)
            return
        if self.nest.aliased:
            whole = low + (high - low) // self.lanes * self.lanes
            if whole > low:
                yield low, whole, 1
            if whole < high:
                self.lanes = 1
                yield whole, high, 1
            return
        while self.lanes > high - low:
            self.lanes //= 2
        yield low, high, min(wanted, (high - low) // self.lanes)

    def _ranges(self, d: int) -> list[tuple[int, int, set[int]]]:
        """Ranges of dimension `d` with the accesses that are outside in each."""
        size = self.nest.sizes[d]
        spans = [
            (i, *c.inside(size))
            for i, a in enumerate(self.nest.accesses)
            for c in a.conditions
            if c.dims == (d,)
        ]
        cuts = sorted({0, size} | {c for _, low, high in spans for c in (low, high)})
        return [
            (a, b, {i for i, low, high in spans if not low <= a < high}) for a, b in pairwise(cuts)
        ]

    # --- one block ---
    def _points(self) -> list[Point]:
        dims = list(self.parallel)
        units = [self.lanes if d == self.plan.vector else 1 for d in dims]
        ranges = [range(0, self.block[d] * u, u) for d, u in zip(dims, units, strict=True)]
        return [dict(zip(dims, offsets, strict=True)) for offsets in product(*ranges)]

    def _results(self) -> None:
        points, nest = self._points(), self.nest
        if nest.reduced:
            values = self._reduced(points)
        else:
            values = [
                self.evaluate(nest.body, [self.load(i, p) for i in range(nest.num_ins)], p)
                for p in points
            ]
        for point, value in zip(points, values, strict=True):
            if nest.epilogue is not None:
                rest = range(nest.num_ins, len(nest.accesses) - 1)
                value = self.evaluate(
                    nest.epilogue, [value, *(self.load(i, point) for i in rest)], point
                )
            self.store(value, point)

    def _reduced(self, points: list[Point]) -> list[Value]:
        """The reductions of one block's points."""
        nest, f = self.nest, self.f
        type, kind = nest.body.type, nest.reduce
        across = self.plan.vector is not None and self.plan.vector in nest.reduced
        width = 1 if across else self.width()
        first = [
            self.load(len(nest.accesses) - 1, p)
            if nest.accumulate
            else identity(kind, type.wide(width))
            for p in points
        ]
        if any(nest.sizes[d] == 0 for d in nest.reduced):
            return first
        if not across:
            return self._reduce(0, points, first)
        partial = [identity(kind, type.wide(self.lanes)) for _ in points]
        values = self._reduce(0, points, [*partial, *first])
        return [
            combine(f, kind, self._horizontal(v), rest)
            for v, rest in zip(values[: len(points)], values[len(points) :], strict=True)
        ]

    def _horizontal(self, value: Value) -> Value:
        """All lanes combined, by halves."""
        while (lanes := value.type.lanes) > 1:
            halves = [self.f.shuffle(value, range(k, k + lanes // 2)) for k in (0, lanes // 2)]
            if lanes == 2:
                halves = [self.f.lane(value, k) for k in (0, 1)]
            value = combine(self.f, self.nest.reduce, halves[0], halves[1])
        return value

    def _reduce(self, level: int, points: list[Point], carried: list[Value]) -> list[Value]:
        """Loops of reduction dimensions from `level` inwards; the values after them."""
        if level == len(self.reductions):
            return self._step(points, carried)
        d, before = self.reductions[level], self.outside
        innermost = level == len(self.reductions) - 1
        for low, high, outside in self._ranges(d):
            self.outside = before | outside
            if d == self.plan.vector:
                whole, lanes = high - (high - low) % self.lanes, self.lanes
                parts = [(low, whole, lanes), (whole, high, 1)]
            elif innermost and self.pairs is not None:
                whole = high - (high - low) % 2
                step = 4 if (whole - low) % 4 == 0 else 2
                parts = [(low, whole, step), (whole, high, 1)]
            elif innermost and (high - low) % self.plan.unroll == 0:
                parts = [(low, high, self.plan.unroll)]
            else:
                parts = [(low, high, 1)]
            for first, last, step in parts:
                if innermost and self.cascades and last - first > 2 * CASCADE:
                    first, carried = self._cascade(level, points, (first, last, step), carried)
                if first < last:
                    carried = self._span(level, points, (first, last, step), carried)
        self.outside = before
        return carried

    def _cascade(
        self, level: int, points: list[Point], span: tuple[int, int, int], carried: list[Value]
    ) -> tuple[int, list[Value]]:
        """Most of a long sum in partial sums of `CASCADE` terms: its end, the values."""
        first, last, step = span
        chunk = CASCADE // step * step
        whole = first + (last - first) // chunk * chunk
        with self.f.loop(first, whole, chunk, carried) as loop:
            partial = self._span(level, points, (0, chunk, step), _zeros(carried), loop.index)
            loop.results = self._sums(loop.carried, partial)
        return whole, loop.results

    def _sums(self, a: list[Value], b: list[Value]) -> list[Value]:
        return [self.f.binary("fadd", x, y) for x, y in zip(a, b, strict=True)]

    def _span(
        self,
        level: int,
        points: list[Point],
        span: tuple[int, int, int],
        carried: list[Value],
        base: Index = 0,
    ) -> list[Value]:
        """One loop of a reduction dimension over `span` (first, last, step), from `base`."""
        d, (first, last, step) = self.reductions[level], span
        innermost = level == len(self.reductions) - 1
        with self.f.loop(first, last, step, carried) as loop:
            self.enter(d, self.f.add(base, loop.index))
            values = loop.carried
            if d == self.plan.vector:
                values = self._across(points, values, step)
            elif innermost and self.pairs is not None and step > 1:
                for offset in range(0, step, 2):
                    values = self._pair([{**p, d: offset} for p in points], d, values)
            elif not innermost and self.cascades and self._terms(level + 1) >= CASCADE:
                values = self._sums(values, self._reduce(level + 1, points, _zeros(values)))
            else:
                for offset in range(step):
                    shifted = [{**p, d: offset} for p in points] if step > 1 else points
                    values = self._reduce(level + 1, shifted, values)
            self.leave()
            loop.results = values
        return loop.results

    def _terms(self, level: int) -> int:
        """Points of the reduction dimensions from `level` inwards."""
        return prod(self.nest.sizes[d] for d in self.reductions[level:])

    def _pair(self, points: list[Point], d: int, carried: list[Value]) -> list[Value]:
        """Two steps of a sum of 8-bit products (see `pairs`)."""
        assert self.pairs is not None
        (row, zero_point), f, out = self.pairs, self.f, list[Value]()
        access = self.nest.accesses[row]
        for point, acc in zip(points, carried, strict=True):
            if acc.type.lanes == 1:
                out.append(self._step([{**point, d: point[d] + 1}], self._step([point], [acc]))[0])
                continue
            offset = sum(point[k] * access.strides[k] for k in point)
            both = f.op(
                f"load i32, ptr {f.address(self.pointers[row], offset, access.type)}, align 2"
            )
            rows = [self.load(1 - row, {**point, d: point[d] + k}) for k in (0, 1)]
            out.append(dot(f, acc, Value(both, I32), interleaved(f, rows[0], rows[1], zero_point)))
        return out

    def _across(self, points: list[Point], carried: list[Value], step: int) -> list[Value]:
        """A step along the vector dimension: of the vector accumulators, or of the scalar rest."""
        count, lanes = len(points), self.lanes
        if step == 1:
            self.lanes = 1
            values = [*carried[:count], *self._step(points, carried[count:])]
            self.lanes = lanes
            return values
        return [*self._step(points, carried[:count]), *carried[count:]]

    def _step(self, points: list[Point], carried: list[Value]) -> list[Value]:
        """Combine the body's value into each accumulator; multiply-adds of floats are fused."""
        nest, f = self.nest, self.f
        last = nest.body.applied(nest.body.result)
        fused = (
            nest.reduce == "add"
            and last is not None
            and last.op == "apply"
            and last.payload[0] == "mul"
            and last.type.kind == "f"
            and last.type.bits >= 32
        )
        out: list[Value] = []
        for point, acc in zip(points, carried, strict=True):
            args = [self.load(i, point) for i in range(nest.num_ins)]
            if fused and last is not None:
                values = self.values(nest.body, args, point, len(nest.body.steps) - 1)
                a, b = (f.broadcast(values[k], acc.type.lanes) for k in last.args)
                out.append(f.intrinsic("fmuladd", a, b, acc))
            else:
                value = f.broadcast(self.evaluate(nest.body, args, point), acc.type.lanes)
                out.append(combine(f, nest.reduce, acc, value))
        return out

"""The loops of one nest: LLVM IR of a kernel from a nest and its schedule.

Parallel loops walk blocks; inside them the accumulators of one block live in SSA values carried by
the reduction loops; then the epilogue runs and results are stored.  Extents that blocks do not
divide end in a block moved back over points already computed, so that there is one copy of the
code; where the output may overlap an operand, scalar remainder loops run instead.

Reads outside an operand that depend on one dimension split that dimension's loop into ranges that
are wholly inside or outside (where the operand is its fill value); others are decided by a
predicate, loading from the operand's start when outside.

A kernel takes one base pointer an access (ins, epilogue ins, output), then the captured sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

from ...dialects.loop import row_major_strides
from .llvm_text import I32, I64, Function, Index, Type, Value, constant
from .nest import Access, Nest, Program, Step, parameters
from .pairs import dot, interleaved, paired
from .scalar_emit import emit
from .scalars import cast, clamp, extreme, truth
from .schedule import Schedule

Point = dict[int, int]
"""Offsets of one result of a block from the block's start, by dimension."""


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


class _Kernel:
    """Emission state: the current block's pointers and start indices, and what is outside."""

    def __init__(self, f: Function, nest: Nest, plan: Schedule) -> None:
        self.f, self.nest, self.plan = f, nest, plan
        self.lanes = plan.lanes
        self.block: dict[int, int] = {}
        self.start: list[Index] = [0] * len(nest.sizes)
        self.pointers = [f.address(f"%p{i}", a.offset, a.type) for i, a in enumerate(nest.accesses)]
        self.outside: set[int] = set()
        self.parallel = [d for d in plan.order if d not in nest.reduced]
        self.reductions = [d for d in plan.order if d in nest.reduced]
        self.pairs = paired(nest, plan.vector, self.reductions[-1]) if self.reductions else None
        for i, access in enumerate(nest.accesses):
            if any(not c.dims and not 0 <= c.const < c.extent for c in access.conditions):
                self.outside.add(i)

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
                    self._enter(d, at, loop.index)
                    self._parallel(level + 1)
                    self._leave()
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

    def _enter(self, d: int, index: Index, block: Index = 0) -> None:
        """Move every pointer to `index` of dimension `d`; panels go by `block`, not moved back."""
        self._saved = getattr(self, "_saved", [])
        self._saved.append((d, self.start[d], self.pointers))
        self.start[d] = index
        self.pointers = [
            p
            if i in self.outside
            else self.f.address(p, self.f.scale(block, a.panel), a.type)
            if a.panel and d == self.plan.vector
            else self.f.address(p, self.f.scale(index, a.strides[d]), a.type)
            for i, (p, a) in enumerate(zip(self.pointers, self.nest.accesses, strict=True))
        ]

    def _leave(self) -> None:
        d, self.start[d], self.pointers = self._saved.pop()

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
                self._evaluate(nest.body, [self._load(i, p) for i in range(nest.num_ins)], p)
                for p in points
            ]
        for point, value in zip(points, values, strict=True):
            if nest.epilogue is not None:
                rest = range(nest.num_ins, len(nest.accesses) - 1)
                value = self._evaluate(
                    nest.epilogue, [value, *(self._load(i, point) for i in rest)], point
                )
            self._store(value, point)

    def _reduced(self, points: list[Point]) -> list[Value]:
        """The reductions of one block's points."""
        nest, f = self.nest, self.f
        type, kind = nest.body.type, nest.reduce
        across = self.plan.vector is not None and self.plan.vector in nest.reduced
        width = 1 if across else self._width()
        first = [
            self._load(len(nest.accesses) - 1, p)
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
                if first == last:
                    continue
                with self.f.loop(first, last, step, carried) as loop:
                    self._enter(d, loop.index)
                    values = loop.carried
                    if d == self.plan.vector:
                        values = self._across(points, values, step)
                    elif innermost and self.pairs is not None and step > 1:
                        for offset in range(0, step, 2):
                            values = self._pair([{**p, d: offset} for p in points], d, values)
                    else:
                        for offset in range(step):
                            shifted = [{**p, d: offset} for p in points] if step > 1 else points
                            values = self._reduce(level + 1, shifted, values)
                    self._leave()
                    loop.results = values
                carried = loop.results
        self.outside = before
        return carried

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
            rows = [self._load(1 - row, {**point, d: point[d] + k}) for k in (0, 1)]
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
            args = [self._load(i, point) for i in range(nest.num_ins)]
            if fused and last is not None:
                values = self._values(nest.body, args, point, len(nest.body.steps) - 1)
                a, b = (f.broadcast(values[k], acc.type.lanes) for k in last.args)
                out.append(f.intrinsic("fmuladd", a, b, acc))
            else:
                value = f.broadcast(self._evaluate(nest.body, args, point), acc.type.lanes)
                out.append(combine(f, nest.reduce, acc, value))
        return out

    def _width(self) -> int:
        return self.lanes if self.plan.vector is not None else 1

    # --- scalar programs ---
    def _evaluate(self, program: Program, args: list[Value], point: Point) -> Value:
        return self._values(program, args, point, len(program.steps))[program.result]

    def _values(self, program: Program, args: list[Value], point: Point, count: int) -> list[Value]:
        """Values of the arguments and the first `count` steps."""
        values = list(args)
        for step in program.steps[:count]:
            values.append(self._apply(step, [values[k] for k in step.args], point))
        return values

    def _apply(self, step: Step, args: list[Value], point: Point) -> Value:
        match step.op:
            case "apply":
                name, params = parameters(step)
                return emit(self.f, name, args, params, step.type)
            case "const":
                value = step.payload[0]
                assert isinstance(value, int | float)
                return constant(value, step.type)
            case "index":
                dim = step.payload[0]
                assert isinstance(dim, int)
                return self._index(dim, point)
            case _:
                number = step.payload[0]
                assert isinstance(number, int)
                return self._extract(number, args)

    def _index(self, d: int, point: Point) -> Value:
        at = self.f.add(self.start[d], point.get(d, 0))
        scalar = constant(at, I64) if isinstance(at, int) else Value(at, I64)
        if d != self.plan.vector or self.lanes == 1:
            return scalar
        ramp = f"<{', '.join(f'i64 {k}' for k in range(self.lanes))}>"
        wide = self.f.broadcast(scalar, self.lanes)
        return self.f.binary("add", wide, Value(ramp, wide.type))

    def _extract(self, number: int, indices: list[Value]) -> Value:
        """`source[indices]`, each index clamped into its axis."""
        f, source = self.f, self.nest.sources[number]
        lanes = max([i.type.lanes for i in indices], default=1)
        flat = constant(0, I64.wide(lanes))
        for index, extent, stride in zip(
            indices, source.shape, row_major_strides(source.shape), strict=True
        ):
            wide = f.broadcast(
                clamp(f, cast(f, index, I64.wide(index.type.lanes)), 0, extent - 1), lanes
            )
            flat = f.binary("add", flat, f.binary("mul", wide, constant(stride, wide.type)))
        found = [
            f.load(f.address(f"%s{number}", f.lane(flat, k).name, source.type), source.type)
            for k in range(lanes)
        ]
        return f.gather(found)

    # --- memory ---
    def _load(self, i: int, point: Point) -> Value:
        """Operand `i` at `point`: a vector, or a scalar where it does not vary along the lanes."""
        access, f = self.nest.accesses[i], self.f
        if i in self.outside:
            return constant(access.fill, access.type)
        offset = sum(point[d] * access.strides[d] for d in point)
        inside = self._inside(access, point)
        stride = (
            access.strides[self.plan.vector]
            if self.plan.vector is not None and self.lanes > 1
            else 0
        )

        def read(at: int, type: Type) -> Value:
            address = f.address(self.pointers[i], at, access.type)
            if inside is not None:
                address = f.op(f"select {inside.typed}, ptr {address}, ptr %p{i}")
            return f.load(address, type)

        if stride == 0:
            value = read(offset, access.type)
        elif stride == 1:
            value = read(offset, access.type.wide(self.lanes))
        elif stride == -1:
            value = f.shuffle(
                read(offset - self.lanes + 1, access.type.wide(self.lanes)), range(self.lanes)[::-1]
            )
        else:
            value = f.gather([read(offset + k * stride, access.type) for k in range(self.lanes)])
        if inside is None:
            return value
        chosen = f.broadcast(inside, value.type.lanes)
        return f.select(chosen, value, constant(access.fill, value.type))

    def _inside(self, access: Access, point: Point) -> Value | None:
        """Whether a read is inside, as far as that depends on several dimensions."""
        f, all_inside = self.f, None
        for condition in access.conditions:
            if len(condition.dims) < 2:
                continue
            at: Index = condition.const
            for d in condition.dims:
                index = f.add(self.start[d], point.get(d, 0))
                at = f.add(at, f.scale(index, condition.coeffs[d]))
            value = constant(at, I64) if isinstance(at, int) else Value(at, I64)
            inside = f.compare("icmp ult", value, constant(condition.extent, I64))
            all_inside = inside if all_inside is None else f.binary("and", all_inside, inside)
        return all_inside

    def _store(self, value: Value, point: Point) -> None:
        access, f = self.nest.output, self.f
        across = self.plan.vector is not None and self.plan.vector in self.nest.reduced
        lanes = 1 if across else self._width()
        value = f.broadcast(value, lanes)
        offset = sum(point[d] * access.strides[d] for d in point)
        pointer = self.pointers[-1]
        stride = (
            access.strides[self.plan.vector] if self.plan.vector is not None and lanes > 1 else 1
        )
        if stride == 1 or lanes == 1:
            f.store(value, f.address(pointer, offset, access.type))
        elif stride == -1:
            f.store(
                f.shuffle(value, range(lanes)[::-1]),
                f.address(pointer, offset - lanes + 1, access.type),
            )
        else:
            for k in range(lanes):
                f.store(f.lane(value, k), f.address(pointer, offset + k * stride, access.type))

"""One point of a block: reads, scalar programs and the write, at offsets from the block's start.

Reads outside an operand that depend on one dimension were decided by the loops (`outside`: the
operand is its fill value); others go by a predicate, loading from the operand's start when outside.
"""

from __future__ import annotations

from ...dialects.loop import row_major_strides
from .llvm_text import I64, Function, Index, Type, Value, constant
from .nest import Access, Nest, Program, Step, parameters
from .scalar_emit import emit
from .scalars import cast, clamp
from .schedule import Schedule

Point = dict[int, int]
"""Offsets of one result of a block from the block's start, by dimension."""


class Points:
    """Emission state: the current block's pointers and start indices, and what is outside."""

    def __init__(self, f: Function, nest: Nest, plan: Schedule) -> None:
        self.f, self.nest, self.plan = f, nest, plan
        self.lanes = plan.lanes
        self.block: dict[int, int] = {}
        self.start: list[Index] = [0] * len(nest.sizes)
        self.pointers = [f.address(f"%p{i}", a.offset, a.type) for i, a in enumerate(nest.accesses)]
        self.outside: set[int] = set()
        self._saved: list[tuple[int, Index, list[str]]] = []
        for i, access in enumerate(nest.accesses):
            if any(not c.dims and not 0 <= c.const < c.extent for c in access.conditions):
                self.outside.add(i)

    def enter(self, d: int, index: Index, block: Index = 0) -> None:
        """Move every pointer to `index` of dimension `d`; panels go by `block`, not moved back."""
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

    def leave(self) -> None:
        """Undo the last `enter`."""
        d, self.start[d], self.pointers = self._saved.pop()

    def width(self) -> int:
        """Lanes of results; 1 where nothing is a vector."""
        return self.lanes if self.plan.vector is not None else 1

    # --- scalar programs ---
    def evaluate(self, program: Program, args: list[Value], point: Point) -> Value:
        """The value of a scalar program."""
        return self.values(program, args, point, len(program.steps))[program.result]

    def values(self, program: Program, args: list[Value], point: Point, count: int) -> list[Value]:
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
    def load(self, i: int, point: Point) -> Value:
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

    def store(self, value: Value, point: Point) -> None:
        """Write a result of the block."""
        access, f = self.nest.output, self.f
        across = self.plan.vector is not None and self.plan.vector in self.nest.reduced
        lanes = 1 if across else self.width()
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

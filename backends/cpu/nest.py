"""A loop nest as plain data: what the emitter works on, and what equal kernels are recognised by.

`Nest.of(op)` reads a `loop.nest`.  Two nests that are equal as data (extents, maps, types, scalar
programs; not buffers or offsets) share one kernel.  `simplified` then drops unit dimensions and
merges dimensions that every access walks contiguously.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdsl.ir import Block, SSAValue

from ...dialects.errors import IRError
from ...dialects.locations import describe
from ...dialects.loop import (
    ApplyOp,
    ExtractOp,
    IndexOp,
    Linear,
    NestOp,
    ScalarConstantOp,
    captured,
    row_major_strides,
)
from ...dialects.types import Param, element_of, shape_of
from .llvm_text import Type, type_of


@dataclass(frozen=True)
class Step:
    """One operation of a scalar program; `args` number the program's values (arguments first).

    `op` is "apply" (payload: function, parameters), "const" (payload: value), "index" (payload:
    domain dimension) or "extract" (payload: number of the captured source).
    """

    op: str
    payload: tuple[object, ...]
    args: tuple[int, ...]
    type: Type


@dataclass(frozen=True)
class Program:
    """A scalar body: `arguments`, then steps; its value is number `result`."""

    arguments: tuple[Type, ...]
    steps: tuple[Step, ...]
    result: int

    @property
    def type(self) -> Type:
        """Type of the value yielded."""
        n = len(self.arguments)
        return self.arguments[self.result] if self.result < n else self.steps[self.result - n].type

    def applied(self, value: int) -> Step | None:
        """The step that makes `value`; None for an argument."""
        return self.steps[value - len(self.arguments)] if value >= len(self.arguments) else None


@dataclass(frozen=True)
class Condition:
    """A read is inside its operand on one axis iff 0 <= const + sum coeffs[d] * d < extent."""

    coeffs: tuple[int, ...]
    const: int
    extent: int

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions it depends on."""
        return tuple(d for d, a in enumerate(self.coeffs) if a)

    def inside(self, size: int) -> tuple[int, int]:
        """For a condition on one dimension of `size`: the half-open range of it that is inside."""
        (d,) = self.dims
        a = self.coeffs[d]
        if a < 0:
            low, high = self.const - self.extent + 1, self.const + 1
            low, high = -(-low // -a), -(-high // -a)
        else:
            low, high = -(self.const // a), -((self.const - self.extent) // a)
        low = min(max(low, 0), size)
        return low, min(max(high, low), size)


@dataclass(frozen=True)
class Access:
    """How an operand is read or the output written: strides per domain dimension, in elements."""

    type: Type
    strides: tuple[int, ...]
    offset: int
    conditions: tuple[Condition, ...] = ()
    fill: float | int = 0
    panel: int = 0
    """If not 0: packed in panels of the vector dimension's blocks, of so many rows each."""


@dataclass(frozen=True)
class Source:
    """A buffer read at computed indices."""

    type: Type
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Nest:
    """See the module docstring; `accesses` are ins, epilogue ins, output."""

    sizes: tuple[int, ...]
    reduced: frozenset[int]
    reduce: str
    accumulate: bool
    num_ins: int
    accesses: tuple[Access, ...]
    sources: tuple[Source, ...]
    body: Program
    epilogue: Program | None
    aliased: bool
    """Whether the output may overlap an operand, so that nothing may be computed twice."""

    @property
    def output(self) -> Access:
        """Where results go."""
        return self.accesses[-1]

    @property
    def indexed(self) -> frozenset[int]:
        """Dimensions whose index the scalar programs use."""
        programs = [self.body] + ([self.epilogue] if self.epilogue else [])
        found = [s.payload[0] for p in programs for s in p.steps if s.op == "index"]
        return frozenset(d for d in found if isinstance(d, int))

    @staticmethod
    def of(op: NestOp, aliased: bool) -> Nest:
        """The nest of an operation in memref form; IRError if it is padded (for an NPU's cores)."""
        if op.padded is not None:
            raise IRError(f"{describe(op)} is padded: the CPU end drops nothing")
        sources, epilogue = captured(op), op.epilogue_block
        accesses = [
            access_of(value, map, fill, op.sizes)
            for value, map, fill in zip(
                (*op.reads, op.output), op.linear_maps, (*op.fill_values, None), strict=True
            )
        ]
        return Nest(
            op.sizes,
            frozenset(op.reduced),
            op.reduce.data,
            op.accumulate is not None,
            len(op.ins),
            tuple(accesses),
            tuple(Source(type_of(element_of(s)), shape_of(s)) for s in sources),
            _program(op.body.block, sources),
            None if epilogue is None else _program(epilogue, sources),
            aliased or op.accumulate is not None,
        )


def access_of(
    value: SSAValue, map: Linear, fill: float | int | None, sizes: Sequence[int]
) -> Access:
    """How `map` reads `value` over a domain of `sizes`."""
    shape = shape_of(value)
    strides, offset = map.flat(row_major_strides(shape))
    conditions: list[Condition] = []
    if fill is not None and 0 not in sizes:
        for row, const, extent, (low, high) in zip(
            map.coeffs, map.consts, shape, map.bounds(sizes), strict=True
        ):
            if low < 0 or high >= extent:
                conditions.append(Condition(row, const, extent))
    return Access(type_of(element_of(value)), strides, offset, tuple(conditions), fill or 0)


def _program(block: Block, sources: Sequence[SSAValue]) -> Program:
    numbers: dict[SSAValue, int] = {arg: i for i, arg in enumerate(block.args)}
    steps: list[Step] = []
    for op in block.ops:
        payload: tuple[object, ...]
        operands: Sequence[SSAValue] = ()
        match op:
            case ApplyOp():
                name, operands = "apply", op.args
                payload = (op.fn.data, tuple(sorted(op.param_values.items())))
            case ScalarConstantOp():
                name, payload = "const", (op.value.value.data,)
            case IndexOp():
                name, payload = "index", (op.dim.value.data,)
            case ExtractOp():
                name, payload, operands = "extract", (sources.index(op.source),), op.indices
            case _:
                return Program(
                    tuple(type_of(a.type) for a in block.args),
                    tuple(steps),
                    numbers[op.operands[0]],
                )
        steps.append(
            Step(name, payload, tuple(numbers[v] for v in operands), type_of(op.results[0].type))
        )
        numbers[op.results[0]] = len(numbers)
    raise ValueError("a scalar program must end in loop.yield")


def parameters(step: Step) -> tuple[str, dict[str, Param]]:
    """Function name and parameters of an "apply" step."""
    name, items = step.payload
    assert isinstance(name, str) and isinstance(items, tuple)
    return name, dict(items)  # pyright: ignore[reportUnknownArgumentType]


# --- transformations ---


def simplified(nest: Nest) -> Nest:
    """Without unit dimensions, and with contiguous dimensions merged.

    Dimension numbers in the programs' "index" steps follow; an index of a dropped dimension keeps
    its number and reads as 0, so such dimensions are kept.
    """
    keep = nest.indexed
    dims = [d for d, n in enumerate(nest.sizes) if n != 1 or d in keep]
    groups: list[list[int]] = []
    fixed = keep | {d for a in nest.accesses for c in a.conditions for d in c.dims}
    for d in sorted(dims, key=lambda d: tuple(-abs(a.strides[d]) for a in reversed(nest.accesses))):
        outer = next((g for g in groups if _contiguous(nest, g[-1], d, fixed)), None)
        if outer is None:
            groups.append([d])
        else:
            outer.append(d)
    groups.sort(key=lambda g: g[0])
    place = {d: i for i, g in enumerate(groups) for d in g}
    sizes: list[int] = []
    for group in groups:
        size = 1
        for d in group:
            size *= nest.sizes[d]
        sizes.append(size)
    last = [g[-1] for g in groups]
    accesses = tuple(
        replace(
            a,
            strides=tuple(a.strides[d] for d in last),
            conditions=tuple(
                replace(c, coeffs=tuple(c.coeffs[d] for d in last)) for c in a.conditions
            ),
        )
        for a in nest.accesses
    )
    return replace(
        nest,
        sizes=tuple(sizes),
        reduced=frozenset(place[d] for d in nest.reduced if d in place),
        accesses=accesses,
        body=_renumbered(nest.body, place),
        epilogue=nest.epilogue and _renumbered(nest.epilogue, place),
    )


def _contiguous(nest: Nest, outer: int, inner: int, fixed: frozenset[int]) -> bool:
    return (
        not {outer, inner} & fixed
        and (outer in nest.reduced) == (inner in nest.reduced)
        and all(a.strides[outer] == a.strides[inner] * nest.sizes[inner] for a in nest.accesses)
    )


def _renumbered(program: Program, place: dict[int, int]) -> Program:
    steps = tuple(
        replace(s, payload=(place[s.payload[0]],))
        if s.op == "index" and isinstance(s.payload[0], int)
        else s
        for s in program.steps
    )
    return replace(program, steps=steps)

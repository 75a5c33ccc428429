"""Building one `loop.nest`: domain, operands with access maps, scalar code.

    nest = NestBuilder([1, 8, 8, 16, 3, 3, 4], reduced=[4, 5, 6], kind="add")
    a = nest.read(x, x_map, fill=3)             # block argument of the body
    nest.reduce(nest.apply("mul", [a, w], i32)) # ends the body, starts the epilogue
    op = nest.finish(nest.acc, out_map, result=tensor(...))

Operations are made with `create` and cached attributes: nests are the bulk of the loop level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    TensorType,
    f32,
    i32,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ....dialects.loop import (
    ApplyOp,
    ExtractOp,
    IndexOp,
    Linear,
    NestOp,
    ScalarConstantOp,
    ScalarYieldOp,
    fill_attr,
)
from ....dialects.types import (
    Param,
    element_of,
    integer,
    ints,
    is_float,
    numpy_dtype,
    params_attr,
    real,
    shape_of,
    string,
)


@lru_cache(maxsize=65536)
def _params(items: tuple[tuple[str, str, Param], ...]) -> DictionaryAttr:
    return params_attr({name: value for name, _, value in items})


@lru_cache(maxsize=4096)
def _segments(counts: tuple[int, ...]) -> Attribute:
    return DenseArrayBase.from_list(i32, list(counts))


def is_half(element: Attribute) -> bool:
    """Whether `element` is a 16-bit float, which is computed in f32."""
    return is_float(element) and numpy_dtype(element).itemsize == 2


def compute_type(element: Attribute) -> Attribute:
    """The type `element` is computed in: f32 for the half types, itself otherwise."""
    return f32 if is_half(element) else element


class NestBuilder:
    """One nest under construction; reading and applying go to the body until `reduce` is called."""

    def __init__(self, domain: Sequence[int], *, reduced: Sequence[int] = (), kind: str = "none"):
        self.domain, self.reduced = tuple(domain), tuple(reduced)
        self.kind = kind if self.reduced else "none"
        self._body, self._epilogue = Block(), Block()
        self._ins: list[tuple[SSAValue, Linear, float | int | None]] = []
        self._late: list[tuple[SSAValue, Linear, float | int | None]] = []
        self._memo: dict[object, SSAValue] = {}
        self._block = self._body
        self.acc: SSAValue | None = None

    @property
    def rank(self) -> int:
        """Number of domain dimensions."""
        return len(self.domain)

    def rows(
        self, rows: Sequence[Mapping[int, int]], consts: Sequence[int] | None = None
    ) -> Linear:
        """A map over this domain from sparse rows {dimension: coefficient}."""
        return Linear.of([dict(r) for r in rows], self.rank, consts)

    def inside(self, value: SSAValue, map: Linear) -> bool:
        """Whether reading `value` at `map` stays within its extents over the whole domain."""
        if 0 in self.domain:
            return True
        return all(
            low >= 0 and high < extent
            for (low, high), extent in zip(map.bounds(self.domain), shape_of(value), strict=True)
        )

    def read(self, value: SSAValue, map: Linear, fill: float | int | None = None) -> SSAValue:
        """The element of `value` at `map`; `fill` outside (dropped when never outside)."""
        if fill is not None and self.inside(value, map):
            fill = None
        key = (self._block is self._body, value, map, fill)
        if key not in self._memo:
            (self._ins if self._block is self._body else self._late).append((value, map, fill))
            self._memo[key] = self._block.insert_arg(element_of(value), len(self._block.args))
        return self._memo[key]

    def apply(
        self,
        fn: str,
        args: Sequence[SSAValue],
        result: Attribute,
        params: Mapping[str, Param] | None = None,
    ) -> SSAValue:
        """Apply scalar function `fn`."""
        properties: dict[str, Attribute] = {"fn": string(fn)}
        if params:
            properties["params"] = _params(
                tuple((k, repr(params[k]), params[k]) for k in sorted(params))
            )
        return self._add(
            ApplyOp.create(operands=list(args), result_types=[result], properties=properties)
        )

    def cast(self, value: SSAValue, element: Attribute) -> SSAValue:
        """`value` as `element`, unchanged if it is one already."""
        return value if value.type == element else self.apply("cast", [value], element)

    def wide(self, value: SSAValue) -> SSAValue:
        """`value` in the type it is computed in."""
        return self.cast(value, compute_type(value.type))

    def const(self, value: float | int, element: Attribute) -> SSAValue:
        """A scalar constant."""
        key = (self._block is self._body, "const", repr(value), element)
        if key not in self._memo:
            attr = real(float(value)) if is_float(element) else integer(int(value))
            self._memo[key] = self._add(
                ScalarConstantOp.create(properties={"value": attr}, result_types=[element])
            )
        return self._memo[key]

    def index(self, dim: int) -> SSAValue:
        """The index (i64) of a dimension."""
        return self._add(IndexOp.create(properties={"dim": integer(dim)}, result_types=[i64]))

    def index_at(self, row: Mapping[int, int], const: int = 0) -> SSAValue:
        """The linear combination of indices `row`, plus `const` (i64)."""
        total: SSAValue | None = None
        for dim, factor in sorted(row.items()):
            if self.domain[dim] == 1 or not factor:
                continue
            term = self.index(dim)
            if factor != 1:
                term = self.apply("mul", [term, self.const(factor, i64)], i64)
            total = term if total is None else self.apply("add", [total, term], i64)
        if total is None:
            return self.const(const, i64)
        return self.apply("add", [total, self.const(const, i64)], i64) if const else total

    def extract(self, source: SSAValue, indices: Sequence[SSAValue]) -> SSAValue:
        """`source[indices]` at computed indices."""
        return self._add(
            ExtractOp.create(operands=[source, *indices], result_types=[element_of(source)])
        )

    def reduce(self, value: SSAValue) -> SSAValue:
        """End the body with `value`; returns the reduced value for use in the epilogue.

        Without reduction dimensions the body simply goes on.
        """
        if not self.reduced:
            self.acc = value
            return value
        self._yield(self._body, value)
        self._block = self._epilogue
        self.acc = self._epilogue.insert_arg(value.type, 0)
        return self.acc

    def memo(self, key: object) -> SSAValue | None:
        """A scalar remembered under `key` in the present block."""
        return self._memo.get((self._block is self._body, key))

    def remember(self, key: object, value: SSAValue) -> SSAValue:
        """Remember a scalar of the present block; returns it."""
        self._memo[(self._block is self._body, key)] = value
        return value

    def finish(
        self, value: SSAValue, out: Linear, result: TensorType[Any], device: str | None = None
    ) -> NestOp:
        """The nest that writes `value` at `out`."""
        epilogue = Region()
        if self._block is self._body:
            self._yield(self._body, value)
        elif value is not self.acc or self._epilogue.first_op is not None or self._late:
            self._yield(self._epilogue, value)
            epilogue = Region(self._epilogue)
        reads = [*self._ins, *self._late]
        properties: dict[str, Attribute] = {
            "domain": ints(self.domain),
            "reduce": string(self.kind),
            "reduction_dims": ints(self.reduced),
            "maps": ArrayAttr([*(m.attr for _, m, _ in reads), out.attr]),
            "fills": ArrayAttr([fill_attr(f) for _, _, f in reads]),
            "operandSegmentSizes": _segments((len(self._ins), len(self._late), 0)),
        }
        if device:
            properties["device"] = string(device)
        return NestOp.create(
            operands=[v for v, _, _ in reads], result_types=[result], properties=properties,
            regions=[Region(self._body), epilogue],
        )  # fmt: skip

    def _add(self, op: Operation) -> SSAValue:
        self._block.add_op(op)
        return op.results[0]

    @staticmethod
    def _yield(block: Block, value: SSAValue) -> None:
        block.add_op(ScalarYieldOp.create(operands=[value]))


def volume(domain: Sequence[int]) -> int:
    """Number of points of a domain."""
    return math.prod(domain)

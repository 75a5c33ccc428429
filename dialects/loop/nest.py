"""`loop.nest`: one structured loop nest, the centre of the loop dialect.

    %y = loop.nest domain [1, 8, 8, 16, 3, 3, 4] reduce "add" over [4, 5, 6]
      ins(%x, %w : tensor<1x8x8x4xi8>, tensor<3x3x4x16xi8>) epilogue_ins(%b : tensor<16xi32>)
      maps [affine_map<...>, ...] fills [3 : i64, unit, unit] -> tensor<1x8x8x16xi8> on "npu"
    body {
    ^bb0(%a: i8, %k: i8):
      %0 = loop.apply "widen"(%a) {zp = 3 : i64} : (i8) -> i32
      %1 = loop.apply "widen"(%k) : (i8) -> i32
      %2 = loop.apply "mul"(%0, %1) : (i32, i32) -> i32
      loop.yield %2 : i32
    } epilogue {
    ^bb0(%acc: i32, %bias: i32):
      %3 = loop.apply "add"(%acc, %bias) : (i32, i32) -> i32
      ...
      loop.yield %q : i8
    }

For every point of the parallel dimensions, the body's value is combined (`reduce`) over all points
of the reduction dimensions, starting from the reduction's identity; the epilogue (if any) turns
the accumulated value into the element written.  `maps` holds one linear map per operand in the
order ins, epilogue_ins, output; maps of epilogue operands and the output use parallel dimensions
only, and the output map is injective.  A read outside an operand's extents yields its fill value
(`fills`), and is illegal where the fill is `unit`.  Dimensions that are `padded` may run beyond the
end of the output: what would be written there is dropped.

On tensors the nest has a result and no `outs`; after bufferisation it writes its single memref
`outs` and has no result.  With `accumulate`, the reduction starts from the value in the output
(no epilogue allowed): a tile of a reduction.  `device` is where the partitioner placed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from xdsl.dialects.builtin import (
    AffineMapAttr,
    ArrayAttr,
    DenseArrayBase,
    FloatAttr,
    IntegerAttr,
    MemRefType,
    StringAttr,
    TensorType,
    UnitAttr,
    i32,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    opt_result_def,
    prop_def,
    region_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from ..types import (
    element_of,
    int_values,
    integer,
    ints,
    is_float,
    numpy_dtype,
    real,
    shape_of,
    string,
)
from .maps import Linear
from .scalars import ExtractOp, ScalarYieldOp

REDUCE_KINDS = ("none", "add", "mul", "max", "min", "or", "and")


def reduce_identity(kind: str, element: Attribute) -> Any:
    """The value a reduction of `kind` starts from, as a numpy scalar of `element`."""
    dtype = numpy_dtype(element)
    if kind in ("max", "min"):
        if is_float(element):
            return dtype.type(-np.inf if kind == "max" else np.inf)
        if dtype.kind == "b":
            return np.bool_(kind == "min")
        return np.iinfo(dtype).min if kind == "max" else np.iinfo(dtype).max
    return dtype.type({"add": 0, "or": 0, "mul": 1, "and": 1}[kind])


@irdl_op_definition
class NestOp(IRDLOperation):
    """See the module docstring."""

    name = "loop.nest"
    ins = var_operand_def(TensorType | MemRefType)
    epilogue_ins = var_operand_def(TensorType | MemRefType)
    outs = var_operand_def(MemRefType)
    domain = prop_def(DenseArrayBase.constr(i64))
    reduce = prop_def(StringAttr)
    reduction_dims = prop_def(DenseArrayBase.constr(i64))
    padded = opt_prop_def(DenseArrayBase.constr(i64))
    maps = prop_def(ArrayAttr[AffineMapAttr])
    fills = prop_def(ArrayAttr[Attribute])
    accumulate = opt_prop_def(UnitAttr)
    device = opt_prop_def(StringAttr)
    result = opt_result_def(TensorType)
    body = region_def("single_block")
    epilogue = region_def()
    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(
        self,
        domain: Sequence[int],
        ins: Sequence[SSAValue],
        epilogue_ins: Sequence[SSAValue],
        maps: Sequence[Linear],
        body: Region,
        epilogue: Region | None = None,
        *,
        reduce: str = "none",
        reduction_dims: Sequence[int] = (),
        fills: Sequence[float | int | None] | None = None,
        outs: Sequence[SSAValue] = (),
        result: TensorType[Any] | None = None,
        accumulate: bool = False,
        device: str | None = None,
    ):
        operands = [*ins, *epilogue_ins]
        properties: dict[str, Attribute] = {
            "domain": ints(domain),
            "reduce": string(reduce),
            "reduction_dims": ints(reduction_dims),
            "maps": ArrayAttr([m.attr for m in maps]),
            "fills": ArrayAttr([fill_attr(f) for f in (fills or [None] * len(operands))]),
            "operandSegmentSizes": _segments(len(ins), len(epilogue_ins), len(outs)),
        }
        if accumulate:
            properties["accumulate"] = UnitAttr()
        if device:
            properties["device"] = string(device)
        Operation.__init__(
            self,
            operands=[*operands, *outs],
            properties=properties,
            result_types=[] if result is None else [result],
            regions=[body, epilogue or Region()],
        )

    # --- reading ---
    @property
    def sizes(self) -> tuple[int, ...]:
        """Extents of the iteration domain."""
        return int_values(self.domain)

    @property
    def reduced(self) -> tuple[int, ...]:
        """Reduction dimensions."""
        return int_values(self.reduction_dims)

    @property
    def padded_dims(self) -> tuple[int, ...]:
        """Parallel dimensions that end beyond the output."""
        return () if self.padded is None else int_values(self.padded)

    @property
    def parallel(self) -> tuple[int, ...]:
        """Parallel dimensions."""
        reduced = set(self.reduced)
        return tuple(d for d in range(len(self.domain)) if d not in reduced)

    @property
    def reads(self) -> tuple[SSAValue, ...]:
        """`ins` then `epilogue_ins`."""
        return (*self.ins, *self.epilogue_ins)

    @property
    def linear_maps(self) -> tuple[Linear, ...]:
        """Access maps of `reads`, then of the output."""
        return tuple(Linear.from_attr(m) for m in self.maps.data)

    @property
    def fill_values(self) -> tuple[float | int | None, ...]:
        """Fill value for each of `reads`, None where reading outside is illegal."""
        return tuple(fill_value(f) for f in self.fills.data)

    @property
    def output(self) -> SSAValue:
        """What is written: the result tensor or the `outs` memref."""
        return self.outs[0] if self.outs else self.results[0]

    @property
    def epilogue_block(self) -> Block | None:
        """The epilogue's block, None if there is no epilogue."""
        return self.epilogue.blocks[0] if self.epilogue.blocks else None

    @property
    def accumulator(self) -> Attribute:
        """Type of the value the body yields."""
        last = self.body.block.last_op
        assert isinstance(last, ScalarYieldOp)
        return last.args[0].type

    # --- checking ---
    def verify_(self) -> None:
        """Maps fit operands, dimensions exist, block arguments are right, reads are in bounds."""
        n, reduced = len(self.domain), set(self.reduced)
        if self.reduce.data not in REDUCE_KINDS or (self.reduce.data == "none") != (not reduced):
            raise VerifyException(
                f"loop.nest: reduce {self.reduce.data!r} does not fit reduction dims "
                f"{sorted(reduced)}"
            )
        if any(not 0 <= d < n for d in reduced) or any(s < 0 for s in self.sizes):
            raise VerifyException("loop.nest: reduction dims or domain are out of range")
        if not set(self.padded_dims) <= set(self.parallel):
            raise VerifyException("loop.nest: only parallel dimensions can be padded")
        if bool(self.outs) == bool(self.results):
            raise VerifyException("loop.nest: exactly one of outs and result must be present")
        values = (*self.reads, self.output)
        if len(self.maps) != len(values) or len(self.fills) != len(self.reads):
            raise VerifyException("loop.nest: one map per operand and output, one fill per operand")
        for i, (value, map) in enumerate(zip(values, self.linear_maps, strict=True)):
            shape = shape_of(value)
            if map.num_dims != n or map.rank != len(shape):
                raise VerifyException(
                    f"loop.nest: map {i} does not fit a domain of rank {n} and shape {list(shape)}"
                )
            if i >= len(self.ins) and any(row[d] for row in map.coeffs for d in reduced):
                raise VerifyException(
                    f"loop.nest: map {i} of an epilogue operand or output uses a reduction "
                    "dimension"
                )
            written = i == len(self.reads)
            if (written or self.fill_values[i] is None) and 0 not in self.sizes:
                for axis, (low, high) in enumerate(map.bounds(self.sizes)):
                    dropped = written and any(map.coeffs[axis][d] for d in self.padded_dims)
                    if low < 0 or (high >= shape[axis] and not dropped):
                        raise VerifyException(
                            f"loop.nest: map {i} leaves axis {axis} of extent {shape[axis]}: "
                            f"[{low}, {high}]"
                        )
        self._verify_block(self.body.block, [element_of(v) for v in self.ins], "body")
        if (block := self.epilogue_block) is not None:
            if self.accumulate is not None:
                raise VerifyException("loop.nest: an accumulating nest has no epilogue")
            self._verify_block(
                block, [self.accumulator, *(element_of(v) for v in self.epilogue_ins)], "epilogue"
            )
        elif self.epilogue_ins:
            raise VerifyException("loop.nest: epilogue operands without an epilogue")
        last = (self.epilogue_block or self.body.block).last_op
        assert isinstance(last, ScalarYieldOp)
        if last.args[0].type != element_of(self.output):
            raise VerifyException(
                f"loop.nest: yields {last.args[0].type} into {element_of(self.output)}"
            )

    def _verify_block(self, block: Block, types: list[Attribute], what: str) -> None:
        if [a.type for a in block.args] != types:
            raise VerifyException(
                f"loop.nest: {what} arguments should be {[str(t) for t in types]}"
            )
        if not isinstance(block.last_op, ScalarYieldOp) or len(block.last_op.args) != 1:
            raise VerifyException(f"loop.nest: {what} must end in loop.yield of one value")

    # --- text ---
    def print(self, printer: Printer) -> None:
        """Print the custom form of the module docstring."""
        printer.print_string(f" domain {list(self.sizes)}")
        if self.padded is not None:
            printer.print_string(f" padded {list(self.padded_dims)}")
        if self.reduced:
            printer.print_string(f' reduce "{self.reduce.data}" over {list(self.reduced)}')
        if self.accumulate is not None:
            printer.print_string(" accumulate")
        for keyword, group in (
            ("ins", self.ins),
            ("epilogue_ins", self.epilogue_ins),
            ("outs", self.outs),
        ):
            if group:
                printer.print_string(f" {keyword}(")
                printer.print_list(group, printer.print_ssa_value)
                printer.print_string(" : ")
                printer.print_list(group.types, printer.print_attribute)
                printer.print_string(")")
        printer.print_string(" maps ")
        printer.print_attribute(self.maps)
        if any(not isinstance(f, UnitAttr) for f in self.fills.data):
            printer.print_string(" fills ")
            printer.print_attribute(self.fills)
        if self.result is not None:
            printer.print_string(" -> ")
            printer.print_attribute(self.result.type)
        if self.device is not None:
            printer.print_string(" on ")
            printer.print_attribute(self.device)
        printer.print_string(" body ")
        printer.print_region(self.body)
        if self.epilogue.blocks:
            printer.print_string(" epilogue ")
            printer.print_region(self.epilogue)
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)

    @classmethod
    def parse(cls, parser: Parser) -> NestOp:
        """Parse what `print` prints."""

        def integers() -> list[int]:
            return parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)

        def group(keyword: str) -> list[SSAValue]:
            if not parser.parse_optional_keyword(keyword):
                return []
            parser.parse_punctuation("(")
            names = parser.parse_comma_separated_list(
                parser.Delimiter.NONE, parser.parse_unresolved_operand
            )
            parser.parse_punctuation(":")
            types = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_type)
            parser.parse_punctuation(")")
            return list(parser.resolve_operands(names, types, parser.pos))

        parser.parse_keyword("domain")
        domain = integers()
        padded = integers() if parser.parse_optional_keyword("padded") else None
        kind, reduced = "none", list[int]()
        if parser.parse_optional_keyword("reduce"):
            kind = parser.parse_str_literal()
            parser.parse_keyword("over")
            reduced = integers()
        accumulate = parser.parse_optional_keyword("accumulate") is not None
        ins, epilogue_ins, outs = group("ins"), group("epilogue_ins"), group("outs")
        parser.parse_keyword("maps")
        maps = parser.parse_attribute()
        fills: Attribute = ArrayAttr([UnitAttr()] * (len(ins) + len(epilogue_ins)))
        if parser.parse_optional_keyword("fills"):
            fills = parser.parse_attribute()
        result = parser.parse_type() if parser.parse_optional_punctuation("->") else None
        device = parser.parse_str_literal() if parser.parse_optional_keyword("on") else None
        parser.parse_keyword("body")
        body = parser.parse_region()
        epilogue = parser.parse_region() if parser.parse_optional_keyword("epilogue") else Region()
        attributes = parser.parse_optional_attr_dict_with_keyword()
        return cls.create(
            operands=[*ins, *epilogue_ins, *outs],
            properties={
                "domain": ints(domain), "reduce": string(kind), "reduction_dims": ints(reduced),
                "maps": maps, "fills": fills, **({"accumulate": UnitAttr()} if accumulate else {}),
                **({"device": string(device)} if device else {}),
                **({} if padded is None else {"padded": ints(padded)}),
                "operandSegmentSizes": _segments(len(ins), len(epilogue_ins), len(outs)),
            },
            result_types=[result] if result is not None else [],
            regions=[body, epilogue],
            attributes=attributes.data if attributes else {},
        )  # fmt: skip


@lru_cache(maxsize=4096)
def _segments(*counts: int) -> Attribute:
    return DenseArrayBase.from_list(i32, counts)


@lru_cache(maxsize=4096)
def _fill(value: float | int, kind: type) -> Attribute:
    return real(value) if kind is float else integer(int(value))


def fill_attr(value: float | int | None) -> Attribute:
    """The attribute of a fill value; `unit` for none."""
    return UnitAttr() if value is None else _fill(value, float if isinstance(value, float) else int)


def fill_value(attr: Attribute) -> float | int | None:
    """The inverse of `fill_attr`."""
    if isinstance(attr, FloatAttr):
        return attr.value.data
    return attr.value.data if isinstance(attr, IntegerAttr) else None


def captured(nest: NestOp) -> tuple[SSAValue, ...]:
    """Tensors or memrefs from outside that `loop.extract` reads inside `nest`, each once."""
    found: dict[SSAValue, None] = {}
    for region in (nest.body, nest.epilogue):
        for block in region.blocks:
            for op in block.ops:
                if isinstance(op, ExtractOp):
                    found[op.source] = None
    return tuple(found)

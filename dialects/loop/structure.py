"""Structure around nests: tile loops, buffers, tile copies, aliases.

    loop.for %h = 0 to 112 step 8 {
      %xt = loop.alloc : memref<1x17x226x3xi8, "spm">
      loop.copy load %x[%h] at affine_map<(d0) -> (0, d0 * 2 - 1, -1, 0)> to %xt fill 3 : i64
      ...
    }

Memory spaces (memref memory space): "const" (read-only constants in DRAM), "dram" (the arena that
CPU and NPU share), "spm" (scratchpad), "acc" (accumulators).  All memrefs are contiguous row-major.

Operations of which a program has many skip xDSL's generic constructor, which takes several times as
long as `Operation.__init__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from xdsl.dialects.builtin import (
    AffineMapAttr,
    DenseArrayBase,
    IndexType,
    IntegerAttr,
    MemRefType,
    StringAttr,
    TensorType,
    i8,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import NoTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from ..sparsity import GROUP, compressed_bytes
from ..types import element_of, integer, ints, shape_of, string
from .maps import Linear
from .nest import fill_attr, fill_value

SPACES = ("const", "dram", "spm", "acc")


def space_of(value: SSAValue) -> str:
    """Memory space of a memref value."""
    if isinstance(value.type, MemRefType) and isinstance(value.type.memory_space, StringAttr):
        return value.type.memory_space.data
    return "dram"


@irdl_op_definition
class ForOp(IRDLOperation):
    """A sequential tile loop with constant bounds; the induction variable is its block argument."""

    name = "loop.for"
    lower = prop_def(IntegerAttr)
    upper = prop_def(IntegerAttr)
    step = prop_def(IntegerAttr)
    body = region_def("single_block")
    traits = traits_def(NoTerminator())

    def __init__(self, lower: int, upper: int, step: int, body: Region | None = None):
        super().__init__(
            properties={"lower": integer(lower), "upper": integer(upper), "step": integer(step)},
            regions=[body or Region(Block(arg_types=[IndexType()]))],
        )

    @property
    def iv(self) -> SSAValue:
        """The induction variable."""
        return self.body.block.args[0]

    @property
    def values(self) -> range:
        """The values of the induction variable."""
        return range(self.lower.value.data, self.upper.value.data, self.step.value.data)

    def verify_(self) -> None:
        """The step is positive and there is one index argument."""
        if self.step.value.data <= 0:
            raise VerifyException("loop.for: step must be positive")
        if [a.type for a in self.body.block.args] != [IndexType()]:
            raise VerifyException("loop.for: body must have one index argument")

    def print(self, printer: Printer) -> None:
        """`loop.for %i = 0 to 8 step 2 { ... }`."""
        printer.print_string(" ")
        printer.print_ssa_value(self.iv)
        r = self.values
        printer.print_string(f" = {r.start} to {r.stop} step {r.step} ")
        printer.print_region(self.body, print_entry_block_args=False)
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)

    @classmethod
    def parse(cls, parser: Parser) -> ForOp:
        """Parse what `print` prints."""
        iv = parser.parse_argument(expect_type=False).resolve(IndexType())
        parser.parse_punctuation("=")
        lower = parser.parse_integer()
        parser.parse_keyword("to")
        upper = parser.parse_integer()
        parser.parse_keyword("step")
        step = parser.parse_integer()
        op = cls(lower, upper, step, parser.parse_region([iv]))
        if attributes := parser.parse_optional_attr_dict_with_keyword():
            op.attributes |= attributes.data
        return op


@irdl_op_definition
class AllocOp(IRDLOperation):
    """A buffer.  In a tile loop it is fresh in each iteration; `slots` copies exist physically.

    `offset` (bytes, within its memory) is set by allocation.  The name hint of the result is kept.
    """

    name = "loop.alloc"
    offset = opt_prop_def(IntegerAttr)
    slots = opt_prop_def(IntegerAttr)
    result = result_def(MemRefType)
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(
        self, type: MemRefType[Any], *, offset: int | None = None, slots: int | None = None
    ):
        properties: dict[str, Attribute] = {}
        if offset is not None:
            properties["offset"] = integer(offset)
        if slots is not None:
            properties["slots"] = integer(slots)
        Operation.__init__(self, properties=properties, result_types=[type])

    def verify_(self) -> None:
        """The space is known."""
        if space_of(self.result) not in SPACES:
            raise VerifyException(f"loop.alloc: unknown memory space {space_of(self.result)!r}")


@irdl_op_definition
class GlobalOp(IRDLOperation):
    """A constant of the store as a read-only "const" memref; `offset` is set by allocation."""

    name = "loop.global"
    value = prop_def(Attribute)
    offset = opt_prop_def(IntegerAttr)
    result = result_def(MemRefType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$value attr-dict `:` type($result)"

    def __init__(self, value: Attribute, type: MemRefType[Any], offset: int | None = None):
        properties = {"value": value}
        if offset is not None:
            properties["offset"] = integer(offset)
        Operation.__init__(self, properties=properties, result_types=[type])


@irdl_op_definition
class ReshapeOp(IRDLOperation):
    """The same elements under another shape: an alias, free of cost at every level."""

    name = "loop.reshape"
    x = operand_def(TensorType | MemRefType)
    result = result_def(TensorType | MemRefType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, type: Attribute):
        super().__init__(operands=[x], result_types=[type])


@irdl_op_definition
class DecodeOp(IRDLOperation):
    """What 2:4-compressed bytes (`dialects/sparsity.py`) stand for: weights for products.

    The array decodes them as it loads them; what is in memory stays compressed along `axis`.
    """

    name = "loop.decode"
    x = operand_def(MemRefType)
    axis = prop_def(IntegerAttr)
    result = result_def(MemRefType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, axis: int, type: MemRefType[Any]):
        super().__init__(operands=[x], properties={"axis": integer(axis)}, result_types=[type])

    def verify_(self) -> None:
        """Bytes and shape fit."""
        shape, axis = shape_of(self.result), self.axis.value.data
        if not 0 <= axis < len(shape) or shape[axis] % GROUP:
            raise VerifyException(f"loop.decode: axis {axis} of {shape} is no multiple of {GROUP}")
        if shape_of(self.x) != (compressed_bytes(prod(shape)),):
            raise VerifyException("loop.decode: takes one run of 5/8 of the result's bytes")
        if not element_of(self.x) == element_of(self.result) == i8:
            raise VerifyException("loop.decode: elements are i8")


@irdl_op_definition
class ConcatOp(IRDLOperation):
    """Tensor form only: operands joined along `axis`.

    Bufferisation gives the operands slices of one buffer where it can, copies where it cannot.
    """

    name = "loop.concat"
    args = var_operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    device = opt_prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "operands attr-dict `:` functional-type(operands, results)"

    def __init__(
        self, args: Sequence[SSAValue], axis: int, type: TensorType[Any], device: str | None = None
    ):
        super().__init__(
            operands=[list(args)],
            properties={"axis": integer(axis), "device": string(device) if device else None},
            result_types=[type],
        )  # fmt: skip


@irdl_op_definition
class FillOp(IRDLOperation):
    """Set every element of a buffer."""

    name = "loop.fill"
    buffer = operand_def(MemRefType)
    value = prop_def(Attribute)
    assembly_format = "$buffer `with` $value attr-dict `:` type($buffer)"

    def __init__(self, buffer: SSAValue, value: float | int):
        super().__init__(operands=[buffer], properties={"value": fill_attr(value)})


@irdl_op_definition
class CopyOp(IRDLOperation):
    """Move a box between a large memref and a tile: `load` (cache read) or `store` (cache write).

    Tile axis k corresponds to axis perm[k] of the large memref; tile element t is at
    start[perm[k]] + t[k] * steps[perm[k]], where start is `coords` of the loop variables `ivs`.
    Elements outside the large memref read as `fill` and are not written (as tensor-map DMA units
    do): partial tiles and padding need no other treatment.  With `broadcast` (in a core loop) what
    is loaded is written to the same place in other cores, `receivers` of the mask of core levels
    that stands behind it (none: all cores).
    """

    name = "loop.copy"
    big = operand_def(MemRefType)
    tile = operand_def(MemRefType)
    ivs = var_operand_def(IndexType)
    kind = prop_def(StringAttr)
    coords = prop_def(AffineMapAttr)
    perm = prop_def(DenseArrayBase.constr(i64))
    steps = prop_def(DenseArrayBase.constr(i64))
    fill = prop_def(Attribute)
    broadcast = opt_prop_def(IntegerAttr)

    def __init__(
        self, kind: str, big: SSAValue, tile: SSAValue, ivs: Sequence[SSAValue], coords: Linear, *,
        perm: Sequence[int] | None = None, steps: Sequence[int] | None = None,
        fill: float | int | None = None, broadcast: int | None = None,
    ):  # fmt: skip
        rank = len(shape_of(big))
        properties: dict[str, Attribute] = {
            "kind": string(kind), "coords": coords.attr, "perm": ints(perm or range(rank)),
            "steps": ints(steps or [1] * rank), "fill": fill_attr(fill),
        }  # fmt: skip
        if broadcast is not None:
            properties["broadcast"] = integer(broadcast)
        Operation.__init__(self, operands=[big, tile, *ivs], properties=properties)

    @property
    def levels(self) -> int | None:
        """The mask of core levels that it is broadcast along, 0 for all; None: it is not."""
        return None if self.broadcast is None else self.broadcast.value.data

    @property
    def start(self) -> Linear:
        """Start coordinates as a linear map of `ivs`."""
        return Linear.from_attr(self.coords)

    @property
    def fill_number(self) -> float | int | None:
        """The fill value; None means that reading outside is illegal."""
        return fill_value(self.fill)

    def verify_(self) -> None:
        """Ranks, element types and maps fit."""
        rank = len(shape_of(self.big))
        if self.kind.data not in ("load", "store"):
            raise VerifyException(f"loop.copy: unknown kind {self.kind.data!r}")
        if len(shape_of(self.tile)) != rank or element_of(self.tile) != element_of(self.big):
            raise VerifyException("loop.copy: tile and memref must agree in rank and element type")
        if (
            self.start.rank != rank
            or self.start.num_dims != len(self.ivs)
            or len(self.perm) != rank
            or len(self.steps) != rank
        ):
            raise VerifyException("loop.copy: coords, perm and steps must describe every axis")

    def print(self, printer: Printer) -> None:
        """`loop.copy load %x[%h] at map to %t fill 3 : i64 perm [..] steps [..] : types`."""
        printer.print_string(f" {self.kind.data} ")
        printer.print_ssa_value(self.big)
        printer.print_string("[")
        printer.print_list(self.ivs, printer.print_ssa_value)
        printer.print_string("] at ")
        printer.print_attribute(self.coords)
        printer.print_string(" tile ")
        printer.print_ssa_value(self.tile)
        if self.fill_number is not None:
            printer.print_string(" fill ")
            printer.print_attribute(self.fill)
        if list(self.perm.get_values()) != list(range(len(self.perm))):
            printer.print_string(f" perm {[int(v) for v in self.perm.get_values()]}")
        if any(v != 1 for v in self.steps.get_values()):
            printer.print_string(f" steps {[int(v) for v in self.steps.get_values()]}")
        if self.broadcast is not None:
            printer.print_string(" broadcast" + f" {self.levels}" * bool(self.levels))
        printer.print_string(" : ")
        printer.print_attribute(self.big.type)
        printer.print_string(", ")
        printer.print_attribute(self.tile.type)
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)

    @classmethod
    def parse(cls, parser: Parser) -> CopyOp:
        """Parse what `print` prints."""

        def integers() -> list[int]:
            return parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)

        kind = parser.parse_identifier()
        big = parser.parse_unresolved_operand()
        ivs = parser.parse_comma_separated_list(
            parser.Delimiter.SQUARE, parser.parse_unresolved_operand
        )
        parser.parse_keyword("at")
        coords = parser.parse_attribute()
        parser.parse_keyword("tile")
        tile = parser.parse_unresolved_operand()
        fill = (
            parser.parse_attribute() if parser.parse_optional_keyword("fill") else fill_attr(None)
        )
        perm = integers() if parser.parse_optional_keyword("perm") else None
        steps = integers() if parser.parse_optional_keyword("steps") else None
        broadcast = None
        if parser.parse_optional_keyword("broadcast"):
            broadcast = parser.parse_optional_integer() or 0
        parser.parse_punctuation(":")
        big_type = parser.parse_type()
        parser.parse_punctuation(",")
        tile_type = parser.parse_type()
        assert isinstance(coords, AffineMapAttr)
        op = cls(
            kind,
            parser.resolve_operand(big, big_type),
            parser.resolve_operand(tile, tile_type),
            [parser.resolve_operand(iv, IndexType()) for iv in ivs],
            Linear.from_attr(coords),
            perm=perm,
            steps=steps,
            fill=fill_value(fill),
            broadcast=broadcast,
        )
        if attributes := parser.parse_optional_attr_dict_with_keyword():
            op.attributes |= attributes.data
        return op

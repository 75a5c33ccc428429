"""`loop.subview`: a box of a larger buffer as a memref of its own, without a copy.

    %t = loop.subview %y[%h] at affine_map<(d0) -> (0, d0, 0, 0)>
      : memref<1x58x58x64xi8, "spm"> -> memref<1x16x58x64xi8, "spm">

Element t of the result is the buffer's at start + t * steps, where start is `coords` of the loop
variables `ivs`; all of the box lies inside the buffer.  This is how leaves read and write tensors
that stay in the scratchpad.  (Named after memref.subview; the layout is implied by the buffer.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xdsl.dialects.builtin import (
    AffineMapAttr,
    DenseArrayBase,
    IndexType,
    IntegerAttr,
    MemRefType,
    i64,
)
from xdsl.ir import Operation, SSAValue
from xdsl.irdl import (
    EqAttrConstraint,
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..types import element_of, int_values, integer, ints, shape_of
from .maps import Linear
from .structure import space_of


@irdl_op_definition
class SubviewOp(IRDLOperation):
    """See the module docstring."""

    name = "loop.subview"
    buffer = operand_def(MemRefType)
    ivs = var_operand_def(IndexType)
    coords = prop_def(AffineMapAttr)
    steps = prop_def(DenseArrayBase.constr(i64))
    result = result_def(MemRefType)
    traits = traits_def(Pure())

    def __init__(
        self, buffer: SSAValue, ivs: Sequence[SSAValue], coords: Linear, type: MemRefType[Any],
        steps: Sequence[int] | None = None,
    ):  # fmt: skip
        rank = len(shape_of(buffer))
        Operation.__init__(
            self,
            operands=[buffer, *ivs],
            properties={"coords": coords.attr, "steps": ints(steps or [1] * rank)},
            result_types=[type],
        )

    @property
    def start(self) -> Linear:
        """Start coordinates as a linear map of `ivs`."""
        return Linear.from_attr(self.coords)

    def verify_(self) -> None:
        """Ranks, element types and memory spaces agree."""
        rank = len(shape_of(self.buffer))
        start = self.start
        if (start.rank, start.num_dims) != (rank, len(self.ivs)) or len(self.steps) != rank:
            raise VerifyException("loop.subview: coords and steps must describe every axis")
        if (
            len(shape_of(self.result)) != rank
            or element_of(self.result) != element_of(self.buffer)
            or space_of(self.result) != space_of(self.buffer)
        ):
            raise VerifyException("loop.subview: rank, element type and space are the buffer's")

    def print(self, printer: Printer) -> None:
        """`loop.subview %x[%h] at map steps [..] : type -> type`."""
        printer.print_string(" ")
        printer.print_ssa_value(self.buffer)
        printer.print_string("[")
        printer.print_list(self.ivs, printer.print_ssa_value)
        printer.print_string("] at ")
        printer.print_attribute(self.coords)
        if any(v != 1 for v in int_values(self.steps)):
            printer.print_string(f" steps {list(int_values(self.steps))}")
        printer.print_string(" : ")
        printer.print_attribute(self.buffer.type)
        printer.print_string(" -> ")
        printer.print_attribute(self.result.type)

    @classmethod
    def parse(cls, parser: Parser) -> SubviewOp:
        """Parse what `print` prints."""
        buffer = parser.parse_unresolved_operand()
        ivs = parser.parse_comma_separated_list(
            parser.Delimiter.SQUARE, parser.parse_unresolved_operand
        )
        parser.parse_keyword("at")
        coords = parser.parse_attribute()
        assert isinstance(coords, AffineMapAttr)
        steps = None
        if parser.parse_optional_keyword("steps"):
            steps = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)
        parser.parse_punctuation(":")
        source = parser.parse_type()
        parser.parse_punctuation("->")
        target = parser.parse_type()
        assert isinstance(target, MemRefType)
        return cls(
            parser.resolve_operand(buffer, source),
            [parser.resolve_operand(iv, IndexType()) for iv in ivs],
            Linear.from_attr(coords),
            target,  # pyright: ignore[reportUnknownArgumentType]
            steps,
        )


@irdl_op_definition
class BroadcastOp(IRDLOperation):
    """`loop.broadcast %tile`: this core's elements of a subview, copied to other cores.

    They go to the same place of the same buffer (in a core loop only): in all cores, or the
    `receivers` of a mask of core levels, `loop.broadcast %tile levels 2`.
    """

    name = "loop.broadcast"
    tile = operand_def(MemRefType)
    levels_attr = prop_def(
        IntegerAttr.constr(EqAttrConstraint(i64)), default_value=integer(0), prop_name="levels"
    )
    assembly_format = "$tile (`levels` $levels^)? attr-dict `:` type($tile)"

    def __init__(self, tile: SSAValue, levels: int = 0):
        super().__init__(operands=[tile], properties={"levels": integer(levels)})

    @property
    def levels(self) -> int:
        """The mask of core levels that it goes along, 0 for all."""
        return self.levels_attr.value.data

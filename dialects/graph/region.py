"""`graph.region`: operations that will become one loop nest or one kernel (structural fusion).

    %y = graph.region(%a = %x : tensor<...>, %b = %w : tensor<...>) -> tensor<...> {
      %c = graph.conv %a, %b ...
      %d = graph.map "relu" %c ...
      graph.yield %d : tensor<...>
    } {device = "npu"}

The region is isolated: what it uses enters as an argument.  `device` ("npu" or "cpu") is where the
partitioner placed it; it may also be on a single operation, as a discardable attribute.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import StringAttr, TensorType
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser, UnresolvedOperand
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure, SingleBlockImplicitTerminator
from xdsl.utils.exceptions import VerifyException

from ..types import string


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Ends a `graph.region` with its results."""

    name = "graph.yield"
    args = var_operand_def(TensorType)
    traits = traits_def(IsTerminator(), Pure())
    assembly_format = "attr-dict ($args^ `:` type($args))?"

    def __init__(self, args: Sequence[SSAValue] = ()):
        super().__init__(operands=[list(args)])


@irdl_op_definition
class RegionOp(IRDLOperation):
    """A fusion group, computed as one."""

    name = "graph.region"
    args = var_operand_def(TensorType)
    device = opt_prop_def(StringAttr)
    res = var_result_def(TensorType)
    body = region_def("single_block")
    traits = traits_def(Pure(), IsolatedFromAbove(), SingleBlockImplicitTerminator(YieldOp))

    def __init__(
        self,
        args: Sequence[SSAValue],
        result_types: Sequence[Attribute],
        body: Region,
        device: str | None = None,
    ):
        super().__init__(
            operands=[list(args)], result_types=[list(result_types)], regions=[body],
            properties={"device": string(device) if device else None},
        )  # fmt: skip

    @property
    def block(self) -> Block:
        """The only block."""
        return self.body.block

    @property
    def ops(self) -> list[Operation]:
        """The grouped operations, without the terminator."""
        return [op for op in self.block.ops if not isinstance(op, YieldOp)]

    def verify_(self) -> None:
        """Argument and yielded types match the operands and results."""
        if [a.type for a in self.block.args] != [a.type for a in self.args]:
            raise VerifyException("graph.region: block arguments must have the operands' types")
        last = self.block.last_op
        if not isinstance(last, YieldOp) or [a.type for a in last.args] != [
            r.type for r in self.res
        ]:
            raise VerifyException("graph.region: graph.yield must yield the result types")

    def print(self, printer: Printer) -> None:
        """Print the custom form above."""
        printer.print_string("(")
        for i, (inner, outer) in enumerate(zip(self.block.args, self.args, strict=True)):
            printer.print_string(", " if i else "")
            printer.print_ssa_value(inner)
            printer.print_string(" = ")
            printer.print_ssa_value(outer)
            printer.print_string(" : ")
            printer.print_attribute(outer.type)
        printer.print_string(") -> ")
        printer.print_list([r.type for r in self.res], printer.print_attribute)
        if self.device is not None:
            printer.print_string(" on ")
            printer.print_attribute(self.device)
        printer.print_string(" ")
        printer.print_region(self.body, print_entry_block_args=False)
        printer.print_op_attributes(self.attributes)

    @classmethod
    def parse(cls, parser: Parser) -> RegionOp:
        """Parse the custom form above."""

        def argument() -> tuple[Parser.Argument, UnresolvedOperand]:
            inner = parser.parse_argument(expect_type=False)
            parser.parse_punctuation("=")
            outer = parser.parse_unresolved_operand()
            parser.parse_punctuation(":")
            return inner.resolve(parser.parse_type()), outer

        pairs = parser.parse_comma_separated_list(parser.Delimiter.PAREN, argument)
        parser.parse_punctuation("->")
        types = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_type)
        device = parser.parse_str_literal() if parser.parse_optional_keyword("on") else None
        operands = [parser.resolve_operand(outer, inner.type) for inner, outer in pairs]
        body = parser.parse_region([inner for inner, _ in pairs])
        op = cls(operands, types, body, device)
        if attributes := parser.parse_optional_attr_dict():
            op.attributes |= attributes
        return op


def device_of(op: Operation) -> str | None:
    """Where the partitioner placed `op`: "npu", "cpu", or None before partitioning."""
    attr = op.device if isinstance(op, RegionOp) else op.attributes.get("device")
    return attr.data if isinstance(attr, StringAttr) else None


def place(op: Operation, device: str) -> None:
    """Record that `op` runs on `device`."""
    if isinstance(op, RegionOp):
        op.device = string(device)
    else:
        op.attributes["device"] = string(device)

"""Programs, hardware loops, buffers and tokens.

    npu.program @segment_0 {
      %x = npu.dram 0 : memref<1x8x8x4xi8, "dram">
      %free = npu.token 2
      %done = npu.loop 14 iter(%f = %free) {
        %xt = npu.alloc {slots = 2 : i64} : memref<544xi8, "spm">
        %l = npu.load(%x at #npu.tensor_map<...>, %xt at #npu.access<...>) wait(%f)
             {element = 1 : i64, fill = 3 : i64}
        ...
        npu.yield %c
      }
    }

Tokens order commands of different queues; each queue runs its commands in program order.  A token
carried by a loop that starts from `npu.token n` has n credits: iteration i waits for what iteration
i - n yielded (buffer reuse, write-after-read).  Buffers are values until allocation sets `address`;
a buffer inside loops has `slots` physical copies, used round-robin by the running count of
executions of its loop body.

On several cores all of it stands in `npu.cores n { ... }`, loop level 0, whose iterations run side
by side; or in `npu.cores n inner m { ... }`, loop levels 0 and 1 of n / m and m iterations.  A
token of a command with `all_cores` is complete when all cores have run the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from xdsl.dialects.builtin import IntegerAttr, MemRefType, StringAttr, SymbolNameConstraint
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, NoTerminator, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from ..types import integer
from .attributes import TokenType
from .cores import core_trips
from .isa import MAX_CORES

TOKEN = TokenType()


@irdl_op_definition
class ProgramOp(IRDLOperation):
    """One NPU program (a segment of the model between CPU parts)."""

    name = "npu.program"
    sym_name = prop_def(SymbolNameConstraint())
    body = region_def("single_block")
    traits = traits_def(SymbolOpInterface(), IsolatedFromAbove(), NoTerminator())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$sym_name $body attr-dict"

    def __init__(self, name: str, body: Region | None = None):
        super().__init__(
            properties={"sym_name": StringAttr(name)}, regions=[body or Region(Block())]
        )


@irdl_op_definition
class TokenOp(IRDLOperation):
    """A token with `credits` initial credits."""

    name = "npu.token"
    credits = prop_def(IntegerAttr)
    result = result_def(TokenType)
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, credits: int):
        Operation.__init__(self, properties={"credits": integer(credits)}, result_types=[TOKEN])

    def print(self, printer: Printer) -> None:
        """`npu.token 2`."""
        printer.print_string(f" {self.credits.value.data}")

    @classmethod
    def parse(cls, parser: Parser) -> TokenOp:
        """Parse what `print` prints."""
        return cls(parser.parse_integer())


@irdl_op_definition
class DramOp(IRDLOperation):
    """A tensor in DRAM at byte `address` of the arena ("dram") or of the constants ("const")."""

    name = "npu.dram"
    address = prop_def(IntegerAttr)
    result = result_def(MemRefType)

    def __init__(self, address: int, type: MemRefType[Any]):
        Operation.__init__(self, properties={"address": integer(address)}, result_types=[type])

    def print(self, printer: Printer) -> None:
        """`npu.dram 4096 : memref<...>`."""
        printer.print_string(f" {self.address.value.data} : ")
        printer.print_attribute(self.result.type)

    @classmethod
    def parse(cls, parser: Parser) -> DramOp:
        """Parse what `print` prints."""
        address = parser.parse_integer()
        parser.parse_punctuation(":")
        type = parser.parse_type()
        assert isinstance(type, MemRefType)
        return cls(address, cast(MemRefType[Any], type))


@irdl_op_definition
class AllocOp(IRDLOperation):
    """A buffer of bytes in "spm" or "acc".

    Allocation sets `address` (of slot 0) and `slot_stride` (bytes from one slot to the next).
    """

    name = "npu.alloc"
    slots = prop_def(IntegerAttr, default_value=integer(1))
    address = opt_prop_def(IntegerAttr)
    slot_stride = opt_prop_def(IntegerAttr)
    result = result_def(MemRefType)
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, type: MemRefType[Any], slots: int = 1, address: int | None = None):
        properties: dict[str, Attribute] = {"slots": integer(slots)}
        if address is not None:
            properties["address"] = integer(address)
        # as for commands: xDSL's generic constructor takes several times as long
        Operation.__init__(self, properties=properties, result_types=[type])

    @property
    def bytes(self) -> int:
        """Size of one slot in bytes."""
        assert isinstance(self.result.type, MemRefType)
        return self.result.type.get_shape()[0]


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Ends a loop body with the tokens it carries."""

    name = "npu.yield"
    args = var_operand_def(TokenType)
    traits = traits_def(IsTerminator())
    assembly_format = "attr-dict ($args^)?"

    def __init__(self, args: Sequence[SSAValue] = ()):
        super().__init__(operands=[list(args)])


@irdl_op_definition
class CoresOp(IRDLOperation):
    """All commands of a program, run by `count` cores: loop level 0, iterations side by side.

        npu.program @p { %x = npu.dram 0 : memref<64xi8, "dram">
          npu.cores 4 { ... } }

    `npu.cores 6 inner 2 { ... }` is a grid of 3 x 2 cores, loop levels 0 and 1: core c is at
    (c // inner, c % inner), so that accesses have a stride for each direction.

    Beside it the program may only declare buffers in DRAM and tokens.
    """

    name = "npu.cores"
    count = prop_def(IntegerAttr)
    inner = prop_def(IntegerAttr, default_value=integer(1))
    body = region_def("single_block")
    traits = traits_def(NoTerminator())

    def __init__(self, count: int, inner: int = 1, body: Region | None = None):
        super().__init__(
            properties={"count": integer(count), "inner": integer(inner)},
            regions=[body or Region(Block())],
        )

    @property
    def grid(self) -> tuple[int, ...]:
        """Iterations of its loop levels, one or two."""
        return core_trips(self.count.value.data, self.inner.value.data)

    def verify_(self) -> None:
        """It stands in a program, alone but for declarations, and has 1 to 1024 cores."""
        program, count, inner = self.parent_op(), self.count.value.data, self.inner.value.data
        if not 1 <= count <= MAX_CORES:
            raise VerifyException(f"npu.cores: count must be in [1, {MAX_CORES}]")
        if inner < 1 or count % inner:
            raise VerifyException(f"npu.cores: inner {inner} does not divide {count} cores")
        if self.body.block.args:
            raise VerifyException("npu.cores: carries no tokens")
        if not isinstance(program, ProgramOp):
            raise VerifyException("npu.cores: must be the outermost level of an npu.program")
        if any(
            not isinstance(op, DramOp | TokenOp) for op in program.body.block.ops if op is not self
        ):
            raise VerifyException(
                "npu.cores: its program may hold nothing else but npu.dram and npu.token"
            )

    def print(self, printer: Printer) -> None:
        """`npu.cores 4 { ... }`, `npu.cores 4 inner 2 { ... }`."""
        inner = self.inner.value.data
        printer.print_string(f" {self.count.value.data} " + (f"inner {inner} " * (inner != 1)))
        printer.print_region(self.body, print_entry_block_args=False)
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)

    @classmethod
    def parse(cls, parser: Parser) -> CoresOp:
        """Parse what `print` prints."""
        count = parser.parse_integer()
        inner = parser.parse_integer() if parser.parse_optional_keyword("inner") else 1
        op = cls(count, inner, parser.parse_region())
        if attributes := parser.parse_optional_attr_dict_with_keyword():
            op.attributes |= attributes.data
        return op


@irdl_op_definition
class LoopOp(IRDLOperation):
    """A hardware loop of `count` iterations carrying tokens."""

    name = "npu.loop"
    count = prop_def(IntegerAttr)
    init = var_operand_def(TokenType)
    res = var_result_def(TokenType)
    body = region_def("single_block")

    def __init__(self, count: int, init: Sequence[SSAValue] = (), body: Region | None = None):
        super().__init__(
            operands=[list(init)], properties={"count": integer(count)},
            result_types=[[TOKEN] * len(init)],
            regions=[body or Region(Block(arg_types=[TOKEN] * len(init)))],
        )  # fmt: skip

    def verify_(self) -> None:
        """Carried tokens agree in number; the body ends in npu.yield."""
        last = self.body.block.last_op
        if self.count.value.data < 1:
            raise VerifyException("npu.loop: count must be at least 1")
        if not isinstance(last, YieldOp) or not len(last.args) == len(self.init) == len(
            self.body.block.args
        ):
            raise VerifyException(
                "npu.loop: body must end in npu.yield with one token per carried token"
            )

    def print(self, printer: Printer) -> None:
        """`npu.loop 14 iter(%f = %free) { ... }`."""
        printer.print_string(f" {self.count.value.data} ")
        if self.init:
            printer.print_string("iter(")
            for i, (arg, init) in enumerate(zip(self.body.block.args, self.init, strict=True)):
                printer.print_string(", " if i else "")
                printer.print_ssa_value(arg)
                printer.print_string(" = ")
                printer.print_ssa_value(init)
            printer.print_string(") ")
        printer.print_region(self.body, print_entry_block_args=False)
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)

    @classmethod
    def parse(cls, parser: Parser) -> LoopOp:
        """Parse what `print` prints."""
        count = parser.parse_integer()
        args: list[Parser.Argument] = []
        init: list[SSAValue] = []
        if parser.parse_optional_keyword("iter"):

            def pair() -> None:
                args.append(parser.parse_argument(expect_type=False).resolve(TOKEN))
                parser.parse_punctuation("=")
                init.append(parser.resolve_operand(parser.parse_unresolved_operand(), TOKEN))

            parser.parse_comma_separated_list(parser.Delimiter.PAREN, pair)
        op = cls(count, init, parser.parse_region(args))
        if attributes := parser.parse_optional_attr_dict_with_keyword():
            op.attributes |= attributes.data
        return op

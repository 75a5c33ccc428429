"""Commands: one operation per hardware command, checked against the table in `isa.py`.

    %t = npu.matmul(%xt at #npu.access<...>, %wt at #npu.access<...>, %acc at #npu.access<...>)
           wait(%l, %f) {m_rank = 2 : i64, overwrite = 4 : i64}

Buffer operands come in the order of the instruction's operands, each with its descriptor (a
`#npu.tensor_map` for DRAM, an `#npu.access` on chip).  The result is the token of completion.
Unnamed parameters are 0.  Inside `npu.cores` a command runs in every core; its token stands for its
own core's, with `all_cores` (behind `wait`) for all cores' completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    MemRefType,
    StringAttr,
    UnitAttr,
    i32,
)
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    result_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from ..loop.structure import space_of
from ..types import params_attr, params_dict, string
from .attributes import AccessAttr, TensorMapAttr, TokenType
from .cores import spreads
from .descriptors import core_level_in
from .isa import BY_MNEMONIC, Instruction, Queue
from .operands import core_levels
from .structure import TOKEN


@lru_cache(maxsize=65536)
def _params(items: tuple[tuple[str, int], ...]) -> DictionaryAttr:
    return params_attr(dict(items))


@lru_cache(maxsize=4096)
def _segments(buffers: int, waits: int) -> Attribute:
    return DenseArrayBase.from_list(i32, [buffers, waits])


class Command(IRDLOperation):
    """Base of all commands; a subclass is named after its instruction."""

    buffers = var_operand_def(MemRefType)
    waits = var_operand_def(TokenType)
    accesses = prop_def(ArrayAttr[Attribute])
    params = prop_def(DictionaryAttr)
    all_cores = opt_prop_def(UnitAttr)
    token = result_def(TokenType)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(
        self, buffers: Sequence[SSAValue], accesses: Sequence[AccessAttr | TensorMapAttr], *,
        waits: Sequence[SSAValue] = (), all_cores: bool = False, **params: int,
    ):  # fmt: skip
        properties: dict[str, Attribute] = {
            "accesses": ArrayAttr(accesses),
            "params": _params(tuple(params.items())),
            "operandSegmentSizes": _segments(len(buffers), len(waits)),
        }
        if all_cores:
            properties["all_cores"] = UnitAttr()
        # xDSL's generic constructor takes several times as long; programs are mostly commands
        Operation.__init__(
            self, operands=[*buffers, *waits], properties=properties, result_types=[TOKEN]
        )

    def wait_for(self, tokens: Sequence[SSAValue]) -> None:
        """Wait for `tokens`, and no others."""
        buffers = list(self.buffers)
        self.operands = [*buffers, *tokens]
        self.properties["operandSegmentSizes"] = _segments(len(buffers), len(tokens))

    @property
    def instruction(self) -> Instruction:
        """The row of the instruction table."""
        return BY_MNEMONIC[self.name.removeprefix("npu.")]

    @property
    def queue(self) -> Queue:
        """The queue this command runs in."""
        return self.instruction.queue

    @property
    def param_values(self) -> dict[str, int]:
        """All parameters by name; 0 where not given."""
        given = params_dict(self.params)
        return {p: int(given.get(p, 0)) for p in self.instruction.params}

    def verify_(self) -> None:
        """Operands, spaces, descriptors and parameters fit the instruction table."""
        spec = self.instruction
        if not len(self.buffers) == len(self.accesses) == len(spec.operands):
            raise VerifyException(
                f"{self.name}: takes {len(spec.operands)} operands with one descriptor each"
            )
        for operand, buffer, access in zip(
            spec.operands, self.buffers, self.accesses.data, strict=True
        ):
            space = space_of(buffer)
            if space not in operand.spaces:
                raise VerifyException(
                    f"{self.name}: {operand.name} must be in {' or '.join(operand.spaces)}, "
                    f"not {space}"
                )
            if not isinstance(access, TensorMapAttr if space in ("dram", "const") else AccessAttr):
                raise VerifyException(
                    f"{self.name}: {operand.name} has the wrong kind of descriptor"
                )
        if unknown := set(self.params.data) - set(spec.params):
            raise VerifyException(f"{self.name}: unknown parameter {', '.join(sorted(unknown))}")
        given = self.param_values
        cores = core_levels(self)
        if given.get("levels", 0) >> cores:
            raise VerifyException(f"{self.name}: `levels` names more than {cores} core levels")
        if cores:
            if (level := core_level_in(given.get("overwrite", 0), cores)) is not None:
                raise VerifyException(
                    f"{self.name}: `overwrite` names loop level {level}, the cores"
                )
        elif self.all_cores is not None or spreads(spec.mnemonic, given):
            raise VerifyException(f"{self.name}: reaches other cores, but stands outside npu.cores")

    def print(self, printer: Printer) -> None:
        """Print the custom form of the module docstring."""
        printer.print_string("(")
        for i, (buffer, access) in enumerate(zip(self.buffers, self.accesses.data, strict=True)):
            printer.print_string(", " if i else "")
            printer.print_ssa_value(buffer)
            printer.print_string(" : ")
            printer.print_attribute(buffer.type)
            printer.print_string(" at ")
            printer.print_attribute(access)
        printer.print_string(")")
        if self.waits:
            printer.print_string(" wait(")
            printer.print_list(self.waits, printer.print_ssa_value)
            printer.print_string(")")
        if self.all_cores is not None:
            printer.print_string(" all_cores")
        if self.params.data:
            printer.print_string(" ")
            printer.print_attribute(self.params)
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)

    @classmethod
    def parse(cls, parser: Parser) -> Command:
        """Parse what `print` prints."""

        def operand() -> tuple[SSAValue, Attribute]:
            name = parser.parse_unresolved_operand()
            parser.parse_punctuation(":")
            value = parser.resolve_operand(name, parser.parse_type())
            parser.parse_keyword("at")
            return value, parser.parse_attribute()

        pairs = parser.parse_comma_separated_list(parser.Delimiter.PAREN, operand)
        waits: list[SSAValue] = []
        if parser.parse_optional_keyword("wait"):
            names = parser.parse_comma_separated_list(
                parser.Delimiter.PAREN, parser.parse_unresolved_operand
            )
            waits = [parser.resolve_operand(n, TOKEN) for n in names]
        all_cores = parser.parse_optional_keyword("all_cores") is not None
        params = parser.parse_optional_attr_dict()
        op = cls(
            [value for value, _ in pairs],
            [access for _, access in pairs],  # pyright: ignore[reportArgumentType]
            waits=waits,
            all_cores=all_cores,
            **{k: int(v) for k, v in params_dict(DictionaryAttr(params)).items()},
        )
        if attributes := parser.parse_optional_attr_dict_with_keyword():
            op.attributes |= attributes.data
        return op


def _command(mnemonic: str, doc: str) -> type[Command]:
    cls = type(
        f"{mnemonic.capitalize()}Op",
        (Command,),
        {"name": f"npu.{mnemonic}", "__doc__": doc, "__module__": __name__},
    )
    return irdl_op_definition(cls)


COMMANDS: dict[str, type[Command]] = {
    i.mnemonic: _command(i.mnemonic, i.semantics) for i in BY_MNEMONIC.values() if i.operands
}
"""The operation class of every instruction with operands, by mnemonic."""


@irdl_op_definition
class SyncOp(IRDLOperation):
    """No work: waits for tokens in `queue`'s order; its own token completes all before it.

    With `all_cores`, all before it in that queue of every core.
    """

    name = "npu.sync"
    waits = var_operand_def(TokenType)
    queue_name = prop_def(StringAttr)
    all_cores = opt_prop_def(UnitAttr)
    token = result_def(TokenType)
    assembly_format = "$queue_name (`wait` `(` $waits^ `)`)? (`all_cores` $all_cores^)? attr-dict"

    def __init__(self, queue: Queue, waits: Sequence[SSAValue] = (), all_cores: bool = False):
        properties: dict[str, Attribute] = {"queue_name": string(queue.value)}
        if all_cores:
            properties["all_cores"] = UnitAttr()
        Operation.__init__(self, operands=waits, properties=properties, result_types=[TOKEN])

    def verify_(self) -> None:
        """`all_cores` only inside npu.cores."""
        if self.all_cores is not None and not core_levels(self):
            raise VerifyException("npu.sync: reaches other cores, but stands outside npu.cores")

    @property
    def queue(self) -> Queue:
        """The queue this passes through."""
        return Queue(self.queue_name.data)

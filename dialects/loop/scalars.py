"""What bodies and epilogues of nests are made of: scalar operations.

%0 = loop.apply "widen"(%a) {zp = 3 : i64} : (i8) -> i32
%c = loop.const 7 : i64 -> i32
%i = loop.index 2 : i64 -> i64
%t = loop.extract %table[%0] : memref<256xi8, "const">[i32] -> i8
loop.yield %t : i8
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    DictionaryAttr,
    FloatAttr,
    IntegerAttr,
    MemRefType,
    StringAttr,
    TensorType,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from ..scalar import check_operands
from ..types import (
    Param,
    element_of,
    integer,
    is_float,
    params_attr,
    params_dict,
    real,
    shape_of,
    string,
)


@irdl_op_definition
class ScalarYieldOp(IRDLOperation):
    """Ends the body or epilogue of a nest with its scalar."""

    name = "loop.yield"
    args = var_operand_def(Attribute)
    traits = traits_def(IsTerminator(), Pure())
    assembly_format = "attr-dict ($args^ `:` type($args))?"

    def __init__(self, args: Sequence[SSAValue] = ()):
        super().__init__(operands=[list(args)])


@irdl_op_definition
class ApplyOp(IRDLOperation):
    """Apply a scalar function of `dialects/scalar.py` to element values."""

    name = "loop.apply"
    args = var_operand_def(Attribute)
    fn = prop_def(StringAttr)
    params = opt_prop_def(Attribute)
    traits = traits_def(Pure())
    assembly_format = "$fn `(` $args `)` ($params^)? attr-dict `:` functional-type($args, $result)"
    result = result_def(Attribute)

    def __init__(
        self,
        fn: str,
        args: Sequence[SSAValue],
        result: Attribute,
        params: dict[str, Param] | None = None,
    ):
        super().__init__(
            operands=[list(args)], result_types=[result],
            properties={"fn": string(fn), "params": params_attr(params) if params else None},
        )  # fmt: skip

    @property
    def param_values(self) -> dict[str, Param]:
        """Explicit parameters by name."""
        return params_dict(self.params if isinstance(self.params, DictionaryAttr) else None)

    def verify_(self) -> None:
        """The function fits the operand and result types."""
        if why := check_operands(
            self.fn.data, [a.type for a in self.args], self.result.type, self.param_values
        ):
            raise VerifyException(f"loop.apply: {why}")


@irdl_op_definition
class ScalarConstantOp(IRDLOperation):
    """A scalar constant inside a nest: `%c = loop.const 1.0 : f32`."""

    name = "loop.const"
    value = prop_def(IntegerAttr | FloatAttr)
    result = result_def(Attribute)
    traits = traits_def(Pure())
    assembly_format = "$value attr-dict `->` type($result)"

    def __init__(self, value: float | int, element: Attribute):
        super().__init__(
            properties={"value": real(float(value)) if is_float(element) else integer(int(value))},
            result_types=[element],
        )


@irdl_op_definition
class IndexOp(IRDLOperation):
    """The current index (i64) of domain dimension `dim` of the enclosing nest."""

    name = "loop.index"
    dim = prop_def(IntegerAttr)
    result = result_def(Attribute)
    traits = traits_def(Pure())
    assembly_format = "$dim attr-dict `->` type($result)"

    def __init__(self, dim: int):
        super().__init__(properties={"dim": integer(dim)}, result_types=[i64])


@irdl_op_definition
class ExtractOp(IRDLOperation):
    """Read `source[indices]` at computed (integer) indices: tables, gathers.

    Indices are clamped to the extents, so that no input can read outside (undefined in ONNX).
    """

    name = "loop.extract"
    source = operand_def(TensorType | MemRefType)
    indices = var_operand_def(Attribute)
    result = result_def(Attribute)
    traits = traits_def(Pure())
    assembly_format = (
        "$source `[` $indices `]` attr-dict `:` type($source) `[` type($indices) `]` "
        "`->` type($result)"
    )

    def __init__(self, source: SSAValue, indices: Sequence[SSAValue]):
        super().__init__(operands=[source, list(indices)], result_types=[element_of(source)])

    def verify_(self) -> None:
        """One index per axis."""
        if len(self.indices) != len(shape_of(self.source)):
            raise VerifyException("loop.extract: one index per axis of the source")

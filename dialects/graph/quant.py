"""Quantised operators: between real and stored values, and integer arithmetic with requantisation.

All integer arithmetic is defined in `dialects/fixed_point.py`.  Results carry their encoding
(`#graph.quant`) in the tensor type; the arithmetic itself depends on attributes alone.
"""

from __future__ import annotations

from typing import Any

from xdsl.dialects.builtin import IntegerAttr, TensorType, f32, i8
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..types import element_of, integer, shape_of, tensor
from .attributes import QuantAttr, quantization
from .base import GraphOp, broadcast_shapes, expect_shape


@irdl_op_definition
class QuantizeOp(GraphOp):
    """real -> stored: clamp(rint(x / scale) + zero_point), round half to even, division in f32.

    The encoding is that of the result type (per tensor, or per index of its axis).
    """

    name = "graph.quantize"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, encoding: QuantAttr, element: Any = i8):
        super().__init__(operands=[x], result_types=[tensor(shape_of(x), element, encoding)])

    def verify_(self) -> None:
        """The result has an encoding."""
        if quantization(self.result.type) is None:
            raise VerifyException("graph.quantize: the result type must carry #graph.quant")
        expect_shape(self, self.result, shape_of(self.x))


@irdl_op_definition
class DequantizeOp(GraphOp):
    """stored -> real: f32(q - zero_point) * scale, by the operand's encoding."""

    name = "graph.dequantize"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue):
        super().__init__(operands=[x], result_types=[tensor(shape_of(x), f32)])

    def verify_(self) -> None:
        """The operand has an encoding."""
        if quantization(self.x.type) is None:
            raise VerifyException("graph.dequantize: the operand type must carry #graph.quant")
        expect_shape(self, self.result, shape_of(self.x))


@irdl_op_definition
class RequantizeOp(GraphOp):
    """i32 accumulator -> 8 bits: clamp(round(acc * multiplier / 2^shift) + zp, lo, hi).

    `multiplier` and `shift` are i32 tensors that broadcast against the accumulator: [1] per
    tensor, or per channel shaped to align with the channel axis ([C] channels last,
    [C, 1, 1] channels first).  `lo`/`hi` also hold fused clip-type activations.
    """

    name = "graph.requantize"
    x = operand_def(TensorType)
    multiplier = operand_def(TensorType)
    shift = operand_def(TensorType)
    zp = prop_def(IntegerAttr)
    lo = prop_def(IntegerAttr, default_value=integer(-128))
    hi = prop_def(IntegerAttr, default_value=integer(127))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, x: SSAValue, multiplier: SSAValue, shift: SSAValue, encoding: QuantAttr,
        *, lo: int = -128, hi: int = 127, element: Any = i8,
    ):  # fmt: skip
        super().__init__(
            operands=[x, multiplier, shift],
            properties={"zp": integer(encoding.zero_point), "lo": integer(lo), "hi": integer(hi)},
            result_types=[tensor(shape_of(x), element, encoding)],
        )

    def verify_(self) -> None:
        """Multipliers broadcast to the accumulator's shape."""
        try:
            shape = broadcast_shapes(
                shape_of(self.x), shape_of(self.multiplier), shape_of(self.shift)
            )
        except ValueError as error:
            raise VerifyException(f"graph.requantize: {error}") from None
        if shape != shape_of(self.x) or shape != shape_of(self.result):
            raise VerifyException(
                "graph.requantize: multiplier and shift must broadcast to the accumulator's shape"
            )


@irdl_op_definition
class LookupOp(GraphOp):
    """y = table[x + 128]: any unary function of 8-bit values (i8 or ui8 indexed from its minimum).

    `table` is a constant of 256 entries in the result's element type.
    """

    name = "graph.lookup"
    x = operand_def(TensorType)
    table = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, table: SSAValue, encoding: QuantAttr | None = None):
        super().__init__(
            operands=[x, table], result_types=[tensor(shape_of(x), element_of(table), encoding)]
        )

    def verify_(self) -> None:
        """The table has 256 entries."""
        if shape_of(self.table) != (256,) or element_of(self.table) != element_of(self.result):
            raise VerifyException(
                "graph.lookup: the table must have 256 entries of the result's type"
            )
        expect_shape(self, self.result, shape_of(self.x))


class _QuantisedBinary(GraphOp):
    """Shared by the two-operand integer operators (numpy broadcasting)."""

    def _check(self, a: SSAValue, b: SSAValue, result: SSAValue) -> None:
        try:
            expect_shape(self, result, broadcast_shapes(shape_of(a), shape_of(b)))
        except ValueError as error:
            raise VerifyException(f"{self.name}: {error}") from None


@irdl_op_definition
class QAddOp(_QuantisedBinary):
    """clamp(requantize((a - za) * ma + (b - zb) * mb)); subtraction has a negative `mb`."""

    name = "graph.qadd"
    a = operand_def(TensorType)
    b = operand_def(TensorType)
    za = prop_def(IntegerAttr)
    ma = prop_def(IntegerAttr)
    zb = prop_def(IntegerAttr)
    mb = prop_def(IntegerAttr)
    multiplier = prop_def(IntegerAttr)
    shift = prop_def(IntegerAttr)
    zp = prop_def(IntegerAttr)
    lo = prop_def(IntegerAttr, default_value=integer(-128))
    hi = prop_def(IntegerAttr, default_value=integer(127))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, a: SSAValue, b: SSAValue, encoding: QuantAttr, *, za: int, ma: int, zb: int, mb: int,
        multiplier: int, shift: int, lo: int = -128, hi: int = 127,
    ):  # fmt: skip
        values = {
            "za": za,
            "ma": ma,
            "zb": zb,
            "mb": mb,
            "multiplier": multiplier,
            "shift": shift,
            "zp": encoding.zero_point,
            "lo": lo,
            "hi": hi,
        }
        super().__init__(
            operands=[a, b],
            properties={k: integer(v) for k, v in values.items()},
            result_types=[
                tensor(broadcast_shapes(shape_of(a), shape_of(b)), element_of(a), encoding)
            ],
        )

    def verify_(self) -> None:
        """Operands broadcast to the result."""
        self._check(self.a, self.b, self.result)


@irdl_op_definition
class QMulOp(_QuantisedBinary):
    """clamp(requantize((a - za) * (b - zb)))."""

    name = "graph.qmul"
    a = operand_def(TensorType)
    b = operand_def(TensorType)
    za = prop_def(IntegerAttr)
    zb = prop_def(IntegerAttr)
    multiplier = prop_def(IntegerAttr)
    shift = prop_def(IntegerAttr)
    zp = prop_def(IntegerAttr)
    lo = prop_def(IntegerAttr, default_value=integer(-128))
    hi = prop_def(IntegerAttr, default_value=integer(127))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, a: SSAValue, b: SSAValue, encoding: QuantAttr, *, za: int, zb: int,
        multiplier: int, shift: int, lo: int = -128, hi: int = 127,
    ):  # fmt: skip
        values = {
            "za": za,
            "zb": zb,
            "multiplier": multiplier,
            "shift": shift,
            "zp": encoding.zero_point,
            "lo": lo,
            "hi": hi,
        }
        super().__init__(
            operands=[a, b],
            properties={k: integer(v) for k, v in values.items()},
            result_types=[
                tensor(broadcast_shapes(shape_of(a), shape_of(b)), element_of(a), encoding)
            ],
        )

    def verify_(self) -> None:
        """Operands broadcast to the result."""
        self._check(self.a, self.b, self.result)

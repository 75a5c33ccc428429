"""Integer operators on rows of 8-bit values: softmax and normalisation.

    %y = graph.qsoftmax %x, %table {axis = 2, bits = 22}
    %y = graph.qnorm %x, %gain, %offset {axes = [2], x_zp = 3, epsilon = 590, ...}

Their arithmetic is defined in `dialects/fixed_point.py`; attributes and constant operands hold all
that depends on scales.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, TensorType, i8, i32, i64
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..types import element_of, int_values, integer, ints, shape_of, tensor
from .attributes import QuantAttr
from .base import GraphOp, broadcast_shapes, expect_shape

SOFTMAX_ENCODING = (1 / 256, -128)
"""Scale and zero point of the result of `graph.qsoftmax`."""


@irdl_op_definition
class QSoftmaxOp(GraphOp):
    """Softmax along `axis`: e = table[max - x] of x less than its maximum, over their sum.

    `table` (i32, 256 entries) holds exp(-i * scale) with `bits` fraction bits.  With
    r = reciprocal(sum e, bits + 30), the result is requantize(e, r, bits + 22) - 128: scale 1/256.
    """

    name = "graph.qsoftmax"
    x = operand_def(TensorType)
    table = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    bits = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, table: SSAValue, axis: int, bits: int):
        scale, zero_point = SOFTMAX_ENCODING
        super().__init__(
            operands=[x, table],
            properties={"axis": integer(axis % len(shape_of(x))), "bits": integer(bits)},
            result_types=[tensor(shape_of(x), i8, QuantAttr.get([scale], [zero_point]))],
        )

    def verify_(self) -> None:
        """Shapes, types and the number of bits fit."""
        if element_of(self.x) != i8 or element_of(self.result) != i8:
            raise VerifyException("graph.qsoftmax: works on i8")
        if not 0 <= self.axis.value.data < len(shape_of(self.x)):
            raise VerifyException(f"graph.qsoftmax: axis {self.axis.value.data} does not exist")
        if shape_of(self.table) != (256,) or element_of(self.table) != i32:
            raise VerifyException("graph.qsoftmax: the table must have 256 entries of i32")
        if not 0 <= self.bits.value.data <= 22:
            raise VerifyException("graph.qsoftmax: bits must be in 0..22")
        expect_shape(self, self.result, shape_of(self.x))


@irdl_op_definition
class QNormOp(GraphOp):
    """(x - mean) / sqrt(variance + epsilon) * gain + offset over `axes`; not `centred`: no mean.

    On stored values: total = sum (x - x_zp) (0 if not centred), squares = sum (x - x_zp)^2,
    inverse = `inverse_deviation`(squares, total), and `normalize` with `gain` and `offset` (i32,
    broadcasting against x) scaled to the result's units.
    """

    name = "graph.qnorm"
    x = operand_def(TensorType)
    gain = operand_def(TensorType)
    offset = operand_def(TensorType)
    axes = prop_def(DenseArrayBase.constr(i64))
    centred = prop_def(IntegerAttr, default_value=integer(1))
    x_zp = prop_def(IntegerAttr)
    epsilon = prop_def(IntegerAttr)
    bits = prop_def(IntegerAttr)
    extra = prop_def(IntegerAttr)
    shift = prop_def(IntegerAttr)
    zp = prop_def(IntegerAttr)
    lo = prop_def(IntegerAttr, default_value=integer(-128))
    hi = prop_def(IntegerAttr, default_value=integer(127))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, x: SSAValue, gain: SSAValue, offset: SSAValue, encoding: QuantAttr, *,
        axes: Sequence[int], centred: int, x_zp: int, epsilon: int, bits: int, extra: int,
        shift: int, lo: int = -128, hi: int = 127,
    ):  # fmt: skip
        values = {
            "centred": centred, "x_zp": x_zp, "epsilon": epsilon, "bits": bits, "extra": extra,
            "shift": shift, "zp": encoding.zero_point, "lo": lo, "hi": hi,
        }  # fmt: skip
        super().__init__(
            operands=[x, gain, offset],
            properties={"axes": ints(axes), **{k: integer(v) for k, v in values.items()}},
            result_types=[tensor(shape_of(x), i8, encoding)],
        )

    @property
    def count(self) -> int:
        """Number of elements of a row."""
        shape, count = shape_of(self.x), 1
        for axis in int_values(self.axes):
            count *= shape[axis]
        return count

    def verify_(self) -> None:
        """Axes exist; gain and offset broadcast against x."""
        rank = len(shape_of(self.x))
        axes = int_values(self.axes)
        if any(not 0 <= a < rank for a in axes) or len(set(axes)) != len(axes):
            raise VerifyException(f"graph.qnorm: axes {list(axes)} do not fit rank {rank}")
        if element_of(self.x) != i8 or element_of(self.result) != i8:
            raise VerifyException("graph.qnorm: works on i8")
        if element_of(self.gain) != i32 or element_of(self.offset) != i32:
            raise VerifyException("graph.qnorm: gain and offset must be i32")
        try:
            shape = broadcast_shapes(*(shape_of(o) for o in self.operands))
        except ValueError as error:
            raise VerifyException(f"graph.qnorm: {error}") from None
        if shape != shape_of(self.x):
            raise VerifyException("graph.qnorm: gain and offset must broadcast against x")
        expect_shape(self, self.result, shape)

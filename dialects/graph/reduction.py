"""Reductions over axes, and the operators made of them: batch normalisation, softmax.

Sums of 8-bit integers are `i32` (`nn.accumulator_type`), of values less their zero point.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    DenseArrayBase,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    i64,
)
from xdsl.ir import SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..types import element_of, int_values, integer, ints, real, shape_of, string, tensor
from .base import GraphOp, expect_shape
from .nn import accumulator_type


@irdl_op_definition
class ReduceOp(GraphOp):
    """Reduce `axes`; `kind`: sum, mean, max, min, prod, l1, l2, sum_square, log_sum, log_sum_exp.

    Reduced axes are kept with extent 1 when `keepdims` is 1.  Sum of i8 gives i32 after
    subtracting `x_zp`.
    """

    name = "graph.reduce"
    x = operand_def(TensorType)
    kind = prop_def(StringAttr)
    axes = prop_def(DenseArrayBase.constr(i64))
    keepdims = prop_def(IntegerAttr, default_value=integer(1))
    x_zp = prop_def(IntegerAttr, default_value=integer(0))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, x: SSAValue, kind: str, axes: Sequence[int], keepdims: int = 1, *, x_zp: int = 0
    ):
        axes = sorted(a % len(shape_of(x)) for a in axes)
        element = accumulator_type(element_of(x)) if kind == "sum" else element_of(x)
        super().__init__(
            operands=[x],
            properties={
                "kind": string(kind),
                "axes": ints(axes),
                "keepdims": integer(keepdims),
                "x_zp": integer(x_zp),
            },
            result_types=[tensor(reduce_shape(shape_of(x), axes, keepdims), element)],
        )

    def verify_(self) -> None:
        """Known kind, axes in range, the result shape follows."""
        if self.kind.data not in REDUCTIONS:
            raise VerifyException(f"graph.reduce: unknown kind {self.kind.data!r}")
        axes, rank = int_values(self.axes), len(shape_of(self.x))
        if any(a < 0 or a >= rank for a in axes) or len(set(axes)) != len(axes):
            raise VerifyException(f"graph.reduce: axes {list(axes)} do not fit rank {rank}")
        expect_shape(
            self, self.result, reduce_shape(shape_of(self.x), axes, self.keepdims.value.data)
        )


REDUCTIONS = (
    "sum",
    "mean",
    "max",
    "min",
    "prod",
    "l1",
    "l2",
    "sum_square",
    "log_sum",
    "log_sum_exp",
)


def reduce_shape(x: Sequence[int], axes: Sequence[int], keepdims: int) -> tuple[int, ...]:
    """Result shape of a reduction over non-negative `axes`."""
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(x))
    return tuple(d for i, d in enumerate(x) if i not in axes)


@irdl_op_definition
class ArgReduceOp(GraphOp):
    """Index (i64) of the maximum or minimum along `axis`; the first (or last) on ties."""

    name = "graph.arg_reduce"
    x = operand_def(TensorType)
    kind = prop_def(StringAttr)
    axis = prop_def(IntegerAttr)
    keepdims = prop_def(IntegerAttr, default_value=integer(1))
    select_last = prop_def(IntegerAttr, default_value=integer(0))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, kind: str, axis: int, keepdims: int = 1, select_last: int = 0):
        axis %= len(shape_of(x))
        super().__init__(
            operands=[x],
            properties={
                "kind": string(kind),
                "axis": integer(axis),
                "keepdims": integer(keepdims),
                "select_last": integer(select_last),
            },
            result_types=[tensor(reduce_shape(shape_of(x), [axis], keepdims), i64)],
        )

    def verify_(self) -> None:
        """Known kind and the result shape follows."""
        if self.kind.data not in ("max", "min"):
            raise VerifyException(f"graph.arg_reduce: unknown kind {self.kind.data!r}")
        expect_shape(
            self,
            self.result,
            reduce_shape(shape_of(self.x), [self.axis.value.data], self.keepdims.value.data),
        )


@irdl_op_definition
class BatchNormOp(GraphOp):
    """Inference batch normalisation over `axis` (channels).

    (x - mean) / sqrt(var + epsilon) * scale + bias
    """

    name = "graph.batch_norm"
    x = operand_def(TensorType)
    scale = operand_def(TensorType)
    bias = operand_def(TensorType)
    mean = operand_def(TensorType)
    var = operand_def(TensorType)
    epsilon = prop_def(FloatAttr)
    axis = prop_def(IntegerAttr, default_value=integer(1))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self,
        x: SSAValue,
        scale: SSAValue,
        bias: SSAValue,
        mean: SSAValue,
        var: SSAValue,
        epsilon: float,
        axis: int = 1,
    ):
        super().__init__(
            operands=[x, scale, bias, mean, var],
            properties={"epsilon": real(epsilon), "axis": integer(axis)},
            result_types=[tensor(shape_of(x), element_of(x))],
        )

    def verify_(self) -> None:
        """Statistics have one entry a channel."""
        channels = shape_of(self.x)[self.axis.value.data]
        if any(shape_of(v) != (channels,) for v in (self.scale, self.bias, self.mean, self.var)):
            raise VerifyException(
                f"graph.batch_norm: scale, bias, mean and var must have shape [{channels}]"
            )
        expect_shape(self, self.result, shape_of(self.x))


@irdl_op_definition
class SoftmaxOp(GraphOp):
    """exp(x - max) / sum(exp(x - max)) along `axis` (non-negative)."""

    name = "graph.softmax"
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, axis: int):
        super().__init__(
            operands=[x],
            properties={"axis": integer(axis % len(shape_of(x)))},
            result_types=[tensor(shape_of(x), element_of(x))],
        )

    def verify_(self) -> None:
        """The shape is kept and the axis exists."""
        if not 0 <= self.axis.value.data < len(shape_of(self.x)):
            raise VerifyException(f"graph.softmax: axis {self.axis.value.data} does not exist")
        expect_shape(self, self.result, shape_of(self.x))

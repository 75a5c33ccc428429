"""Neural-network operators with windows and products: convolution, matmul, pooling.

On `i8` operands, `conv`, `matmul` and sum-`pool` are integer operators with `i32` accumulators:
operands are widened and their zero points subtracted before multiplication, so padding (which
holds the zero point) contributes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    DenseArrayBase,
    IntegerAttr,
    StringAttr,
    TensorType,
    i8,
    i32,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..types import element_of, int_values, integer, ints, shape_of, string, tensor, ui8
from .base import GraphOp, broadcast_shapes, channel_axis, expect_shape, spatial_axes, window_shape

LAYOUTS = ("NCHW", "NHWC")


def accumulator_type(element: Attribute) -> Attribute:
    """Element type in which products of `element` are accumulated: i32 for 8-bit integers."""
    return i32 if element in (i8, ui8) else element


def _check_layout(name: str, layout: str) -> None:
    if layout not in LAYOUTS:
        raise VerifyException(f"{name}: layout {layout!r} is not one of {LAYOUTS}")


@irdl_op_definition
class ConvOp(GraphOp):
    """N-d convolution (cross-correlation), grouped, strided, dilated, padded.

    x: [N, C, *spatial] with weights [M, C/group, *kernel] in layout "NCHW" (OIHW weights), or
    [N, *spatial, C] with weights [*kernel, C/group, M] in layout "NHWC" (HWIO weights).  Bias [M]
    has the accumulator's type.  `pads`: all begins, then all ends.  `x_zp`, `w_zp`: zero points of
    8-bit operands.  Result: f32 from f32, i32 from 8-bit integers.
    """

    name = "graph.conv"
    x = operand_def(TensorType)
    w = operand_def(TensorType)
    b = opt_operand_def(TensorType)
    strides = prop_def(DenseArrayBase.constr(i64))
    pads = prop_def(DenseArrayBase.constr(i64))
    dilations = prop_def(DenseArrayBase.constr(i64))
    group = prop_def(IntegerAttr, default_value=integer(1))
    layout = prop_def(StringAttr, default_value=string("NCHW"))
    x_zp = prop_def(IntegerAttr, default_value=integer(0))
    w_zp = prop_def(IntegerAttr, default_value=integer(0))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, x: SSAValue, w: SSAValue, b: SSAValue | None = None, *, strides: Sequence[int],
        pads: Sequence[int], dilations: Sequence[int], group: int = 1, layout: str = "NCHW",
        x_zp: int = 0, w_zp: int = 0,
    ):  # fmt: skip
        shape = conv_shape(shape_of(x), shape_of(w), strides, pads, dilations, layout)
        super().__init__(
            operands=[x, w, b],
            properties={
                "strides": ints(strides), "pads": ints(pads), "dilations": ints(dilations),
                "group": integer(group), "layout": string(layout), "x_zp": integer(x_zp),
                "w_zp": integer(w_zp),
            },
            result_types=[tensor(shape, accumulator_type(element_of(x)))],
        )  # fmt: skip

    @property
    def kernel(self) -> tuple[int, ...]:
        """Spatial extents of the kernel."""
        w = shape_of(self.w)
        return w[2:] if self.layout.data == "NCHW" else w[:-2]

    @property
    def out_channels(self) -> int:
        """Number of output channels M."""
        w = shape_of(self.w)
        return w[0] if self.layout.data == "NCHW" else w[-1]

    def verify_(self) -> None:
        """Ranks, channel counts, groups and the result shape agree."""
        _check_layout(self.name, self.layout.data)
        x, w, group = shape_of(self.x), shape_of(self.w), self.group.value.data
        nchw = self.layout.data == "NCHW"
        n = len(x) - 2
        if len(w) != len(x) or n < 1:
            raise VerifyException(
                f"graph.conv: input rank {len(x)} and weight rank {len(w)} do not fit"
            )
        if (len(self.strides), len(self.dilations), len(self.pads)) != (n, n, 2 * n):
            raise VerifyException(
                f"graph.conv: strides, dilations and pads must describe {n} spatial axes"
            )
        channels, per_group = x[channel_axis(len(x), self.layout.data)], w[1] if nchw else w[-2]
        if group < 1 or channels != per_group * group or self.out_channels % group:
            raise VerifyException(
                f"graph.conv: {channels} input channels, weights for {per_group} per group, "
                f"{group} groups, {self.out_channels} output channels do not fit"
            )
        if self.b is not None and shape_of(self.b) != (self.out_channels,):
            raise VerifyException(f"graph.conv: bias must have shape [{self.out_channels}]")
        expect_shape(self, self.result, conv_shape(
            x, w, int_values(self.strides), int_values(self.pads), int_values(self.dilations),
            self.layout.data,
        ))  # fmt: skip
        if element_of(self.result) != accumulator_type(element_of(self.x)):
            raise VerifyException("graph.conv: result element type must be the accumulator type")


def conv_shape(
    x: Sequence[int], w: Sequence[int], strides: Sequence[int], pads: Sequence[int],
    dilations: Sequence[int], layout: str,
) -> tuple[int, ...]:  # fmt: skip
    """Result shape of a convolution."""
    spatial = [x[a] for a in spatial_axes(len(x), layout)]
    kernel = w[2:] if layout == "NCHW" else w[:-2]
    out = window_shape(spatial, kernel, strides, pads, dilations)
    return (x[0], w[0], *out) if layout == "NCHW" else (x[0], *out, w[-1])


@irdl_op_definition
class MatMulOp(GraphOp):
    """Batched matrix product, numpy.matmul semantics: [..., M, K] x [..., K, N] -> [..., M, N].

    Both operands have rank >= 2 (vectors are reshaped at import); batch axes broadcast.
    Optional bias [N].  8-bit operands accumulate in i32 after subtracting `a_zp` and `b_zp`.
    """

    name = "graph.matmul"
    a = operand_def(TensorType)
    b = operand_def(TensorType)
    bias = opt_operand_def(TensorType)
    a_zp = prop_def(IntegerAttr, default_value=integer(0))
    b_zp = prop_def(IntegerAttr, default_value=integer(0))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self,
        a: SSAValue,
        b: SSAValue,
        bias: SSAValue | None = None,
        *,
        a_zp: int = 0,
        b_zp: int = 0,
    ):
        super().__init__(
            operands=[a, b, bias],
            properties={"a_zp": integer(a_zp), "b_zp": integer(b_zp)},
            result_types=[
                tensor(matmul_shape(shape_of(a), shape_of(b)), accumulator_type(element_of(a)))
            ],
        )

    def verify_(self) -> None:
        """Inner extents agree, batch axes broadcast, the result shape follows."""
        try:
            shape = matmul_shape(shape_of(self.a), shape_of(self.b))
        except ValueError as error:
            raise VerifyException(f"graph.matmul: {error}") from None
        expect_shape(self, self.result, shape)
        if self.bias is not None and shape_of(self.bias) != shape[-1:]:
            raise VerifyException(f"graph.matmul: bias must have shape [{shape[-1]}]")


def matmul_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """Result shape of `graph.matmul`; ValueError if the operands do not fit."""
    if len(a) < 2 or len(b) < 2:
        raise ValueError("matmul operands must have rank 2 or more")
    if a[-1] != b[-2]:
        raise ValueError(f"inner extents {a[-1]} and {b[-2]} differ")
    return (*broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


@irdl_op_definition
class PoolOp(GraphOp):
    """Sliding-window pooling; `kind` is "max", "average" or "sum".

    "max": padding never wins.  "average" (float): divides by the number of elements inside the
    input, or by the window size when `count_include_pad` is 1 (the part of a window that a
    ceil-mode extension puts beyond the padding never counts: `ceil_pads` of the end pads are such
    extension).  "sum": i8 to i32 after subtracting `x_zp` (padding contributes nothing), float to
    float.
    """

    name = "graph.pool"
    x = operand_def(TensorType)
    kind = prop_def(StringAttr)
    kernel = prop_def(DenseArrayBase.constr(i64))
    strides = prop_def(DenseArrayBase.constr(i64))
    pads = prop_def(DenseArrayBase.constr(i64))
    dilations = prop_def(DenseArrayBase.constr(i64))
    ceil_pads = prop_def(DenseArrayBase.constr(i64))
    count_include_pad = prop_def(IntegerAttr, default_value=integer(0))
    layout = prop_def(StringAttr, default_value=string("NCHW"))
    x_zp = prop_def(IntegerAttr, default_value=integer(0))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, x: SSAValue, kind: str, *, kernel: Sequence[int], strides: Sequence[int],
        pads: Sequence[int], dilations: Sequence[int] | None = None,
        ceil_pads: Sequence[int] | None = None, count_include_pad: int = 0, layout: str = "NCHW",
        x_zp: int = 0, encoding: Attribute | None = None,
    ):  # fmt: skip
        dilations = dilations or [1] * len(kernel)
        element = accumulator_type(element_of(x)) if kind == "sum" else element_of(x)
        shape = pool_shape(shape_of(x), kernel, strides, pads, dilations, layout)
        super().__init__(
            operands=[x],
            properties={
                "kind": string(kind), "kernel": ints(kernel), "strides": ints(strides),
                "pads": ints(pads), "dilations": ints(dilations),
                "ceil_pads": ints(ceil_pads or [0] * len(kernel)),
                "count_include_pad": integer(count_include_pad), "layout": string(layout),
                "x_zp": integer(x_zp),
            },
            result_types=[tensor(shape, element, encoding)],
        )  # fmt: skip

    def verify_(self) -> None:
        """Attributes describe every spatial axis and the result shape follows."""
        _check_layout(self.name, self.layout.data)
        if self.kind.data not in ("max", "average", "sum"):
            raise VerifyException(f"graph.pool: unknown kind {self.kind.data!r}")
        n = len(shape_of(self.x)) - 2
        if n < 1 or [
            len(a) for a in (self.kernel, self.strides, self.dilations, self.ceil_pads, self.pads)
        ] != [n, n, n, n, 2 * n]:
            raise VerifyException(
                f"graph.pool: kernel, strides, dilations and pads must describe {n} spatial axes"
            )
        expect_shape(self, self.result, pool_shape(
            shape_of(self.x), int_values(self.kernel), int_values(self.strides),
            int_values(self.pads), int_values(self.dilations), self.layout.data,
        ))  # fmt: skip


def pool_shape(
    x: Sequence[int], kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int],
    dilations: Sequence[int], layout: str,
) -> tuple[int, ...]:  # fmt: skip
    """Result shape of pooling (`pads` already hold any ceil-mode extension)."""
    out = window_shape(
        [x[a] for a in spatial_axes(len(x), layout)], kernel, strides, pads, dilations
    )
    return (x[0], x[1], *out) if layout == "NCHW" else (x[0], *out, x[-1])

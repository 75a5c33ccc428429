"""What all graph operations share: value semantics on ranked tensors and one assembly format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from xdsl.dialects.builtin import TensorType
from xdsl.ir import Operation, SSAValue
from xdsl.irdl import IRDLOperation, ParsePropInAttrDict
from xdsl.utils.exceptions import VerifyException

from ..types import shape_of


class GraphOp(IRDLOperation):
    """Base of graph operations.

    Printed as `%y = graph.conv %x, %w {strides = ...} : (tensor<...>, ...) -> tensor<...>`.
    Constructors compute the result type from the operands and attributes (shape inference);
    verifiers check the same rule on parsed or rewritten IR.
    """

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format: ClassVar[str | None] = (
        "operands attr-dict `:` functional-type(operands, results)"
    )


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Numpy's multidirectional broadcast of `shapes`; ValueError if they do not fit."""
    rank = max((len(s) for s in shapes), default=0)
    out: list[int] = []
    for position in range(-rank, 0):
        dims = {s[position] for s in shapes if len(s) >= -position} - {1}
        if len(dims) > 1:
            raise ValueError(f"shapes {', '.join(str(tuple(s)) for s in shapes)} do not broadcast")
        out.append(dims.pop() if dims else 1)
    return tuple(out)


def expect_shape(op: Operation, result: SSAValue, expected: Sequence[int]) -> None:
    """VerifyException unless `result` has shape `expected`."""
    if shape_of(result) != tuple(expected):
        raise VerifyException(
            f"{op.name}: result shape {list(shape_of(result))} should be {list(expected)}"
        )


def window_shape(
    spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
    pads: Sequence[int], dilations: Sequence[int],
) -> tuple[int, ...]:  # fmt: skip
    """Output extents of a sliding window; `pads` is all begins, then all ends (as in ONNX)."""
    n = len(spatial)
    return tuple(
        (spatial[i] + pads[i] + pads[n + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in range(n)
    )


def spatial_axes(rank: int, layout: str) -> tuple[int, ...]:
    """Axes of the spatial dimensions of an activation of `rank` in layout "NCHW" or "NHWC".

    The names stand for channels first and channels last, whatever the number of spatial axes.
    """
    return tuple(range(2, rank)) if layout == "NCHW" else tuple(range(1, rank - 1))


def channel_axis(rank: int, layout: str) -> int:
    """Axis of the channels of an activation."""
    return 1 if layout == "NCHW" else rank - 1


AnyTensor = TensorType[Any]

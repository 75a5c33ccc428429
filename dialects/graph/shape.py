"""Data movement: transpose, reshape, broadcast, concat, slice, pad, gather, resize."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.dialects.builtin import (
    DenseArrayBase,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    f64,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..types import element_of, int_values, integer, ints, real, shape_of, string, tensor, type_of
from .base import GraphOp, broadcast_shapes, expect_shape, spatial_axes


@irdl_op_definition
class TransposeOp(GraphOp):
    """Permute axes: result axis i is operand axis perm[i]."""

    name = "graph.transpose"
    x = operand_def(TensorType)
    perm = prop_def(DenseArrayBase.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, perm: Sequence[int]):
        shape, type = shape_of(x), type_of(x)
        super().__init__(
            operands=[x], properties={"perm": ints(perm)},
            result_types=[tensor([shape[p] for p in perm], type.element_type, type.encoding)],
        )  # fmt: skip

    def verify_(self) -> None:
        """`perm` is a permutation."""
        shape, perm = shape_of(self.x), int_values(self.perm)
        if sorted(perm) != list(range(len(shape))):
            raise VerifyException(
                f"graph.transpose: {list(perm)} is not a permutation of {len(shape)} axes"
            )
        expect_shape(self, self.result, [shape[p] for p in perm])


@irdl_op_definition
class ReshapeOp(GraphOp):
    """The same elements in row-major order under another static shape."""

    name = "graph.reshape"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, shape: Sequence[int]):
        type = type_of(x)
        super().__init__(
            operands=[x], result_types=[tensor(shape, type.element_type, type.encoding)]
        )

    def verify_(self) -> None:
        """The number of elements is kept."""
        if math.prod(shape_of(self.x)) != math.prod(shape_of(self.result)):
            raise VerifyException(
                f"graph.reshape: {list(shape_of(self.x))} cannot become "
                f"{list(shape_of(self.result))}"
            )


@irdl_op_definition
class BroadcastOp(GraphOp):
    """Broadcast (numpy rules) to the result shape."""

    name = "graph.broadcast"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, shape: Sequence[int]):
        type = type_of(x)
        super().__init__(
            operands=[x], result_types=[tensor(shape, type.element_type, type.encoding)]
        )

    def verify_(self) -> None:
        """The operand broadcasts to the result."""
        try:
            expect_shape(
                self, self.result, broadcast_shapes(shape_of(self.x), shape_of(self.result))
            )
        except ValueError as error:
            raise VerifyException(f"graph.broadcast: {error}") from None


@irdl_op_definition
class ConcatOp(GraphOp):
    """Join operands along `axis`."""

    name = "graph.concat"
    args = var_operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, args: Sequence[SSAValue], axis: int):
        type = type_of(args[0])
        axis %= len(type.get_shape())
        shape = concat_shape([shape_of(a) for a in args], axis)
        super().__init__(
            operands=[list(args)], properties={"axis": integer(axis)},
            result_types=[tensor(shape, type.element_type, type.encoding)],
        )  # fmt: skip

    def verify_(self) -> None:
        """All other extents agree."""
        shapes, axis = [shape_of(a) for a in self.args], self.axis.value.data
        if not shapes or any(
            len(s) != len(shapes[0])
            or s[:axis] != shapes[0][:axis]
            or s[axis + 1 :] != shapes[0][axis + 1 :]
            for s in shapes
        ):
            raise VerifyException(
                f"graph.concat: shapes {[list(s) for s in shapes]} do not join along axis {axis}"
            )
        expect_shape(self, self.result, concat_shape(shapes, axis))


def concat_shape(shapes: Sequence[Sequence[int]], axis: int) -> tuple[int, ...]:
    """Result shape of a concatenation."""
    out = list(shapes[0])
    out[axis] = sum(s[axis] for s in shapes)
    return tuple(out)


@irdl_op_definition
class SliceOp(GraphOp):
    """Elements starts + i * steps of every axis, i < sizes.  Steps may be negative, not zero."""

    name = "graph.slice"
    x = operand_def(TensorType)
    starts = prop_def(DenseArrayBase.constr(i64))
    sizes = prop_def(DenseArrayBase.constr(i64))
    steps = prop_def(DenseArrayBase.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self,
        x: SSAValue,
        starts: Sequence[int],
        sizes: Sequence[int],
        steps: Sequence[int] | None = None,
    ):
        type = type_of(x)
        super().__init__(
            operands=[x],
            properties={
                "starts": ints(starts),
                "sizes": ints(sizes),
                "steps": ints(steps or [1] * len(starts)),
            },
            result_types=[tensor(sizes, type.element_type, type.encoding)],
        )

    def verify_(self) -> None:
        """Every taken element exists."""
        shape = shape_of(self.x)
        starts, sizes, steps = map(int_values, (self.starts, self.sizes, self.steps))
        if not len(shape) == len(starts) == len(sizes) == len(steps):
            raise VerifyException("graph.slice: starts, sizes and steps must describe every axis")
        for extent, start, size, step in zip(shape, starts, sizes, steps, strict=True):
            last = start + (size - 1) * step
            if size < 0 or step == 0 or (size and not (0 <= start < extent and 0 <= last < extent)):
                raise VerifyException(
                    f"graph.slice: {start} + {size} x {step} leaves an axis of extent {extent}"
                )
        expect_shape(self, self.result, sizes)


@irdl_op_definition
class PadOp(GraphOp):
    """Pad axes by `low` and `high` elements (negative crops).

    `mode`: constant, reflect, edge, wrap.

    `value` fills in constant mode (converted to the element type; the zero point for i8).
    """

    name = "graph.pad"
    x = operand_def(TensorType)
    low = prop_def(DenseArrayBase.constr(i64))
    high = prop_def(DenseArrayBase.constr(i64))
    mode = prop_def(StringAttr, default_value=string("constant"))
    value = prop_def(FloatAttr, default_value=real(0.0))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self,
        x: SSAValue,
        low: Sequence[int],
        high: Sequence[int],
        mode: str = "constant",
        value: float = 0.0,
    ):
        type = type_of(x)
        shape = [d + a + b for d, a, b in zip(type.get_shape(), low, high, strict=True)]
        super().__init__(
            operands=[x],
            properties={
                "low": ints(low),
                "high": ints(high),
                "mode": string(mode),
                "value": real(value),
            },
            result_types=[tensor(shape, type.element_type, type.encoding)],
        )

    def verify_(self) -> None:
        """The result shape follows."""
        if self.mode.data not in ("constant", "reflect", "edge", "wrap"):
            raise VerifyException(f"graph.pad: unknown mode {self.mode.data!r}")
        low, high = int_values(self.low), int_values(self.high)
        if not len(low) == len(high) == len(shape_of(self.x)):
            raise VerifyException("graph.pad: low and high must describe every axis")
        expect_shape(
            self,
            self.result,
            [d + a + b for d, a, b in zip(shape_of(self.x), low, high, strict=True)],
        )


@irdl_op_definition
class GatherOp(GraphOp):
    """numpy.take along `axis`; negative indices count from the end."""

    name = "graph.gather"
    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    axis = prop_def(IntegerAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, indices: SSAValue, axis: int):
        type = type_of(x)
        axis %= len(type.get_shape())
        shape = gather_shape(shape_of(x), shape_of(indices), axis)
        super().__init__(
            operands=[x, indices], properties={"axis": integer(axis)},
            result_types=[tensor(shape, type.element_type, type.encoding)],
        )  # fmt: skip

    def verify_(self) -> None:
        """The result shape follows."""
        expect_shape(
            self,
            self.result,
            gather_shape(shape_of(self.x), shape_of(self.indices), self.axis.value.data),
        )


def gather_shape(x: Sequence[int], indices: Sequence[int], axis: int) -> tuple[int, ...]:
    """Result shape of a gather."""
    return (*x[:axis], *indices, *x[axis + 1 :])


@irdl_op_definition
class ResizeOp(GraphOp):
    """Resample the spatial axes, after ONNX Resize.

    `mode`: nearest, linear, cubic.  `scales`: one factor a spatial axis (used for coordinates, as
    given by the model).  `coordinates`: half_pixel, asymmetric, align_corners,
    pytorch_half_pixel, half_pixel_symmetric.  `nearest`: round_prefer_floor, round_prefer_ceil,
    floor, ceil.
    """

    name = "graph.resize"
    x = operand_def(TensorType)
    mode = prop_def(StringAttr)
    scales = prop_def(DenseArrayBase.constr(f64))
    coordinates = prop_def(StringAttr, default_value=string("half_pixel"))
    nearest = prop_def(StringAttr, default_value=string("round_prefer_floor"))
    cubic_coeff = prop_def(FloatAttr, default_value=real(-0.75))
    layout = prop_def(StringAttr, default_value=string("NCHW"))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self, x: SSAValue, sizes: Sequence[int], mode: str, scales: Sequence[float], *,
        coordinates: str = "half_pixel", nearest: str = "round_prefer_floor",
        cubic_coeff: float = -0.75, layout: str = "NCHW", encoding: Attribute | None = None,
    ):  # fmt: skip
        shape = list(shape_of(x))
        for axis, size in zip(spatial_axes(len(shape), layout), sizes, strict=True):
            shape[axis] = size
        super().__init__(
            operands=[x],
            properties={
                "mode": string(mode),
                "scales": DenseArrayBase.from_list(f64, [float(s) for s in scales]),
                "coordinates": string(coordinates), "nearest": string(nearest),
                "cubic_coeff": real(cubic_coeff), "layout": string(layout),
            },
            result_types=[tensor(shape, element_of(x), encoding or type_of(x).encoding)],
        )  # fmt: skip

    def verify_(self) -> None:
        """Only spatial extents change."""
        x, y = shape_of(self.x), shape_of(self.result)
        spatial = spatial_axes(len(x), self.layout.data)
        if (
            len(x) != len(y)
            or any(a not in spatial and x[a] != y[a] for a in range(len(x)))
            or len(self.scales) != len(spatial)
        ):
            raise VerifyException(
                "graph.resize: only spatial extents may change, with one scale each"
            )

"""Three operators of the domain `com.example`, one for each way to bring an operator.

TopMean(x; k)       mean of the k largest of the last axis        numpy alone: on the host
Snake(x; alpha)     x + sin(alpha x)^2 / alpha                    decomposed
Blend(a, b; share)  a * share + b * (1 - share)                   a loop nest, an integer form
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

import tilewright
from tilewright.compiler.importer.node import Node
from tilewright.dialects import fixed_point
from tilewright.dialects.graph import CustomOp, QAddOp
from tilewright.dialects.plugins import TensorSpec
from tilewright.dialects.types import element_of, shape_of
from tilewright.passes.graph.integer_custom import QuantizeCall
from tilewright.passes.loop.lowering.kernel import Kernel

Attributes = Mapping[str, Any]
Arrays = Sequence[NDArray[Any]]

# --- TopMean: a shape rule and numpy are enough ---


def infer_top_mean(types: Sequence[TensorSpec], attributes: Attributes) -> list[TensorSpec]:
    """The last axis is gone."""
    (x,) = types
    if not x.shape:
        raise ValueError("x must have an axis")
    return [TensorSpec(x.dtype, x.shape[:-1])]


def top_mean(arrays: Arrays, attributes: Attributes) -> list[NDArray[Any]]:
    """The mean of the largest `k`."""
    (x,) = arrays
    largest = np.sort(x, axis=-1)[..., -int(attributes.get("k", 1)) :]
    return [np.asarray(largest.mean(axis=-1, dtype=x.dtype))]


tilewright.register_operator(
    tilewright.Operator("com.example", "TopMean", infer_top_mean, top_mean)
)

# --- Snake: a decomposition, from which compilation and quantisation follow ---


def same_type(types: Sequence[TensorSpec], attributes: Attributes) -> list[TensorSpec]:
    """All inputs have the type of the result."""
    if any(t != types[0] for t in types):
        raise ValueError("all inputs must have one type and shape")
    return [types[0]]


def snake(arrays: Arrays, attributes: Attributes) -> list[NDArray[Any]]:
    """The activation function of neural vocoders."""
    (x,) = arrays
    alpha = x.dtype.type(attributes.get("alpha", 1.0))
    return [x + np.sin(alpha * x) ** 2 / alpha]


def decompose_snake(node: Node) -> SSAValue:
    """In scalar functions that every level knows; one table on the NPU."""
    x = node.x()
    alpha = node.scalar(node.real("alpha", 1.0), x)
    wave = node.map("sin", node.map("mul", x, alpha))
    return node.map("add", x, node.map("div", node.map("mul", wave, wave), alpha))


tilewright.register_operator(
    tilewright.Operator("com.example", "Snake", same_type, snake, decompose=decompose_snake)
)

# --- Blend: a loop nest of its own, and integer arithmetic that rounds once ---


def shares(attributes: Attributes) -> tuple[float, float]:
    """What is taken of each input."""
    share = float(attributes.get("share", 0.5))
    return share, 1.0 - share


def blend(arrays: Arrays, attributes: Attributes) -> list[NDArray[Any]]:
    """A weighted mean."""
    (a, b), (share, rest) = arrays, shares(attributes)
    return [a * a.dtype.type(share) + b * b.dtype.type(rest)]


def lower_blend(kernel: Kernel, op: CustomOp) -> None:
    """One elementwise nest; later elementwise operations join it."""
    shape, element = shape_of(op.result), element_of(op.result)
    axes = [{d: 1} for d in range(len(shape))]
    nest = kernel.begin(shape, axes)
    terms = [
        nest.apply(
            "mul", [nest.read(kernel.whole(x), nest.rows(axes)), nest.const(f, element)], element
        )
        for x, f in zip(op.args, shares(op.attribute_values), strict=True)
    ]
    nest.acc = nest.apply("add", terms, element)


def quantize_blend(call: QuantizeCall) -> SSAValue | str:
    """The shares become part of the operands' scales: one `graph.qadd`."""
    if call.array(0) is not None or call.array(1) is not None:
        return "an operand is constant"
    share, rest = shares(call.attributes)
    if share <= 0 or rest <= 0:
        return "a share is not positive"
    (a, x), (b, y) = call.stored(0), call.stored(1)
    ma, mb, multiplier, shift = fixed_point.add_multipliers(
        x.scale * share, y.scale * rest, call.encoding.scale
    )
    return call.emit(
        QAddOp(
            a, b, call.encoding, za=x.zero_point, ma=ma, zb=y.zero_point, mb=mb,
            multiplier=multiplier, shift=shift,
        )
    )  # fmt: skip


tilewright.register_operator(
    tilewright.Operator(
        "com.example", "Blend", same_type, blend, lower=lower_blend, quantize=quantize_blend
    )
)

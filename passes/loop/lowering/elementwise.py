"""Scalar code of elementwise operations, one function per operator.

Half types are computed in f32 and rounded after each operator, as the scalar functions define.
Integer operators are single scalar functions; requantisation reads its multiplier and shift as
operands, so that one kernel serves every layer of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Operation, SSAValue

from ....dialects.graph import (
    BatchNormOp,
    CastOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    QAddOp,
    QMulOp,
    QuantizeOp,
    RequantizeOp,
    quantization,
)
from ....dialects.loop import Linear
from ....dialects.types import Param, element_of, int_values, numpy_dtype, params_dict, shape_of
from . import maps
from .builder import compute_type
from .kernel import Kernel


def _map(k: Kernel, op: MapOp, at: Linear) -> SSAValue:
    element = element_of(op.result)
    args = [k.nest.wide(k.operand(a, op.result, at)) for a in op.args]
    if op.fn.data == "identity":
        return k.nest.cast(args[0], element)
    return k.nest.cast(
        k.nest.apply(op.fn.data, args, compute_type(element), params_dict(op.params)), element
    )


def _cast(k: Kernel, op: CastOp, at: Linear) -> SSAValue:
    return k.nest.cast(k.nest.wide(k.scalar(op.x, at)), element_of(op.result))


def _limits(element: Any) -> tuple[int, int]:
    info = np.iinfo(numpy_dtype(element))
    return int(info.min), int(info.max)


def _along(k: Kernel, values: Any, at: Linear, axis: int) -> SSAValue:
    """An element of a constant vector along `axis` of a value read at `at`."""
    return k.nest.read(
        k.constant(values), Linear((at.coeffs[axis],), (at.consts[axis],), at.num_dims)
    )


def _quantize(k: Kernel, op: QuantizeOp, at: Linear) -> SSAValue:
    encoding, element = quantization(op.result.type), element_of(op.result)
    assert encoding is not None
    lo, hi = _limits(element)
    x = k.nest.wide(k.scalar(op.x, at))
    if encoding.axis_index is None:
        params: dict[str, Param] = {
            "scale": encoding.scale,
            "zp": encoding.zero_point,
            "lo": lo,
            "hi": hi,
        }
        return k.nest.apply("quantize", [x], element, params)
    axis, dtype = encoding.axis_index, numpy_dtype(x.type)
    scale = _along(k, np.array(encoding.scales.get_values(), dtype), at, axis)
    zero = _along(k, np.array(int_values(encoding.zero_points), dtype), at, axis)
    y = k.nest.apply("round", [k.nest.apply("div", [x, scale], x.type)], x.type)
    y = k.nest.apply("add", [y, zero], x.type)
    return k.nest.cast(
        k.nest.apply("clip", [y], x.type, {"min": float(lo), "max": float(hi)}), element
    )


def _dequantize(k: Kernel, op: DequantizeOp, at: Linear) -> SSAValue:
    encoding = quantization(op.x.type)
    assert encoding is not None
    x = k.scalar(op.x, at)
    if encoding.axis_index is None:
        return k.nest.apply(
            "dequantize", [x], f32, {"scale": encoding.scale, "zp": encoding.zero_point}
        )
    axis, zero_points = encoding.axis_index, int_values(encoding.zero_points)
    scale = _along(k, np.array(encoding.scales.get_values(), np.float32), at, axis)
    if len(set(zero_points)) == 1:
        x = k.nest.apply("widen", [x], i32, {"zp": zero_points[0]})
    else:
        zero = _along(k, np.array(zero_points, np.int32), at, axis)
        x = k.nest.apply("sub", [k.nest.apply("widen", [x], i32), zero], i32)
    return k.nest.apply("mul", [k.nest.cast(x, f32), scale], f32)


def _requantize(k: Kernel, op: RequantizeOp, at: Linear) -> SSAValue:
    def vector(value: SSAValue) -> SSAValue:
        return k.nest.read(k.whole(value), maps.broadcast(at, shape_of(value), shape_of(op.result)))

    params: dict[str, Param] = {
        "zp": op.zp.value.data,
        "lo": op.lo.value.data,
        "hi": op.hi.value.data,
    }
    args = [k.scalar(op.x, at), vector(op.multiplier), vector(op.shift)]
    return k.nest.apply("requantize", args, element_of(op.result), params)


def _lookup(k: Kernel, op: LookupOp, at: Linear) -> SSAValue:
    lowest = _limits(element_of(op.x))[0]
    index = k.nest.apply("widen", [k.scalar(op.x, at)], i32, {"zp": lowest})
    return k.nest.extract(k.whole(op.table), [index])


def _quantised_binary(*names: str) -> Callable[[Kernel, Any, Linear], SSAValue]:
    def emit(k: Kernel, op: Any, at: Linear) -> SSAValue:
        args = [k.operand(op.a, op.result, at), k.operand(op.b, op.result, at)]
        params: dict[str, Param] = {n: getattr(op, n).value.data for n in names}
        return k.nest.apply(op.name.removeprefix("graph."), args, element_of(op.result), params)

    return emit


def _batch_norm(k: Kernel, op: BatchNormOp, at: Linear) -> SSAValue:
    axis = op.axis.value.data
    channel = Linear((at.coeffs[axis],), (at.consts[axis],), at.num_dims)
    x = k.nest.wide(k.scalar(op.x, at))
    scale, bias, mean, var = (
        k.nest.wide(k.scalar(v, channel)) for v in (op.scale, op.bias, op.mean, op.var)
    )
    t = x.type
    deviation = k.nest.apply(
        "sqrt", [k.nest.apply("add", [var, k.nest.const(op.epsilon.value.data, t)], t)], t
    )
    centred = k.nest.apply("sub", [x, mean], t)
    y = k.nest.apply("mul", [k.nest.apply("div", [centred, deviation], t), scale], t)
    return k.nest.cast(k.nest.apply("add", [y, bias], t), element_of(op.result))


Emitter = Callable[[Kernel, Any, Linear], SSAValue]

ELEMENTWISE: dict[type[Operation], Emitter] = {
    MapOp: _map,
    CastOp: _cast,
    QuantizeOp: _quantize,
    DequantizeOp: _dequantize,
    RequantizeOp: _requantize,
    LookupOp: _lookup,
    QAddOp: _quantised_binary("za", "ma", "zb", "mb", "multiplier", "shift", "zp", "lo", "hi"),
    QMulOp: _quantised_binary("za", "zb", "multiplier", "shift", "zp", "lo", "hi"),
    BatchNormOp: _batch_norm,
}
"""Scalar code of each elementwise operator: (kernel, operation, map of its result) -> scalar."""

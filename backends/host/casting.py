"""Conversions between element types: Cast, CastLike, and linear quantisation.

Narrow types are those of ml_dtypes.  Casting to an 8-bit float saturates unless the node says
otherwise; casting to the exponent type float8e8m0 rounds as the node says; casting between
integers wraps.  Strings are read and written in Python's notation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]

_FLOAT8 = {
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
}


def dtype_of(element: int) -> np.dtype[Any]:
    """The numpy type of an ONNX element type."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError as error:
        raise HostError(f"there is no element type {element}") from error


def element_of(dtype: np.dtype[Any]) -> int:
    """The ONNX element type of a numpy type."""
    if dtype.kind in "OUS":
        return TensorProto.STRING
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of ml_dtypes'."""
    return dtype.num >= 256


def widened(x: Array) -> Array:
    """Narrow floats as float32, so that numpy's functions have their usual meaning."""
    return x.astype(np.float32) if _is_narrow(x.dtype) or x.dtype == np.float16 else x


def _number(text: Any) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _from_strings(x: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iu":
        values = [int(_number(text)) for text in x.reshape(-1)]
        return np.array(values, object).reshape(x.shape).astype(dtype)
    if dtype.kind in "fc" and not _is_narrow(dtype):
        return x.astype(dtype)
    return np.array([float(text) for text in x.reshape(-1)]).reshape(x.shape).astype(dtype)


def cast(x: Array, element: int, saturate: bool = True, round_mode: str = "up") -> Array:
    """`x` as the ONNX element type `element`."""
    if element == TensorProto.STRING:
        return x if x.dtype == object else widened(x).astype(np.str_).astype(object)
    dtype = dtype_of(element)
    if x.dtype.kind in "OUS":
        x = _from_strings(x, np.dtype(np.float32) if _is_narrow(dtype) else dtype)
    if x.dtype == dtype:
        return x
    if element in _FLOAT8 and saturate:
        wide = x.astype(np.float32) if _is_narrow(x.dtype) else x
        return onnx.numpy_helper.saturate_cast(wide, dtype)
    if element == TensorProto.FLOAT8E8M0:
        wide = x.astype(np.float32)
        return onnx.numpy_helper.to_float8e8m0(wide, saturate, round_mode).astype(dtype)
    return _converted(x, dtype)


def _converted(x: Array, dtype: np.dtype[Any]) -> Array:
    """`x` as a numpy type; between two narrow types by way of a wide one that holds both."""
    if _is_narrow(x.dtype) and _is_narrow(dtype):
        x = x.astype(np.int32 if integer_range(x.dtype) else np.float32)
    return x.astype(dtype)


@operator("Cast")
def cast_(call: Call) -> list[Value]:
    """In opset 1 the type is given by its name."""
    to = call.required("to")
    if isinstance(to, str):
        to = TensorProto.DataType.Value(to)
    return [cast(call.tensor(0), to, bool(call.attr("saturate", 1)), call.attr("round_mode", "up"))]


@operator("CastLike")
def cast_like(call: Call) -> list[Value]:
    """Cast to the type of the second input."""
    to = element_of(call.tensor(1).dtype)
    return [cast(call.tensor(0), to, bool(call.attr("saturate", 1)), call.attr("round_mode", "up"))]


# ------------------------------------------------------------------------------ linear quantisation


def _spread(value: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """A scale or zero point, broadcastable to `shape`: one, one per slice, or one per block."""
    if value.size == 1 and not block:
        return value.reshape(())
    if not -len(shape) <= axis < len(shape):
        raise HostError(f"axis {axis} is out of range for shape {list(shape)}")
    if not block:
        if value.ndim != 1 or len(value) != shape[axis]:
            raise HostError(f"a scale or zero point of shape {value.shape} along axis {axis}")
        dims = [1] * len(shape)
        dims[axis] = len(value)
        return value.reshape(dims)
    fits = value.ndim == len(shape) and all(
        have == (-(-want // block) if i == axis % len(shape) else want)
        for i, (have, want) in enumerate(zip(value.shape, shape, strict=True))
    )
    if not fits:
        raise HostError(f"a scale of shape {value.shape} for blocks of {block} in {list(shape)}")
    return np.take(value, np.arange(shape[axis]) // block, axis)


def integer_range(dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Least and greatest value of an integer type, narrow ones included; None for other types."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    import ml_dtypes

    if dtype.name in ("int2", "uint2", "int4", "uint4"):
        narrow = ml_dtypes.iinfo(dtype)
        return int(narrow.min), int(narrow.max)
    return None


@operator("QuantizeLinear")
def quantize_linear(call: Call) -> list[Value]:
    """`saturate(round(x / scale) + zero_point)`, rounding halves to even."""
    x, scale, zero = call.tensor(0), call.tensor(1), call.optional(2)
    axis, block = call.attr("axis", 1), call.attr("block_size", 0)
    element = call.attr("output_dtype", 0) or TensorProto.UINT8
    if zero is not None:
        element = element_of(zero.dtype)
    precision = call.attr("precision", 0)
    work = dtype_of(precision) if precision else (scale.dtype if x.dtype.kind in "iu" else x.dtype)
    factor = _spread(scale, x.shape, axis, block)
    real = x.astype(work) / factor.astype(work if precision else factor.dtype)
    dtype = dtype_of(element)
    bounds = integer_range(dtype)
    if bounds is None:
        return [cast(real, element, bool(call.attr("saturate", 1)))]
    rounded = np.rint(real.astype(np.float64))
    if zero is not None:
        rounded = rounded + _spread(zero, x.shape, axis, block).astype(np.float64)
    clipped = np.clip(np.nan_to_num(rounded, nan=0.0), *bounds)
    return [clipped.astype(np.int64).astype(dtype)]


@operator("DequantizeLinear")
def dequantize_linear(call: Call) -> list[Value]:
    """`(x - zero_point) * scale`."""
    x, scale, zero = call.tensor(0), call.tensor(1), call.optional(2)
    axis, block = call.attr("axis", 1), call.attr("block_size", 0)
    output = call.attr("output_dtype", 0)
    if integer_range(x.dtype):
        whole = x.astype(np.int64)
        if zero is not None:
            whole = whole - _spread(zero, x.shape, axis, block).astype(np.int64)
        real = whole.astype(np.float32)
    else:
        real = x.astype(np.float32)
    result = real * widened(_spread(scale, x.shape, axis, block))
    return [result.astype(dtype_of(output) if output else scale.dtype)]

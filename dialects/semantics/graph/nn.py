"""Meaning of matmul, reductions, batch normalisation and softmax; exact integer products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...constants import Array, ConstantStore
from ...graph import (
    ArgReduceOp,
    BatchNormOp,
    MatMulOp,
    ReduceOp,
    SoftmaxOp,
)
from ...types import element_of, int_values, numpy_dtype

Product = Callable[[Array, Array], Array]
"""A bilinear function of two arrays, such as `numpy.matmul`."""


def widened(x: Array) -> Array:
    """Half-precision values as f32, in which they are computed; others unchanged."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x


def integer_product(
    product: Product, a: Array, b: Array, a_zp: int, b_zp: int, terms: int
) -> Array:
    """Exact i32 (wrapping) value of `product` on 8-bit operands less their zero points.

    Floating-point BLAS is exact as long as every partial sum is an integer that the type holds:
    `terms` products of at most max|a| * max|b| stay below 2^24 in f32, and always in f64.
    """
    bound = _magnitude(a, a_zp) * _magnitude(b, b_zp) * terms
    dtype = np.float32 if bound < 2**24 else np.float64
    wide = product(a.astype(dtype) - dtype(a_zp), b.astype(dtype) - dtype(b_zp))
    return wide.astype(np.int64).astype(np.int32)


def _magnitude(x: Array, zp: int) -> int:
    if x.size == 0:
        return 0
    return max(abs(int(x.min()) - zp), abs(int(x.max()) - zp))


def matmul(op: MatMulOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """numpy.matmul, plus the bias."""
    a, b = args[0], args[1]
    dtype = numpy_dtype(element_of(op.result))
    if a.dtype.itemsize == 1:
        y = integer_product(np.matmul, a, b, op.a_zp.value.data, op.b_zp.value.data, a.shape[-1])
    else:
        y = np.matmul(widened(a), widened(b))
    if op.bias is not None:
        y = y + widened(args[2])
    return y.astype(dtype, copy=False)


def reduce(op: ReduceOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Reduction over axes, in the accumulator's type."""
    dtype = numpy_dtype(element_of(op.result))
    x = widened(args[0])
    if x.dtype.itemsize == 1 and op.kind.data == "sum" and x.dtype.kind in "iu":
        x = x.astype(np.int32) - np.int32(op.x_zp.value.data)
    axes, keep = int_values(op.axes), bool(op.keepdims.value.data)
    with np.errstate(all="ignore"):
        return np.asarray(_reduce(op.kind.data, x, axes, keep)).astype(dtype, copy=False)


def _reduce(kind: str, x: Array, axes: tuple[int, ...], keep: bool) -> Any:
    def total(values: Array) -> Any:
        return np.sum(values, axis=axes, keepdims=keep, dtype=values.dtype)

    match kind:
        case "sum":
            return total(x)
        case "mean":
            count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
            if x.dtype.kind == "f":
                return np.mean(x, axis=axes, keepdims=keep, dtype=x.dtype)
            return np.trunc(total(x.astype(np.int64)) / max(count, 1))
        case "max":
            return np.max(x, axis=axes, keepdims=keep)
        case "min":
            return np.min(x, axis=axes, keepdims=keep)
        case "prod":
            return np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype)
        case "l1":
            return total(np.abs(x))
        case "l2":
            return np.sqrt(total(x * x))
        case "sum_square":
            return total(x * x)
        case "log_sum":
            return np.log(total(x))
        case "log_sum_exp":
            top = np.max(x, axis=axes, keepdims=True)
            top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
            out = np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True, dtype=x.dtype)) + top
            return out if keep else np.squeeze(out, axis=axes)
        case _:
            raise ValueError(f"unknown reduction {kind!r}")


def arg_reduce(op: ArgReduceOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Index of the extremum along an axis."""
    x, axis = args[0], op.axis.value.data
    pick = np.argmax if op.kind.data == "max" else np.argmin
    keep = bool(op.keepdims.value.data)
    if op.select_last.value.data:
        index = x.shape[axis] - 1 - pick(np.flip(x, axis), axis=axis, keepdims=keep)
    else:
        index = pick(x, axis=axis, keepdims=keep)
    return np.asarray(index, np.int64)


def batch_norm(op: BatchNormOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias along the channel axis."""
    x = widened(args[0])
    shape = [1] * x.ndim
    shape[op.axis.value.data] = -1
    scale, bias, mean, var = (widened(a).reshape(shape) for a in args[1:])
    epsilon = x.dtype.type(op.epsilon.value.data)
    y = (x - mean) / np.sqrt(var + epsilon) * scale + bias
    return y.astype(args[0].dtype, copy=False)


def softmax(op: SoftmaxOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """exp(x - max) / sum, along an axis."""
    x, axis = widened(args[0]), op.axis.value.data
    with np.errstate(all="ignore"):
        e = np.exp(x - np.max(x, axis=axis, keepdims=True)) if x.size else x
        y = e / np.sum(e, axis=axis, keepdims=True, dtype=e.dtype)
    return y.astype(args[0].dtype, copy=False)

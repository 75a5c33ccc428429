"""Meaning of the quantised operations, by `dialects/scalar.py` and `dialects/fixed_point.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import scalar
from ...constants import Array, ConstantStore
from ...graph import (
    DequantizeOp,
    LookupOp,
    QAddOp,
    QMulOp,
    QuantAttr,
    QuantizeOp,
    RequantizeOp,
    quantization,
)
from ...types import element_of, int_values, numpy_dtype
from .nn import widened


def encoding_arrays(encoding: QuantAttr, rank: int) -> tuple[Array, Array]:
    """Scales (f32) and zero points (i64), shaped to broadcast against `rank` axes."""
    scales = np.asarray(encoding.scales.get_values(), np.float64).astype(np.float32)
    zero_points = np.asarray(int_values(encoding.zero_points), np.int64)
    if encoding.axis_index is None:
        return scales.reshape(()), zero_points.reshape(())
    shape = [1] * rank
    shape[encoding.axis_index] = -1
    return scales.reshape(shape), zero_points.reshape(shape)


def quantize(op: QuantizeOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """clamp(rint(x / scale) + zero_point), half to even."""
    encoding = quantization(op.result.type)
    assert encoding is not None
    dtype = numpy_dtype(element_of(op.result))
    x = widened(args[0])
    scales, zero_points = encoding_arrays(encoding, x.ndim)
    info = np.iinfo(dtype)
    with np.errstate(all="ignore"):
        stored = np.clip(np.rint(x / scales.astype(x.dtype)) + zero_points, info.min, info.max)
        return stored.astype(dtype)


def dequantize(op: DequantizeOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """f32(q - zero_point) * scale."""
    encoding = quantization(op.x.type)
    assert encoding is not None
    scales, zero_points = encoding_arrays(encoding, args[0].ndim)
    return (args[0].astype(np.int64) - zero_points).astype(np.float32) * scales


def requantize(op: RequantizeOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Accumulator to narrow integer."""
    params = {k: getattr(op, k).value.data for k in ("zp", "lo", "hi")}
    return scalar.evaluate("requantize", list(args), params, element_of(op.result))


def lookup(op: LookupOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """table[x - minimum of x's type]."""
    x, table = args
    return table[x.astype(np.intp) - np.iinfo(x.dtype).min]


_QADD = ("za", "ma", "zb", "mb", "multiplier", "shift", "zp", "lo", "hi")
_QMUL = ("za", "zb", "multiplier", "shift", "zp", "lo", "hi")


def qadd(op: QAddOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Quantised addition."""
    params = {k: getattr(op, k).value.data for k in _QADD}
    return scalar.evaluate("qadd", list(args), params, element_of(op.result))


def qmul(op: QMulOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Quantised multiplication."""
    params = {k: getattr(op, k).value.data for k in _QMUL}
    return scalar.evaluate("qmul", list(args), params, element_of(op.result))

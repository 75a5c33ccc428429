"""Meaning of the integer softmax and normalisation, by `dialects/fixed_point.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import fixed_point
from ...constants import Array, ConstantStore
from ...graph import QNormOp, QSoftmaxOp
from ...types import int_values


def qsoftmax(op: QSoftmaxOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Exponentials over their sum, in fixed point."""
    (x, table), axis, bits = args, op.axis.value.data, op.bits.value.data
    wide = x.astype(np.int32)
    powers = table[wide.max(axis=axis, keepdims=True) - wide]
    total = powers.sum(axis=axis, keepdims=True, dtype=np.int32)
    inverse = fixed_point.reciprocal(total, bits + 30)
    return fixed_point.requantize(powers, inverse, bits + 22, -128, -128, 127).astype(np.int8)


def qnorm(op: QNormOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Deviations over their root mean square, in fixed point."""
    x, gain, offset = args
    axes, count, bits = int_values(op.axes), op.count, op.bits.value.data
    x_zp = op.x_zp.value.data
    wide = x.astype(np.int32) - x_zp
    squares = (wide * wide).sum(axis=axes, keepdims=True, dtype=np.int32)
    total = wide.sum(axis=axes, keepdims=True, dtype=np.int32)
    if not op.centred.value.data:
        total = np.zeros_like(total)
    inverse = fixed_point.inverse_deviation(
        squares, total, count, op.epsilon.value.data, bits, op.extra.value.data
    )
    return fixed_point.normalize(
        x, total, inverse, gain, offset, x_zp, count, bits, op.shift.value.data,
        op.zp.value.data, op.lo.value.data, op.hi.value.data,
    ).astype(np.int8)  # fmt: skip

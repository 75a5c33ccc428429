"""Bias correction: give quantised products back the mean that rounding took from them.

    b'[c] = b[c] + mean(y[c]) - mean(y_quantised[c])          over calibration samples and positions

Rounding weights and activations shifts the mean of each output channel, and what follows (a global
average, say) keeps the shift while the rest of the noise averages out.  Layers are corrected in
program order, each measured behind those already corrected (Nagel et al., Data-Free Quantization,
2019, section 4.2, with measured means).  A channel measured on fewer than `LEAST_ELEMENTS` numbers
is left alone: that would fit the samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, ConvOp, MatMulOp, constant_array
from ...dialects.semantics.graph import evaluate_op
from ...dialects.types import shape_of
from ..base import main_function
from ..rewriting import replace
from .calibration import samples

LEAST_ELEMENTS = 1024
MOST_SAMPLES = 8
"""Samples whose activations are held at once."""


class MeanObserver:
    """Means of a tensor by channel, of each of the first `MOST_SAMPLES` arrays."""

    def __init__(self, axis: int) -> None:
        self.axis, self.means, self.elements = axis, list[Array](), 0

    def update(self, array: Array) -> None:
        """Note the means of one more array."""
        if len(self.means) < MOST_SAMPLES:
            others = tuple(i for i in range(array.ndim) if i != self.axis)
            self.means.append(array.mean(axis=others, dtype=np.float64))
            self.elements = array.size // max(1, array.shape[self.axis])


def mean_shift(wanted: MeanObserver, found: MeanObserver) -> Array:
    """By how much `found` lies below `wanted` in each channel, as far as that is certain.

    The mean difference d over samples is shrunk by 1 - e^2 / d^2, e its standard error.
    """
    differences = np.array(wanted.means) - np.array(found.means)
    shift = differences.mean(axis=0)
    if len(differences) == 1:
        return shift if found.elements >= LEAST_ELEMENTS else np.zeros_like(shift)
    error = differences.var(axis=0, ddof=1) / len(differences)
    return shift * np.clip(1 - error / np.maximum(np.square(shift), 1e-300), 0, 1)


def channel_axis(op: ConvOp | MatMulOp) -> int:
    """The axis of the output channels in the result of `op`."""
    rank = len(shape_of(op.result))
    return 1 if isinstance(op, ConvOp) and op.layout.data == "NCHW" else rank - 1


def with_bias(op: ConvOp | MatMulOp, bias: Array, store: ConstantStore) -> ConvOp | MatMulOp:
    """Replace `op` by one with another bias (f32, one number per output channel)."""
    constant = ConstantOp.from_array(bias.astype(np.float32), store)
    new = type(op).create(
        operands=[*op.operands[:2], constant.result],
        result_types=[op.result.type],
        properties=dict(op.properties),
    )
    replace(op, [constant, new])
    return new


def correct_biases(
    module: ModuleOp,
    store: ConstantStore,
    calibration: Mapping[str, Array],
    means: Mapping[SSAValue, MeanObserver],
) -> None:
    """Correct every operation of `@main` whose result has an entry in `means`.

    `means` were taken before quantisation over the same calibration samples.
    """
    func = main_function(module)
    block, chosen = func.body.block, islice(samples(func, calibration), MOST_SAMPLES)
    ops = list(block.ops)[:-1]
    last: dict[SSAValue, Operation] = {o: op for op in ops for o in op.operands}
    values: list[dict[SSAValue, Array]] = [
        dict(zip(block.args, sample, strict=True)) for sample in chosen
    ]
    for op in ops:
        dying = [o for o in dict.fromkeys(op.operands) if last.get(o) is op]
        corrected: Operation = op
        results = [evaluate_op(op, [v[o] for o in op.operands], store) for v in values]
        wanted = means.get(op.results[0]) if op.results else None
        if isinstance(op, ConvOp | MatMulOp) and wanted is not None:
            found = MeanObserver(wanted.axis)
            for arrays in results:
                found.update(arrays[0])
            shift = mean_shift(wanted, found)
            if np.isfinite(shift).all() and shift.any():
                old = constant_array(op.operands[2], store) if len(op.operands) > 2 else None
                place = [-1 if i == wanted.axis else 1 for i in range(results[0][0].ndim)]
                for arrays in results:
                    arrays[0] = arrays[0] + shift.reshape(place).astype(np.float32)
                old_result = op.results[0]
                corrected = with_bias(op, shift if old is None else old + shift, store)
                if old_result in last:
                    last[corrected.results[0]] = last.pop(old_result)
        for v, arrays in zip(values, results, strict=True):
            for result, array in zip(corrected.results, arrays, strict=True):
                if result in last:
                    v[result] = array
            for o in dying:
                v.pop(o, None)

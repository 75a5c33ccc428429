"""Bias correction: give quantised products back the mean that rounding took from them.

    z = f(y + b),  f: the activations after it
    b'[c] = b[c] + (mean(z[c]) - mean(z_quantised[c])) / mean(f'[c])       over samples, positions

Rounding weights and activations shifts the mean of each output channel, and what follows (a global
average, say) keeps the shift while the rest of the noise averages out.  The shift that matters is
that of the activation's result, hence f.  Layers are corrected in program order, each measured
behind those already corrected (empirical bias correction: Nagel et al., Data-Free Quantization,
2019, appendix D), and only as far as samples agree on the shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, ConvOp, MapOp, MatMulOp, constant_array
from ...dialects.semantics.graph import evaluate_op
from ...dialects.types import shape_of
from ..base import main_function
from ..rewriting import replace
from .calibration import samples
from .quantization_plan import Plan, has_constant_weights, single_user

LEAST_ELEMENTS = 1024
"""Positions in a channel from which a single sample is trusted."""

LEAST_SLOPE = 0.5
"""Slope assumed where activations pass less than this: their mean hardly tells."""

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


@dataclass
class Target:
    """What to restore after an operation: the mean of the value behind its `activations`."""

    activations: list[MapOp]
    observer: MeanObserver


def targets(plan: Plan) -> dict[Operation, Target]:
    """A target for every quantised product of `plan` with constant weights."""
    found: dict[Operation, Target] = {}
    for op in plan.kinds:
        if isinstance(op, ConvOp | MatMulOp) and has_constant_weights(op):
            chain, value = list[MapOp](), op.result
            while (
                isinstance(user := single_user(value), MapOp)
                and plan.kinds.get(user) in ("clamp", "table")
                and shape_of(user.result) == shape_of(value)
            ):
                chain.append(user)
                value = user.result
            found[op] = Target(chain, MeanObserver(channel_axis(op)))
    return found


def observers(found: Mapping[Operation, Target]) -> dict[SSAValue, MeanObserver]:
    """The observers of `found`, by the value they are to see before quantisation."""
    return {
        (t.activations[-1] if t.activations else op).results[0]: t.observer
        for op, t in found.items()
    }


def _activated(target: Target, array: Array, store: ConstantStore) -> Array:
    for op in target.activations:
        constants = [constant_array(o, store) for o in op.args]
        array = evaluate_op(op, [array if c is None else c for c in constants], store)[0]
    return array


def _slope(target: Target, arrays: Sequence[Array], store: ConstantStore) -> Array:
    """Mean derivative of the activations by channel, over `arrays`."""
    axis = target.observer.axis
    if not target.activations:
        return np.ones(arrays[0].shape[axis])
    others = tuple(i for i in range(arrays[0].ndim) if i != axis)
    step = np.float32(max(1e-6, 0.01 * float(np.mean([a.std() for a in arrays]))))
    slopes = [
        (_activated(target, a + step, store) - _activated(target, a - step, store)).mean(
            axis=others
        )
        for a in arrays
    ]
    return np.asarray(np.mean(slopes, axis=0, dtype=np.float64) / (2.0 * float(step)))


def correct_biases(
    module: ModuleOp,
    store: ConstantStore,
    calibration: Mapping[str, Array],
    found: Mapping[Operation, Target],
) -> None:
    """Correct the biases of the operations of `found` in `@main`, which has been quantised.

    Their observers have seen the same calibration samples before.
    """
    func = main_function(module)
    block = func.body.block
    ops = list(block.ops)[:-1]
    last = {o: op for op in ops for o in op.operands}
    values: list[dict[SSAValue, Array]] = [
        dict(zip(block.args, sample, strict=True))
        for sample in islice(samples(func, calibration), MOST_SAMPLES)
    ]
    for op in ops:
        dying = [o for o in dict.fromkeys(op.operands) if last.get(o) is op]
        needed = [r in last for r in op.results]
        results = [evaluate_op(op, [v[o] for o in op.operands], store) for v in values]
        current = op
        if (target := found.get(op)) is not None and isinstance(op, ConvOp | MatMulOp):
            shift = _shift(target, [r[0] for r in results], store)
            if np.isfinite(shift).all() and shift.any():
                place = [-1 if i == target.observer.axis else 1 for i in range(results[0][0].ndim)]
                results = [[r[0] + shift.reshape(place).astype(np.float32)] for r in results]
                current, reader = _with_bias(op, shift, store), last.get(op.results[0])
                if reader is not None:
                    last[current.results[0]] = reader
        for v, arrays in zip(values, results, strict=True):
            for o in dying:
                v.pop(o, None)
            for result, array, kept in zip(current.results, arrays, needed, strict=True):
                if kept:
                    v[result] = array


def _shift(target: Target, arrays: Sequence[Array], store: ConstantStore) -> Array:
    """What to add to the bias, given quantised results of the operation."""
    seen = MeanObserver(target.observer.axis)
    for array in arrays:
        seen.update(_activated(target, array, store))
    slope = _slope(target, arrays, store)
    return mean_shift(target.observer, seen) / np.maximum(slope, LEAST_SLOPE)


def _with_bias(op: ConvOp | MatMulOp, shift: Array, store: ConstantStore) -> Operation:
    """Replace `op` by one whose bias is larger by `shift` (one number per output channel)."""
    old = constant_array(op.operands[2], store) if len(op.operands) > 2 else np.zeros(1)
    assert old is not None
    constant = ConstantOp.from_array((old + shift).astype(np.float32), store)
    new = type(op).create(
        operands=[*op.operands[:2], constant.result],
        result_types=[op.result.type],
        properties=dict(op.properties),
    )
    replace(op, [constant, new])
    return new

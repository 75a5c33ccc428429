"""Which normalisations would amplify the rounding of their operand to 8 bits too much.

A row of deviation d, rounded to steps of s, comes out of a normalisation with noise s^2 / (12 d^2)
relative to its own power: much, where a few rows or channels are far larger than all others, as in
the residual streams of large language models.  Their operands stay real, unless they are results
of convolutions or matrix products, which are rounded anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import MapOp
from .calibration import MinMaxObserver, calibrate
from .norm_patterns import Norm
from .quantization_plan import Plan

MOST_NOISE = 1e-3
"""Noise power relative to the signal, averaged over rows, that a normalisation may have: -30 dB."""

UNSEEN = 1e30
"""Noise assumed of what calibration has not seen."""


class RowStatistic:
    """Extremes of a tensor, and the mean of 1 / (power of a row, less its mean if centred)."""

    def __init__(self, norm: Norm) -> None:
        self.norm = norm
        self.low = self.high = 0.0
        self.inverse, self.rows = 0.0, 0

    def update(self, array: Array) -> None:
        """Fold in one more value of the tensor."""
        x, axes = array.astype(np.float64), self.norm.axes
        if not np.isfinite(x).all() or not x.size:
            return
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        power = x.var(axis=axes) if self.norm.centred else (x * x).mean(axis=axes)
        power = power + self.norm.epsilon
        self.inverse += float((1.0 / np.maximum(power, 1e-30)).sum())
        self.rows += power.size

    @property
    def noise(self) -> float:
        """Noise relative to signal after rounding to 255 steps over the range; much if unseen."""
        step = (self.high - self.low) / 255
        return step * step / 12 * self.inverse / self.rows if self.rows else UNSEEN


class _Several:
    """Statistics of one value."""

    def __init__(self) -> None:
        self.all: list[RowStatistic] = []

    def update(self, array: Array) -> None:
        """Update each."""
        for statistic in self.all:
            statistic.update(array)


def measure(
    module: ModuleOp, plan: Plan, store: ConstantStore, calibration: Mapping[str, Array]
) -> dict[Operation, float]:
    """The noise of each normalisation of `plan`, by the operation that ends it."""
    if not plan.norms:
        return {}
    rows = {op: RowStatistic(norm) for op, norm in plan.norms.items()}
    others: dict[SSAValue, _Several] = {}
    for op, statistic in rows.items():
        others.setdefault(plan.norms[op].x, _Several()).all.append(statistic)
    calibrate(module, store, calibration, (), MinMaxObserver, others)
    return {op: statistic.noise for op, statistic in rows.items()}


def noisy_norms(plan: Plan, noise: Mapping[Operation, float]) -> Collection[Operation]:
    """The ends of normalisations with too much noise, and the operations before them."""
    noisy = set[Operation]()
    for op, amount in noise.items():
        x = plan.norms[op].x
        if amount <= MOST_NOISE:
            continue
        if isinstance(x.owner, MapOp):  # a residual addition: real, too
            noisy |= {op, x.owner}
        elif not plan.is_integer(x):  # else the rounding is there already
            noisy.add(op)
    return frozenset(noisy)

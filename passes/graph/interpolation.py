"""Which linear interpolations repeat their weights: those by a ratio of small whole numbers.

factor 2, half_pixel     step 1; outputs 2k, 2k + 1 lie at k - 0.25, k + 0.25
factor 3/2               step 2; three outputs for every two inputs
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...dialects.graph import ResizeOp, spatial_axes
from ...dialects.semantics.graph.resize import source_coordinates
from ...dialects.types import shape_of

MAX_PHASES = 8
"""Most outputs in a period."""


@dataclass(frozen=True)
class Phases:
    """A period of an axis: `step` inputs for as many outputs as there are `weights`.

    Output j of period k is x[i] * (1 - w) + x[i + 1] * w with (i, w) = weights[j] and i + step * k;
    indices beyond the ends stand for the ends.
    """

    step: int
    weights: tuple[tuple[int, float], ...]


def phases(extent: int, size: int, scale: float, coordinates: str) -> Phases | None:
    """The period of a linear resize of an axis; None if it has none, or a long one."""
    common = math.gcd(extent, size)
    count, step = size // common, extent // common
    if count > MAX_PHASES:
        return None
    at = source_coordinates(extent, size, scale, coordinates).astype(np.float64)
    expected = at[:count] + step * np.arange(common)[:, None]
    if np.abs(expected.reshape(-1) - at).max() > 1e-3:
        return None
    low = np.floor(at[:count] + 1e-6)
    part = np.maximum(at[:count] - low, 0.0)
    return Phases(step, tuple((int(d), float(w)) for d, w in zip(low, part, strict=True)))


def axis_phases(op: ResizeOp) -> dict[int, Phases] | None:
    """The periods of the axes that `op` resizes, as axes channels last; None if some has none."""
    if op.mode.data != "linear":
        return None
    x, y, out = shape_of(op.x), shape_of(op.result), dict[int, Phases]()
    axes = spatial_axes(len(x), op.layout.data)
    for axis, (old, scale) in enumerate(zip(axes, op.scales.get_values(), strict=True), 1):
        if x[old] == y[old] and scale == 1.0:
            continue
        if not x[old] or not y[old]:
            return None
        period = phases(x[old], y[old], float(scale), op.coordinates.data)
        if period is None:
            return None
        out[axis] = period
    return out

"""Resizing.

Nearest by whole factors splits the output axis into (source index, repetition): linear maps only,
which either end can run as copies.  Every other mode goes one axis at a time through constant
tables of indices and weights (those of the reference semantics), the last axis in the kernel's
own nest:

    y[.., o, ..] = sum over taps t of x[.., index[o, t], ..] * weight[o, t]
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import ResizeOp, spatial_axes
from ....dialects.semantics.graph.resize import taps
from ....dialects.types import element_of, is_float, numpy_dtype, shape_of
from .builder import NestBuilder, compute_type
from .kernel import Kernel


def resize(k: Kernel, op: ResizeOp) -> None:
    """Nearest, linear or cubic interpolation."""
    x, y = shape_of(op.x), shape_of(op.result)
    scales = [float(s) for s in op.scales.get_values()]
    axes = spatial_axes(len(x), op.layout.data)
    tables: dict[int, tuple[Array, Array]] = {}
    for axis, scale in zip(axes, scales, strict=True):
        if x[axis] == y[axis] and scale == 1.0:
            continue
        tables[axis] = taps(
            op.mode.data,
            x[axis],
            y[axis],
            scale,
            op.coordinates.data,
            op.nearest.data,
            op.cubic_coeff.value.data,
        )
    if op.mode.data == "nearest":
        _nearest(k, op, {axis: table[0][:, 0] for axis, table in tables.items()})
    else:
        _interpolate(k, op, tables)


def _nearest(k: Kernel, op: ResizeOp, tables: dict[int, Array]) -> None:
    x, y = shape_of(op.x), shape_of(op.result)
    factors: dict[int, int] = {}
    for axis, index in tables.items():
        factor = y[axis] // x[axis] if x[axis] else 0
        if factor and factor * x[axis] == y[axis] and (index == np.arange(y[axis]) // factor).all():
            factors[axis] = factor
    domain: list[int] = []
    rows: list[dict[int, int]] = []
    source: list[dict[int, int]] = []
    for axis, extent in enumerate(y):
        d, factor = len(domain), factors.get(axis, 1)
        source.append({d: 1})
        if factor > 1:
            domain += [x[axis], factor]
            rows.append({d: factor, d + 1: 1})
        else:
            domain.append(extent)
            rows.append({d: 1})
    nest = k.begin(domain, rows)
    if len(factors) == len(tables):
        nest.acc = k.scalar(op.x, nest.rows(source))
        return
    indices = [
        nest.read(k.constant(tables[axis]), nest.rows([row]))
        if axis in tables and axis not in factors
        else nest.index_at(row)
        for axis, row in enumerate(source)
    ]
    nest.acc = nest.extract(k.whole(op.x), indices)


def _interpolate(k: Kernel, op: ResizeOp, tables: dict[int, tuple[Array, Array]]) -> None:
    element = compute_type(element_of(op.x)) if is_float(element_of(op.x)) else f32
    shape, current = list(shape_of(op.x)), k.whole(op.x)
    rank = len(shape)
    out = [{d: 1} for d in range(rank)]
    if not tables:
        nest = k.begin(shape, out)
        nest.acc = k.scalar(op.x, nest.rows(out))
        return
    *earlier, last = tables

    def weighted(nest: NestBuilder, axis: int, source: SSAValue) -> SSAValue:
        index, weights = tables[axis]
        at = nest.read(k.constant(index), nest.rows([{axis: 1}, {rank: 1}]))
        weight = nest.read(
            k.constant(weights.astype(numpy_dtype(element))), nest.rows([{axis: 1}, {rank: 1}])
        )
        taken = nest.extract(
            source, [at if d == axis else nest.index_at({d: 1}) for d in range(rank)]
        )
        return nest.reduce(nest.apply("mul", [nest.cast(taken, element), weight], element))

    for axis in earlier:
        shape[axis] = shape_of(op.result)[axis]

        def build(nest: NestBuilder, axis: int = axis, source: SSAValue = current) -> SSAValue:
            return weighted(nest, axis, source)

        domain = [*shape, tables[axis][0].shape[1]]
        current = k.side_nest(
            op, domain, out, element, build, reduced=[rank], kind="add", hint="resized"
        )
    shape[last] = shape_of(op.result)[last]
    nest = k.begin([*shape, tables[last][0].shape[1]], out, reduced=[rank], kind="add")
    nest.acc = nest.cast(weighted(nest, last, current), element_of(op.x))

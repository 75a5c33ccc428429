"""Pooling: (n, oh, ow, c, | kh, kw), or channels first likewise; averages divide in the epilogue.

The number of elements an average counts is one constant where every window has as many, else a
constant tensor over the output positions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from xdsl.dialects.builtin import i32

from ....dialects.graph import PoolOp
from ....dialects.semantics.graph.windows import window_counts
from ....dialects.types import element_of, int_values, is_float, numpy_dtype, shape_of
from .builder import compute_type
from .kernel import Kernel


def lowest(element: object) -> float | int:
    """The value that never wins a maximum of `element`s."""
    dtype = numpy_dtype(element)  # pyright: ignore[reportArgumentType]
    return -np.inf if dtype.kind in "fV" else int(np.iinfo(dtype).min)


def pool(k: Kernel, op: PoolOp) -> None:
    """Maximum, average or sum over windows."""
    nchw, y = op.layout.data == "NCHW", shape_of(op.result)
    kernel, strides, dilations, pads = map(
        int_values, (op.kernel, op.strides, op.dilations, op.pads)
    )
    n, kind, element = len(kernel), op.kind.data, element_of(op.x)
    batch, channel = 0, 1 if nchw else n + 1
    spatial = range(2, n + 2) if nchw else range(1, n + 1)
    window = range(n + 2, 2 * n + 2)
    rank = 2 * n + 2
    positions: list[Mapping[int, int]] = [
        {s: strides[i], window[i]: dilations[i]} for i, s in enumerate(spatial)
    ]
    rows: list[Mapping[int, int]] = (
        [{batch: 1}, {channel: 1}, *positions] if nchw else [{batch: 1}, *positions, {channel: 1}]
    )
    begins = [-p for p in pads[:n]]
    nest = k.begin(
        [*y, *kernel],
        [{d: 1} for d in range(n + 2)],
        reduced=range(n + 2, rank),
        kind="max" if kind == "max" else "add",
    )
    fill: float | int = (
        lowest(element) if kind == "max" else (0.0 if is_float(element) else op.x_zp.value.data)
    )
    x = k.scalar(op.x, nest.rows(rows, [0, 0, *begins] if nchw else [0, *begins, 0]), fill)
    if kind == "sum" and element_of(op.result) == i32 and element != i32:
        x = nest.apply("widen", [x], i32, {"zp": op.x_zp.value.data})
    acc = nest.reduce(nest.wide(x))
    if kind == "average":
        extents = shape_of(op.x)[2:] if nchw else shape_of(op.x)[1:-1]
        counts = window_counts(op, extents)[0, 0].astype(numpy_dtype(compute_type(element)))
        if counts.size and (counts == counts.flat[0]).all():
            divisor = nest.const(float(counts.flat[0]), acc.type)
        else:
            divisor = nest.read(k.constant(counts), nest.rows([{s: 1} for s in spatial]))
        acc = nest.apply("div", [acc, divisor], acc.type)
    nest.acc = nest.cast(acc, element_of(op.result))

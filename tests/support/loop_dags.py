"""Random graphs of movement and elementwise operations, placed on random devices."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue

from tilewright.dialects.graph import (
    ConcatOp,
    ConvOp,
    GatherOp,
    MapOp,
    PoolOp,
    RegionOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
    YieldOp,
    place,
)
from tilewright.dialects.types import shape_of

from .loop_programs import Program


def _step(draw: st.DrawFn, p: Program, values: list[SSAValue]) -> Operation:
    x = draw(st.sampled_from(values))
    shape = shape_of(x)
    kind = draw(
        st.sampled_from(
            [
                "map",
                "concat",
                "concat",
                "reshape",
                "slice",
                "transpose",
                "gather",
                "conv",
                "pool",
                "region",
            ]
        )
    )
    alike = [v for v in values if len(shape_of(v)) == len(shape)]
    match kind:
        case "concat":
            axis = draw(st.integers(0, len(shape) - 1))
            fit = [
                v
                for v in alike
                if all(
                    a == b
                    for i, (a, b) in enumerate(zip(shape_of(v), shape, strict=True))
                    if i != axis
                )
            ]
            return ConcatOp(
                [x, *draw(st.lists(st.sampled_from(fit), min_size=1, max_size=3))], axis
            )
        case "reshape" if math.prod(shape) < 4000:
            return ReshapeOp(
                x,
                draw(
                    st.sampled_from(
                        [[math.prod(shape)], [1, *shape], [shape[0], math.prod(shape[1:])]]
                    )
                ),
            )
        case "slice":
            starts = [draw(st.integers(0, n - 1)) for n in shape]
            return SliceOp(
                x, starts, [draw(st.integers(1, n - s)) for s, n in zip(starts, shape, strict=True)]
            )
        case "transpose":
            return TransposeOp(x, draw(st.permutations(range(len(shape)))))
        case "gather":
            indices = p.constant(p.rng.integers(0, shape[0], 3))
            return GatherOp(x, indices, 0)
        case "conv" if len(shape) == 4 and shape[3] < 12:
            w = p.constant(p.floats(3, 3, shape[3], 2) / np.float32(9))
            return ConvOp(x, w, strides=[1, 1], pads=[1] * 4, dilations=[1, 1], layout="NHWC")
        case "pool" if len(shape) == 4:
            return PoolOp(x, "max", kernel=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0], layout="NHWC")
        case "region":
            block = Block(arg_types=[x.type])
            relu = MapOp("relu", [block.args[0]])
            neg = MapOp("neg", [relu.result])
            block.add_ops([relu, neg, YieldOp([neg.result])])
            return RegionOp([x], [x.type], Region(block))
        case _:
            same = [v for v in values if shape_of(v) == shape]
            return MapOp(
                draw(st.sampled_from(["add", "maximum"])), [x, draw(st.sampled_from(same))]
            )


@st.composite
def dags(draw: st.DrawFn) -> tuple[Program, ModuleOp]:
    """A program and its module: a few inputs, up to 14 operations, any values returned."""
    p = Program(draw(st.integers(0, 9)))
    values = [
        p.input(p.floats(1, 3, 4, c))
        for c in draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    ]
    values.append(p.constant(p.floats(1, 3, 4, 2)))
    for _ in range(draw(st.integers(1, 14))):
        op = _step(draw, p, values)
        if draw(st.booleans()):
            place(op, draw(st.sampled_from(["npu", "cpu"])))
        values.append(p.add(op))
        if math.prod(shape_of(values[-1])) > 20_000:
            values.pop()
    return p, p.module(draw(st.lists(st.sampled_from(values), min_size=1, max_size=4)))

"""Selections as slices, and interpolation as weighted sums of selections."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import Block

from tilewright.dialects.constants import Array, ConstantStore
from tilewright.dialects.graph import QuantAttr, ResizeOp
from tilewright.dialects.semantics.graph import evaluate_op
from tilewright.dialects.types import tensor
from tilewright.passes.graph.interpolation import axis_phases
from tilewright.passes.graph.selections import MAX_PIECES, progressions, selected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_selection_is_a_gather(indices: list[int]) -> None:
    runs = progressions(indices)
    assert [first + i * step for first, step, count in runs for i in range(count)] == indices
    encoding = QuantAttr.get([0.5], [3])
    block = Block(arg_types=[tensor((2, 10, 3), i8, encoding)])
    ops = selected(block.args[0], 1, indices)
    if ops is None:
        assert len(runs) > MAX_PIECES
        return
    x = np.arange(60, dtype=np.int8).reshape(2, 10, 3)
    values: dict[object, Array] = {block.args[0]: x}
    for op in ops:
        op.verify()
        values[op.results[0]] = evaluate_op(op, [values[o] for o in op.operands], ConstantStore())[
            0
        ]
    last = ops[-1].results[0] if ops else block.args[0]
    assert last.type == tensor((2, len(indices), 3), i8, encoding)
    assert (values[last] == x[:, indices]).all()


@given(
    st.integers(1, 12), st.sampled_from([(2, 1), (3, 1), (3, 2), (1, 2), (4, 1), (2, 3)]),
    st.sampled_from(["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners"]),
)  # fmt: skip
def test_periods_are_the_interpolation(groups: int, ratio: tuple[int, int], rule: str) -> None:
    count, step = ratio
    extent, size = groups * step, groups * count
    block = Block(arg_types=[tensor((1, 1, extent), f32)])
    op = ResizeOp(block.args[0], [size], "linear", [size / extent], coordinates=rule)
    x = np.random.default_rng(0).standard_normal((1, 1, extent)).astype(np.float32)
    real = evaluate_op(op, [x], ConstantStore())[0][0, 0]
    found = axis_phases(op)
    if found is None:
        assert rule == "align_corners"
        return
    line, made = x[0, 0].astype(np.float64), np.empty(size)
    for axis, period in found.items():
        assert axis == 1
        for k in range(size):
            low, weight = period.weights[k % len(period.weights)]
            at = low + period.step * (k // len(period.weights))
            a, b = (line[min(max(i, 0), extent - 1)] for i in (at, at + 1))
            made[k] = a * (1 - weight) + b * weight
        np.testing.assert_allclose(made, real, atol=1e-4)

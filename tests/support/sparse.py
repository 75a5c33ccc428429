"""Weights that are 2:4 sparse, and NPU segments of layers with such weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from xdsl.ir import SSAValue

from support.segments import Chain, Row, Segment

CHANNELS = st.sampled_from([3, 4, 8, 12, 16, 20, 24, 32, 40, 72])


def sparse_weights(rng: np.random.Generator, shape: Sequence[int], axis: int) -> np.ndarray:
    """Random int8 of which two of every four along an axis (a multiple of 4 long) are 0."""
    dense = rng.integers(-128, 128, shape).astype(np.int8)
    fours = np.moveaxis(dense, axis, -1).reshape(-1, 4)
    lost = rng.permuted(np.tile(np.arange(4), (len(fours), 1)), axis=1)[:, :2]
    fours = fours.copy()
    np.put_along_axis(fours, lost, 0, 1)
    moved = [n for i, n in enumerate(shape) if i != axis]
    return np.ascontiguousarray(np.moveaxis(fours.reshape(*moved, shape[axis]), -1, axis))


@st.composite
def sparse_segments(draw: st.DrawFn) -> Segment:
    """One to three layers, most of whose weights are 2:4 sparse along the reduction."""
    s = Segment(draw(st.integers(0, 2**16)))
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from([_convolution, _product, _product, _batches]))(draw, s)
    return s


def _weights(draw: st.DrawFn, s: Segment, shape: Sequence[int], axis: int) -> SSAValue:
    if shape[axis] % 4 or draw(st.sampled_from([False, False, False, True])):
        return s.weights(shape)
    return s.constant(sparse_weights(s.rng, shape, axis))


def _requantize(rows: list[Row], shape: Sequence[int]) -> Chain:
    return lambda c: c.requantize(c.block.args[0], rows, shape)


def _convolution(draw: st.DrawFn, s: Segment) -> None:
    (h, w, o), channels = draw(st.tuples(*[st.integers(1, 9)] * 3)), draw(CHANNELS)
    kernel, zero = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([0, 3]))
    x = s.buffer([1, h, w, channels])
    weights = _weights(draw, s, [kernel, kernel, channels, o], 2)
    s.nest(
        [1, h, w, o, kernel, kernel, channels],
        [
            (x, [{0: 1}, {1: 1, 4: 1}, {2: 1, 5: 1}, {6: 1}], [0, -1, 0, 0], zero),
            (weights, [{4: 1}, {5: 1}, {6: 1}, {3: 1}], None, None),
        ],
        (s.buffer([1, h, w, o]), [{0: 1}, {1: 1}, {2: 1}, {3: 1}], None),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(zero, 0),
        chain=_requantize([{3: 1}], [o]),
    )


def _product(draw: st.DrawFn, s: Segment) -> None:
    """With weights k x n or n x k; their zero point is mostly 0."""
    m, n, k = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(CHANNELS)
    flipped, zero = draw(st.booleans()), draw(st.sampled_from([0, 0, 0, 1]))
    shape, rows = ([n, k], [{1: 1}, {2: 1}]) if flipped else ([k, n], [{2: 1}, {1: 1}])
    s.nest(
        [m, n, k],
        [
            (s.buffer([m, k]), [{0: 1}, {2: 1}], None, None),
            (_weights(draw, s, shape, int(flipped)), rows, None, None),
        ],
        (s.buffer([m, n]), [{0: 1}, {1: 1}], None),
        reduce="add",
        reduced=[2],
        zero_points=(5, zero),
        chain=_requantize([{1: 1}], [n]),
    )


def _batches(draw: st.DrawFn, s: Segment) -> None:
    """Products side by side: groups of channels."""
    g, m, n = (draw(st.integers(1, 4)) for _ in range(3))
    k = draw(CHANNELS)
    s.nest(
        [g, m, n, k],
        [
            (s.buffer([m, g, k]), [{1: 1}, {0: 1}, {3: 1}], None, None),
            (_weights(draw, s, [g, k, n], 1), [{0: 1}, {3: 1}, {2: 1}], None, None),
        ],
        (s.buffer([m, g, n]), [{1: 1}, {0: 1}, {2: 1}], None),
        reduce="add",
        reduced=[3],
        zero_points=(-7, 0),
        chain=_requantize([{0: 1}, {2: 1}], [g, n]),
    )

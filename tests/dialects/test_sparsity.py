"""2:4 compression: what is stored, what it is decoded to, and what cannot be compressed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8
from xdsl.utils.exceptions import VerifyException

from support.sparse import sparse_weights
from tilewright.dialects.loop import AllocOp, DecodeOp
from tilewright.dialects.sparsity import (
    compress,
    compressed_bytes,
    decode,
    index_shape,
    is_sparse,
    values_shape,
)
from tilewright.dialects.types import memref

axes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(axes, st.integers(1, 4), st.data())
def test_decoding_gives_back_what_was_compressed(
    shape: list[int], units: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[axis] = 8 * units
    tile = sparse_weights(np.random.default_rng(data.draw(st.integers(0, 99))), shape, axis)
    assert is_sparse(tile, axis)
    stored = compress(tile, axis)
    assert stored.shape == (compressed_bytes(tile.size),) == (tile.size * 5 // 8,)
    assert stored.dtype == tile.dtype == np.int8
    assert (decode(stored, shape, axis) == tile).all()


def test_layout() -> None:
    """Two columns: values of the first four and of the second, then a byte for each column."""
    tile = np.array([[5, 0], [0, 0], [0, 1], [-3, 2], [0, 0], [7, 0], [0, 0], [0, -9]], np.int8)
    stored = compress(tile, 0).reshape(5, 2)
    assert stored[:4].tolist() == [[5, 1], [-3, 2], [0, 0], [7, -9]]
    #      column 0: places 0, 3 and 0, 1; column 1: 2, 3 and 0, 3
    assert stored[4].view(np.uint8).tolist() == [0b01_00_11_00, 0b11_00_11_10]


def test_shapes() -> None:
    assert values_shape((3, 3, 16, 7), 2) == (3, 3, 8, 7)
    assert index_shape((3, 3, 16, 7), 2) == (3, 3, 2, 7)


@pytest.mark.parametrize(
    ("size", "shape", "axis", "message"),
    [
        (40, [8, 8], 2, "axis 2"),
        (30, [4, 12], 0, "no multiple of 8"),
        (64, [8, 8], 0, "5/8 of the result's bytes"),
    ],
)
def test_what_is_decoded_fits(size: int, shape: list[int], axis: int, message: str) -> None:
    stored = AllocOp(memref([size], i8, "spm"))
    with pytest.raises(VerifyException, match=message):
        DecodeOp(stored.result, axis, memref(shape, i8, "spm")).verify()


def test_three_of_four_are_too_many() -> None:
    tile = np.zeros((8, 3), np.int8)
    tile[:2, 1] = tile[4:6, 1] = 1
    assert is_sparse(tile, 0)
    tile[2, 1] = 1
    assert not is_sparse(tile, 0)
    assert is_sparse(tile, 1)  # groups of four end at the border
    with pytest.raises(ValueError, match="not 2:4 sparse"):
        compress(tile, 0)
    with pytest.raises(ValueError, match="not 2:4 sparse"):
        compress(tile, 1)

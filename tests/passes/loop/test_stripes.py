"""Rows that stripes need, counted by hand."""

from __future__ import annotations

from support.random_chains import rows
from support.segments import Segment
from tilewright.dialects.loop import NestOp
from tilewright.passes.loop.stripes import row_axis, row_dim, stripe


def _pool(s: Segment, height: int, kernel: int, stride: int, pad: int) -> NestOp:
    """A maximum over windows of [1, height, 4, 8]; the last nest's output is the input."""
    previous = s.block.last_op
    x = previous.output if isinstance(previous, NestOp) else s.buffer([1, height, 4, 8])
    out = (height + 2 * pad - kernel) // stride + 1
    y = s.buffer([1, out, 4, 8])
    return s.nest(
        [1, out, 4, 8, kernel],
        [(x, [{0: 1}, {1: stride, 4: 1}, {2: 1}, {3: 1}], [0, -pad, 0, 0], -128)],
        (y, rows(0, 1, 2, 3), None),
        reduce="max",
        reduced=[4],
    )


def test_rows_are_the_first_axis_of_several_elements() -> None:
    assert row_axis((1, 56, 56, 64)) == 1
    assert row_axis((8, 56, 56, 64)) == 0
    assert row_axis((1, 1)) == 0


def test_halos_add_up_and_end_at_the_tensor() -> None:
    s = Segment()
    nests = [_pool(s, 16, 3, 1, 1), _pool(s, 16, 3, 2, 1), _pool(s, 8, 1, 1, 0)]
    inner = [nest.output for nest in nests[:-1]]
    first, last = stripe(nests, inner, 0, 4), stripe(nests, inner, 4, 8)
    assert first is not None and last is not None
    # rows [0, 4) need [0, 4) of the second, 2 * 0 - 1 to 2 * 3 + 1 of the first, cut off at row 0
    assert [first.nests[n] for n in nests] == [(0, 8), (0, 4), (0, 4)]
    assert [last.nests[n] for n in nests] == [(7, 16), (4, 8), (4, 8)]
    assert last.buffers[inner[0]] == (7, 16)


def test_rows_in_two_dimensions_are_not_divided() -> None:
    s = Segment()
    x, y = s.buffer([1, 4, 8]), s.buffer([1, 8, 8])
    nest = s.nest(
        [1, 4, 2, 8],
        [(x, rows(0, 1, 3), None, None)],
        (y, [{0: 1}, {1: 2, 2: 1}, {3: 1}], None),
        accumulator=lambda k: k.table(k.block.args[0]),
    )
    assert row_dim(nest) is None

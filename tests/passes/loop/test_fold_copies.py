"""fold-copies: makers write where a copy would put their results, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Region, SSAValue

from support.npu_passes import run_loops
from support.random_chains import rows
from support.segments import Segment
from tilewright.dialects.loop import AllocOp, NestOp, ReshapeOp
from tilewright.dialects.types import element_of, memref, shape_of, string
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop.fold_copies import FoldCopiesPass, permutation


def main_of(s: Segment) -> ModuleOp:
    """The nests so far as @main, which the pass works on."""
    s.block.add_op(ReturnOp())
    module = ModuleOp([FuncOp("main", ([], []), Region(s.block))])
    module.verify()
    return module


def look_up(s: Segment, x: SSAValue, perm: Sequence[int] | None = None) -> SSAValue:
    """A table applied to all elements, written in another order of axes."""
    shape = shape_of(x)
    order = list(perm or range(len(shape)))
    y = s.buffer([shape[d] for d in order])
    s.nest(
        shape,
        [(x, rows(*range(len(shape))), None, None)],
        (y, rows(*order), None),
        accumulator=lambda k: k.table(k.block.args[0]),
    )
    return y


def copy(s: Segment, x: SSAValue, perm: Sequence[int], domain: Sequence[int] = ()) -> SSAValue:
    """A copy in which axis k is `x`'s axis perm[k]; dimension d runs along its axis domain[d]."""
    shape = shape_of(x)
    y = s.buffer([shape[d] for d in perm])
    order = list(domain or range(len(shape)))
    s.nest(
        [shape[perm[axis]] for axis in order],
        [(x, rows(*(order.index(perm.index(a)) for a in range(len(shape)))), None, None)],
        (y, rows(*(order.index(a) for a in range(len(shape)))), None),
    )
    return y


def nests(module: ModuleOp) -> list[NestOp]:
    return [op for op in module.walk() if isinstance(op, NestOp)]


def tensors(module: ModuleOp) -> list[tuple[int, int]]:
    """The bytes [begin, end) of every buffer."""
    out: list[tuple[int, int]] = []
    for op in module.walk():
        if isinstance(op, AllocOp) and op.offset is not None:
            begin = op.offset.value.data
            out.append((begin, begin + prod(shape_of(op.result))))
    return out


def fold(module: ModuleOp) -> None:
    """The pass, verified."""
    FoldCopiesPass().apply(CompilerContext(), module)
    module.verify()


def check(s: Segment) -> tuple[int, int]:
    """Fold in a module of `s`; nests before and after.  All buffers that are left hold the same."""
    module, (arena, consts) = main_of(s), s.memories()
    before, expected = len(nests(module)), run_loops(module, arena, consts)
    fold(module)
    got = run_loops(module, arena, consts)
    for begin, end in tensors(module):
        assert (got[begin:end] == expected[begin:end]).all()
    return before, len(nests(module))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_meaning_is_kept(data: st.DataObject) -> None:
    """Any order of axes on both sides, copies of copies, and readers beside the copy."""
    s, rank = Segment(data.draw(st.integers(0, 99))), data.draw(st.integers(1, 4))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    made = look_up(s, s.buffer(shape), data.draw(st.permutations(range(rank))))
    folded = 0
    for _ in range(data.draw(st.integers(1, 3))):
        perm = data.draw(st.permutations(range(rank)))
        domain = data.draw(st.permutations(range(rank)))
        others = data.draw(st.booleans())
        source, made = made, copy(s, made, perm, domain)
        if others:
            look_up(s, source)
        folded += not others and perm[-1] == rank - 1
    before, after = check(s)
    assert before - after == folded


def test_a_product_of_heads() -> None:
    """Four heads of 8 x 16 become 8 rows of 4 x 16."""
    s = Segment()
    x = s.buffer([4, 8, 32])
    y = s.buffer([4, 8, 16])
    s.nest(
        [4, 8, 16, 32],
        [(x, rows(0, 1, 3), None, None), (s.weights([32, 16]), rows(3, 2), None, None)],
        (y, rows(0, 1, 2), None),
        reduce="add",
        reduced=[3],
        chain=lambda k: k.requantize(k.block.args[0], [{2: 1}], [16]),
    )
    copy(s, y, [1, 0, 2])
    assert check(s) == (2, 1)


def test_slices_of_what_is_made_go_along() -> None:
    """The maker writes every second row from row 1 on; the copy takes all rows."""
    s = Segment()
    x, y = s.buffer([3, 4, 5]), s.buffer([3, 9, 5])
    target = [{0: 1}, {1: 2}, {2: 1}]
    s.nest([3, 4, 5], [(x, rows(0, 1, 2), None, None)], (y, target, [0, 1, 0]))
    copy(s, y, [1, 0, 2])
    module = main_of(s)
    fold(module)
    [nest] = nests(module)
    made = nest.linear_maps[-1]
    assert (made.coeffs, made.consts) == (((0, 2, 0), (1, 0, 0), (0, 0, 1)), (1, 0, 0))


def test_names_are_those_of_the_copy() -> None:
    s = Segment()
    y = look_up(s, s.buffer([3, 4, 5]))
    copy(s, y, [1, 0, 2])
    module = main_of(s)
    for nest, name in zip(nests(module), ("before", "after"), strict=True):
        nest.attributes["tensor"] = string(name)
    fold(module)
    [nest] = nests(module)
    assert nest.attributes["tensor"] == StringAttr("after")


def test_what_is_reshaped_between_stays() -> None:
    s = Segment()
    y = look_up(s, s.buffer([3, 4, 5]))
    alias = ReshapeOp(y, memref([4, 3, 5], element_of(y), "dram"))
    s.block.add_op(alias)
    copy(s, alias.result, [1, 0, 2])
    assert check(s) == (2, 2)


@pytest.mark.parametrize(
    ("source", "consts", "shape"),
    [
        (rows(1, 0, 2), [0, 1, 0], [3, 4, 5]),  # from row 1 on
        ([{1: 1}, {0: 2}, {2: 1}], [0, 0, 0], [3, 4, 5]),  # every second row
        ([{1: 1}, {}, {2: 1}], [0, 0, 0], [3, 4, 5]),  # one row, again and again
        ([{1: 1}, {0: -1}, {2: 1}], [0, 2, 0], [3, 4, 5]),  # backwards
        ([{1: 1}, {0: 1}, {2: 1}], [0, 0, 0], [2, 4, 5]),  # the first rows
    ],
)
def test_what_is_no_copy_of_all(
    source: Sequence[dict[int, int]], consts: Sequence[int], shape: Sequence[int]
) -> None:
    s = Segment()
    x, y = s.buffer([4, 8, 5]), s.buffer(shape)
    made = look_up(s, x)
    nest = s.nest(shape, [(made, source, consts, None)], (y, rows(0, 1, 2), None))
    assert permutation(nest) is None
    assert check(s) == (2, 2)

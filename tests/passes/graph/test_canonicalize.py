from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from support.random_graphs import (
    SLOW_DATA,
    Case,
    assert_same_meaning,
    graph_modules,
    quantised_modules,
)
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.graph import (
    BroadcastOp,
    ConcatOp,
    ConstantOp,
    GatherOp,
    MapOp,
    PadOp,
    PoolOp,
    ReduceOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
)
from tilewright.dialects.types import tensor
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.canonicalize import CanonicalizePass

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=SLOW_DATA)
Make = Callable[[SSAValue, Callable[..., SSAValue]], list[Operation]]


@SETTINGS
@given(graph_modules())
def test_meaning_is_preserved(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: CanonicalizePass().apply(ctx, module))


@SETTINGS
@given(quantised_modules())
def test_integers_are_preserved_exactly(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: CanonicalizePass().apply(ctx, module), 0.0)


def simplified(shape: tuple[int, ...], make: Make) -> list[str]:
    """Names of the operations left of `make`, whose meaning is checked."""
    store = ConstantStore()
    block = Block(arg_types=[tensor(shape, f32)])

    def constant(value: object) -> SSAValue:
        op = ConstantOp.from_array(np.asarray(value), store)
        block.add_op(op)
        return op.result

    ops = make(block.args[0], constant)
    block.add_ops([*ops, ReturnOp(ops[-1].results[0])])
    func = FuncOp("main", ([block.args[0].type], [ops[-1].results[0].type]), Region(block))
    module, ctx = ModuleOp([func]), CompilerContext(constants=store)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    assert_same_meaning(module, store, [x], lambda: CanonicalizePass().apply(ctx, module), 1e-6)
    return [
        op.fn.data if isinstance(op, MapOp) else op.name.removeprefix("graph.")
        for op in block.ops
        if not isinstance(op, ConstantOp | ReturnOp)
    ]


def chain(*steps: Callable[[SSAValue], Operation]) -> Make:
    def make(x: SSAValue, constant: Callable[..., SSAValue]) -> list[Operation]:
        ops: list[Operation] = []
        for step in steps:
            ops.append(step(ops[-1].results[0] if ops else x))
        return ops

    return make


CASES: dict[str, tuple[tuple[int, ...], Make, list[str]]] = {
    "identity": (
        (3,),
        chain(lambda x: MapOp("neg", [x]), lambda x: MapOp("identity", [x])),
        ["neg"],
    ),
    "abs of neg": ((3,), chain(lambda x: MapOp("neg", [x]), lambda x: MapOp("abs", [x])), ["abs"]),
    "relu of sigmoid": (
        (3,),
        chain(lambda x: MapOp("sigmoid", [x]), lambda x: MapOp("relu", [x])),
        ["sigmoid"],
    ),
    "disjoint clips": (
        (9,),
        chain(
            lambda x: MapOp("clip", [x], {"min": -1.0, "max": 0.0}),
            lambda x: MapOp("clip", [x], {"min": 0.5, "max": 2.0}),
        ),
        ["clip"],
    ),
    "add zero": ((3,), lambda x, c: [MapOp("add", [c(np.float32(0)), x])], []),
    "add zero that broadcasts": (
        (3,),
        lambda x, c: [MapOp("add", [x, c(np.zeros((2, 1), np.float32))])],
        ["add"],
    ),
    "divide": ((3,), lambda x, c: [MapOp("div", [x, c(np.float32(3))])], ["mul"]),
    "divide by zero": ((3,), lambda x, c: [MapOp("div", [x, c(np.float32(0))])], ["div"]),
    "square": ((3,), lambda x, c: [MapOp("pow", [x, c(np.float32(2))])], ["mul"]),
    "transposes": (
        (2, 3, 4),
        chain(lambda x: TransposeOp(x, [1, 2, 0]), lambda x: TransposeOp(x, [1, 2, 0])),
        ["transpose"],
    ),
    "transpose of ones": ((1, 3, 1), chain(lambda x: TransposeOp(x, [1, 2, 0])), ["reshape"]),
    "reshapes": (
        (2, 6),
        chain(lambda x: ReshapeOp(x, [12]), lambda x: ReshapeOp(x, [3, 4])),
        ["reshape"],
    ),
    "slices": (
        (9,),
        chain(lambda x: SliceOp(x, [8], [4], [-2]), lambda x: SliceOp(x, [1], [2], [2])),
        ["slice"],
    ),
    "slice of concat": (
        (4,),
        chain(lambda x: ConcatOp([x, x, x], 0), lambda x: SliceOp(x, [5], [2])),
        ["slice"],
    ),
    "slice across concat": (
        (4,),
        chain(lambda x: ConcatOp([x, x, x], 0), lambda x: SliceOp(x, [3], [2])),
        ["concat", "slice"],
    ),
    "nested concat": (
        (4,),
        chain(lambda x: ConcatOp([x, x], 0), lambda x: ConcatOp([x], 0)),
        ["concat"],
    ),
    "pads": (
        (4,),
        chain(lambda x: PadOp(x, [1], [2]), lambda x: PadOp(x, [0], [1])),
        ["pad"],
    ),
    "pads of two values": (
        (4,),
        chain(lambda x: PadOp(x, [1], [2], value=1.0), lambda x: PadOp(x, [0], [1])),
        ["pad", "pad"],
    ),
    "gather of a range": (
        (4, 3),
        lambda x, c: [GatherOp(x, c(np.asarray([3, 1], np.int64)), 0)],
        ["slice"],
    ),
    "gather of a scalar": (
        (4, 3),
        lambda x, c: [GatherOp(x, c(np.int64(-1)), 0)],
        ["slice", "reshape"],
    ),
    "gather of a mix": (
        (4, 3),
        lambda x, c: [GatherOp(x, c(np.asarray([3, 1, 2], np.int64)), 0)],
        ["gather"],
    ),
    "split of a slice of whole parts": (
        (2, 12, 3),
        chain(lambda x: SliceOp(x, [0, 4, 0], [2, 8, 3]), lambda x: ReshapeOp(x, [2, 1, 4, 2, 3])),
        ["reshape", "slice"],
    ),
    "split of a slice of other parts": (
        (2, 12, 3),
        chain(lambda x: SliceOp(x, [0, 3, 0], [2, 8, 3]), lambda x: ReshapeOp(x, [2, 4, 2, 3])),
        ["slice", "reshape"],
    ),
    "split of two sliced axes": (
        (1, 1, 8, 10),
        chain(lambda x: SliceOp(x, [0, 0, 0, 0], [1, 1, 4, 5]), lambda x: ReshapeOp(x, [1, 20])),
        ["slice", "reshape"],
    ),
    "split of two sliced axes in two": (
        (8, 10),
        chain(lambda x: SliceOp(x, [0, 0], [4, 5]), lambda x: ReshapeOp(x, [2, 10])),
        ["slice", "reshape"],
    ),
    "merge of a sliced axis": (
        (2, 12, 3),
        chain(lambda x: SliceOp(x, [0, 4, 0], [2, 8, 3]), lambda x: ReshapeOp(x, [16, 3])),
        ["slice", "reshape"],
    ),
    "reduce of ones": ((4, 1), chain(lambda x: ReduceOp(x, "mean", [1], 0)), ["reshape"]),
    "broadcast into a map": (
        (1, 3),
        lambda x, c: [
            b := BroadcastOp(x, [4, 3]),
            MapOp("mul", [b.result, c(np.ones((4, 3), np.float32) * 2)]),
        ],
        ["mul"],
    ),
    "broadcast that is needed": (
        (1, 3),
        lambda x, c: [b := BroadcastOp(x, [4, 3]), MapOp("mul", [b.result, c(np.float32(2))])],
        ["broadcast", "mul"],
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_rule(name: str) -> None:
    shape, make, left = CASES[name]
    assert simplified(shape, make) == left


@SETTINGS
@given(
    st.sampled_from(["max", "average", "sum"]),
    st.sampled_from([0.0, -math.inf, 1.0]),
    st.tuples(*[st.integers(0, 1)] * 4),
    st.tuples(*[st.integers(0, 1)] * 4),
    st.integers(0, 1),
)
def test_pad_before_a_pool(
    kind: str, value: float, outer: Sequence[int], inner: Sequence[int], include: int
) -> None:
    def make(x: SSAValue, constant: Callable[..., SSAValue]) -> list[Operation]:
        low, high = [0, 0, *outer[:2]], [0, 0, *outer[2:]]
        padded = PadOp(x, low, high, value=value)
        pool = PoolOp(
            padded.result,
            kind,
            kernel=[3, 2],
            strides=[2, 1],
            pads=list(inner),
            count_include_pad=include,
        )
        return [padded, pool]

    left = simplified((1, 2, 6, 5), make)
    assert left[-1] == "pool"
    if kind == "sum" and value == 0.0:
        assert left == ["pool"]

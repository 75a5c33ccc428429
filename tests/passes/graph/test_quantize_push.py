from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8
from xdsl.ir import Operation, SSAValue

from support.quantized import Graph, context, count, run
from support.random_graphs import Case, assert_same_meaning, graph_modules
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.graph import (
    BroadcastOp,
    ConcatOp,
    DequantizeOp,
    GatherOp,
    LookupOp,
    PadOp,
    PoolOp,
    QuantAttr,
    QuantizeOp,
    ReduceOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    TransposeOp,
)
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import element_of, ui8
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.quantize_push import QuantizePushPass

MOVEMENTS: dict[str, Callable[[Graph, SSAValue], Operation]] = {
    "transpose": lambda g, x: TransposeOp(x, [0, 2, 3, 1]),
    "reshape": lambda g, x: ReshapeOp(x, [3, 4, 4, 1]),
    "broadcast": lambda g, x: BroadcastOp(x, [2, 3, 4, 4]),
    "slice": lambda g, x: SliceOp(x, [0, 2, 3, 0], [1, 1, 2, 2], [1, 1, -2, 2]),
    "concat": lambda g, x: ConcatOp([x, x], 1),
    "pad": lambda g, x: PadOp(x, [0, 0, 1, 2], [0, 0, 0, 1]),
    "pad_edge": lambda g, x: PadOp(x, [0, 0, 1, 2], [0, 0, 0, 1], "edge"),
    "gather": lambda g, x: GatherOp(x, g.constant(np.array([2, 0], np.int64)), 1),
    "resize": lambda g, x: ResizeOp(x, [8, 8], "nearest", [2.0, 2.0]),
    "max_pool": lambda g, x: PoolOp(x, "max", kernel=[2, 2], strides=[1, 2], pads=[1, 0, 0, 1]),
    "reduce_min": lambda g, x: ReduceOp(x, "min", [2]),
}


def encoding(scale: float, zero_point: int) -> QuantAttr:
    return QuantAttr.get([float(np.float32(scale))], [zero_point])


encodings = st.builds(encoding, st.floats(1e-3, 10), st.integers(-128, 127))


@settings(max_examples=40)
@given(graph_modules())
def test_meaning_is_preserved_exactly(case: Case) -> None:
    module, store, inputs = case
    ctx = context(module, store, inputs)
    run(ctx, module, "quantize-insert")
    assert_same_meaning(
        module, store, inputs, lambda: run(ctx, module, "quantize-push"), tolerance=0.0
    )
    text = str(module)
    run(ctx, module, "quantize-push")
    assert str(module) == text


@pytest.mark.parametrize("name", MOVEMENTS)
@given(encodings, encodings, st.integers(0, 99))
def test_movement_runs_on_stored_values(
    name: str, before: QuantAttr, after: QuantAttr, seed: int
) -> None:
    graph = Graph(ConstantStore(), (1, 3, 4, 4))
    moved = graph.add(MOVEMENTS[name](graph, graph.quantized(graph.args[0], before)))
    kind = type(moved.owner)
    module = graph.module(moved, graph.quantized(moved, after))
    x = np.random.default_rng(seed).standard_normal((1, 3, 4, 4)).astype(np.float32) * 10
    assert_same_meaning(
        module,
        graph.store,
        [x],
        lambda: run(CompilerContext(constants=graph.store), module, "quantize-push"),
        0.0,
    )
    movement = next(op for op in module.walk() if isinstance(op, kind))
    assert element_of(movement.results[0]) == i8
    assert count(module, QuantizeOp) == 1
    assert count(module, LookupOp) == (before != after)


@pytest.mark.parametrize("name", sorted(set(MOVEMENTS) - {"slice", "gather", "concat"}))
def test_quantisation_moves_up_through_what_only_it_reads(name: str) -> None:
    graph = Graph(ConstantStore(), (1, 3, 4, 4))
    moved = graph.add(MOVEMENTS[name](graph, graph.args[0]))
    module = graph.module(graph.quantized(moved, QuantAttr.get([0.1], [3])))
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32) * 10
    assert_same_meaning(
        module,
        graph.store,
        [x],
        lambda: run(CompilerContext(constants=graph.store), module, "quantize-push"),
        0.0,
    )
    quantize = next(op for op in module.walk() if isinstance(op, QuantizeOp))
    assert quantize.x is module.body.block.first_op.body.block.args[0]  # pyright: ignore


@given(st.floats(-20, 20), encodings)
def test_padding_with_a_value_between_two_steps_stays_exact(
    value: float, encoding: QuantAttr
) -> None:
    graph = Graph(ConstantStore(), (1, 4))
    padded = graph.add(PadOp(graph.quantized(graph.args[0], encoding), [0, 1], [0, 1], value=value))
    module = graph.module(padded)
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    assert_same_meaning(
        module,
        graph.store,
        [x],
        lambda: run(CompilerContext(constants=graph.store), module, "quantize-push"),
        0.0,
    )


def test_operands_of_a_concatenation_that_are_real_are_quantised_before_it() -> None:
    graph = Graph(ConstantStore(), (1, 3, 4, 4), (1, 2, 4, 4))
    joined = graph.add(
        ConcatOp([graph.quantized(graph.args[0], QuantAttr.get([0.1], [0])), graph.args[1]], 1)
    )
    module = graph.module(graph.quantized(joined, QuantAttr.get([0.2], [5])))
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, c, 4, 4)).astype(np.float32) for c in (3, 2)]
    assert_same_meaning(
        module,
        graph.store,
        inputs,
        lambda: run(CompilerContext(constants=graph.store), module, "quantize-push"),
        0.0,
    )
    assert (count(module, LookupOp), count(module, DequantizeOp)) == (1, 1)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 99))
def test_unsigned_storage_becomes_signed(za: int, zb: int, seed: int) -> None:
    graph = Graph(ConstantStore(), (1, 8))
    first, second = QuantAttr.get([0.25], [za]), QuantAttr.get([0.5], [zb])
    q = graph.add(QuantizeOp(graph.args[0], first, ui8))
    back = graph.add(TransposeOp(graph.add(DequantizeOp(q)), [1, 0]))
    out = graph.add(QuantizeOp(back, second, ui8))
    module = graph.module(out, graph.add(DequantizeOp(out)))
    x = np.random.default_rng(seed).standard_normal((1, 8)).astype(np.float32) * 40
    expected = evaluate(module, [x], graph.store)
    QuantizePushPass().run(CompilerContext(constants=graph.store), module)
    module.verify()
    for a, b in zip(expected, evaluate(module, [x], graph.store), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert not any(
        isinstance(op, QuantizeOp) and element_of(op.result) != i8 for op in module.walk()
    )


def test_long_chains_take_linear_time() -> None:
    graph = Graph(ConstantStore(), (2, 3))
    x = graph.quantized(graph.args[0], QuantAttr.get([0.1], [0]))
    for _ in range(3000):
        x = graph.add(TransposeOp(x, [1, 0]))
    module = graph.module(x)
    run(CompilerContext(constants=graph.store), module, "quantize-push")
    assert count(module, DequantizeOp) == 1

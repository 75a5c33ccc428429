from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from xdsl.dialects.builtin import ModuleOp, StringAttr, f16, i32
from xdsl.ir import SSAValue

from support.quantized import Graph, context, count, run
from support.random_graphs import Case, check_order, graph_modules
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.errors import InputError
from tilewright.dialects.graph import (
    CastOp,
    ConcatOp,
    ConvOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    MatMulOp,
    PoolOp,
    QAddOp,
    QNormOp,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
    ResizeOp,
    SoftmaxOp,
    TransposeOp,
    constant_array,
    quantization,
)
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import element_of, shape_of
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.encodings import activation_encoding
from tilewright.passes.graph.quantize_insert import QuantizeInsertPass

ALL = ("quantize-insert", "quantize-push", "quantize-integer")


@settings(max_examples=40)
@given(graph_modules())
def test_every_graph_quantises_and_a_second_run_changes_nothing(case: Case) -> None:
    module, store, inputs = case
    ctx = context(module, store, inputs)
    run(ctx, module, "quantize-insert")
    check_order(module)
    outputs = evaluate(module, list(inputs), store)
    assert all(np.isfinite(o).all() for o in outputs if o.dtype.kind == "f")
    text = str(module)
    run(ctx, module, "quantize-insert")
    assert str(module) == text or not count(module, QuantizeOp)


def conv_block(
    graph: Graph, x: SSAValue, rng: np.random.Generator, out: int, **kw: Any
) -> SSAValue:
    weights = graph.constant(rng.standard_normal((out, shape_of(x)[1], 1, 1)).astype(np.float32))
    return graph.add(ConvOp(x, weights, strides=[1, 1], pads=[0] * 4, dilations=[1, 1], **kw))


def finish(graph: Graph, *results: SSAValue) -> tuple[CompilerContext, ModuleOp, list[np.ndarray]]:
    """Quantise through to integers, and check that the result is close to the real one."""
    module = graph.module(*results)
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(shape_of(a)).astype(np.float32) for a in graph.args]
    expected = evaluate(module, inputs, graph.store)
    ctx = context(module, graph.store, inputs)
    run(ctx, module, *ALL)
    check_order(module)
    for a, b in zip(expected, evaluate(module, inputs, graph.store), strict=True):
        assert np.linalg.norm(a - b) <= 0.05 * np.linalg.norm(a)
    return ctx, module, expected


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_relu_is_rounded_once_with_its_convolution(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = graph.add(MapOp("relu", [conv_block(graph, graph.args[0], rng, 8)]))
    _, module, _ = finish(graph, conv_block(graph, y, rng, 4))
    assert count(module, ConvOp, RequantizeOp) == 4
    assert count(module, MapOp, LookupOp) == 0
    assert count(module, QuantizeOp) == count(module, DequantizeOp) == 1


def test_an_expression_of_one_value_is_one_table(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = conv_block(graph, graph.args[0], rng, 8)
    half = graph.constant(np.array([0.5], np.float32))
    gate = graph.add(MapOp("mul", [graph.add(MapOp("tanh", [y])), half]))
    y = graph.add(MapOp("add", [graph.add(MapOp("mul", [y, gate])), y]))
    _, module, _ = finish(graph, conv_block(graph, y, rng, 4))
    assert (count(module, LookupOp), count(module, MapOp)) == (1, 0)


def test_operands_of_a_concatenation_share_its_encoding(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    a = conv_block(graph, graph.args[0], rng, 8)
    b = graph.add(MapOp("sigmoid", [a]))  # a much narrower range, but nothing else reads it
    joined = graph.add(ConcatOp([a, b], 1))
    _, module, _ = finish(graph, conv_block(graph, joined, rng, 4))
    assert count(module, ConcatOp) == count(module, LookupOp) == 1


def test_a_narrow_operand_with_other_uses_is_re_encoded(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    a = conv_block(graph, graph.args[0], rng, 8)
    b = graph.add(MapOp("sigmoid", [a]))
    joined = graph.add(ConcatOp([a, b], 1))
    _, module, _ = finish(graph, conv_block(graph, joined, rng, 4), conv_block(graph, b, rng, 2))
    assert count(module, LookupOp) == 2  # the sigmoid, and its other encoding
    encodings = [quantization(op.result.type) for op in module.walk() if isinstance(op, LookupOp)]
    assert encodings[0] != encodings[1]


def test_the_float_tail_stays_real(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = conv_block(graph, graph.args[0], rng, 4)
    box = graph.add(
        MapOp("exp", [graph.add(MapOp("mul", [y, graph.constant(np.full((1,), 0.1, np.float32))]))])
    )
    _, module, _ = finish(graph, box, graph.add(SoftmaxOp(y, 1)))
    assert (count(module, MapOp), count(module, LookupOp)) == (2, 0)


@pytest.mark.parametrize(("factor", "integer"), [(1.0, 2), (1e4, 0)])
def test_normalisations_are_integer_unless_they_amplify_rounding(
    factor: float, integer: int, rng: np.random.Generator
) -> None:
    graph = Graph(ConstantStore(), (2, 6, 8))
    rows = np.array([1.0, 1, 1, 1, 1, factor], np.float32).reshape(6, 1)
    stream = graph.add(MapOp("mul", [graph.args[0], graph.constant(rows)]))
    for _ in range(2):
        centred = graph.add(MapOp("sub", [stream, graph.add(ReduceOp(stream, "mean", [2]))]))
        power = graph.add(MapOp("pow", [centred, graph.constant(np.array(2, np.float32))]))
        variance = graph.add(ReduceOp(power, "mean", [2]))
        y = graph.add(MapOp("div", [centred, graph.add(MapOp("sqrt", [variance]))]))
        weights = graph.constant(rng.standard_normal((8, 8)).astype(np.float32))
        stream = graph.add(MapOp("add", [stream, graph.add(MatMulOp(y, weights))]))
    head = graph.constant(rng.standard_normal((8, 3)).astype(np.float32))
    _, module, _ = finish(graph, graph.add(MatMulOp(stream, head)))
    assert count(module, QNormOp) == integer


def test_partly_read_normalisations_stay_real(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = conv_block(graph, graph.args[0], rng, 4)
    centred = graph.add(MapOp("sub", [y, graph.add(ReduceOp(y, "mean", [2, 3]))]))
    variance = graph.add(ReduceOp(graph.add(MapOp("mul", [centred, centred])), "mean", [2, 3]))
    deviation = graph.add(MapOp("sqrt", [graph.add(MapOp("add", [variance, variance]))]))
    y = graph.add(MapOp("div", [centred, deviation]))
    _, module, _ = finish(graph, conv_block(graph, y, rng, 2))
    assert count(module, MapOp) == 5
    assert count(module, QuantizeOp) == 2


def test_a_residual_stream_that_only_normalisations_read_stays_real(
    rng: np.random.Generator,
) -> None:
    graph = Graph(ConstantStore(), (1, 5, 8))

    def dense(x: SSAValue) -> SSAValue:
        return graph.add(
            MatMulOp(x, graph.constant(rng.standard_normal((8, 8)).astype(np.float32)))
        )

    def norm(x: SSAValue) -> SSAValue:
        return graph.add(MapOp("sub", [x, graph.add(ReduceOp(x, "mean", [2]))]))

    stream = dense(graph.args[0])
    for _ in range(2):
        stream = graph.add(MapOp("add", [stream, dense(norm(stream))]))
    _, module, _ = finish(graph, norm(stream))
    assert (count(module, QAddOp), count(module, RequantizeOp)) == (0, 3)


def test_pooling_and_means_become_sums(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 7, 7))
    y = conv_block(graph, graph.args[0], rng, 8)
    y = graph.add(
        PoolOp(y, "average", kernel=[3, 3], strides=[2, 2], pads=[1] * 4)
    )  # counts vary at the border
    y = graph.add(ReduceOp(y, "mean", [2, 3], 0))
    weights = graph.constant(rng.standard_normal((8, 3)).astype(np.float32))
    _, module, _ = finish(graph, graph.add(MatMulOp(y, weights)))
    assert {op.kind.data for op in module.walk() if isinstance(op, PoolOp | ReduceOp)} == {"sum"}


def test_interpolated_values_join_integer_sums(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = conv_block(graph, graph.args[0], rng, 4)
    small = graph.add(PoolOp(y, "max", kernel=[2, 2], strides=[2, 2], pads=[0] * 4))
    large = graph.add(ResizeOp(small, [6, 6], "linear", [2.0, 2.0], coordinates="align_corners"))
    y = graph.add(MapOp("add", [y, large]))
    _, module, _ = finish(graph, conv_block(graph, y, rng, 2))
    assert (count(module, QAddOp), count(module, MapOp)) == (1, 0)


def test_prelu_per_channel_is_integer(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = conv_block(graph, graph.args[0], rng, 8)
    slope = graph.constant(rng.random((8, 1, 1)).astype(np.float32))
    below = graph.add(MapOp("less", [y, graph.constant(np.zeros((), np.float32))]))
    y = graph.add(MapOp("select", [below, graph.add(MapOp("mul", [y, slope])), y]))
    _, module, _ = finish(graph, conv_block(graph, y, rng, 2))
    assert count(module, MapOp) == 0


def test_scale_and_offset_per_channel_are_one_depthwise_convolution(
    rng: np.random.Generator,
) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    y = conv_block(graph, graph.args[0], rng, 8)
    scale, offset = (
        graph.constant(rng.standard_normal((1, 8, 1, 1)).astype(np.float32)) for _ in range(2)
    )
    y = graph.add(MapOp("add", [graph.add(MapOp("mul", [y, scale])), offset]))
    y = graph.add(MapOp("relu", [y]))
    _, module, _ = finish(graph, conv_block(graph, y, rng, 2))
    assert (count(module, ConvOp), count(module, RequantizeOp), count(module, MapOp)) == (3, 3, 0)


def test_half_precision_is_widened_and_keeps_its_interface(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    half = graph.add(CastOp(graph.args[0], f16))
    weights = graph.constant(rng.standard_normal((8, 4, 1, 1)).astype(np.float16))
    y = graph.add(ConvOp(half, weights, strides=[1, 1], pads=[0] * 4, dilations=[1, 1]))
    module = graph.module(y)
    x = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    expected = evaluate(module, [x], graph.store)[0]
    run(context(module, graph.store, [x]), module, *ALL)
    result = evaluate(module, [x], graph.store)[0]
    assert result.dtype == np.float16
    assert np.linalg.norm(expected.astype(np.float32) - result) <= 0.05 * np.linalg.norm(expected)
    assert count(module, RequantizeOp) == 1


def test_channels_of_zeros_and_large_biases_survive(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 2, 4, 4))
    array = rng.standard_normal((3, 2, 1, 1)).astype(np.float32)
    array[1], array[2] = 0, 1e-30
    bias = graph.constant(np.array([0.5, 2.0, -3.0], np.float32))
    y = ConvOp(
        graph.args[0], graph.constant(array), bias, strides=[1, 1], pads=[0] * 4, dilations=[1, 1]
    )
    ctx, module, _ = finish(graph, graph.add(y))
    assert ctx.notes == []
    assert count(module, RequantizeOp) == 1


def test_a_quantised_model_keeps_its_encodings_and_needs_no_calibration(
    rng: np.random.Generator,
) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    module = finish(graph, conv_block(graph, graph.args[0], rng, 8))[1]
    ctx = CompilerContext(constants=graph.store)
    text = str(module)
    QuantizeInsertPass().run(ctx, module)
    assert str(module) == text
    assert "already quantised" in ctx.notes[0]


def test_both_products_of_attention_are_integer() -> None:
    graph = Graph(ConstantStore(), (1, 2, 6, 8), (1, 2, 6, 8), (1, 2, 6, 8))
    q, k, v = graph.args
    scores = graph.add(MatMulOp(q, graph.add(TransposeOp(k, [0, 1, 3, 2]))))
    share = graph.add(SoftmaxOp(scores, 3))
    _, module, _ = finish(graph, graph.add(MatMulOp(share, v)))
    products = [op for op in module.walk() if isinstance(op, MatMulOp)]
    assert [element_of(op.result) for op in products] == [i32, i32]


@pytest.mark.parametrize(
    ("a", "b", "quantised"),
    [
        ((100, 3), (3, 3), False),  # a rotation
        ((100, 4), (4, 4), False),  # in homogeneous coordinates
        ((50, 3), (3, 60), False),  # distances
        ((32, 1), (1, 16), False),  # angles of a position encoding
        ((100, 4), (4, 16), True),
        ((1, 5), (5, 1), True),
    ],
)
def test_geometry_stays_real(a: tuple[int, int], b: tuple[int, int], quantised: bool) -> None:
    graph = Graph(ConstantStore(), a, b)
    _, module, _ = finish(graph, graph.add(MatMulOp(*graph.args)))
    assert bool(count(module, RequantizeOp)) == quantised


@pytest.mark.parametrize(("calibrated", "used"), [(3, 20), (20, 3), (4, 5), (12, 7)])
def test_other_shapes_are_quantised_like_those_calibrated(calibrated: int, used: int) -> None:
    def attention(keys: int) -> tuple[Graph, ModuleOp]:
        graph = Graph(ConstantStore(), (2, 6, 8), (2, keys, 8), (2, keys, 8))
        q, k, v = graph.args
        scores = MatMulOp(q, graph.add(TransposeOp(k, [0, 2, 1])))
        scores.attributes["tensor"] = StringAttr("scores")
        product = MatMulOp(graph.add(SoftmaxOp(graph.add(scores), 2)), v)
        product.attributes["tensor"] = StringAttr("product")
        return graph, graph.module(graph.add(product))

    graph, module = attention(calibrated)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape_of(a)).astype(np.float32) for a in graph.args]
    ctx = context(module, graph.store, inputs)
    run(ctx, module, *ALL)
    graph, again = attention(used)
    run(CompilerContext(constants=graph.store, ranges=ctx.ranges), again, *ALL)
    assert count(again, RequantizeOp) == count(module, RequantizeOp)


def test_a_bias_computed_at_run_time_is_added_behind(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6), (3,))
    weights = graph.constant(rng.standard_normal((3, 4, 3, 3)).astype(np.float32))
    x, bias = graph.args
    y = graph.add(ConvOp(x, weights, bias, strides=[1, 1], pads=[1] * 4, dilations=[1, 1]))
    _, module, _ = finish(graph, y)
    assert (count(module, RequantizeOp), count(module, MapOp, QAddOp)) == (1, 1)


def test_missing_calibration_data_is_told(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    module = graph.module(conv_block(graph, graph.args[0], rng, 8))
    with pytest.raises(InputError, match="needs calibration data"):
        QuantizeInsertPass().run(CompilerContext(constants=graph.store), module)


def test_a_model_without_anything_to_quantise_is_left_alone() -> None:
    graph = Graph(ConstantStore(), (2, 3))
    module = graph.module(graph.add(MapOp("exp", [graph.args[0]])))
    ctx = CompilerContext(constants=graph.store)
    QuantizeInsertPass().run(ctx, module)
    assert "nothing to quantise" in ctx.notes[0]
    assert element_of(module.body.block.first_op.body.block.args[0]) is not None  # pyright: ignore


def test_weights_made_real_by_folding_are_restored(rng: np.random.Generator) -> None:
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    stored = rng.integers(-127, 128, (8, 4, 1, 1)).astype(np.int8)
    stored[:, 0] = 127
    x = graph.quantized(graph.args[0], activation_encoding(-3, 3))
    weights = graph.constant(stored.astype(np.float32) * np.float32(0.01))
    y = graph.add(ConvOp(x, weights, strides=[1, 1], pads=[0] * 4, dilations=[1, 1]))
    module = graph.module(graph.quantized(y, activation_encoding(-20, 20)))
    run(CompilerContext(constants=graph.store), module, *ALL)
    conv = next(op for op in module.walk() if isinstance(op, ConvOp))
    np.testing.assert_array_equal(constant_array(conv.w, graph.store), stored)


def test_planning_takes_linear_time() -> None:
    graph = Graph(ConstantStore(), (1, 2))
    y = graph.args[0]
    weights = graph.constant(np.eye(2, dtype=np.float32))
    for _ in range(400):
        y = graph.add(MapOp("relu", [graph.add(MatMulOp(y, weights))]))
        y = graph.add(MapOp("add", [y, y]))
    module = graph.module(y)
    ctx = context(module, graph.store, [np.zeros((1, 2), np.float32)])
    run(ctx, module, *ALL)
    assert count(module, MatMulOp) == 400
    assert count(module, MapOp) == 0

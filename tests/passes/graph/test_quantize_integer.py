"""Integer forms against their definition: real arithmetic on the stored operands, rounded once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import FunctionType, ModuleOp, i32
from xdsl.ir import SSAValue

from support.quantized import Graph, context, count, run, steps_apart
from support.random_graphs import Case, check_order, graph_modules
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.graph import (
    ConvOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    MatMulOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QuantAttr,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
)
from tilewright.dialects.scalar import SCALAR_FUNCTIONS
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.graph.encodings import activation_encoding, quantize_array


def encoding_of(low: float, width: float) -> QuantAttr:
    return activation_encoding(low, low + width)


encodings = st.builds(encoding_of, st.floats(-4, 2), st.floats(0.5, 8))
Build = Callable[[Graph, SSAValue, SSAValue, np.random.Generator], SSAValue]


def weights(
    graph: Graph, rng: np.random.Generator, shape: tuple[int, ...], axis: int | None
) -> SSAValue:
    """A dequantised 8-bit constant with a scale per index of `axis`."""
    n = 1 if axis is None else shape[axis]
    encoding = QuantAttr.get(
        [float(np.float32(s)) for s in rng.uniform(0.001, 0.05, n)], [0] * n, axis
    )
    return graph.add(
        DequantizeOp(graph.constant(rng.integers(-127, 128, shape).astype(np.int8), encoding))
    )


def either(rng: np.random.Generator, axis: int) -> int | None:
    """Quantisation per tensor or per index of `axis`."""
    return axis if rng.random() < 0.5 else None


def _conv(g: Graph, a: SSAValue, b: SSAValue, rng: np.random.Generator) -> SSAValue:
    group, bias = int(rng.choice([1, 2, 4])), g.constant(rng.standard_normal(8).astype(np.float32))
    w = weights(g, rng, (8, 4 // group, 3, 3), either(rng, 0))
    stride, pads = [int(rng.integers(1, 3))] * 2, [int(p) for p in rng.integers(0, 3, 4)]
    return g.add(
        ConvOp(
            a,
            w,
            bias if rng.random() < 0.5 else None,
            strides=stride,
            pads=pads,
            dilations=[1, 1],
            group=group,
        )
    )


def _matmul(g: Graph, a: SSAValue, b: SSAValue, rng: np.random.Generator) -> SSAValue:
    bias = g.constant(rng.standard_normal(6).astype(np.float32))
    return g.add(
        MatMulOp(a, weights(g, rng, (5, 6), either(rng, 1)), bias if rng.random() < 0.5 else None)
    )


def _conv_of_two(g: Graph, a: SSAValue, b: SSAValue, rng: np.random.Generator) -> SSAValue:
    pads = [int(p) for p in rng.integers(0, 3, 4)]
    return g.add(ConvOp(a, b, strides=[1, 1], pads=pads, dilations=[1, 1]))


def _matmul_of_many(g: Graph, a: SSAValue, b: SSAValue, rng: np.random.Generator) -> SSAValue:
    return g.add(MatMulOp(a, weights(g, rng, (4, 5, 6), either(rng, 2))))


def _average(g: Graph, a: SSAValue, b: SSAValue, rng: np.random.Generator) -> SSAValue:
    ceil = [int(c) for c in rng.integers(0, 2, 2)]
    pads = [1, 1, 1 + ceil[0], 1 + ceil[1]]
    return g.add(PoolOp(
        a, "average", kernel=[3, 3], strides=[int(rng.integers(1, 4))] * 2, pads=pads,
        ceil_pads=ceil,
        count_include_pad=int(rng.integers(2)),
    ))  # fmt: skip


OPERATIONS: dict[str, Build] = {
    "conv": _conv,
    "matmul": _matmul,
    "conv of two": _conv_of_two,
    "matmul of many": _matmul_of_many,
    "average": _average,
    "mean": lambda g, a, b, rng: g.add(ReduceOp(a, "mean", [2, 3], int(rng.integers(2)))),
    "sum": lambda g, a, b, rng: g.add(ReduceOp(a, "sum", [1])),
    "add": lambda g, a, b, rng: g.add(MapOp("add", [a, b])),
    "sub": lambda g, a, b, rng: g.add(MapOp("sub", [a, b])),
    "mul": lambda g, a, b, rng: g.add(MapOp("mul", [a, b])),
}
INTEGER = (ConvOp, MatMulOp, PoolOp, ReduceOp, QAddOp, QMulOp)


@pytest.mark.parametrize("name", OPERATIONS)
@given(
    encodings, encodings, st.integers(0, 2**16), st.sampled_from(["", "relu", "clip", "relu clip"])
)
def test_within_one_step_of_the_rounded_real_result(
    name: str, ea: QuantAttr, eb: QuantAttr, seed: int, clamps: str
) -> None:
    rng = np.random.default_rng(seed)
    graph = Graph(ConstantStore(), (2, 4, 6, 5), (1, 4, 1, 5))
    a, b = (graph.quantized(v, e) for v, e in zip(graph.args, (ea, eb), strict=True))
    y = OPERATIONS[name](graph, a, b, rng)
    for fn in clamps.split():
        y = graph.add(MapOp(fn, [y], {"min": -0.7, "max": 1.1} if fn == "clip" else None))
    inputs = [rng.normal(0, 2, shape_of(v)).astype(np.float32) for v in graph.args]
    probe = graph.module(y)
    real = evaluate(probe, inputs, graph.store)[0]
    func = main_function(probe)
    block, end = func.body.block, func.get_return_op()
    assert end is not None
    encoding = activation_encoding(float(real.min()), float(real.max()))
    quantize = QuantizeOp(y, encoding)
    block.insert_op_before(quantize, end)
    end.operands[0] = quantize.result
    func.function_type = FunctionType.from_lists(
        func.function_type.inputs.data, [quantize.result.type]
    )
    ctx = CompilerContext(constants=graph.store)
    run(ctx, probe, "quantize-integer")
    assert ctx.notes == []
    check_order(probe)
    assert count(probe, *INTEGER) == 1
    assert (count(probe, MapOp), count(probe, DequantizeOp), count(probe, QuantizeOp)) == (0, 0, 2)
    stored = evaluate(probe, inputs, graph.store)[0]
    assert steps_apart(stored, quantize_array(real, encoding)) <= 1


UNARY = sorted(n for n, f in SCALAR_FUNCTIONS.items() if f.arity == 1 and f.result == "same")


@given(encodings, encodings, st.lists(st.sampled_from(UNARY), min_size=1, max_size=4))
def test_tables_are_exact(before: QuantAttr, after: QuantAttr, fns: list[str]) -> None:
    graph = Graph(ConstantStore(), (1, 256))
    y = graph.quantized(graph.args[0], before)
    for fn in fns:
        y = graph.add(MapOp("mul", [y, graph.add(MapOp(fn, [y]))]))
    module = graph.module(graph.quantized(y, after))
    stored = np.arange(-128, 128)
    x = ((stored - before.zero_point) * before.scale).astype(np.float32).reshape(1, 256)
    with np.errstate(all="ignore"):
        expected = evaluate(module, [x], graph.store)[0]
        real = evaluate(graph_of_value(module), [x], graph.store)[0]
    run(CompilerContext(constants=graph.store), module, "quantize-integer")
    assert (count(module, LookupOp), count(module, MapOp)) == (1, 0)
    defined = ~np.isnan(real)
    np.testing.assert_array_equal(evaluate(module, [x], graph.store)[0][defined], expected[defined])


def graph_of_value(module: ModuleOp) -> ModuleOp:
    """A copy of `module` that returns the real value before the last quantize."""
    copy = module.clone()
    func = main_function(copy)
    last = [op for op in func.body.block.ops if isinstance(op, QuantizeOp)][-1]
    end = func.get_return_op()
    assert end is not None
    end.operands[0] = last.x
    return copy


@settings(max_examples=40)
@given(graph_modules())
def test_meaning_of_whole_graphs_is_preserved(case: Case) -> None:
    module, store, inputs = case
    ctx = context(module, store, inputs)
    run(ctx, module, "quantize-insert", "quantize-push")
    before = evaluate(module, list(inputs), store)
    run(ctx, module, "quantize-integer")
    check_order(module)
    for a, b in zip(before, evaluate(module, list(inputs), store), strict=True):
        if (
            a.dtype.kind == "f"
        ):  # steps of deep graphs add up: far less than what rounding itself does
            assert np.linalg.norm(a - b) <= 0.1 * np.linalg.norm(a) + 0.1
    text = str(module)
    run(ctx, module, "quantize-integer")
    assert str(module) == text


@given(encodings, encodings, st.integers(0, 2**16), st.integers(1, 9), st.integers(1, 40))
def test_a_product_of_two_computed_tensors_is_one_integer_product(
    ea: QuantAttr, eb: QuantAttr, seed: int, n: int, k: int
) -> None:
    graph = Graph(ConstantStore(), (2, 1, 3, k), (4, k, n))
    a, b = (graph.quantized(v, e) for v, e in zip(graph.args, (ea, eb), strict=True))
    product = graph.add(MatMulOp(a, b))
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(0, 2, shape_of(v)).astype(np.float32) for v in graph.args]
    scale = float(np.float32(ea.scale * eb.scale * np.sqrt(k) * 50))
    module = graph.module(graph.quantized(product, QuantAttr.get([scale], [-9])))
    expected = evaluate(module, inputs, graph.store)[0]
    run(CompilerContext(constants=graph.store), module, "quantize-integer")
    assert (count(module, MatMulOp), count(module, RequantizeOp)) == (1, 1)
    [integer] = [op for op in module.walk() if isinstance(op, MatMulOp)]
    assert integer.result.type.get_element_type() == i32
    assert (integer.a_zp.value.data, integer.b_zp.value.data) == (ea.zero_point, eb.zero_point)
    steps = np.abs(evaluate(module, inputs, graph.store)[0] - expected) / scale
    assert steps.max() < 1.01  # one rounding against two


@given(
    encodings,
    encodings,
    st.floats(0.0625, 4),
    st.sampled_from(["", "product", "scaled"]),
    st.integers(0, 2**16),
)
def test_a_scale_behind_a_product_changes_the_encoding_only(
    ea: QuantAttr, eb: QuantAttr, factor: float, also: str, seed: int
) -> None:
    factor = float(np.float32(factor))
    graph = Graph(ConstantStore(), (3, 5), (5, 4))
    a, b = (graph.quantized(v, e) for v, e in zip(graph.args, (ea, eb), strict=True))
    scale = float(np.float32(ea.scale * eb.scale * 100))
    product = graph.quantized(graph.add(MatMulOp(a, b)), QuantAttr.get([scale], [-9]))
    scaled = graph.add(MapOp("mul", [product, graph.constant(np.asarray(factor, np.float32))]))
    results = [graph.quantized(scaled, QuantAttr.get([float(np.float32(scale * factor))], [-9]))]
    module = graph.module(*results, *{"": (), "product": (product,), "scaled": (scaled,)}[also])
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(0, 2, shape_of(v)).astype(np.float32) for v in graph.args]
    expected = evaluate(module, inputs, graph.store)
    run(CompilerContext(constants=graph.store), module, "quantize-integer")
    assert (count(module, LookupOp), count(module, MapOp)) == (bool(also), also == "scaled")
    for got, wanted in zip(evaluate(module, inputs, graph.store), expected, strict=True):
        assert np.abs(got - wanted).max() <= scale * max(factor, 1) * 1.01  # one rounding


def test_an_accumulator_that_might_overflow_stays_real() -> None:
    graph = Graph(ConstantStore(), (1, 70000))
    a = graph.quantized(graph.args[0], QuantAttr.get([0.1], [-128]))
    rhs = graph.constant(np.full((70000, 1), 127, np.int8), QuantAttr.get([0.1], [0]))
    y = graph.add(MatMulOp(a, graph.add(DequantizeOp(rhs))))
    module = graph.module(graph.quantized(y, QuantAttr.get([1000.0], [0])))
    ctx = CompilerContext(constants=graph.store)
    run(ctx, module, "quantize-integer")
    assert count(module, RequantizeOp) == 0
    assert "may exceed 32 bits" in ctx.notes[0]


def test_a_long_product_of_two_computed_tensors_stays_real() -> None:
    graph = Graph(ConstantStore(), (1, 40000), (40000, 1))
    a, b = (graph.quantized(v, QuantAttr.get([0.1], [-128])) for v in graph.args)
    product = graph.add(MatMulOp(a, b))
    module = graph.module(graph.quantized(product, QuantAttr.get([1000.0], [0])))
    ctx = CompilerContext(constants=graph.store)
    run(ctx, module, "quantize-integer")
    assert count(module, RequantizeOp) == 0
    assert "may exceed 32 bits" in ctx.notes[0]


def test_a_bias_that_does_not_fit_stays_real() -> None:
    graph = Graph(ConstantStore(), (1, 2))
    a = graph.quantized(graph.args[0], QuantAttr.get([1e-6], [0]))
    rhs = graph.add(
        DequantizeOp(graph.constant(np.ones((2, 1), np.int8), QuantAttr.get([1e-6], [0])))
    )
    y = graph.add(MatMulOp(a, rhs, graph.constant(np.ones(1, np.float32))))
    module = graph.module(graph.quantized(y, QuantAttr.get([0.1], [0])))
    ctx = CompilerContext(constants=graph.store)
    run(ctx, module, "quantize-integer")
    assert "bias does not fit" in ctx.notes[0]


def test_a_stored_bias_is_used_as_it_is() -> None:
    graph = Graph(ConstantStore(), (1, 2))
    a = graph.quantized(graph.args[0], QuantAttr.get([0.5], [3]))
    rhs = graph.add(
        DequantizeOp(graph.constant(np.array([[3], [4]], np.int8), QuantAttr.get([0.25], [0])))
    )
    bias = graph.add(
        DequantizeOp(graph.constant(np.array([-77], np.int32), QuantAttr.get([0.125], [0])))
    )
    module = graph.module(
        graph.quantized(graph.add(MatMulOp(a, rhs, bias)), QuantAttr.get([0.5], [0]))
    )
    run(CompilerContext(constants=graph.store), module, "quantize-integer")
    product = next(op for op in module.walk() if isinstance(op, MatMulOp))
    assert product.bias is not None
    assert product.bias.type.element_type == i32  # pyright: ignore
    assert product.bias.owner.array(graph.store).tolist() == [-77]  # pyright: ignore

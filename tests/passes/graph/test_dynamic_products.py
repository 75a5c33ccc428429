"""Dynamically quantised products become real ones that are then quantised like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from support.quantized import count, run
from tilewright.compiler.importer import import_model
from tilewright.compiler.pipeline import phase_passes
from tilewright.dialects.graph import CastOp, ConvOp, MatMulOp, RequantizeOp
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.graph.dynamic_products import restore_products


def dynamic(kind: str, weights: Any, zero_point: Any, scale: Any, bias: bool) -> onnx.ModelProto:
    """DynamicQuantizeLinear, an integer product and its scaling, as onnxruntime's tool writes."""
    shape = [2, 5, weights.shape[0]] if kind == "MatMulInteger" else [2, weights.shape[1], 6, 7]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="quantise"),
        helper.make_node("Mul", ["s", "ws"], ["scale"], name="scale"),
        helper.make_node(kind, ["q", "w", "z", "wz"], ["p"], name="product"),
        helper.make_node("Cast", ["p"], ["f"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Mul", ["f", "scale"], ["m"], name="rescale"),
        helper.make_node("Add", ["m", "b"], ["y"], name="bias"),
    ]
    if not bias:
        nodes.pop()
        nodes[-1].output[0] = "y"
    channels = weights.shape[-1] if kind == "MatMulInteger" else 1
    arrays = {"w": weights, "wz": zero_point, "ws": scale, "b": np.ones(channels, np.float32)}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in arrays.items() if bias or n != "b"],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["MatMulInteger", "ConvInteger"])
@settings(max_examples=20)
@given(st.integers(0, 2**16), st.booleans(), st.booleans())
def test_the_real_product_is_near_and_has_an_integer_form(
    kind: str, seed: int, bias: bool, per_channel: bool
) -> None:
    rng = np.random.default_rng(seed)
    matrix = kind == "MatMulInteger"
    weights = rng.integers(0, 256, (12, 8) if matrix else (6, 4, 3, 3)).astype(np.uint8)
    n = 8 if per_channel and matrix else 1
    scale = rng.uniform(0.001, 0.01, n).astype(np.float32).reshape((n,) if n > 1 else ())
    model = dynamic(kind, weights, np.array(rng.integers(100, 156), np.uint8), scale, bias)
    ctx = CompilerContext()
    module = import_model(model, ctx)
    func = main_function(module)
    x = rng.standard_normal(shape_of(func.body.block.args[0])).astype(np.float32)
    expected = evaluate(module, [x], ctx.constants)[0]
    run(ctx, module, *(p.transform.name for p in phase_passes("graph")))
    restore_products(list(func.body.block.ops), ctx.constants)
    run(ctx, module, "dce")
    value = evaluate(module, [x], ctx.constants)[0]
    assert np.linalg.norm(value - expected) <= 0.02 * np.linalg.norm(expected)
    assert count(module, CastOp) == 0 and count(module, ConvOp, MatMulOp) == 1
    ctx.calibration = {"x": x[None]}
    run(ctx, module, *(p.transform.name for p in phase_passes("quantize")))
    assert count(module, RequantizeOp) == 1

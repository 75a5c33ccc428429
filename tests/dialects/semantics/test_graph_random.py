"""Whole random models: importer and reference semantics against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings

from support.random_graphs import SLOW_DATA, onnx_models, random_inputs, run_onnx
from tilewright.compiler.importer import import_model
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW_DATA)
@given(onnx_models())
def test_random_models_mean_what_onnxruntime_says(model: onnx.ModelProto) -> None:
    shapes = [tuple(d.dim_value for d in i.type.tensor_type.shape.dim) for i in model.graph.input]
    inputs = random_inputs([(shape, np.dtype(np.float32)) for shape in shapes])
    expected = run_onnx(model, inputs)
    ctx = CompilerContext()
    got = evaluate(import_model(model, ctx), inputs, ctx.constants)
    for a, b in zip(expected, got, strict=True):
        scale = max(1.0, float(np.max(np.abs(a), initial=0.0)))
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * scale)

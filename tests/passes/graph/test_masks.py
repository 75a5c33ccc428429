"""Masked attention is integer, and masks do not coarsen its scores."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright
from support.whole import assert_ends_agree, compile_int8
from tilewright.dialects.constants import Array

TOKENS, WIDTH = 12, 16


def attention(kind: str, low: float) -> onnx.ModelProto:
    """One head over 12 tokens; `kind` says how the mask (run time, or constant) is applied."""
    rng = np.random.default_rng(0)
    weights: dict[str, Array] = {
        w: (rng.standard_normal((WIDTH, WIDTH)) / 4).astype(np.float32)
        for w in ("q", "k", "v", "o")
    }
    weights["scale"] = np.array(0.25, np.float32)
    weights["low"], weights["zero"] = np.array(low, np.float32), np.array(0, np.float32)
    causal = np.tril(np.ones((1, TOKENS, TOKENS), bool))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])]
    node = helper.make_node
    if kind.startswith("constant"):
        weights["allowed"] = causal
        weights["mask"] = np.where(causal, 0, low).astype(np.float32)
        made = []
    else:
        inputs.append(helper.make_tensor_value_info("allowed", TensorProto.BOOL, causal.shape))
        made = [node("Where", ["allowed", "zero", "low"], ["mask"], name="mask")]
    masking = (
        node("Where", ["allowed", "scaled", "low"], ["masked"], name="masking")
        if "select" in kind
        else node("Add", ["scaled", "mask"], ["masked"], name="masking")
    )
    nodes = [
        *made,
        *(node("MatMul", ["x", w], [f"x{w}"], name=w) for w in ("q", "k", "v")),
        node("Transpose", ["xk"], ["kt"], name="kt", perm=[0, 2, 1]),
        node("MatMul", ["xq", "kt"], ["scores"], name="scores"),
        node("Mul", ["scores", "scale"], ["scaled"], name="scaling"),
        masking,
        node("Softmax", ["masked"], ["p"], name="softmax", axis=-1),
        node("MatMul", ["p", "xv"], ["mixed"], name="mixing"),
        node("MatMul", ["mixed", "o"], ["y"], name="out"),
    ]
    graph = helper.make_graph(
        nodes, "attention", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("low", [-np.inf, -3.4e38, -1e4])
@pytest.mark.parametrize("kind", ["add", "select", "constant add", "constant select"])
def test_masked_softmax_is_integer(kind: str, low: float) -> None:
    model = attention(kind, low)
    x = np.random.default_rng(1).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)
    inputs: dict[str, Array] = {"x": x}
    calibration = {"x": np.stack([x, x / 2])}
    if not kind.startswith("constant"):
        inputs["allowed"] = np.tril(np.ones((1, TOKENS, TOKENS), bool))
        calibration["allowed"] = np.stack([inputs["allowed"]] * 2)
    executable = tilewright.compile(
        model, "gemmini-16x16", quantize="int8", calibration=calibration
    )
    placement = executable.artefact.manifest["placement"]
    assert "softmax" not in placement and "scaling" not in placement
    assert sum(f.startswith("npu/") for f in executable.artefact.files) == 1
    assert_ends_agree(executable, inputs)
    real = tilewright.compile(model).run(inputs)["y"]
    error = executable.run(inputs)["y"] - real
    assert np.linalg.norm(error) <= 0.04 * np.linalg.norm(real)


def test_unmasked_softmax_of_scores_far_below_the_maximum() -> None:
    model = attention("constant add", 0.0)
    x = 3 * np.random.default_rng(2).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)
    executable = compile_int8(model, "gemmini-16x16", {"x": x})
    assert_ends_agree(executable, {"x": x})

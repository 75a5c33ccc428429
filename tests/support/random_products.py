"""Random models of one product: both factors or one computed at run time, in any order of axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tilewright.passes.graph.geometry import LARGEST_COORDINATES

Shape = tuple[int, ...]


def _model(
    nodes: list[onnx.NodeProto], inputs: dict[str, Shape], weights: dict[str, np.ndarray]
) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    graph = helper.make_graph(
        nodes, "product", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@st.composite
def matrix_products(draw: st.DrawFn) -> onnx.ModelProto:
    """MatMul with broadcast batch axes, behind transposes, of inputs or of a constant."""
    rank, seed = draw(st.integers(2, 4)), draw(st.integers(0, 2**16))
    m, n, k = (draw(st.integers(1, 24)), draw(st.integers(1, 24)), draw(st.integers(5, 40)))
    batch = [draw(st.integers(1, 3)) for _ in range(rank - 2)]
    nodes: list[onnx.NodeProto] = []
    inputs: dict[str, Shape] = {}
    weights: dict[str, np.ndarray] = {}
    constant = draw(st.sampled_from([None, None, "a", "b"]))
    for name, last in (("a", (m, k)), ("b", (k, n))):
        shape = (*(draw(st.sampled_from([1, d])) for d in batch), *last)
        shape = shape[draw(st.integers(0, rank - 2)) :]
        if name == constant:
            rng = np.random.default_rng(seed)
            weights[name] = rng.standard_normal(shape).astype(np.float32)
            continue
        perm = draw(st.permutations(range(len(shape))))
        inputs[f"{name}_in"] = tuple(shape[perm.index(i)] for i in range(len(shape)))
        nodes.append(helper.make_node("Transpose", [f"{name}_in"], [name], perm=perm, name=name))
    nodes.append(helper.make_node("MatMul", ["a", "b"], ["y"], name="product"))
    return _model(nodes, inputs, weights)


@st.composite
def convolutions(draw: st.DrawFn) -> onnx.ModelProto:
    """Conv of one to three spatial axes; its weights and bias may be inputs."""
    n, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**16))
    group = draw(st.sampled_from([1, 1, 2, 4]))
    channels, outputs = group * draw(st.integers(1, 4)), group * draw(st.integers(1, 4))
    kernel = [draw(st.integers(1, 3)) for _ in range(n)]
    dilations = [draw(st.integers(1, 2)) for _ in range(n)]
    extents = [
        (k - 1) * d + draw(st.integers(1, 6)) for k, d in zip(kernel, dilations, strict=True)
    ]
    attributes: dict[str, Any] = {
        "group": group,
        "dilations": dilations,
        "strides": [draw(st.integers(1, 2)) for _ in range(n)],
        "pads": [draw(st.integers(0, 2)) for _ in range(2 * n)],
    }
    rng = np.random.default_rng(seed)
    inputs: dict[str, Shape] = {"x": (draw(st.integers(1, 2)), channels, *extents)}
    weights: dict[str, np.ndarray] = {}
    terms = channels // group * math.prod(kernel)
    for name, shape in (("w", (outputs, channels // group, *kernel)), ("b", (outputs,))):
        if terms > LARGEST_COORDINATES and draw(st.booleans()):
            inputs[name] = shape
        else:
            weights[name] = rng.standard_normal(shape).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", **attributes)
    return _model([node], inputs, weights)

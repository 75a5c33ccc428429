"""An ONNX model of one quantised layer alone: int8 in and out, channels last in DRAM."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def quantised_layer(
    shape: Sequence[int],
    weights: Sequence[int],
    result: Sequence[int],
    convolution: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """A convolution of images (N, H, W, C) with these attributes, or without any a product.

    `weights` are laid out as ONNX has them, their values seeded; the scale of the result is such
    that sums of them seldom saturate.
    """
    terms = weights[0] if convolution is None else math.prod(weights[1:])
    constants: dict[str, Any] = {
        "one": np.float32(1.0),
        "zero": np.int8(0),
        "scale": np.float32(2.0 ** math.ceil(math.log2(terms) / 2 + 7)),
        "w": np.random.default_rng(0).integers(-127, 128, tuple(weights), np.int8),
    }
    arguments = ["one", "zero", "w", "one", "zero", "scale", "zero"]
    if convolution is None:
        nodes = [helper.make_node("QLinearMatMul", ["x", *arguments], ["y"], "layer")]
    else:
        nodes = [
            helper.make_node("Transpose", ["x"], ["x1"], "in", perm=[0, 3, 1, 2]),
            helper.make_node("QLinearConv", ["x1", *arguments], ["y1"], "layer", **convolution),
            helper.make_node("Transpose", ["y1"], ["y"], "out", perm=[0, 2, 3, 1]),
        ]
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", TensorProto.INT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, result)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])

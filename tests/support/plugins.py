"""Models with an operator of a plugin, and operators registered for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import tilewright

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
Array = np.ndarray[Any, Any]


def network(op: str, inputs: int = 1, domain: str = "com.example", **attributes: Any) -> Any:
    """Two convolutions, the operator on their results, a ReLU and a convolution."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((8, 4, 3, 3)).astype(np.float32) * 0.3,
        "v": rng.standard_normal((8, 8, 3, 3)).astype(np.float32) * 0.2,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["c", "v"], ["d"], name="second", pads=[1] * 4),
        helper.make_node(op, ["c", "d"][:inputs], ["e"], name="plug", domain=domain, **attributes),
        helper.make_node("Relu", ["e"], ["f"], name="relu"),
        helper.make_node("Conv", ["f", "v"], ["y"], name="third", pads=[1] * 4),
    ]
    return model_of(nodes, {"x": (1, 4, 8, 8)}, {"y": (1, 8, 8, 8)}, weights, domain)


def single(
    op: str, shape: tuple[int, ...], result: tuple[int, ...], domain: str = "com.example", **kw: Any
) -> Any:
    """One node."""
    node = helper.make_node(op, ["x"], ["y"], name="plug", domain=domain, **kw)
    return model_of([node], {"x": shape}, {"y": result}, {}, domain)


def model_of(
    nodes: Sequence[Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any],
    weights: Mapping[str, Array], domain: str,
) -> Any:  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    return helper.make_model(graph, opset_imports=opsets)


def noise(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def identity_types(types: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
    return [types[0]]


def doubled(arrays: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
    return [arrays[0] * 2]


def register(name: str = "Op", domain: str = "com.test", **hooks: Any) -> tilewright.Operator:
    given: dict[str, Any] = {"infer": identity_types, "evaluate": doubled} | hooks
    return tilewright.register_operator(tilewright.Operator(domain, name, **given))

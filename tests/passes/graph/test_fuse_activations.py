from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

from support.random_graphs import SLOW_DATA, Case, assert_same_meaning, graph_modules
from tilewright.compiler.importer import import_model
from tilewright.dialects.graph import MapOp, SoftmaxOp
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.fuse_activations import FuseActivationsPass

# name -> (nodes as (op, inputs...), what the last one must become); constants by value
PATTERNS = {
    "silu": [("Sigmoid", "x"), ("Mul", 0, "x")],
    "hard_swish/div": [("Add", "x", 3.0), ("Clip", 0, 0.0, 6.0), ("Mul", "x", 1), ("Div", 2, 6.0)],
    "hard_swish/late": [("Add", 3.0, "x"), ("Clip", 0, 0.0, 6.0), ("Div", 1, 6.0), ("Mul", 2, "x")],
    "hard_swish/sigmoid": [("HardSigmoid", "x"), ("Mul", "x", 0)],
    "hard_sigmoid": [("Add", "x", 3.0), ("Clip", 0, 0.0, 6.0), ("Mul", 1, 1 / 6)],
    "gelu": [
        ("Div", "x", math.sqrt(2)),
        ("Erf", 0),
        ("Add", 1, 1.0),
        ("Mul", "x", 2),
        ("Mul", 3, 0.5),
    ],
    "gelu/half_first": [
        ("Mul", "x", 0.5),
        ("Mul", "x", math.sqrt(0.5)),
        ("Erf", 1),
        ("Add", 2, 1.0),
        ("Mul", 0, 3),
    ],
    "gelu/tanh": [
        ("Pow", "x", 3.0),
        ("Mul", 0, 0.044715),
        ("Add", "x", 1),
        ("Mul", 2, math.sqrt(2 / math.pi)),
        ("Tanh", 3),
        ("Add", 4, 1.0),
        ("Mul", "x", 5),
        ("Mul", 6, 0.5),
    ],
    "gelu/tanh_factored": [
        ("Mul", "x", "x"),
        ("Mul", 0, 0.044715),
        ("Add", 1, 1.0),
        ("Mul", "x", 2),
        ("Mul", 3, math.sqrt(2 / math.pi)),
        ("Tanh", 4),
        ("Add", 5, 1.0),
        ("Mul", 6, "x"),
        ("Mul", 7, 0.5),
    ],
    "softplus": [("Exp", "x"), ("Add", 0, 1.0), ("Log", 1)],
    "mish": [("Softplus", "x"), ("Tanh", 0), ("Mul", "x", 1)],
    "sigmoid": [("Neg", "x"), ("Exp", 0), ("Add", 1, 1.0), ("Div", 1.0, 2)],
    "relu": [("Max", "x", 0.0)],
    "clip": [("Max", "x", 0.0), ("Min", 0, 6.0)],
    "leaky_relu": [("Mul", "x", 0.1), ("Max", "x", 0)],
    "leaky_relu/where": [("Greater", "x", 0.0), ("Mul", "x", 0.2), ("Where", 0, "x", 1)],
    "softmax": [("ReduceMax", "x"), ("Sub", "x", 0), ("Exp", 1), ("ReduceSum", 2), ("Div", 2, 3)],
}


def model(nodes: Sequence[tuple[Any, ...]]) -> onnx.ModelProto:
    """A model of (operator, inputs): "x", results by index, constants."""
    made: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def name(item: Any) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, int):
            return f"v{item}"
        weights.append(numpy_helper.from_array(np.asarray(item, np.float32), f"w{len(weights)}"))
        return weights[-1].name

    for i, (op, *inputs) in enumerate(nodes):
        extra: dict[str, Any] = {"alpha": 1 / 6, "beta": 0.5} if op == "HardSigmoid" else {}
        names = [name(item) for item in inputs]
        if op == "ReduceMax":
            extra = {"axes": [1]}
        if op == "ReduceSum":
            weights.append(numpy_helper.from_array(np.asarray([1], np.int64), f"w{len(weights)}"))
            names.append(weights[-1].name)
        made.append(helper.make_node(op, names, [f"v{i}"], name=f"n{i}", **extra))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5])
    y = helper.make_tensor_value_info(f"v{len(nodes) - 1}", TensorProto.FLOAT, [2, 5])
    graph = helper.make_graph(made, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_spelled_out_activation_is_recognised(name: str) -> None:
    ctx = CompilerContext()
    module = import_model(model(PATTERNS[name]), ctx)
    x = np.linspace(-5, 7, 10, dtype=np.float32).reshape(2, 5)
    assert_same_meaning(
        module, ctx.constants, [x], lambda: FuseActivationsPass().apply(ctx, module), 1e-5
    )
    left = [op for op in module.walk() if isinstance(op, MapOp | SoftmaxOp)]
    expected = name.split("/")[0]
    assert [op.fn.data if isinstance(op, MapOp) else "softmax" for op in left] == [expected]


def test_a_near_miss_is_left_alone() -> None:
    ctx = CompilerContext()
    module = import_model(model([("Sigmoid", "x"), ("Neg", "x"), ("Mul", 0, 1)]), ctx)
    FuseActivationsPass().apply(ctx, module)
    left = [op.fn.data for op in module.walk() if isinstance(op, MapOp)]
    assert left == ["sigmoid", "neg", "mul"]


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW_DATA)
@given(graph_modules())
def test_meaning_is_preserved(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: FuseActivationsPass().apply(ctx, module))

"""Small ONNX models for driver tests, and the command line in process."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EXAMPLES = Path(__file__).parents[2] / "compiler" / "examples"
DIGITS = EXAMPLES / "digits.onnx"


def small_cnn(seed: int = 0) -> onnx.ModelProto:
    """conv-relu-conv, residual add, max pool, global average, fully connected, softmax."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        fan = int(np.prod(shape[1:])) or 1
        return numpy_helper.from_array(
            (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32), name
        )

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="stem/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="stem/relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="block/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["a"], name="block/add"),
        helper.make_node("Relu", ["a"], ["r2"], name="block/relu"),
        helper.make_node(
            "MaxPool", ["r2"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("GlobalAveragePool", ["p"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["z"], name="head/fc", transB=1),
        helper.make_node("Softmax", ["z"], ["y"], name="head/softmax"),
    ]
    graph = helper.make_graph(
        nodes, "small_cnn", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [
            weight("w1", 8, 3, 3, 3), weight("b1", 8), weight("w2", 8, 8, 3, 3),
            weight("w3", 5, 8), weight("b3", 5),
        ],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def inputs_for(model: onnx.ModelProto, seed: int = 1) -> dict[str, Any]:
    """Seeded noise for every input with a static shape."""
    rng = np.random.default_rng(seed)
    weights = {i.name for i in model.graph.initializer}
    return {
        i.name: rng.standard_normal([d.dim_value for d in i.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for i in model.graph.input
        if i.name not in weights
    }


def tilewright(*argv: str | Path) -> tuple[int, str, str]:
    """Run the command line in this process: (exit code, standard output, standard error)."""
    from tilewright.compiler import cli

    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(a) for a in argv])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    return code, out.getvalue(), err.getvalue()

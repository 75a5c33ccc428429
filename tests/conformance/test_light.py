"""The networks that the onnx package carries without weights, with weights that mean something.

Their constant weights make all channels alike; here they are drawn by He's rule, biases and
normalisations around neutral, so that an exchanged channel, bias or window shows.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, numpy_helper

import tilewright
from support.oracle import session

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
TOLERANCE = 1e-4
"""Of the range of the output."""


def readers(model: ModelProto) -> dict[str, tuple[NodeProto, int]]:
    """The node that reads a parameter, and as which input; looks through Unsqueeze."""
    found: dict[str, tuple[NodeProto, int]] = {}
    for node in reversed(model.graph.node):
        for position, name in enumerate(node.input):
            if node.op_type == "Unsqueeze" and position == 0 and node.output[0] in found:
                found[name] = found[node.output[0]]
            else:
                found[name] = (node, position)
    return found


def drawn(shape: list[int], node: NodeProto, position: int, name: str) -> np.ndarray:
    """Values of a parameter that `node` reads as input `position`."""
    values = np.random.default_rng(crc32(name.encode())).standard_normal(shape, np.float32)
    kind = node.op_type
    if kind in ("Conv", "Gemm", "MatMul") and position == 1:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        fan_in = shape[0] if kind != "Conv" and not transposed else int(np.prod(shape[1:]))
        return values * np.float32(np.sqrt(2 / fan_in))
    if kind == "BatchNormalization" and position in (1, 4):  # scale, variance
        return np.abs(1 + np.float32(0.1) * values)
    return values * np.float32(0.1) + np.float32(kind == "Mul")


def with_weights(path: Path) -> ModelProto:
    """The model with all float parameters drawn, each from a seed of its name."""
    model = onnx.load(path)
    graph, read = model.graph, readers(model)
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shapes = {n: list(a.shape) for n, a in stored.items() if a.dtype == np.float32}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = stored[node.input[0]].tolist()
        else:
            nodes.append(node)
    kept = [t for t in graph.initializer if t.name not in shapes]
    for field, items in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(items)  # pyright: ignore
    for name, shape in shapes.items():
        if name in read:
            graph.initializer.append(numpy_helper.from_array(drawn(shape, *read[name], name), name))
    parameters = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in parameters and i.name in read]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # parameters need not be inputs
    return model


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda p: p.stem)
def test_agrees_with_onnxruntime(path: Path) -> None:
    model = with_weights(path)
    (info,) = model.graph.input
    shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
    image = np.random.default_rng(0).standard_normal(shape, np.float32)
    data = model.SerializeToString()
    (expected,) = session(data).run(None, {info.name: image})
    (got,) = tilewright.compile(data).run({info.name: image}).values()
    assert np.isfinite(expected).all() and np.ptp(expected) > 0
    assert np.abs(got - expected).max() <= TOLERANCE * np.ptp(expected)

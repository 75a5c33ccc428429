from __future__ import annotations

import onnx
from benchmarks.npu.layers_alone import KINDS, distinct_layers
from benchmarks.npu.zoo import build
from benchmarks.npu.zoo.builder import Builder


def test_nodes_alike_are_one_layer() -> None:
    net = Builder("n")
    x = net.input("x", (1, 8, 6, 6))
    for i, kernel in enumerate((3, 3, 1)):
        x = net.relu(net.conv(x, 8, 8, kernel, name=f"conv{i}"), name=f"relu{i}")
    layers = distinct_layers(net.model(net.op("Add", [x, x], "twice")))
    assert [(layer.name, layer.kind, layer.count) for layer in layers] == [
        ("conv0", "Conv", 2), ("conv2", "Conv", 1), ("twice", "Add", 1),
    ]  # fmt: skip
    assert layers[0].shapes == ((1, 8, 6, 6), (8, 8, 3, 3))


def test_models_are_whole() -> None:
    layers = distinct_layers(build("tiny"))
    assert layers
    for layer in layers:
        onnx.checker.check_model(layer.model, full_check=True)
        (node,) = layer.model.graph.node
        assert node.op_type == layer.kind
        assert layer.kind in KINDS

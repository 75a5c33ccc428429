"""The distinct layers of a network, each as a model of one node.

    for layer in distinct_layers(build("resnet50")):
        layer.name, layer.count, layer.model        # "layer1.0.conv1", 1, an onnx.ModelProto

Nodes are the same where operator, attributes and shapes are; the first one's weights stand for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

KINDS = (
    "Conv", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Softmax",
    "LayerNormalization",
)  # fmt: skip
"""Operators that become loop nests with work of their own."""


@dataclass(frozen=True)
class LayerAlone:
    """A node as a model: its name in the network, how many nodes there are like it."""

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    count: int
    model: ModelProto


def distinct_layers(network: ModelProto) -> list[LayerAlone]:
    """Layers of `KINDS` with known shapes, in the network's order."""
    inferred = shape_inference.infer_shapes(network).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    known: dict[str, ValueInfoProto] = {v.name: v for v in values}
    weights = {t.name: t for t in network.graph.initializer}
    first: dict[Any, NodeProto] = {}
    counts: dict[Any, int] = {}
    for node in network.graph.node:
        names = [n for n in (*node.input, *node.output) if n]
        if node.op_type not in KINDS or not all(n in weights or n in known for n in names):
            continue
        key = (
            node.op_type,
            tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute)),
            tuple((n in weights, _shape(n, weights, known)) for n in node.input),
        )
        first.setdefault(key, node)
        counts[key] = counts.get(key, 0) + 1
    return list(_models(first, counts, weights, known, network))


def _models(
    first: Mapping[Any, NodeProto], counts: Mapping[Any, int],
    weights: Mapping[str, TensorProto], known: Mapping[str, ValueInfoProto], network: ModelProto,
) -> Iterator[LayerAlone]:  # fmt: skip
    for key, node in first.items():
        inputs = [known[n] for n in dict.fromkeys(node.input) if n and n not in weights]
        graph = helper.make_graph(
            [node],
            node.name or node.op_type,
            inputs,
            [known[node.output[0]]],
            [weights[n] for n in node.input if n in weights],
        )
        model = helper.make_model(
            graph, opset_imports=network.opset_import, ir_version=network.ir_version
        )
        shapes = tuple(_shape(n, weights, known) for n in node.input if n)
        yield LayerAlone(node.name, node.op_type, shapes, counts[key], model)


def _shape(
    name: str, weights: Mapping[str, TensorProto], known: Mapping[str, ValueInfoProto]
) -> tuple[int, ...]:
    if name in weights:
        return tuple(weights[name].dims)
    return tuple(d.dim_value for d in known[name].type.tensor_type.shape.dim) if name else ()

"""Parameters and multiply-accumulates of a network of the zoo, from its shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnx import GraphProto, ModelProto, helper, shape_inference

LEARNED = (".weight", ".bias")
"""How the names of parameters end; statistics and scalars are none."""


@dataclass(frozen=True)
class Counts:
    """Learned numbers, and multiply-accumulates of one inference at the model's batch.

    Counted as papers do: convolutions and matrix products, without biases and normalisation.
    """

    parameters: int
    macs: int


def counts(model: ModelProto) -> Counts:
    """Both figures; the model may be built with `weights=False`."""
    shapes = _shapes(model)
    macs = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            macs += prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            macs += prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    parameters = sum(prod(shape) for name, shape in shapes.items() if name.endswith(LEARNED))
    return Counts(parameters, macs)


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors by name.

    Inferred with parameters declared as inputs, as inference would copy their data.
    """
    graph = GraphProto(name=model.graph.name, node=model.graph.node, output=model.graph.output)
    graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(LEARNED):
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
        else:
            graph.initializer.append(tensor)
    skeleton = helper.make_model(graph, opset_imports=list(model.opset_import))
    inferred = shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True).graph
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }

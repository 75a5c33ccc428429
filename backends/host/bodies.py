"""Function bodies: those the model brings, and those ONNX defines for its own operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from .registry import Call, HostError, Value, default_attributes, plain_domain, schema_of, to_array

Evaluate = Callable[..., list[Value]]

MAX_DEPTH = 100
"""Deepest nesting of functions and subgraphs."""


def type_of(value: Value) -> onnx.TypeProto:
    """The ONNX type of a tensor; an empty type for anything else."""
    array: Any = value
    if not isinstance(value, np.ndarray):
        return onnx.TypeProto()
    element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_type_proto(element, array.shape)


def standard_body(call: Call) -> FunctionProto | None:
    """The body that ONNX itself defines for the operator of this call, if it does."""
    schema = schema_of(call.domain, call.op, call.opset)
    if schema is None:
        return None
    if schema.has_function:
        versions = schema.function_opset_versions
        version = max((v for v in versions if v <= call.opset), default=versions[0])
        body = schema.get_function_with_opset_version(version)
    elif schema.has_context_dependent_function:
        node = NodeProto()
        node.CopyFrom(call.node)
        given = {attribute.name for attribute in node.attribute}
        defaults = default_attributes(call.domain, call.op, call.opset)
        node.attribute.extend(v for k, v in defaults.items() if k not in given)
        types = [type_of(value).SerializeToString() for value in call.inputs]
        versions = schema.context_dependent_function_opset_versions
        version = max((v for v in versions if v <= call.opset), default=versions[0])
        body = schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), types
        )
    else:
        return None
    function = FunctionProto.FromString(body) if body else None
    return function if function is not None and function.node else None


def bind_attributes(node: NodeProto, values: Mapping[str, AttributeProto]) -> NodeProto:
    """The node with references to the function's attributes replaced; subgraphs included."""
    out = NodeProto()
    out.CopyFrom(node)
    del out.attribute[:]
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in values:
                bound = out.attribute.add()
                bound.CopyFrom(values[attribute.ref_attr_name])
                bound.name = attribute.name
            continue
        copy = out.attribute.add()
        copy.CopyFrom(attribute)
        for graph in [copy.g] if copy.type == AttributeProto.GRAPH else copy.graphs:
            nodes = [bind_attributes(inner, values) for inner in graph.node]
            del graph.node[:]
            graph.node.extend(nodes)
    return out


def run_function(
    call: Call, function: FunctionProto, evaluate: Evaluate, depth: int
) -> list[Value]:
    """Evaluate a call by the nodes of a function."""
    if depth > MAX_DEPTH:
        raise HostError(f"functions are nested more than {MAX_DEPTH} deep")
    values = {attribute.name: attribute for attribute in function.attribute_proto}
    values |= default_attributes(call.domain, call.op, call.opset)
    values |= {attribute.name: attribute for attribute in call.node.attribute}
    nodes = [bind_attributes(node, values) for node in function.node]
    scope: dict[str, Value] = dict.fromkeys(function.input)
    scope.update(zip(function.input, call.inputs, strict=False))
    opsets = {plain_domain(entry.domain): entry.version for entry in function.opset_import}
    opsets = {**call.opsets, **opsets}
    walk = _Walk(evaluate, opsets, call, depth)
    walk.nodes(nodes, scope)
    return [scope[name] for name in function.output]


class _Walk:
    """Evaluates nodes in order, in one scope of names."""

    def __init__(self, evaluate: Evaluate, opsets: Mapping[str, int], call: Call, depth: int):
        self.evaluate, self.opsets, self.call, self.depth = evaluate, opsets, call, depth

    def nodes(self, nodes: Sequence[NodeProto], scope: dict[str, Value]) -> None:
        """Evaluate all nodes; their outputs are added to `scope`."""

        def run_graph(graph: GraphProto, bound: Mapping[str, Value]) -> list[Value]:
            inner = {**scope, **{t.name: to_array(t) for t in graph.initializer}, **bound}
            self.nodes(graph.node, inner)
            return [inner[output.name] for output in graph.output]

        for node in nodes:
            inputs = [scope[name] if name else None for name in node.input]
            outputs = self.evaluate(
                node,
                inputs,
                self.opsets,
                run_graph,
                functions=self.call.functions,
                depth=self.depth + 1,
            )
            scope.update((n, v) for n, v in zip(node.output, outputs, strict=False) if n)

"""Function bodies: those the model brings, and those ONNX defines for its own operators.

Bodies are imported in place of the call.  Thirty functions that call each other twice are 2^30
nodes in 2 KB, so the expanded size is counted first, each function once, and bounded; the same
walk finds functions that call themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, NodeProto

from ...dialects.errors import ModelError
from .limits import NODE_LIMIT

TensorType = tuple[np.dtype[Any], tuple[int, ...]]
"""Element type and shape."""


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _calls(nodes: Iterable[NodeProto]) -> list[tuple[str, str]]:
    """(domain, operator) of all nodes, those in subgraphs included."""
    out: list[tuple[str, str]] = []
    stack = list(nodes)
    while stack:
        node = stack.pop()
        out.append((_domain(node.domain), node.op_type))
        for attr in node.attribute:
            for graph in [attr.g] if attr.type == AttributeProto.GRAPH else attr.graphs:
                stack.extend(graph.node)
    return out


class Functions:
    """The model's own functions by domain and name."""

    def __init__(self, model: onnx.ModelProto):
        self._functions: dict[tuple[str, str], FunctionProto] = {}
        for function in model.functions:
            key = (_domain(function.domain), function.name)
            if key in self._functions:
                raise ModelError(f"function {function.name!r} is defined twice")
            self._functions[key] = function
        if self._functions:
            self._check_size(model.graph.node)

    def find(self, domain: str, name: str) -> FunctionProto | None:
        """The model's function `name`, if there is one."""
        return self._functions.get((domain, name))

    def _check_size(self, nodes: Sequence[NodeProto]) -> None:
        """ModelError if a function calls itself, or if the model would be too large expanded."""
        sizes: dict[tuple[str, str], int] = {}
        entered: set[tuple[str, str]] = set()
        calls: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for root in self._functions:
            stack = [root]
            while stack:
                key = stack[-1]
                if key in sizes:
                    stack.pop()
                    continue
                if key not in entered:
                    entered.add(key)
                    calls[key] = _calls(self._functions[key].node)
                    pending = dict.fromkeys(
                        k for k in calls[key] if k in self._functions and k not in sizes
                    )
                    if again := next((k for k in pending if k in entered), None):
                        raise ModelError("the function calls itself", node=key[1], op=again[1])
                    stack.extend(pending)
                    continue
                if any(k in self._functions and k not in sizes for k in calls[key]):
                    raise ModelError("the function calls itself", node=key[1], op=key[1])
                sizes[key] = min(NODE_LIMIT + 1, sum(sizes.get(k, 1) for k in calls[key]))
                stack.pop()
        total = sum(sizes.get(key, 1) for key in _calls(nodes))
        if total > NODE_LIMIT:
            raise ModelError(f"expanding the model's functions gives more than {NODE_LIMIT} nodes")


def _type_proto(type: TensorType | None) -> onnx.TypeProto:
    if type is None:
        return onnx.TypeProto()
    dtype, shape = type
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(dtype), shape)


def standard_body(
    node: NodeProto,
    opset: int,
    attributes: Mapping[str, AttributeProto],
    types: Sequence[TensorType | None],
) -> FunctionProto | None:
    """The body that ONNX itself defines for the operator of `node`, if it does."""
    try:
        # The type stubs of onnx lack the functions of schemas.
        schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        version = max((v for v in schema.function_opset_versions if v <= opset), default=None)
        body = schema.get_function_with_opset_version(
            version if version is not None else schema.function_opset_versions[0]
        )
    elif schema.has_context_dependent_function:
        plain = NodeProto(
            op_type=node.op_type, name=node.name, input=node.input, output=node.output
        )
        plain.attribute.extend(attributes.values())
        protos = [_type_proto(t).SerializeToString() for t in types]
        versions = schema.context_dependent_function_opset_versions
        version = max((v for v in versions if v <= opset), default=versions[0])
        try:
            body = schema.get_context_dependent_function_with_opset_version(
                version, plain.SerializeToString(), protos
            )
        except (RuntimeError, ValueError):
            return None  # types that no tensor of the graph dialect has
    else:
        return None
    if not body:
        return None
    function = FunctionProto.FromString(body)
    return function if function.node else None

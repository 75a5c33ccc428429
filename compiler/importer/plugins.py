"""Importing operators of plugins: decomposed, else opaque as `graph.custom`, else left to the host.

A plugin's `decompose` is an import rule; what it makes is held against what `infer` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ...dialects.constants import Array
from ...dialects.graph import CustomOp
from ...dialects.plugins import Operator, TensorSpec, guarded
from ...dialects.types import (
    element_of,
    element_type,
    has_element_type,
    numpy_dtype,
    shape_of,
    tensor,
)
from .node import Constant, NeedsValue, Node, NodeUnsupported, Rule


def plugin_rule(operator: Operator) -> Rule:
    """The import rule of a plugin's operator."""

    def rule(node: Node) -> list[Any]:
        from ...backends.host.registry import attribute_value

        attributes = {name: attribute_value(attr) for name, attr in node.attributes.items()}
        specs = [None if v is None else _spec(v) for v in node.inputs]
        while specs and specs[-1] is None:
            specs.pop()
        expected = operator.types(specs, attributes, node.name)
        if len(node.outputs) > len(expected) and any(node.outputs[len(expected) :]):
            raise node.error(f"the operator has {len(expected)} outputs")
        if operator.decompose is not None:
            try:
                return _decomposed(operator, node, expected)
            except NodeUnsupported:
                if operator.lower is None:
                    raise
        if operator.lower is None:
            raise node.unsupported(
                "its plugin computes it on the host only", "give it decompose or lower"
            )
        return _opaque(operator, node, attributes, expected)

    return rule


def _spec(value: SSAValue | Constant | Array) -> TensorSpec:
    if isinstance(value, SSAValue):
        return TensorSpec(numpy_dtype(element_of(value)), shape_of(value))
    array = value.array if isinstance(value, Constant) else np.asarray(value)
    return TensorSpec(array.dtype, array.shape)


def _decomposed(operator: Operator, node: Node, expected: list[TensorSpec]) -> list[Any]:
    assert operator.decompose is not None
    with guarded(operator, "decompose", node.name, NodeUnsupported, NeedsValue):
        returned: Any = operator.decompose(node)
        values: list[Any] = [*returned] if isinstance(returned, list | tuple) else [returned]
        made = [_spec(v) for v in values]
    operator.demand("decompose", made, expected, node.name)
    return values


def _opaque(
    operator: Operator, node: Node, attributes: dict[str, Any], expected: list[TensorSpec]
) -> list[Any]:
    """A `graph.custom` for each output that is wanted."""
    args = list(node.inputs)
    while args and args[-1] is None:
        args.pop()
    if any(a is None for a in args):
        raise node.unsupported("an input before its last one is omitted")
    results: list[Any] = []
    for index, spec in enumerate(expected):
        if index >= len(node.outputs) or not node.outputs[index]:
            results.append(None)
            continue
        if not has_element_type(spec.dtype) or None in spec.shape:
            raise node.unsupported("only its data decides the type of its result")
        shape = [d for d in spec.shape if d is not None]
        type = tensor(shape, element_type(spec.dtype))
        operands = [node.operand(a) for a in args if a is not None]
        try:
            op = CustomOp(operator, operands, attributes, type, index)
        except TypeError as error:
            raise node.unsupported(str(error)) from None
        results.append(node.emit(op))
    return results

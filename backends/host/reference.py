"""ONNX's own reference operators, for what has no implementation here.

`onnx.reference` is imported when the first such node runs.  Its classes take defaults of attributes
from the newest schema of an operator; nodes are therefore given those of the model's opset.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from onnx import NodeProto

from .limits import checked_shape
from .registry import Call, Value, default_attributes

_MODULES = {
    "": "onnx.reference.ops._op_list",
    "ai.onnx.ml": "onnx.reference.ops.aionnxml._op_list",
    "ai.onnx.preview": "onnx.reference.ops.aionnx_preview._op_list",
    "ai.onnx.preview.training": "onnx.reference.ops.aionnx_preview_training._op_list",
}


@functools.cache
def _classes(domain: str) -> dict[str, dict[int | None, Any]]:
    """Operator classes of a domain, by name and the version they start at."""
    import importlib

    from onnx.reference.ops._helpers import build_registered_operators_any_domain

    if domain not in _MODULES:
        return {}
    return build_registered_operators_any_domain(
        dict(vars(importlib.import_module(_MODULES[domain])))
    )


@functools.cache
def implementation(domain: str, op: str, opset: int) -> Any:
    """The class that computes an operator, or None."""
    classes = _classes(domain).get(op)
    if not classes:
        return None
    if len(classes) == 1:
        return next(iter(classes.values()))
    versions = [version for version in classes if version is not None and version <= opset]
    return classes[max(versions)] if versions else None


def _log(*_: Any) -> None:
    """The reference operators' trace, which goes nowhere."""


_ELEMENTWISE = {
    *("Add", "Sub", "Mul", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where"),
    *("And", "Or", "Xor", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"),
    *("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"),
}

_SIZED_BY = {"CenterCropPad": 1, "AffineGrid": 1}
"""Operators whose result is as large as an input says."""


def _check_size(call: Call) -> None:
    """HostError if the data asks for a result that is too large."""
    if call.op in _ELEMENTWISE:
        checked_shape(np.broadcast_shapes(*(np.shape(value) for value in call.inputs)))
    elif call.op in _SIZED_BY:
        checked_shape(call.tensor(_SIZED_BY[call.op]).reshape(-1))


def run(call: Call) -> list[Value]:
    """Run one node through its reference operator."""
    _check_size(call)
    node = NodeProto()
    node.CopyFrom(call.node)
    for i in range(len(node.attribute))[::-1]:
        if node.attribute[i].name == "consumed_inputs":  # of opset 1, without a meaning
            del node.attribute[i]
    given = {attribute.name for attribute in node.attribute}
    for name, default in default_attributes(call.domain, call.op, call.opset).items():
        if name not in given:
            copy = node.attribute.add()
            copy.CopyFrom(default)
            copy.name = name
    parameters = {"log": _log, "opsets": dict(call.opsets), "verbose": 0, "new_ops": {}}
    with np.errstate(all="ignore"):
        instance = implementation(call.domain, call.op, call.opset)(node, parameters)
        return list(instance.run(*call.inputs))

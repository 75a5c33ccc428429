"""Nodes against ONNX's operator schemas: counts of inputs, required attributes and their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import onnx
from onnx import AttributeProto, NodeProto

from ...dialects.errors import ModelError
from .node import NodeUnsupported


@dataclass(frozen=True)
class Signature:
    """What a schema says: counts of inputs and outputs, attributes by name (type, required)."""

    inputs: tuple[int, int]
    outputs: int
    attributes: Mapping[str, tuple[int, bool]]


def _type(attribute: Any) -> int:
    """The `AttributeProto.AttributeType` of an attribute of a schema."""
    return int(attribute.type.value)


@lru_cache(maxsize=4096)
def signature(op: str, opset: int) -> Signature | None:
    """The signature of an operator of the default domain; None if that opset has none."""
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    return Signature(
        (schema.min_input, schema.max_input),
        schema.max_output,
        {name: (_type(a), a.required) for name, a in schema.attributes.items()},
    )


@lru_cache(maxsize=256)
def defaults(op: str, opset: int) -> Mapping[str, AttributeProto]:
    """Default values of an operator's attributes: what its function body refers to."""
    attributes = onnx.defs.get_schema(op, opset, "").attributes
    return {n: a.default_value for n, a in attributes.items() if a.default_value.type}


def check_node(node: NodeProto, opset: int, attributes: Mapping[str, AttributeProto]) -> list[str]:
    """Remarks on `node`; ModelError if it contradicts its operator's schema."""
    found = signature(node.op_type, opset)
    if found is None:
        if node.op_type in standard_names() - _EARLIER:
            raise NodeUnsupported(*hint_for(node.op_type, opset))
        return []
    low, high = found.inputs
    given = len(node.input)
    if given > high:
        raise ModelError(f"has {given} inputs, at most {high} are allowed")
    if given < low:
        raise ModelError(f"has {given} inputs, at least {low} are needed")
    if len(node.output) > found.outputs:
        raise ModelError(f"has {len(node.output)} outputs, at most {found.outputs} are allowed")
    for name, (kind, required) in found.attributes.items():
        if (attr := attributes.get(name)) is None:
            if required:
                raise ModelError(f"attribute {name!r} is missing")
        elif attr.type not in (kind, AttributeProto.UNDEFINED):
            given_type = AttributeProto.AttributeType.Name(attr.type).lower()
            expected = AttributeProto.AttributeType.Name(kind).lower()
            raise ModelError(f"attribute {name!r} must be of type {expected}, not {given_type}")
    return [
        f"unknown attribute {name!r} is ignored"
        for name in attributes
        if name not in found.attributes and name != "consumed_inputs"
    ]


_EARLIER = frozenset({"LayerNormalization"})
"""Operators that onnxruntime's optimiser writes before the opset that has them."""

_DYNAMIC = "the shape of its result depends on the data"
_SEQUENCES = "the compiler has no sequences or optional values"
_STRINGS = "the compiler has no strings"
_RANDOM = "the compiler has no random numbers"
_HOST = "cut the model before its post-processing and run that on the host"
_HINTS: dict[str, tuple[str, str]] = {
    "NonMaxSuppression": (_DYNAMIC, _HOST),
    "Compress": (_DYNAMIC, "use Where with a mask instead"),
    "Unique": (_DYNAMIC, _HOST),
    "MaxRoiPool": ("the graph core has no region-of-interest sampling", _HOST),
    "SequenceAt SequenceConstruct SequenceEmpty SequenceInsert SequenceErase SequenceLength "
    "SequenceMap SplitToSequence ConcatFromSequence Optional OptionalGetElement "
    "OptionalHasElement": (_SEQUENCES, "export the model with tensors only (Split and Concat)"),
    "StringNormalizer StringSplit StringConcat RegexFullMatch TfIdfVectorizer ImageDecoder": (
        _STRINGS,
        "run it on the host, before the model",
    ),
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial": (
        _RANDOM,
        "make the random tensor an input of the model",
    ),
}
"""Reason and hint by operators, separated by spaces."""


def refused_names() -> frozenset[str]:
    """Operators that are refused with a reason of their own."""
    return frozenset(op for ops in _HINTS for op in ops.split())


def hint_for(op: str, opset: int) -> tuple[str, str]:
    """Why an operator without a rule cannot be compiled, and what to do."""
    for ops, reason in _HINTS.items():
        if op in ops.split():
            return reason
    if op not in standard_names():
        return (
            f"there is no ONNX operator {op!r}",
            "check the name, or add a function with its definition to the model",
        )
    if signature(op, opset) is None:
        return f"opset {opset} has no operator {op!r}", "check the opset_import of the model"
    return (
        "the graph core has no such operator",
        "replace it by simpler operators, or cut the model before it",
    )


@lru_cache(maxsize=1)
def standard_names() -> frozenset[str]:
    """Names of all operators that any opset of the default domain has had."""
    return frozenset(
        schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain
    )

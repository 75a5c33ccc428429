"""Where the importer keeps tensors by name, and how it names the values it makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx import AttributeProto, NodeProto
from xdsl.ir import Attribute, Block, Operation, SSAValue

from ...dialects.types import string
from .node import Constant


class Unknown:
    """A tensor that a node made which cannot be compiled."""


UNKNOWN = Unknown()

Found = SSAValue | Constant | Unknown


@dataclass
class Scope:
    """Tensors by name, in one graph or function body; `outer` is visible from a subgraph.

    `prefix` goes before the names of nodes; `label`, if set, replaces them (nodes of the body of a
    standard operator are called what the operator's node is called).
    """

    opsets: Mapping[str, int]
    values: dict[str, Found] = field(default_factory=dict[str, Found])
    outer: Scope | None = None
    prefix: str = ""
    label: str | None = None
    references: Mapping[str, AttributeProto] = field(default_factory=dict[str, AttributeProto])
    depth: int = 0

    def find(self, name: str) -> Found | None:
        """The tensor called `name`, or None."""
        scope: Scope | None = self
        while scope is not None:
            if (found := scope.values.get(name)) is not None:
                return found
            scope = scope.outer
        return None


def resolve(
    attributes: Mapping[str, AttributeProto], references: Mapping[str, AttributeProto]
) -> dict[str, AttributeProto]:
    """Attributes of a node in a function body, references to the caller's replaced."""
    out: dict[str, AttributeProto] = {}
    for name, attr in attributes.items():
        if attr.ref_attr_name:
            if (found := references.get(attr.ref_attr_name)) is not None:
                out[name] = found
        else:
            out[name] = attr
    return out


def without(node: NodeProto, omitted: set[str]) -> NodeProto:
    """`node` with the inputs in `omitted` left out."""
    if not omitted.intersection(node.input):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    for i, name in enumerate(copy.input):
        if name in omitted:
            copy.input[i] = ""
    return copy


_NOT_IN_HINTS = re.compile(r"[^A-Za-z0-9_$.-]")


def label(value: SSAValue, tensor: str) -> None:
    """Give `value` the name of its ONNX tensor: a hint, and `tensor` on its operation."""
    if isinstance(value.owner, Operation):
        value.owner.attributes.setdefault("tensor", string(tensor))
    if value.name_hint is None:
        hint = _NOT_IN_HINTS.sub("_", tensor).lstrip("_") or "value"
        value.name_hint = (
            f"t{hint}" if hint[0].isdigit() or not SSAValue.is_valid_name(hint) else hint
        )


def arguments(types: Sequence[Attribute], names: Sequence[str]) -> Block:
    """The function's block, its arguments named after the model's inputs."""
    block = Block(arg_types=types)
    for argument, name in zip(block.args, names, strict=True):
        label(argument, name)
    return block

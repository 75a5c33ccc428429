"""The table of host operators, and one call of an operator as its implementation sees it.

An implementation is a function from a `Call` to the list of outputs, registered for the operators
it computes:

    @operator("NonZero")
    def non_zero(call: Call) -> list[Value]:
        return [np.stack(np.nonzero(call.tensor(0))).astype(np.int64)]

Attributes arrive with the defaults of the operator's schema at the model's opset filled in.  What
the data makes impossible is a `HostError`; `evaluate` adds the node's name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

Value = Any
"""A tensor (numpy array; strings as object arrays), a sequence (list), a map (dict), or None: an
omitted input or an empty optional."""

RunGraph = Callable[[GraphProto, Mapping[str, Value]], list[Value]]
"""Runs a body with the given names bound; the caller captures the outer scope."""

Functions = Mapping[tuple[str, str], FunctionProto]
"""Functions of the model by domain and name."""


class HostError(Exception):
    """The data of this call cannot be computed with; the message says why."""

    def __init__(self, message: str, hint: str | None = None):
        self.hint = hint
        super().__init__(message)


def plain_domain(domain: str) -> str:
    """The domain of ONNX's own operators has two spellings."""
    return "" if domain == "ai.onnx" else domain


def attribute_value(attribute: AttributeProto) -> Any:
    """A Python value of an attribute: strings decoded, tensors as arrays, graphs as protos."""
    if attribute.type == AttributeProto.TENSOR:
        return to_array(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if attribute.type == AttributeProto.STRINGS:
        return [text.decode("utf-8", "surrogateescape") for text in attribute.strings]
    if attribute.type in (AttributeProto.FLOATS, AttributeProto.INTS):
        return list(value)
    return value


def to_array(tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
    """The array of a tensor proto; strings become an object array of str."""
    array = onnx.numpy_helper.to_array(tensor)
    if tensor.data_type == onnx.TensorProto.STRING:
        decode = np.frompyfunc(lambda s: s.decode() if isinstance(s, bytes) else s, 1, 1)
        return np.asarray(decode(array), object).reshape(array.shape)
    return array


@functools.cache
def schema_of(domain: str, op: str, opset: int) -> Any:
    """The operator's schema, or None."""
    try:
        return onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError:
        return None


@functools.cache
def default_attributes(domain: str, op: str, opset: int) -> dict[str, AttributeProto]:
    """The attributes that have a default in the operator's schema."""
    schema = schema_of(domain, op, opset)
    if schema is None:
        return {}
    defaults = {name: attr.default_value for name, attr in schema.attributes.items()}
    return {name: value for name, value in defaults.items() if value.type != 0}


@dataclass(frozen=True)
class Call:
    """One execution of a node."""

    node: NodeProto
    domain: str
    op: str
    opset: int
    inputs: Sequence[Value]
    opsets: Mapping[str, int]
    run_graph: RunGraph
    functions: Functions = field(default_factory=dict[tuple[str, str], FunctionProto])

    @functools.cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes by name, defaults included."""
        protos = dict(default_attributes(self.domain, self.op, self.opset))
        protos |= {attribute.name: attribute for attribute in self.node.attribute}
        return {name: attribute_value(proto) for name, proto in protos.items()}

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where neither the node nor the schema gives it."""
        return self.attributes.get(name, default)

    def required(self, name: str) -> Any:
        """An attribute that must be there."""
        if name not in self.attributes:
            raise HostError(f"the attribute {name!r} is missing")
        return self.attributes[name]

    def value(self, index: int) -> Value:
        """An input of any kind; None if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def tensor(self, index: int) -> np.ndarray[Any, Any]:
        """An input that must be a tensor."""
        value = self.value(index)
        if isinstance(value, (np.ndarray, np.generic)):
            return np.asarray(value)  # pyright: ignore[reportUnknownArgumentType]  # any dtype
        kind = "missing" if value is None else f"a {type(value).__name__}"
        raise HostError(f"input {index} is {kind}, not a tensor")

    def optional(self, index: int) -> np.ndarray[Any, Any] | None:
        """An input that is a tensor or omitted."""
        return None if self.value(index) is None else self.tensor(index)

    def scalar(self, index: int) -> Any:
        """An input that must hold exactly one element, as a Python number."""
        array = self.tensor(index)
        if array.size != 1:
            raise HostError(f"input {index} must hold one element, but has shape {array.shape}")
        return array.reshape(()).item()

    def sequence(self, index: int) -> list[Any]:
        """An input that must be a sequence."""
        value = self.value(index)
        if not isinstance(value, list):
            raise HostError(f"input {index} is not a sequence")
        return value  # pyright: ignore[reportUnknownVariableType]

    def wants(self, output: int) -> bool:
        """Whether the node names its output `output`."""
        return output < len(self.node.output) and bool(self.node.output[output])


Implementation = Callable[[Call], list[Value]]

FAMILIES = (
    "attention",
    "casting",
    "control",
    "convolution",
    "detection",
    "filling",
    "indexing",
    "labels",
    "legacy",
    "pooling",
    "generators",
    "recurrent",
    "resize",
    "sampling",
    "selection",
    "sequences",
    "spectral",
    "strings",
    "trees",
)
"""The files that hold implementations."""

OPERATORS: dict[tuple[str, str], Implementation] = {}
"""Implementations by domain and operator; what is not here is left to `reference.py`."""


def operator(*ops: str, domain: str = "") -> Callable[[Implementation], Implementation]:
    """Register an implementation for the operators `ops`."""

    def register(function: Implementation) -> Implementation:
        for op in ops:
            assert (domain, op) not in OPERATORS, op
            OPERATORS[domain, op] = function
        return function

    return register

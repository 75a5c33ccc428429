"""One ONNX node as the importer's rules see it: checked attributes, operands, and emitters.

A rule is a function from `Node` to the node's outputs, registered by operator:

    @rule("Relu")
    def relu(node: Node) -> Value:
        return node.map("relu", node.x())

An output is an SSA value, or a numpy array when it is known at import (shapes, for instance).
A rule refuses by `raise node.unsupported(reason, hint)`, and `raise node.error(message)` where the
model itself is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import AttributeProto, GraphProto, TensorProto
from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects.constants import Array
from ...dialects.errors import ModelError
from ...dialects.graph import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    MapOp,
    PadOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
)
from ...dialects.types import Param, element_of, has_element_type, numpy_dtype, shape_of
from .limits import HOST_LIMIT

if TYPE_CHECKING:
    from .graph import Importer
    from .scope import Scope


@dataclass
class Constant:
    """A tensor known at import; `ssa` is its `graph.constant` once an operation has needed it."""

    array: Array
    name: str = ""
    ssa: SSAValue | None = None


Value = SSAValue | Array | Constant
Outputs = Value | list[Any]
Rule = Callable[["Node"], Outputs]

RULES: dict[str, Rule] = {}
"""Import rules by operator, those of other domains by `domain.Operator`."""


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for the operators `ops`."""

    def register(function: Rule) -> Rule:
        for op in ops:
            assert op not in RULES, op
            RULES[op] = function
        return function

    return register


class NodeUnsupported(Exception):
    """A node that cannot be compiled: what a rule raises."""

    def __init__(self, reason: str, hint: str = ""):
        self.reason, self.hint = reason, hint
        super().__init__(reason)


class NeedsValue(NodeUnsupported):
    """A node that needs the contents of a tensor that is computed at run time."""

    def __init__(self, reason: str, hint: str, value: SSAValue):
        self.value = value
        super().__init__(reason, hint)


@dataclass
class Node:
    """One ONNX node being imported; `inputs` holds None for omitted inputs."""

    importer: Importer
    scope: Scope
    name: str
    op: str
    opset: int
    inputs: Sequence[SSAValue | Constant | None]
    outputs: Sequence[str]
    attributes: Mapping[str, AttributeProto]

    # --- refusing ---

    def error(self, message: str, hint: str | None = None) -> ModelError:
        """The error for a node that is wrong."""
        return ModelError(message, node=self.name, op=self.op, hint=hint)

    def unsupported(self, reason: str, hint: str = "") -> NodeUnsupported:
        """The refusal of a node that is right but cannot be compiled."""
        return NodeUnsupported(reason, hint)

    # --- attributes ---

    def _get(self, name: str, kind: int, field: str) -> Any:
        attr = self.attributes.get(name)
        if attr is None:
            return None
        if attr.type not in (kind, AttributeProto.UNDEFINED):
            expected = AttributeProto.AttributeType.Name(kind).lower()
            found = AttributeProto.AttributeType.Name(attr.type).lower()
            raise self.error(f"attribute {name!r} must be {expected}, not {found}")
        return getattr(attr, field)

    def has_attr(self, name: str) -> bool:
        """Whether the attribute is given."""
        return name in self.attributes

    def _required(self, name: str, found: Any, default: Any) -> Any:
        if found is not None:
            return found
        if default is None:
            raise self.error(f"attribute {name!r} is missing")
        return default

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute; required if there is no default."""
        return self._required(name, self._get(name, AttributeProto.INT, "i"), default)

    def real(self, name: str, default: float | None = None, *, infinite: bool = False) -> float:
        """A real attribute; must be finite unless `infinite`."""
        value = self._required(name, self._get(name, AttributeProto.FLOAT, "f"), default)
        if math.isnan(value) or (math.isinf(value) and not infinite):
            raise self.error(f"attribute {name!r} must be finite, not {value}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string attribute."""
        value = self._required(name, self._get(name, AttributeProto.STRING, "s"), default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """A list of integers."""
        return list(self._required(name, self._get(name, AttributeProto.INTS, "ints"), default))

    def opt_integers(self, name: str) -> list[int] | None:
        """A list of integers, None if not given."""
        return self.integers(name) if name in self.attributes else None

    def reals(self, name: str, default: Sequence[float] | None = None) -> list[float]:
        """A list of finite reals."""
        values = list(
            self._required(name, self._get(name, AttributeProto.FLOATS, "floats"), default)
        )
        if not all(map(math.isfinite, values)):
            raise self.error(f"attribute {name!r} must be finite, not {values}")
        return values

    def tensor(self, name: str) -> Array | None:
        """A tensor attribute as an array, None if not given."""
        proto: TensorProto | None = self._get(name, AttributeProto.TENSOR, "t")
        return None if proto is None else self.importer.array(proto)

    def subgraph(self, name: str) -> GraphProto:
        """A graph attribute."""
        return self._required(name, self._get(name, AttributeProto.GRAPH, "g"), None)

    # --- operands ---

    def has(self, i: int) -> bool:
        """Whether input `i` is given."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def value(self, i: int = 0) -> SSAValue | Constant:
        """Input `i`; ModelError if it is missing."""
        found = self.inputs[i] if i < len(self.inputs) else None
        if found is None:
            raise self.error(f"input {i} is missing")
        return found

    def x(self, i: int = 0) -> SSAValue:
        """Input `i` as an SSA value."""
        return self.operand(self.value(i))

    def operand(self, value: SSAValue | Constant) -> SSAValue:
        """A tensor as an SSA value; refuses constants of a type that no tensor of the graph has."""
        if isinstance(value, Constant) and not has_element_type(value.array.dtype):
            raise self.unsupported(f"the compiler has no {value.array.dtype.name} tensors")
        return self.importer.materialise(value, self.name) if isinstance(value, Constant) else value

    def all_x(self) -> list[SSAValue]:
        """All inputs as SSA values; ModelError if there are none."""
        if not self.inputs:
            raise self.error("has no inputs")
        return [self.x(i) for i in range(len(self.inputs))]

    def array(self, i: int) -> Array | None:
        """Input `i` if it is known at import."""
        found = self.inputs[i] if i < len(self.inputs) else None
        return found.array if isinstance(found, Constant) else None

    def static(self, i: int, what: str) -> Array:
        """Input `i`, which must be known at import."""
        found = self.value(i)
        if isinstance(found, Constant):
            return found.array
        raise NeedsValue(
            f"{what} must be constant",
            "shapes are static: fix the inputs it comes from (--shape), or fold constants",
            found,
        )

    def static_ints(self, i: int, what: str) -> list[int]:
        """Input `i` as a list of integers known at import; a scalar is a list of one."""
        array = self.static(i, what)
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 4096:
            raise self.error(
                f"{what} must be a list of integers, not {array.dtype.name}{list(array.shape)}"
            )
        return [int(v) for v in array.reshape(-1)]

    def static_scalar(self, i: int, what: str) -> Any:
        """Input `i` as one Python number known at import."""
        array = self.static(i, what)
        if array.size != 1:
            raise self.error(f"{what} must be a scalar, not of shape {list(array.shape)}")
        return array.reshape(-1)[0].item()

    def shape(self, i: int = 0) -> tuple[int, ...]:
        """Shape of input `i`."""
        found = self.value(i)
        return found.array.shape if isinstance(found, Constant) else shape_of(found)

    def dtype(self, i: int = 0) -> np.dtype[Any]:
        """Element type of input `i`."""
        found = self.value(i)
        return found.array.dtype if isinstance(found, Constant) else numpy_dtype(element_of(found))

    def axis(self, axis: int, rank: int, *, inclusive: bool = False) -> int:
        """`axis` counted from the front; ModelError if a tensor of `rank` has no such axis."""
        if not -rank <= axis < rank + (1 if inclusive else 0):
            raise self.error(f"axis {axis} does not exist in a tensor of rank {rank}")
        return axis + rank if axis < 0 else axis

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """`axes` counted from the front, sorted; ModelError if one is missing or repeated."""
        found = sorted(self.axis(a, rank) for a in axes)
        if len(set(found)) != len(found):
            raise self.error(f"axes {list(axes)} are repeated")
        return found

    # --- emitting ---

    def emit(self, op: Operation) -> SSAValue:
        """Add `op` to the function, carrying this node's name; its first result."""
        return self.importer.emit(op, self.name)

    def constant(self, array: Any) -> SSAValue:
        """A constant operand."""
        return self.importer.materialise(Constant(np.asarray(array)), self.name)

    def scalar(self, value: float, like: SSAValue) -> SSAValue:
        """A rank-0 constant of the element type of `like` (shared between nodes)."""
        return self.importer.scalar(value, element_of(like), self.name)

    def map(
        self, fn: str, *args: SSAValue, element: Attribute | None = None, **params: Param
    ) -> SSAValue:
        """`graph.map`; ModelError if the operands do not broadcast."""
        return self.emit(MapOp(fn, args, params, element=element))

    def bounded(self, size: int) -> int:
        """`size`, the elements of a constant about to be made up, if that is not too many."""
        if size > HOST_LIMIT:
            raise self.unsupported(f"it needs a constant of {size} elements", "make it smaller")
        return size

    def cast(self, x: SSAValue, element: Attribute) -> SSAValue:
        """`graph.cast`, nothing if `x` is of that type."""
        return x if element_of(x) == element else self.emit(CastOp(x, element))

    def reshape(self, x: SSAValue, shape: Sequence[int]) -> SSAValue:
        """`graph.reshape`, nothing if `x` has that shape."""
        return x if shape_of(x) == tuple(shape) else self.emit(ReshapeOp(x, shape))

    def transpose(self, x: SSAValue, perm: Sequence[int]) -> SSAValue:
        """`graph.transpose`, nothing if no axis moves."""
        return x if list(perm) == list(range(len(perm))) else self.emit(TransposeOp(x, perm))

    def broadcast(self, x: SSAValue, shape: Sequence[int]) -> SSAValue:
        """`graph.broadcast`, nothing if `x` has that shape."""
        return x if shape_of(x) == tuple(shape) else self.emit(BroadcastOp(x, shape))

    def slice(
        self,
        x: SSAValue,
        starts: Sequence[int],
        sizes: Sequence[int],
        steps: Sequence[int] | None = None,
    ) -> SSAValue:
        """`graph.slice`, nothing if everything is taken."""
        if shape_of(x) == tuple(sizes) and all(s == 1 for s in steps or [1]):
            return x
        return self.emit(SliceOp(x, starts, sizes, steps))

    def slice_axis(self, x: SSAValue, axis: int, start: int, size: int) -> SSAValue:
        """`size` elements from `start` of one axis."""
        sizes = list(shape_of(x))
        starts = [0] * len(sizes)
        starts[axis], sizes[axis] = start, size
        return self.slice(x, starts, sizes)

    def pad(
        self,
        x: SSAValue,
        low: Sequence[int],
        high: Sequence[int],
        mode: str = "constant",
        value: float = 0.0,
    ) -> SSAValue:
        """`graph.pad`, nothing if there is nothing to pad."""
        return self.emit(PadOp(x, low, high, mode, value)) if any(low) or any(high) else x

    def concat(self, args: Sequence[SSAValue], axis: int) -> SSAValue:
        """`graph.concat`, nothing for one operand."""
        return args[0] if len(args) == 1 else self.emit(ConcatOp(args, axis))

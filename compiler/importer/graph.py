"""The importer: walks the ONNX nodes once, in order, and emits graph operations.

What is known at import stays a numpy array (`Constant`) and becomes a `graph.constant` only when
an operation needs it.  A node whose inputs are all known is imported like any other; if its
operations are cheap and small they are then evaluated by the reference semantics and dropped, so
that shape arithmetic (`Shape -> Gather -> Concat -> Reshape`) leaves static shapes and no
operations.  There is no second table of operators in numpy.

A node that cannot be compiled is noted and its outputs are unknown; the walk goes on, so that one
import lists them all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto
from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from ...dialects.constants import Array
from ...dialects.errors import ModelError, TilewrightError, Unsupported
from ...dialects.graph import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    GatherOp,
    MapOp,
    PadOp,
    ReduceOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
)
from ...dialects.locations import location
from ...dialects.types import numpy_dtype, shape_of, string
from ...passes.base import CompilerContext
from . import ops as _ops  # registers the rules
from .functions import Functions, standard_body
from .node import RULES, Constant, Node, NodeUnsupported, Outputs
from .schema import check_node, hint_for
from .tensors import UnsupportedType, to_array
from .order import in_order

__all__ = ["Importer", "Scope"]
assert _ops

FOLD_LIMIT = 1 << 20
"""Most elements of a tensor that the importer evaluates itself."""

ELEMENT_LIMIT = 1 << 34
"""Most elements of any tensor."""

_FOLDED = (MapOp, CastOp, ReshapeOp, TransposeOp, BroadcastOp, ConcatOp, SliceOp, PadOp, GatherOp, ReduceOp)
"""Operations that the importer evaluates on constants."""

MAX_DEPTH = 100
"""Deepest nesting of functions and subgraphs."""


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


class Importer:
    """The state of one import."""

    def __init__(self, ctx: CompilerContext, folder: Path | None, functions: Functions):
        self.ctx, self.folder, self.functions = ctx, folder, functions
        self.ops: list[Operation] = []
        self.constants: list[Operation] = []
        self.rows: list[Unsupported] = []
        self._scalars: dict[tuple[float, Attribute], SSAValue] = {}
        self._locations: dict[str, LocationAttr] = {}

    # --- emitting ---

    def array(self, tensor: TensorProto) -> Array:
        """Contents of a tensor of the model."""
        return to_array(tensor, self.folder)

    def emit(self, op: Operation, node: str) -> SSAValue:
        """Verify and append `op`, located at `node`; its first result."""
        op.verify_()
        for result in op.results:
            shape = shape_of(result)
            if (size := math.prod(shape)) > ELEMENT_LIMIT or min(shape, default=0) < 0:
                raise ValueError(f"a tensor of shape {list(shape)} would have {size} elements")
        op.location = self._location(node)
        self.ops.append(op)
        return op.results[0]

    def _location(self, node: str) -> LocationAttr:
        found = self._locations.get(node)
        if found is None:
            found = self._locations[node] = location([node])
        return found

    def materialise(self, constant: Constant, node: str) -> SSAValue:
        """The `graph.constant` of `constant`, made at the first need."""
        if constant.ssa is None:
            op = ConstantOp.from_array(constant.array, self.ctx.constants, location=self._location(node))
            if constant.name:
                label(op.result, constant.name)
            self.constants.append(op)
            constant.ssa = op.result
        return constant.ssa

    def scalar(self, value: float, element: Attribute, node: str) -> SSAValue:
        """A shared rank-0 constant."""
        key = (float(value), element)
        if key not in self._scalars:
            self._scalars[key] = self.materialise(Constant(np.array(value).astype(numpy_dtype(element))), node)
        return self._scalars[key]

    # --- walking ---

    def run(self, nodes: Sequence[NodeProto], outputs: Iterable[str], scope: Scope) -> None:
        """Import those of `nodes` that `outputs` depend on, in order."""
        if scope.depth > MAX_DEPTH:
            raise ModelError(f"functions and subgraphs are nested more than {MAX_DEPTH} deep")
        for index, proto in in_order(nodes, outputs, scope.values):
            self.node(proto, scope.label or scope.prefix + (proto.name or f"{proto.op_type}_{index}"), scope)

    def node(self, proto: NodeProto, name: str, scope: Scope) -> None:
        """Import one node."""
        op = proto.op_type
        try:
            self._node(proto, name, scope)
        except (NodeUnsupported, UnsupportedType) as refusal:
            domain = "" if proto.domain == "ai.onnx" else proto.domain
            hint = refusal.hint if isinstance(refusal, NodeUnsupported) else ""
            self.rows.append(Unsupported(name, op, scope.opsets.get(domain, 1), str(refusal), hint))
            scope.values.update((output, UNKNOWN) for output in proto.output if output)
        except TilewrightError as error:
            if error.node is None:
                raise type(error)(error.message, node=name, op=op, hint=error.hint) from error
            raise
        except VerifyException as error:
            raise ModelError(str(error), node=name, op=op) from None
        except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError) as error:
            # Constructors compute shapes before verifiers run: what wrong attributes make them
            # stumble over is the model's fault.
            raise ModelError(f"the node does not fit its inputs: {error or type(error).__name__}", node=name, op=op) from error

    def _node(self, proto: NodeProto, name: str, scope: Scope) -> None:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        attributes = {a.name: a for a in proto.attribute}
        if any(a.ref_attr_name for a in proto.attribute):
            attributes = resolve(attributes, scope.references)
        function = self.functions.find(domain, proto.op_type)
        opset = scope.opsets.get(domain, 1)
        custom = RULES.get(proto.op_type) if domain == "" and function is None else None
        if function is None:
            if domain:
                raise NodeUnsupported(
                    f"operator of the unknown domain {domain!r}",
                    "export with standard ONNX operators, or add a function with its definition to the model",
                )
            for remark in check_node(proto, opset, attributes):
                self.ctx.notes.append(f"node {name!r} ({proto.op_type}): {remark}")
        inputs = self._inputs(proto, name, scope)
        if function is None and custom is None:
            if any(isinstance(value, Unknown) for value in inputs):
                function = None
            else:
                function = standard_body(proto, opset, attributes, [self._type(v) for v in inputs])
            if function is None:
                raise NodeUnsupported(*hint_for(proto.op_type, opset))
        if any(isinstance(value, Unknown) for value in inputs):
            scope.values.update((output, UNKNOWN) for output in proto.output if output)
            return
        known = [value for value in inputs if not isinstance(value, Unknown)]
        node = Node(self, name, proto.op_type, opset, known, proto.output, attributes)
        if function is not None:
            results: Sequence[Any] = self._call(function, node, scope, standard=custom is None and domain == "" and not self.functions.find(domain, proto.op_type))
        elif proto.op_type == "If":
            results = self._if(node, scope)
        else:
            assert custom is not None
            mark = len(self.ops)
            returned: Outputs = custom(node)
            results = list(returned) if isinstance(returned, Sequence) and not isinstance(returned, np.ndarray) else [returned]
            if len(self.ops) > mark and known and all(v is None or isinstance(v, Constant) for v in known):
                results = self._fold(mark, results)
        self._bind(node, results, scope)

    def _inputs(self, proto: NodeProto, name: str, scope: Scope) -> list[Found | None]:
        found: list[Found | None] = []
        for tensor in proto.input:
            value = scope.find(tensor) if tensor else None
            if tensor and value is None:
                raise ModelError(f"input {tensor!r} is not defined by any node, input or initializer", node=name, op=proto.op_type)
            found.append(value)
        return found

    def _bind(self, node: Node, results: Sequence[Any], scope: Scope) -> None:
        if len(node.outputs) > len(results) and any(node.outputs[len(results) :]):
            raise node.unsupported(f"only its first {len(results)} outputs can be computed")
        for output, result in zip(node.outputs, results, strict=False):
            if not output:
                continue
            if result is None:
                raise node.unsupported(f"its output {output!r} cannot be computed")
            if isinstance(result, SSAValue):
                label(result, output)
            elif isinstance(result, np.ndarray | np.generic):
                result = Constant(np.asarray(result), output)
            scope.values[output] = result

    # --- evaluating what is known ---

    def _fold(self, mark: int, results: Sequence[Any]) -> Sequence[Any]:
        """Results as arrays, and the operations from `mark` on dropped, if they are cheap and small."""
        from ...dialects.semantics.graph import evaluate_op

        new = self.ops[mark:]
        if not all(isinstance(op, _FOLDED) and math.prod(shape_of(op.results[0])) <= FOLD_LIMIT for op in new):
            return results
        arrays: dict[SSAValue, Array] = {}
        for op in new:
            args = [arrays[v] if v in arrays else self._known(v) for v in op.operands]
            arrays |= zip(op.results, evaluate_op(op, args, self.ctx.constants), strict=True)
        del self.ops[mark:]
        return [arrays.get(r, r) if isinstance(r, SSAValue) else r for r in results]

    def _known(self, value: SSAValue) -> Array:
        assert isinstance(value.owner, ConstantOp)
        return value.owner.array(self.ctx.constants)

    def _type(self, value: Found | None) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
        match value:
            case Constant():
                return value.array.dtype, value.array.shape
            case SSAValue():
                return numpy_dtype(value.type.element_type), shape_of(value)  # pyright: ignore
            case _:
                return None

    # --- bodies ---

    def _call(self, function: FunctionProto, node: Node, scope: Scope, *, standard: bool) -> list[Any]:
        """Import the body of `function` in place of `node`."""
        if len(node.inputs) > len(function.input) or len(node.outputs) > len(function.output):
            raise node.error(f"the function takes {len(function.input)} inputs and has {len(function.output)} outputs")
        own = {"" if e.domain == "ai.onnx" else e.domain: e.version for e in function.opset_import}
        references = {a.name: a for a in function.attribute_proto} | dict(node.attributes)
        inner = Scope(
            {**scope.opsets, **own}, prefix=f"{node.name}/", label=node.name if standard else scope.label,
            references=references, depth=scope.depth + 1,
        )  # fmt: skip
        inner.values = {name: v for name, v in zip(function.input, node.inputs, strict=False) if v is not None}
        wanted = [inside for outside, inside in zip(node.outputs, function.output, strict=False) if outside]
        omitted = {name for name in function.input if name not in inner.values}
        self.run([without(n, omitted) for n in function.node] if omitted else function.node, wanted, inner)
        return [self._result(inner, name, node) if outside else None for outside, name in zip(node.outputs, function.output, strict=False)]

    def _if(self, node: Node, scope: Scope) -> list[Any]:
        """Import the branch that is taken, if that is known."""
        condition = node.array(0)
        if condition is None or condition.size != 1:
            raise node.unsupported(
                "which branch is taken depends on the data", "split the model, or fix the input that decides with a constant"
            )
        branch: GraphProto = node.subgraph("then_branch" if condition.reshape(-1)[0] else "else_branch")
        inner = Scope(scope.opsets, outer=scope, prefix=f"{node.name}/", label=scope.label, references=scope.references, depth=scope.depth + 1)
        for tensor in branch.initializer:
            inner.values[tensor.name] = Constant(self.array(tensor), tensor.name)
        outputs = [o.name for o in branch.output]
        self.run(branch.node, outputs, inner)
        return [self._result(inner, name, node) for name in outputs]

    def _result(self, scope: Scope, name: str, node: Node) -> Found:
        found = scope.find(name)
        if found is None:
            raise node.error(f"its body does not define {name!r}")
        return found


def resolve(attributes: Mapping[str, AttributeProto], references: Mapping[str, AttributeProto]) -> dict[str, AttributeProto]:
    """Attributes of a node in a function body, with references to the caller's replaced; omitted if not given."""
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
    """Give `value` the name of the ONNX tensor it is: a hint, and the attribute `tensor` of its operation."""
    if isinstance(value.owner, Operation):
        value.owner.attributes.setdefault("tensor", string(tensor))
    if value.name_hint is None:
        hint = _NOT_IN_HINTS.sub("_", tensor).lstrip("_") or "value"
        value.name_hint = f"t{hint}" if hint[0].isdigit() or not SSAValue.is_valid_name(hint) else hint


def arguments(types: Sequence[Attribute], names: Sequence[str]) -> Block:
    """The function's block, its arguments named after the model's inputs."""
    block = Block(arg_types=types)
    for argument, name in zip(block.args, names, strict=True):
        label(argument, name)
    return block


Check = Callable[[NodeProto], None]

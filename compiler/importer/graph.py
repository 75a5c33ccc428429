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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto
from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue
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
from ...dialects.plugins import find_operator, plugin_notes, unknown_operator
from ...dialects.types import element_of, numpy_dtype, shape_of
from ...passes.base import CompilerContext
from . import ops as _ops  # registers the rules
from .functions import Functions, standard_body
from .limits import ELEMENT_LIMIT, FOLD_LIMIT, MAX_DEPTH
from .node import RULES, Constant, NeedsValue, Node, NodeUnsupported, Outputs, Rule
from .order import in_order
from .plugins import plugin_rule
from .schema import check_node, defaults, hint_for
from .scope import UNKNOWN, Found, Scope, Unknown, label, resolve, without
from .tensors import UnsupportedType, to_array

assert _ops


_FOLDED = (
    MapOp,
    CastOp,
    ReshapeOp,
    TransposeOp,
    BroadcastOp,
    ConcatOp,
    SliceOp,
    PadOp,
    GatherOp,
    ReduceOp,
)
"""Operations that the importer evaluates on constants."""


Result = Found | Array | None
"""What a rule or a body returns for one output; None if it cannot be computed."""


def _arguments_behind(value: SSAValue) -> set[int]:
    """Positions of the model inputs that `value` is computed from."""
    found: set[int] = set()
    seen: set[SSAValue] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if isinstance(value.owner, Operation):
            stack.extend(value.owner.operands)
        elif isinstance(value, BlockArgument):
            found.add(value.index)
    return found


class Importer:
    """The state of one import."""

    def __init__(self, ctx: CompilerContext, folder: Path | None, functions: Functions):
        self.ctx, self.folder, self.functions = ctx, folder, functions
        self.ops: list[Operation] = []
        self.constants: list[Operation] = []
        self.rows: list[Unsupported] = []
        self.top = -1  # position of the outermost node being imported
        self.refused: set[int] = set()  # positions of outermost nodes that `rows` are about
        self.needs: dict[int, set[int]] = {}  # ... and the inputs whose contents they ask for
        self._arrays: dict[SSAValue, Array] = {}  # contents of `constants`
        self._scalars: dict[tuple[float, Attribute], SSAValue] = {}
        self._locations: dict[str, LocationAttr] = {}

    # --- emitting ---

    def array(self, tensor: TensorProto, raw: memoryview | None = None) -> Array:
        """Contents of a tensor of the model (`raw`: its data, if cut out of the proto)."""
        return to_array(tensor, self.folder, raw)

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
            op = ConstantOp.from_array(
                constant.array, self.ctx.constants, location=self._location(node)
            )
            if constant.name:
                label(op.result, constant.name)
            self.constants.append(op)
            constant.ssa = op.result
            self._arrays[op.result] = constant.array
        return constant.ssa

    def scalar(self, value: float, element: Attribute, node: str) -> SSAValue:
        """A shared rank-0 constant."""
        key = (float(value), element)
        if key not in self._scalars:
            self._scalars[key] = self.materialise(
                Constant(np.array(value).astype(numpy_dtype(element))), node
            )
        return self._scalars[key]

    # --- walking ---

    def run(self, nodes: Sequence[NodeProto], outputs: Iterable[str], scope: Scope) -> None:
        """Import those of `nodes` that `outputs` depend on, in order."""
        if scope.depth > MAX_DEPTH:
            raise ModelError(f"functions and subgraphs are nested more than {MAX_DEPTH} deep")
        for index, proto in in_order(nodes, outputs, scope.values):
            if scope.depth == 0:
                self.top = index
            self.node(
                proto,
                scope.label or scope.prefix + (proto.name or f"{proto.op_type}_{index}"),
                scope,
            )

    def node(self, proto: NodeProto, name: str, scope: Scope) -> None:
        """Import one node."""
        op = proto.op_type
        try:
            self._node(proto, name, scope)
        except (NodeUnsupported, UnsupportedType) as refusal:
            domain = "" if proto.domain == "ai.onnx" else proto.domain
            hint = refusal.hint if isinstance(refusal, NodeUnsupported) else ""
            self.rows.append(Unsupported(name, op, scope.opsets.get(domain, 1), str(refusal), hint))
            if isinstance(refusal, NeedsValue):
                self.needs.setdefault(self.top, set()).update(_arguments_behind(refusal.value))
            else:
                self.refused.add(self.top)
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
            raise ModelError(
                f"the node does not fit its inputs: {error or type(error).__name__}",
                node=name,
                op=op,
            ) from error

    def _node(self, proto: NodeProto, name: str, scope: Scope) -> None:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        opset = scope.opsets.get(domain, 1)
        attributes = {a.name: a for a in proto.attribute}
        if any(a.ref_attr_name for a in proto.attribute):
            attributes = resolve(attributes, scope.references)
        function = self.functions.find(domain, proto.op_type)
        key = f"{domain}.{proto.op_type}" if domain else proto.op_type
        custom = RULES.get(key) if function is None else None
        if function is None and domain:
            if (plugin := find_operator(domain, proto.op_type)) is not None:
                custom = plugin_rule(plugin)
            self.ctx.notes += [text for text in plugin_notes() if text not in self.ctx.notes]
            if custom is None:
                raise NodeUnsupported(*unknown_operator(domain, proto.op_type))
        elif function is None:
            for remark in check_node(proto, opset, attributes):
                self.ctx.notes.append(f"node {name!r} ({proto.op_type}): {remark}")
        inputs = self._inputs(proto, name, scope)
        known = [value for value in inputs if not isinstance(value, Unknown)]
        standard = function is None and custom is None
        if standard and len(known) == len(inputs):
            types = [self._type(value) for value in known]
            function = standard_body(proto, opset, attributes, types)
        if function is None and custom is None:
            raise NodeUnsupported(*hint_for(proto.op_type, opset))
        if len(known) < len(inputs):
            scope.values.update((output, UNKNOWN) for output in proto.output if output)
            return
        node = Node(self, scope, name, proto.op_type, opset, known, proto.output, attributes)
        if function is not None:
            self._bind(node, self.call(function, node, standard=standard), scope)
        elif custom is not None:
            self._bind(node, self._apply(custom, node), scope)

    def _apply(self, rule: Rule, node: Node) -> list[Result]:
        """The results of `rule`, as arrays where they are known."""
        mark = len(self.ops)
        returned: Outputs = rule(node)
        results: list[Result] = list(returned) if isinstance(returned, list | tuple) else [returned]
        all_known = all(v is None or isinstance(v, Constant) for v in node.inputs)
        if len(self.ops) > mark and node.inputs and all_known:
            return self._fold(mark, results)
        return results

    def _inputs(self, proto: NodeProto, name: str, scope: Scope) -> list[Found | None]:
        found: list[Found | None] = []
        for tensor in proto.input:
            value = scope.find(tensor) if tensor else None
            if tensor and value is None:
                raise ModelError(
                    f"input {tensor!r} is not defined by any node, input or initializer",
                    node=name,
                    op=proto.op_type,
                )
            found.append(value)
        return found

    def _bind(self, node: Node, results: list[Result], scope: Scope) -> None:
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

    def _fold(self, mark: int, results: list[Result]) -> list[Result]:
        """Results as arrays, the operations from `mark` on dropped, if cheap and small."""
        from ...dialects.semantics.graph import evaluate_op

        new = self.ops[mark:]
        if not all(
            isinstance(op, _FOLDED) and math.prod(shape_of(op.results[0])) <= FOLD_LIMIT
            for op in new
        ):
            return results
        if any(v not in self._arrays and v.owner not in new for op in new for v in op.operands):
            return results  # a branch of `If` uses what is not an input of the node
        arrays: dict[SSAValue, Array] = {}
        for op in new:
            args = [arrays[v] if v in arrays else self._arrays[v] for v in op.operands]
            arrays |= zip(op.results, evaluate_op(op, args, self.ctx.constants), strict=True)
        for op in reversed(new):
            op.erase()
        del self.ops[mark:]
        return [arrays.get(r, r) if isinstance(r, SSAValue) else r for r in results]

    def _type(self, value: Found | None) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
        match value:
            case Constant():
                return value.array.dtype, value.array.shape
            case SSAValue():
                return numpy_dtype(element_of(value)), shape_of(value)
            case _:
                return None

    # --- bodies ---

    def call(self, function: FunctionProto, node: Node, *, standard: bool) -> list[Result]:
        """Import the body of `function` in place of `node`."""
        if len(node.inputs) > len(function.input) or len(node.outputs) > len(function.output):
            raise node.error(
                f"the function takes {len(function.input)} inputs "
                f"and has {len(function.output)} outputs"
            )
        scope = node.scope
        own = {"" if e.domain == "ai.onnx" else e.domain: e.version for e in function.opset_import}
        references = {a.name: a for a in function.attribute_proto} | dict(node.attributes)
        if standard:
            references = dict(defaults(node.op, node.opset)) | references
        inner = Scope(
            {**scope.opsets, **own},
            prefix=f"{node.name}/",
            label=node.name if standard else scope.label,
            references=references,
            depth=scope.depth + 1,
        )
        inner.values = {
            name: v for name, v in zip(function.input, node.inputs, strict=False) if v is not None
        }
        wanted = [
            inside
            for outside, inside in zip(node.outputs, function.output, strict=False)
            if outside
        ]
        omitted = {name for name in function.input if name not in inner.values}
        self.run(
            [without(n, omitted) for n in function.node] if omitted else function.node,
            wanted,
            inner,
        )
        return [
            self.result(inner, name, node) if outside else None
            for outside, name in zip(node.outputs, function.output, strict=False)
        ]

    def result(self, scope: Scope, name: str, node: Node) -> Found:
        """The tensor `name` of a body that `node` stands for."""
        found = scope.find(name)
        if found is None:
            raise node.error(f"its body does not define {name!r}")
        return found

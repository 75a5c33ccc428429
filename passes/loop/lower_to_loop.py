"""`lower-to-loop`: graph operations become loop nests, still on tensors.

    %c = graph.conv %x, %w, %b         %y = loop.nest domain [1, 8, 8, 16, 3, 3, 4]
    %y = graph.requantize %c, %m, %s       reduce "add" over [4, 5, 6] ins(%x, %w)
                                           epilogue_ins(%b, %m, %s) ...

Each `graph.region`, and each operation outside of one, becomes one nest where it can (see
`lowering/tree.py`); softmax, arg-reductions and resizes become several.  Constants stay
`graph.constant`, reshapes become `loop.reshape`, concatenations `loop.concat`.  Slices, broadcasts
and transposes become access maps of the nests that read them where these allow it, and copies
where not, made when first needed.  The pass builds
the new operations beside the old ones and swaps them at the end, so its time is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.errors import Unsupported, UnsupportedError
from ...dialects.graph import ConcatOp, ConstantOp, RegionOp, ReshapeOp, YieldOp, device_of
from ...dialects.locations import inherit, onnx_nodes
from ...dialects.loop import LOOP
from ...dialects.loop import ConcatOp as LoopConcatOp
from ...dialects.loop import ReshapeOp as LoopReshapeOp
from ...dialects.types import shape_of, string, type_of
from ..base import CompilerContext, Pass, main_function
from .lowering.elementwise import ELEMENTWISE
from .lowering.kernel import DEFERRED, Kernel
from .lowering.maps import is_unit_reshape
from .lowering.tree import ANCHORS, VIEWS, Tree, trees

_KEPT = (ConstantOp, ReturnOp, *LOOP.operations)


class _Lowering:
    """The state of lowering one function: new operations in order, and where each value is now."""

    def __init__(self, store: ConstantStore):
        self.store = store
        self.new: list[Operation] = []
        self._values: dict[SSAValue, SSAValue] = {}
        self._constants: dict[str, SSAValue] = {}
        self._aliases: dict[SSAValue, SSAValue] = {}
        self._deferred: dict[SSAValue, Operation] = {}

    # --- what kernels use ---
    def value(self, graph_value: SSAValue) -> SSAValue:
        """The loop-level tensor of a graph value; a deferred copy is made now."""
        source = self._source(graph_value)
        if (op := self._deferred.pop(source, None)) is not None:
            self._group([op], frozenset(op.results), device_of(op), op)
        return self._values.get(source, source)

    def view(self, graph_value: SSAValue) -> Operation | None:
        """The shape-only operation that makes `graph_value`, while nothing needs it in memory."""
        return self._deferred.get(self._source(graph_value))

    def _source(self, value: SSAValue) -> SSAValue:
        """What a region's argument stands for."""
        return self._aliases.get(value, value)

    def emit(self, op: Operation, *sources: Operation) -> Operation:
        """Append `op`, with the locations of `sources`."""
        if sources:
            inherit(op, *sources)
        self.new.append(op)
        return op

    def constant(self, array: Array) -> SSAValue:
        """A constant tensor, shared by all its users."""
        key = self.store.add(array)
        if key not in self._constants:
            self._constants[key] = self.emit(ConstantOp.from_array(array, self.store)).results[0]
        return self._constants[key]

    # --- operations ---
    def lower(self, op: Operation) -> None:
        """Lower one operation of the function's body."""
        if isinstance(op, _KEPT):
            for operand in op.operands:
                self.value(operand)
            self.emit(op.clone(self._values))
        elif isinstance(op, DEFERRED) or self._reshaped_view(op):
            self._deferred[op.results[0]] = op
        elif isinstance(op, RegionOp):
            self._region(op)
        else:
            self._group([op], frozenset(op.results), device_of(op), op)

    def _reshaped_view(self, op: Operation) -> bool:
        """Whether `op` inserts or drops unit axes of a value that is not in memory."""
        return (
            isinstance(op, ReshapeOp)
            and self.view(op.x) is not None
            and device_of(op) != "npu"
            and is_unit_reshape(shape_of(op.x), shape_of(op.result))
        )

    def _region(self, region: RegionOp) -> None:
        for inner, outer in zip(region.block.args, region.args, strict=True):
            self._aliases[inner] = self._source(outer)
        last = region.block.last_op
        assert isinstance(last, YieldOp)
        ops: list[Operation] = []
        for op in region.ops:
            if isinstance(op, ConstantOp):
                self.lower(op)
            else:
                ops.append(op)
        self._group(ops, frozenset(last.args), device_of(region), region)
        for result, inner in zip(region.res, last.args, strict=True):
            made = self.value(inner)
            self._values[result] = made
            made.name_hint = made.name_hint or result.name_hint
            if (
                len(region.res) == 1
                and (tensor := region.attributes.get("tensor"))
                and isinstance(made.owner, Operation)
            ):
                made.owner.attributes.setdefault("tensor", tensor)

    def _group(
        self,
        ops: Sequence[Operation],
        needed: frozenset[SSAValue],
        device: str | None,
        whole: Operation,
    ) -> None:
        for tree in trees(ops, needed):
            root = tree.root
            if (
                type(root) not in ELEMENTWISE
                and type(root) not in ANCHORS
                and not isinstance(root, (*VIEWS, ConcatOp))
            ):
                raise _unsupported(root)
            made = self._root(tree, device or device_of(root))
            for member in reversed(tree.members):
                inherit(made, member)
            if not onnx_nodes(made):
                inherit(made, whole)
            if (tensor := root.attributes.get("tensor")) is not None:
                made.attributes.setdefault("tensor", tensor)
            made.results[0].name_hint = root.results[0].name_hint
            self.emit(made)
            self._values[root.results[0]] = made.results[0]

    def _root(self, tree: Tree, device: str | None) -> Operation:
        root = tree.root
        result = root.results[0]
        type = type_of(result)
        if isinstance(root, ReshapeOp) and not self._reshaped_view(root):
            made = LoopReshapeOp(self.value(root.x), type)
            if device:
                made.attributes["device"] = string(device)
            return made
        if isinstance(root, ConcatOp):
            args = [self.value(a) for a in root.args]
            return LoopConcatOp(args, root.axis.value.data, type, device)
        return Kernel(self, tree.members, result, device).build(tree.anchor, ANCHORS)


def _unsupported(op: Operation) -> UnsupportedError:
    nodes = onnx_nodes(op)
    return UnsupportedError(
        [Unsupported(nodes[0] if nodes else "<unnamed>", op.name, 0, "it has no lowering to loops")]
    )


@dataclass(frozen=True)
class LowerToLoopPass(Pass):
    """Turn graph operations and fusion regions into loop nests on tensors."""

    name = "lower-to-loop"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Lower @main."""
        lower_function(main_function(module), ctx.constants)


def lower_function(func: FuncOp, store: ConstantStore) -> None:
    """Lower the body of `func` in place; UnsupportedError for operations without a lowering."""
    block = func.body.block
    lowering = _Lowering(store)
    old = list(block.ops)
    for op in old:
        lowering.lower(op)
    for op in reversed(old):
        op.detach()
        op.erase(safe_erase=False)  # operations outside of the module may still refer to it
    block.add_ops(lowering.new)


PASS = LowerToLoopPass

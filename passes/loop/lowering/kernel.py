"""One tree of graph operations becomes one nest: scalar code by demand.

A tree has a root (whose result is written), possibly one anchor (an operator with a domain of its
own: convolution, reduction, ...), and elementwise and shape-only operations between and before.
`Kernel.scalar(value, map)` yields the scalar code of any value of the tree at an access map;
values from outside the tree become operands.

    conv -> requantize -> lookup      one nest: the conv's domain, the others in its epilogue
    transpose -> add                  one nest: add's domain, the transpose is an access map
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from xdsl.ir import Attribute, Operation, SSAValue

from ....dialects.constants import Array, ConstantStore
from ....dialects.graph import (
    BroadcastOp,
    ConvOp,
    MatMulOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
    constant_array,
)
from ....dialects.locations import inherit
from ....dialects.loop import Linear
from ....dialects.types import element_of, int_values, shape_of, tensor, type_of
from . import maps
from .builder import NestBuilder

DEFERRED = (SliceOp, TransposeOp, BroadcastOp)
"""Shape-only operations that become access maps of their readers where these allow it."""


class Sink(Protocol):
    """What a kernel needs from the pass: where values are, and where new operations go."""

    store: ConstantStore

    def value(self, graph_value: SSAValue) -> SSAValue:
        """The loop-level tensor of a graph value."""
        ...

    def view(self, graph_value: SSAValue) -> Operation | None:
        """The shape-only operation that makes a value which is not in memory yet."""
        ...

    def emit(self, op: Operation, *sources: Operation) -> Operation:
        """Append `op`, with the locations of `sources`."""
        ...

    def constant(self, array: Array) -> SSAValue:
        """A constant tensor."""
        ...


class Kernel:
    """The nest under construction for one tree; see the module docstring."""

    def __init__(
        self, sink: Sink, members: Iterable[Operation], root: SSAValue, device: str | None
    ):
        self.sink, self.members, self.root, self.device = sink, frozenset(members), root, device
        self.shape = shape_of(root)
        self.out = maps.identity(len(self.shape))
        self._nest: NestBuilder | None = None
        self._anchor: Operation | None = None
        self._anchored = False
        self._multiplies = False  # the factors of a matrix product are read
        self.folded: list[Operation] = []

    # --- for the operators' files ---
    @property
    def nest(self) -> NestBuilder:
        """The nest's builder; made by `begin`."""
        assert self._nest is not None
        return self._nest

    def begin(
        self, domain: Sequence[int], axes: Sequence[Mapping[int, int]],
        *, reduced: Sequence[int] = (), kind: str = "none",
    ) -> NestBuilder:  # fmt: skip
        """Start the nest: its domain, and the result's axes as rows over the domain."""
        self._nest = NestBuilder(domain, reduced=reduced, kind=kind)
        self.out = self._nest.rows(axes)
        return self._nest

    def side_nest(
        self,
        op: Operation,
        domain: Sequence[int],
        axes: Sequence[Mapping[int, int]],
        element: Attribute,
        build: Callable[[NestBuilder], SSAValue],
        *,
        reduced: Sequence[int] = (),
        kind: str = "none",
        hint: str | None = None,
    ) -> SSAValue:
        """A separate nest before this one; its shape is what `axes` span.  Returns its result."""
        nest = NestBuilder(domain, reduced=reduced, kind=kind)
        out = nest.rows(axes)
        value = build(nest)
        shape = [sum(c * (domain[d] - 1) for d, c in row.items()) + 1 for row in axes]
        if 0 in domain:
            shape = [
                0 if any(domain[d] == 0 for d in row) else s
                for row, s in zip(axes, shape, strict=True)
            ]
        made = nest.finish(value, out, tensor(shape, element), self.device)
        self.sink.emit(made, op)
        made.results[0].name_hint = hint
        return made.results[0]

    def whole(self, value: SSAValue) -> SSAValue:
        """The loop-level tensor of `value` (which is not computed in this nest)."""
        return self.sink.value(value)

    def constant(self, array: Array) -> SSAValue:
        """A constant tensor of the loop level."""
        return self.sink.constant(array)

    def known(self, value: SSAValue) -> Array | None:
        """The contents of a graph value that is a constant."""
        if self.sink.view(value) is not None:
            return None
        return constant_array(self.sink.value(value), self.sink.store)

    # --- scalar code ---
    def operand(self, value: SSAValue, result: SSAValue, map: Linear) -> SSAValue:
        """Scalar code of `value` broadcast to the shape of `result`, which is read at `map`."""
        return self.scalar(value, maps.broadcast(map, shape_of(value), shape_of(result)))

    def scalar(self, value: SSAValue, map: Linear, fill: float | int | None = None) -> SSAValue:
        """Scalar code of the element of `value` at `map`; `fill` outside (operands only)."""
        owner = value.owner
        if owner is self._anchor and isinstance(owner, Operation):
            assert self.nest.acc is not None
            return self.nest.acc
        if isinstance(owner, Operation) and owner in self.members:
            if (found := self.nest.memo((value, map))) is not None:
                return found
            inner = through_view(owner, map)
            if inner is not None:
                code = self.scalar(owner.operands[0], inner)
            else:
                from .elementwise import ELEMENTWISE

                code = ELEMENTWISE[type(owner)](self, owner, map)
            return self.nest.remember((value, map), code)
        constant = fill is None and not self._multiplies  # the matrix unit needs two factors
        if constant and (known := self._scalar_constant(value)) is not None:
            return self.nest.const(known, element_of(value))
        while (view := self.sink.view(value)) is not None and self._foldable(view, map, fill):
            inner = through_view(view, map)
            assert inner is not None
            value, map = view.operands[0], inner
            self.folded.append(view)
        return self.nest.read(self.sink.value(value), map, fill)

    def _foldable(self, view: Operation, map: Linear, fill: float | int | None) -> bool:
        """Whether reading through `view` at `map` costs no more than reading a copy of it.

        The NPU reads boxes of a buffer, so only slices without steps; its matrix unit takes
        factors with their axes in any order.  The CPU reads transposed operands well only
        elementwise.  Padding must not reach what a slice cuts away.
        """
        if isinstance(view, SliceOp):
            shape, starts = shape_of(view.x), int_values(view.starts)
            sizes, steps = int_values(view.sizes), int_values(view.steps)
            if self.device == "npu" and any(step != 1 for step in steps):
                return False
            if fill is None or 0 in self.nest.domain:
                return True
            bounds = map.bounds(self.nest.domain)
            cut = [i for i, n in enumerate(shape) if (starts[i], sizes[i], steps[i]) != (0, n, 1)]
            return all(bounds[i][0] >= 0 and bounds[i][1] < sizes[i] for i in cut)
        if self.device == "npu":
            return fill is None and self._multiplies and not isinstance(view, ReshapeOp)
        return fill is None and not self._anchored

    def _scalar_constant(self, value: SSAValue) -> float | int | None:
        if any(d != 1 for d in shape_of(value)) or (array := self.known(value)) is None:
            return None
        number = array.reshape(-1)[0]
        if array.dtype.kind in "iub":
            return int(number) if -(2**63) <= int(number) < 2**63 else None
        return float(number)

    # --- the whole nest ---
    def build(self, anchor: Operation | None, anchors: Mapping[type, Any]) -> Operation:
        """Build the nest of the tree."""
        self._anchored = anchor is not None
        self._multiplies = self.device == "npu" and isinstance(anchor, ConvOp | MatMulOp)
        if anchor is not None:
            anchors[type(anchor)](self, anchor)
            self._anchor, self._multiplies = anchor, False
        else:
            self.begin(self.shape, [{d: 1} for d in range(len(self.shape))])
        value = self.scalar(self.root, self.out)
        made = self.nest.finish(value, self.out, type_of(self.root), self.device)
        return inherit(made, *self.folded) if self.folded else made


def through_view(op: Operation, map: Linear) -> Linear | None:
    """The map of the operand where the result is read at `map`, if `op` only changes the shape."""
    match op:
        case TransposeOp():
            return maps.transpose(map, int_values(op.perm))
        case SliceOp():
            return maps.slice_(map, int_values(op.starts), int_values(op.steps))
        case BroadcastOp():
            return maps.broadcast(map, shape_of(op.x), shape_of(op.result))
        case ReshapeOp() if maps.is_unit_reshape(shape_of(op.x), shape_of(op.result)):
            return maps.unit_reshape(map, shape_of(op.x), shape_of(op.result))
        case _:
            return None

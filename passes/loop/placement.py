"""Where bufferisation puts values: output arguments and slices of concatenations.

    returned   value -> index of the output argument it is written to (through reshapes)
    slices     operand of a concatenation -> (the concatenation's result, axis, start)

Concatenations are visited backwards, so that one that is itself an operand already has its place,
and nested ones share a buffer.  A value can be in one place only; the others get copies.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.locations import inherit
from ...dialects.loop import ConcatOp, NestOp, ReshapeOp
from ...dialects.types import shape_of, type_of
from .lowering.builder import NestBuilder


@dataclass(frozen=True)
class Slice:
    """A place in the buffer of another value: its operand of a concatenation."""

    whole: SSAValue
    axis: int
    start: int


class Placement:
    """The places of the values of a block in tensor form; inserts the copies that outputs need."""

    def __init__(self, block: Block):
        self.block = block
        self.returned: dict[SSAValue, int] = {}
        self.slices: dict[SSAValue, Slice] = {}
        self._axes: dict[SSAValue, frozenset[int]] = {}
        self._place_outputs()
        for op in reversed(list(block.ops)):
            if isinstance(op, ConcatOp):
                self._place_operands(op)

    def _place_outputs(self) -> None:
        """Give returned values their output arguments; copy those that cannot be written there."""
        last = self.block.last_op
        assert isinstance(last, ReturnOp)
        final: list[SSAValue] = []
        for i, value in enumerate(last.arguments):
            root = root_of(value)
            if not isinstance(root.owner, NestOp | ConcatOp) or root in self.returned:
                copy = copy_nest(value, None)
                if isinstance(value.owner, Operation):
                    inherit(copy, value.owner)
                    if (name := value.owner.attributes.get("tensor")) is not None:
                        copy.attributes["tensor"] = name
                self.block.insert_op_before(copy, last)
                value = root = copy.results[0]
            self.returned[root] = i
            final.append(value)
        if tuple(final) != tuple(last.arguments):
            last.operands = final

    def _place_operands(self, concat: ConcatOp) -> None:
        """Give operands of a concatenation their slices, where every use allows it."""
        axis, start = concat.axis.value.data, 0
        axes = self._axes.get(concat.result, frozenset()) | {axis}
        for value in concat.args:
            free = value not in self.slices and value not in self.returned
            if free and isinstance(value.owner, NestOp | ConcatOp) and _sliceable(value, axes):
                self.slices[value] = Slice(concat.result, axis, start)
                self._axes[value] = axes
            start += shape_of(value)[axis]


def copy_nest(source: SSAValue, device: str | None) -> NestOp:
    """A tensor-form nest that copies `source`."""
    shape = shape_of(source)
    nest = NestBuilder(shape)
    map = nest.rows([{d: 1} for d in range(len(shape))])
    return nest.finish(nest.read(source, map), map, type_of(source), device)


def root_of(value: SSAValue) -> SSAValue:
    """The value that `value` is a reshape of."""
    while isinstance(value.owner, ReshapeOp):
        value = value.owner.x
    return value


def _sliceable(value: SSAValue, axes: frozenset[int]) -> bool:
    """Whether every use of `value` can read it as a slice along `axes`."""
    for use in value.uses:
        op = use.operation
        if isinstance(op, ConcatOp):
            continue
        if not isinstance(op, NestOp):
            return False
        if op.fill_values[use.index] is None or 0 in op.sizes:
            continue
        bounds = op.linear_maps[use.index].bounds(op.sizes)
        shape = shape_of(value)
        if any(bounds[a][0] < 0 or bounds[a][1] >= shape[a] for a in axes):
            return False
    return True

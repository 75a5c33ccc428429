"""Values that share one encoding: through data movement always, through concatenation if cheap.

A concatenation runs on stored values when its operands have the encoding of its result.  An operand
joins the result's class if nothing else reads it (its producer then rounds to the joint encoding
directly), or if the joint range is at most twice its own (it loses at most one bit); any other
operand keeps its encoding and is re-encoded, by a table, on its way into the concatenation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from xdsl.ir import Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.graph import ConcatOp, QuantAttr, SoftmaxOp, constant_array
from .calibration import Range
from .encodings import activation_encoding
from .movement import moved_operands, pad_constant
from .quantization_plan import Plan, users

SOFTMAX_RANGE = (0.0, 255 / 256)
"""Gives the scale 1/256 that `graph.qsoftmax` computes."""
COARSENING = 2.0
"""How much wider than its own range a shared encoding may be for an operand with other uses."""


class Classes:
    """Union-find over values, with the range of each class."""

    def __init__(self) -> None:
        self.parent: dict[SSAValue, SSAValue] = {}
        self.ranges: dict[SSAValue, Range] = {}
        self.tight: dict[SSAValue, float] = {}
        self.readers: dict[SSAValue, list[Operation]] = {}

    def find(self, value: SSAValue) -> SSAValue:
        """Representative of the class of `value`."""
        root = value
        while (parent := self.parent.get(root, root)) is not root:
            root = parent
        while (parent := self.parent.get(value, value)) is not root:
            self.parent[value], value = root, parent
        return root

    def add(self, value: SSAValue, range: Range) -> None:
        """A new class holding `value`; its range includes zero."""
        self.ranges[value] = (min(range[0], 0.0), max(range[1], 0.0))
        self.tight[value] = math.inf
        self.readers[value] = []

    def join(self, value: SSAValue, root: SSAValue) -> None:
        """Put `value` into the class of `root`."""
        a, b = self.find(value), self.find(root)
        if a is b:
            return
        self.parent[a] = b
        if a in self.ranges:
            self.widen(b, self.ranges[a])

    def widen(self, value: SSAValue, range: Range) -> None:
        """Make the class of `value` cover `range`."""
        root = self.find(value)
        lo, hi = self.ranges[root]
        self.ranges[root] = (min(lo, range[0]), max(hi, range[1]))

    def span(self, value: SSAValue) -> float:
        """Width of the range of the class of `value`."""
        lo, hi = self.ranges[self.find(value)]
        return hi - lo

    def encoding(self, value: SSAValue) -> QuantAttr:
        """The encoding of the class of `value`."""
        return activation_encoding(*self.ranges[self.find(value)])


def build_classes(plan: Plan, ranges: Mapping[SSAValue, Range], store: ConstantStore) -> Classes:
    """Classes of all values of `plan`, given the `ranges` of its `values` and `demanded`."""
    classes = Classes()
    for value in (*plan.values, *plan.demanded):
        classes.add(value, SOFTMAX_RANGE if isinstance(value.owner, SoftmaxOp) else ranges[value])
    for op, kind in plan.kinds.items():
        if kind != "move":
            continue
        moved, result = moved_operands(op), op.results[0]
        if isinstance(op, ConcatOp):
            constants = [a for o in moved if (a := constant_array(o, store)) is not None]
            _concat(classes, op, [(float(a.min()), float(a.max())) for a in constants if a.size])
        else:
            classes.parent[result] = classes.find(moved[0])
            if (fill := pad_constant(op)) is not None:
                classes.widen(result, (fill, fill))
    _note_readers(plan, classes)
    for op, kind in plan.kinds.items():
        if kind == "move" and isinstance(op, ConcatOp):
            _unify(classes, op)
    return classes


def _concat(classes: Classes, op: ConcatOp, constants: list[Range]) -> None:
    """A new class for the result of `op`, as wide as all its operands."""
    parts = [classes.ranges[root] for o in op.args if (root := classes.find(o)) in classes.ranges]
    parts += constants
    classes.add(op.result, (min(p[0] for p in parts), max(p[1] for p in parts)))


def _note_readers(plan: Plan, classes: Classes) -> None:
    """List what reads each class, other than movement inside it."""
    members = [
        *classes.ranges,
        *(op.results[0] for op, kind in plan.kinds.items() if kind == "move"),
    ]
    for value in dict.fromkeys(members):
        inside = classes.readers[classes.find(value)]
        for user in users(value):
            if plan.kinds.get(user) != "move" or isinstance(user, ConcatOp):
                inside.append(user)


def _unify(classes: Classes, op: ConcatOp) -> None:
    """Join each operand's class to the result's where the rule above allows."""
    for operand in dict.fromkeys(op.args):
        root = classes.find(operand)
        if root not in classes.ranges or root is classes.find(op.result):
            continue
        exclusive = all(reader is op for reader in classes.readers[root])
        needed = classes.tight[root] if exclusive else min(classes.tight[root], classes.span(root))
        joint = max(classes.ranges[root][1], classes.ranges[classes.find(op.result)][1]) - min(
            classes.ranges[root][0], classes.ranges[classes.find(op.result)][0]
        )
        if joint <= COARSENING * needed:
            classes.join(operand, op.result)
            target = classes.find(op.result)
            classes.tight[target] = min(classes.tight[target], needed)

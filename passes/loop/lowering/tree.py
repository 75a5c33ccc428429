"""Which operations of a group share one nest.

Operations are visited backwards.  One joins the nest (the tree) of its users when all of them are
in the same tree and its own result need not exist in memory or be computed twice:

- elementwise operations whose result has as many elements as the user's (no recomputation);
- operations that only change the shape, as access maps;
- at most one anchor (an operator with its own domain), reached through elementwise operations.

Everything else is the root of a tree of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.ir import Operation, SSAValue

from ....dialects.graph import (
    ArgReduceOp,
    BroadcastOp,
    ConvOp,
    CustomOp,
    GatherOp,
    MatMulOp,
    PadOp,
    PoolOp,
    QNormOp,
    QSoftmaxOp,
    ReduceOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
)
from ....dialects.types import shape_of
from . import contraction, custom, movement, reduction, resample, rows, window
from .elementwise import ELEMENTWISE
from .maps import is_unit_reshape

ANCHORS = {
    ConvOp: contraction.conv,
    MatMulOp: contraction.matmul,
    PoolOp: window.pool,
    ReduceOp: reduction.reduce,
    SoftmaxOp: reduction.softmax,
    ArgReduceOp: reduction.arg_reduce,
    QSoftmaxOp: rows.qsoftmax,
    QNormOp: rows.qnorm,
    PadOp: movement.pad,
    GatherOp: movement.gather,
    ResizeOp: resample.resize,
    CustomOp: custom.custom,
}
"""Operators with a domain of their own, and the functions that start their nests."""

VIEWS = (TransposeOp, SliceOp, BroadcastOp, ReshapeOp)

MAX_DEPTH = 100
"""Longest chain of operations in one tree (scalar code is generated recursively)."""


@dataclass
class Tree:
    """A root, the operations computed with it (root included, users first), and its anchor."""

    root: Operation
    members: list[Operation] = field(default_factory=list[Operation])
    anchor: Operation | None = None


@dataclass(frozen=True)
class _Place:
    """Where an operation is: its tree, the distance from the root, and how the root reaches it.

    `aligned`: through elementwise operations of equal shape only; `before`: as an operand of the
    anchor.
    """

    tree: Tree
    depth: int
    aligned: bool
    before: bool


def trees(ops: Sequence[Operation], needed: frozenset[SSAValue]) -> list[Tree]:
    """Divide `ops` into trees, in program order of their roots; `needed` values are roots."""
    places: dict[Operation, _Place] = {}
    out: list[Tree] = []
    for op in reversed(ops):
        place = _join(op, places, needed)
        if place is None:
            tree = Tree(op)
            out.append(tree)
            place = _Place(tree, 0, True, False)
        place.tree.members.append(op)
        if type(op) in ANCHORS and place.tree.anchor is None:
            place.tree.anchor = op
        places[op] = place
    return out[::-1]


def _join(
    op: Operation, places: dict[Operation, _Place], needed: frozenset[SSAValue]
) -> _Place | None:
    """The place of `op` in the tree of its users, or None if it must be a root."""
    if len(op.results) != 1 or op.results[0] in needed:
        return None
    result = op.results[0]
    users = list(dict.fromkeys(use.operation for use in result.uses))
    if not users or any(user not in places for user in users):
        return None
    first = places[users[0]]
    tree = first.tree
    depth = max(places[user].depth for user in users) + 1
    if depth > MAX_DEPTH or any(places[user].tree is not tree for user in users):
        return None
    if isinstance(op, ReshapeOp) and not is_unit_reshape(shape_of(op.x), shape_of(result)):
        return None
    elementwise, view, anchor = type(op) in ELEMENTWISE, isinstance(op, VIEWS), type(op) in ANCHORS
    if not (elementwise or view or anchor):
        return None
    aligned = before = True
    for user in users:
        place = places[user]
        same = shape_of(user.results[0]) == shape_of(result)
        if type(user) in ELEMENTWISE and _by_position(user, result):
            aligned &= place.aligned and same
            before &= place.before
            if not same and not view:
                return None
        elif isinstance(user, VIEWS) and (user is not tree.root or not isinstance(user, ReshapeOp)):
            aligned, before = False, before and place.before
            if isinstance(user, BroadcastOp) and not view:
                return None
        elif isinstance(user, ReduceOp) and user.kind.data != "log_sum_exp" and len(users) == 1:
            aligned = False
        else:
            return None
    if anchor and (tree.anchor is not None or not aligned or before):
        return None
    return _Place(tree, depth, aligned, before)


def _by_position(user: Operation, value: SSAValue) -> bool:
    """Whether elementwise `user` reads `value` at the position of its result only."""
    from ....dialects.graph import BatchNormOp, LookupOp, RequantizeOp

    if isinstance(user, LookupOp | RequantizeOp | BatchNormOp):
        return value not in tuple(user.operands)[1:]
    return True

"""Group operations that become one loop nest into `graph.region`.

    %c = graph.conv %x, %w                 %q = graph.region(%0 = %x, %1 = %w, ...) {
    %r = graph.requantize %c, ...    ->      %c = graph.conv %0, %1
    %q = graph.qadd %r, %y                   %r = graph.requantize %c, ...
                                             %q = graph.qadd %r, %4
                                             graph.yield %q }

A group has one result, that of its last operation.  Going backwards, an operation joins the group
of its users when they are all in that one group, its result has the group's shape, and it is
elementwise, or the only operator of the group with a reduction (convolution, matmul, pooling,
reduction), whose own operands then stay outside.  Everything else in the group is thus elementwise
on the shape of the result, and there can be no cycle: only the last operation has users outside,
so the region stands in its place, where all operands are defined.  Constants and residual operands
enter as arguments.  Operations on different devices never meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ...dialects.graph import (
    CastOp,
    ConvOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    MatMulOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QuantizeOp,
    ReduceOp,
    RegionOp,
    RequantizeOp,
    YieldOp,
    device_of,
)
from ...dialects.locations import location, onnx_nodes
from ...dialects.types import shape_of
from ..base import CompilerContext, Pass, main_function

ELEMENTWISE = (
    MapOp, CastOp, QuantizeOp, DequantizeOp, RequantizeOp, LookupOp, QAddOp, QMulOp,
)  # fmt: skip
"""Operations computed element by element of their result."""

REDUCING = (ConvOp, MatMulOp, PoolOp, ReduceOp)
"""Operators with reduction dimensions: at most one a region."""


@dataclass
class Group:
    """Operations of one region, last first."""

    device: str | None
    shape: tuple[int, ...]
    ops: list[Operation] = field(default_factory=list[Operation])
    reducing: Operation | None = None

    def accepts(self, op: Operation, limit: int) -> bool:
        """Whether `op`, all of whose users are in the group, can be computed with it."""
        if len(self.ops) >= limit or device_of(op) != self.device:
            return False
        if shape_of(op.results[0]) != self.shape:
            return False
        root = op if isinstance(op, REDUCING) else fed_by(op)
        return root is None or self.reducing is None or self.reducing is root

    def add(self, op: Operation) -> None:
        """Add `op`; its reducing operator, or the one that feeds it alone, is the group's."""
        self.ops.append(op)
        root = op if isinstance(op, REDUCING) else fed_by(op)
        self.reducing = self.reducing or root


def fed_by(op: Operation) -> Operation | None:
    """The reducing operator whose only user is elementwise `op`, if there is one.

    The two stay together: in an addition of two convolutions, the stages of the second must not
    join the group of the first and leave their own accumulator behind.
    """
    for operand in op.operands:
        owner = operand.owner
        if isinstance(owner, REDUCING) and owner.results[0].has_one_use():
            return owner
    return None


def by_position(user: Operation, value: SSAValue) -> bool:
    """Whether `user` is elementwise and reads `value` at the position of its result only."""
    if isinstance(user, LookupOp | RequantizeOp):
        return value is user.x and value not in tuple(user.operands)[1:]
    return isinstance(user, ELEMENTWISE)


def groups_of(ops: list[Operation], limit: int) -> list[Group]:
    """Divide the operations that can be fused into groups."""
    group_of: dict[Operation, Group] = {}
    out: list[Group] = []
    for op in reversed(ops):
        if not isinstance(op, (*ELEMENTWISE, *REDUCING)):
            continue
        group = _joined(op, group_of, limit)
        if group is None:
            group = Group(device_of(op), shape_of(op.results[0]))
            out.append(group)
        group.add(op)
        group_of[op] = group
    return out


def _joined(op: Operation, group_of: dict[Operation, Group], limit: int) -> Group | None:
    """The one group of all users of `op`, if `op` may join it."""
    value = op.results[0]
    found: Group | None = None
    for use in value.uses:
        group = group_of.get(use.operation)
        if group is None or (found is not None and group is not found):
            return None
        if not by_position(use.operation, value):
            return None
        found = group
    return found if found is not None and found.accepts(op, limit) else None


def outline(group: Group) -> None:
    """Replace the operations of `group` by one region."""
    ops, last = group.ops[::-1], group.ops[0]
    block = last.parent_block()
    assert block is not None
    inside = set(ops)
    arguments = dict.fromkeys(o for op in ops for o in op.operands if o.owner not in inside)
    body = Block(arg_types=[a.type for a in arguments])
    inner: dict[SSAValue, SSAValue] = dict(zip(arguments, body.args, strict=True))
    for outer, arg in inner.items():
        arg.name_hint = outer.name_hint
    region = RegionOp(list(arguments), [last.results[0].type], Region(body), group.device)
    region.location = location(n for op in ops for n in onnx_nodes(op))
    if (name := last.attributes.get("tensor")) is not None:
        region.attributes["tensor"] = name
    block.insert_op_before(region, last)
    last.results[0].replace_all_uses_with(region.res[0])
    region.res[0].name_hint = last.results[0].name_hint
    for op in ops:
        op.detach()
        op.attributes.pop("device", None)
        op.operands = [inner.get(o, o) for o in op.operands]
        body.add_op(op)
    body.add_op(YieldOp([last.results[0]]))


@dataclass(frozen=True)
class FuseRegionsPass(Pass):
    """Group a reducing operator with the elementwise operations around it into `graph.region`."""

    name = "fuse-regions"
    max_ops: int = 32

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Find all groups, then outline those of more than one operation."""
        for group in groups_of(list(main_function(module).body.block.ops), self.max_ops):
            if len(group.ops) > 1:
                outline(group)


PASS = FuseRegionsPass

"""f(transpose x) = transpose(f' x), for elementwise operations, reductions, slices, windows."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Operation, SSAValue

from ....dialects.graph import (
    ArgReduceOp,
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConvOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    PadOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
)
from ....dialects.locations import inherit
from ....dialects.types import int_values, integer, ints, shape_of
from .driver import Replacement, Rewriter, Rules
from .layout import Operand, Perm, inverse, permute, permuted_type, to_first, transposed


def perm_of(value: SSAValue) -> Perm | None:
    """The permutation of the transpose that defines `value`, else None."""
    return int_values(value.owner.perm) if isinstance(value.owner, TransposeOp) else None


def rebuilt(op: Operation, operands: Sequence[SSAValue], perm: Perm, **properties: object) -> list[Operation]:
    """`op` on other operands, then the transpose that gives the old result."""
    type = permuted_type(op.results[0].type, inverse(perm))
    new = op.__class__.create(
        operands=list(operands), result_types=[type], properties={**op.properties, **properties}  # pyright: ignore
    )
    return [inherit(new, op), transposed(new.results[0], perm)]


def unary(op: CastOp | QuantizeOp | DequantizeOp | LookupOp, ctx: Rewriter) -> Replacement:
    """Elementwise on its first operand."""
    perm = perm_of(op.x)
    if perm is None:
        return None
    return rebuilt(op, [op.x.owner.operands[0], *op.operands[1:]], perm)  # pyright: ignore


def broadcasting(op: MapOp | QAddOp | QMulOp | RequantizeOp, ctx: Rewriter) -> Replacement:
    """Elementwise on operands that broadcast."""
    return joined(op, ctx, op.operands, ctx_limit=len(shape_of(op.results[0])))


def joined(op: Operation, ctx: Rewriter, operands: Sequence[SSAValue], ctx_limit: int, **properties: object) -> Replacement:
    """Bring every operand to the order of the transposed ones, if that saves more than it costs."""
    rank = ctx_limit
    perm = next((p for o in operands if (p := perm_of(o)) is not None and len(p) == rank), None)
    if perm is None:
        return None
    brought = [Operand(o, perm, ctx) for o in operands]
    saved, cost = sum(b.saved for b in brought), sum(b.cost for b in brought)
    if cost > saved or (cost == saved and perm != to_first(rank)):
        return None
    helpers = [o for b in brought for o in b.ops]
    return [*helpers, *rebuilt(op, [b.value for b in brought], perm, **properties)]


def concat(op: ConcatOp, ctx: Rewriter) -> Replacement:
    """Concatenation along the axis's place in x."""
    rank = len(shape_of(op.result))
    perm = next((p for o in op.args if (p := perm_of(o)) is not None), None)
    if perm is None:
        return None
    return joined(op, ctx, op.args, rank, axis=integer(perm[op.axis.value.data]))


def along_axis(op: SoftmaxOp, ctx: Rewriter) -> Replacement:
    """Softmax along the axis's place in x."""
    perm = perm_of(op.x)
    if perm is None:
        return None
    return rebuilt(op, [op.x.owner.operands[0]], perm, axis=integer(perm[op.axis.value.data]))  # pyright: ignore


def reduction(op: ReduceOp | ArgReduceOp, ctx: Rewriter) -> Replacement:
    """Reduction of the axes' places in x; without keepdims the others close up."""
    perm = perm_of(op.x)
    if perm is None:
        return None
    x: SSAValue = op.x.owner.operands[0]  # pyright: ignore
    axes = int_values(op.axes) if isinstance(op, ReduceOp) else (op.axis.value.data,)
    moved = sorted(perm[a] for a in axes)
    place = {"axes": ints(moved)} if isinstance(op, ReduceOp) else {"axis": integer(moved[0])}
    if op.keepdims.value.data:
        return rebuilt(op, [x], perm, **place)
    kept = [p for i, p in enumerate(perm) if i not in axes]
    order = sorted(kept)
    return rebuilt(op, [x], tuple(order.index(p) for p in kept), **place)


def sliced(op: SliceOp, ctx: Rewriter) -> Replacement:
    """Slice of x."""
    perm = perm_of(op.x)
    if perm is None:
        return None
    undo = inverse(perm)
    names = ("starts", "sizes", "steps")
    values = {n: ints(permute(int_values(getattr(op, n)), undo)) for n in names}
    return rebuilt(op, [op.x.owner.operands[0]], perm, **values)  # pyright: ignore


def padded(op: PadOp, ctx: Rewriter) -> Replacement:
    """Pad of x."""
    perm = perm_of(op.x)
    if perm is None:
        return None
    undo = inverse(perm)
    values = {n: ints(permute(int_values(getattr(op, n)), undo)) for n in ("low", "high")}
    return rebuilt(op, [op.x.owner.operands[0]], perm, **values)  # pyright: ignore


def broadcast(op: BroadcastOp, ctx: Rewriter) -> Replacement:
    """Broadcast of x to the permuted shape."""
    perm = perm_of(op.x)
    if perm is None or len(perm) != len(shape_of(op.result)):
        return None
    return rebuilt(op, [op.x.owner.operands[0]], perm)  # pyright: ignore


def spatial(op: ConvOp | PoolOp, ctx: Rewriter) -> Replacement:
    """A window does not care for the order of spatial axes: kernel, strides and pads move along."""
    perm = perm_of(op.x)
    rank = len(shape_of(op.x))
    if perm is None or op.layout.data != "NHWC" or perm[0] != 0 or perm[-1] != rank - 1:
        return None
    x: SSAValue = op.x.owner.operands[0]  # pyright: ignore
    undo, n = inverse(perm), rank - 2
    order = [p - 1 for p in undo[1:-1]]

    def moved(values: Sequence[int]) -> list[int]:
        parts = [values[k : k + n] for k in range(0, len(values), n)]
        return [v for part in parts for v in permute(part, order)]

    names = ("strides", "pads", "dilations") if isinstance(op, ConvOp) else ("kernel", "strides", "pads", "dilations", "ceil_pads")
    values = {k: ints(moved(int_values(getattr(op, k)))) for k in names}
    if isinstance(op, PoolOp):
        return rebuilt(op, [x], perm, **values)
    if set(op.kernel) == {1}:
        return rebuilt(op, [x, *op.operands[1:]], perm, **values)
    w = ctx.array(op.w)
    if w is None:
        return None
    weights = ctx.constant(w.transpose([*order, n, n + 1]).copy(), getattr(op.w.type, "encoding", None))
    return [weights, *rebuilt(op, [x, weights.result, *op.operands[2:]], perm, **values)]


RULES: Rules = {
    MapOp: (broadcasting,), QAddOp: (broadcasting,), QMulOp: (broadcasting,), RequantizeOp: (broadcasting,),
    CastOp: (unary,), QuantizeOp: (unary,), DequantizeOp: (unary,), LookupOp: (unary,),
    ConcatOp: (concat,), SoftmaxOp: (along_axis,), ReduceOp: (reduction,), ArgReduceOp: (reduction,),
    SliceOp: (sliced,), PadOp: (padded,), BroadcastOp: (broadcast,), ConvOp: (spatial,), PoolOp: (spatial,),
}  # fmt: skip
"""All rules of this family."""

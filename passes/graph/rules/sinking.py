"""f(transpose x) = transpose(f' x), for elementwise operations, reductions, slices, windows."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Attribute, Operation, SSAValue

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
    QNormOp,
    QSoftmaxOp,
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
from .layout import (
    Operand,
    Perm,
    encoding_of,
    inverse,
    permute,
    permuted_type,
    to_first,
    transposed,
)


def source_of(value: SSAValue) -> tuple[SSAValue, Perm] | None:
    """(x, perm) if `value` is a transpose of x, else None."""
    owner = value.owner
    return (owner.x, int_values(owner.perm)) if isinstance(owner, TransposeOp) else None


def first_perm(operands: Sequence[SSAValue], rank: int) -> Perm | None:
    """The permutation of the first operand that is a transpose of `rank` axes."""
    found = (source_of(o) for o in operands if len(shape_of(o)) == rank)
    return next((f[1] for f in found if f is not None), None)


def rebuilt(
    op: Operation, operands: Sequence[SSAValue], perm: Perm, **properties: Attribute
) -> list[Operation]:
    """`op` on other operands, then the transpose that gives the old result."""
    type = permuted_type(op.results[0].type, inverse(perm))
    new = op.__class__.create(
        operands=list(operands),
        result_types=[type],
        properties={**op.properties, **properties},
    )
    return [inherit(new, op), transposed(new.results[0], perm)]


def unary(op: CastOp | QuantizeOp | DequantizeOp | LookupOp, ctx: Rewriter) -> Replacement:
    """Elementwise on its first operand."""
    found = source_of(op.x)
    if found is None:
        return None
    x, perm = found
    return rebuilt(op, [x, *op.operands[1:]], perm)


def broadcasting(op: MapOp | QAddOp | QMulOp | RequantizeOp, ctx: Rewriter) -> Replacement:
    """Elementwise on operands that broadcast."""
    return joined(op, ctx, op.operands)


def joined(
    op: Operation, ctx: Rewriter, operands: Sequence[SSAValue], **properties: Attribute
) -> Replacement:
    """Bring every operand to the order of the transposed ones, if that saves more than it costs."""
    rank = len(shape_of(op.results[0]))
    perm = first_perm(operands, rank)
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
    perm = first_perm(op.args, len(shape_of(op.result)))
    if perm is None:
        return None
    return joined(op, ctx, op.args, axis=integer(perm[op.axis.value.data]))


def along_axis(op: SoftmaxOp | QSoftmaxOp, ctx: Rewriter) -> Replacement:
    """Softmax along the axis's place in x."""
    found = source_of(op.x)
    if found is None:
        return None
    x, perm = found
    return rebuilt(op, [x, *op.operands[1:]], perm, axis=integer(perm[op.axis.value.data]))


def norm(op: QNormOp, ctx: Rewriter) -> Replacement:
    """Normalisation along the axes' places in x."""
    found = source_of(op.x)
    if found is None:
        return None
    moved = sorted(found[1][a] for a in int_values(op.axes))
    return joined(op, ctx, op.operands, axes=ints(moved))


def reduction(op: ReduceOp | ArgReduceOp, ctx: Rewriter) -> Replacement:
    """Reduction of the axes' places in x; without keepdims the others close up."""
    found = source_of(op.x)
    if found is None:
        return None
    x, perm = found
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
    found = source_of(op.x)
    if found is None:
        return None
    x, perm = found
    undo = inverse(perm)
    names = ("starts", "sizes", "steps")
    values = {n: ints(permute(int_values(getattr(op, n)), undo)) for n in names}
    return rebuilt(op, [x], perm, **values)


def padded(op: PadOp, ctx: Rewriter) -> Replacement:
    """Pad of x."""
    found = source_of(op.x)
    if found is None:
        return None
    x, perm = found
    undo = inverse(perm)
    values = {n: ints(permute(int_values(getattr(op, n)), undo)) for n in ("low", "high")}
    return rebuilt(op, [x], perm, **values)


def broadcast(op: BroadcastOp, ctx: Rewriter) -> Replacement:
    """Broadcast of x to the permuted shape."""
    found = source_of(op.x)
    if found is None or len(found[1]) != len(shape_of(op.result)):
        return None
    x, perm = found
    return rebuilt(op, [x], perm)


def spatial(op: ConvOp | PoolOp, ctx: Rewriter) -> Replacement:
    """A window does not care for the order of spatial axes: kernel, strides and pads move along."""
    found = source_of(op.x)
    if found is None or op.layout.data != "NHWC":
        return None
    x, perm = found
    rank = len(perm)
    if perm[0] != 0 or perm[-1] != rank - 1:
        return None
    undo, n = inverse(perm), rank - 2
    order = [p - 1 for p in undo[1:-1]]

    def moved(values: Sequence[int]) -> list[int]:
        parts = [values[k : k + n] for k in range(0, len(values), n)]
        return [v for part in parts for v in permute(part, order)]

    names = (
        ("strides", "pads", "dilations")
        if isinstance(op, ConvOp)
        else ("kernel", "strides", "pads", "dilations", "ceil_pads")
    )
    values = {k: ints(moved(int_values(getattr(op, k)))) for k in names}
    if isinstance(op, PoolOp):
        return rebuilt(op, [x], perm, **values)
    if set(op.kernel) == {1}:
        return rebuilt(op, [x, *op.operands[1:]], perm, **values)
    w = ctx.array(op.w)
    if w is None:
        return None
    weights = ctx.constant(w.transpose([*order, n, n + 1]).copy(), encoding_of(op.w))
    return [weights, *rebuilt(op, [x, weights.result, *op.operands[2:]], perm, **values)]


RULES: Rules = {
    MapOp: (broadcasting,),
    QAddOp: (broadcasting,),
    QMulOp: (broadcasting,),
    RequantizeOp: (broadcasting,),
    CastOp: (unary,),
    QuantizeOp: (unary,),
    DequantizeOp: (unary,),
    LookupOp: (unary,),
    ConcatOp: (concat,),
    SoftmaxOp: (along_axis,),
    QSoftmaxOp: (along_axis,),
    QNormOp: (norm,),
    ReduceOp: (reduction,),
    ArgReduceOp: (reduction,),
    SliceOp: (sliced,),
    PadOp: (padded,),
    BroadcastOp: (broadcast,),
    ConvOp: (spatial,),
    PoolOp: (spatial,),
}
"""All rules of this family."""

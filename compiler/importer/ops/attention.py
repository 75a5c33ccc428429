"""Parts of attention operators: heads, masks, rotary embedding, scaled dot products.

    scores = q k' * scale + mask;   y = softmax(scores) v          q, k, v: [batch, heads, ...]

Fewer heads of keys than of queries are met by stacking the queries that share a head, so nothing
is repeated in memory.  Masks add `filter` (a large negative number) where a key is masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i32, i64
from xdsl.ir import SSAValue

from ....dialects.graph import GatherOp, MatMulOp, SoftmaxOp
from ....dialects.types import element_of, shape_of
from ..node import Node

LOWEST = -3.0e38
"""Score of a position that causality hides, whatever else is added."""


def split_heads(node: Node, x: SSAValue, heads: int) -> SSAValue:
    """[batch, length, heads * size] -> [batch, heads, length, size]."""
    shape = shape_of(x)
    if len(shape) != 3 or heads < 1 or shape[2] % heads:
        raise node.error(f"a tensor of shape {list(shape)} does not divide into {heads} heads")
    split = node.reshape(x, (shape[0], shape[1], heads, shape[2] // heads))
    return node.transpose(split, (0, 2, 1, 3))


def merge_heads(node: Node, x: SSAValue) -> SSAValue:
    """[batch, heads, length, size] -> [batch, length, heads * size]."""
    b, h, s, d = shape_of(x)
    return node.reshape(node.transpose(x, (0, 2, 1, 3)), (b, s, h * d))


@dataclass(frozen=True)
class Scores:
    """How scores are made: `bias` values are added, `hidden` (booleans) are set to LOWEST."""

    scale: float
    bias: tuple[SSAValue, ...] = ()
    hidden: SSAValue | None = None
    softcap: float = 0.0


def attend(node: Node, q: SSAValue, k: SSAValue, v: SSAValue, how: Scores) -> SSAValue:
    """Attention of q [b, h, s, d] to k [b, g, t, d] and v [b, g, t, e], h a multiple of g."""
    (b, h, s, d), (_, g, t, _) = shape_of(q), shape_of(k)
    if shape_of(k) != (b, g, t, d) or shape_of(v)[:3] != (b, g, t) or h % g:
        raise node.error(
            f"queries {list(shape_of(q))}, keys {list(shape_of(k))} and values "
            f"{list(shape_of(v))} do not fit"
        )
    rows = node.reshape(q, (b, g, h // g * s, d))
    rows = node.map("mul", rows, node.scalar(how.scale, rows))
    scores = node.emit(MatMulOp(rows, node.transpose(k, (0, 1, 3, 2))))
    scores = node.reshape(scores, (b, h, s, t))
    if how.softcap:
        bent = node.map("tanh", node.map("div", scores, node.scalar(how.softcap, scores)))
        scores = node.map("mul", bent, node.scalar(how.softcap, scores))
    half = element_of(scores) in (f16, bf16)
    scores = node.cast(scores, f32) if half else scores
    for bias in how.bias:
        scores = node.map("add", scores, node.cast(bias, element_of(scores)))
    if how.hidden is not None:
        scores = node.map("select", how.hidden, node.scalar(LOWEST, scores), scores)
    if shape_of(scores) != (b, h, s, t):
        raise node.error(f"a mask does not broadcast to {[b, h, s, t]}")
    weights = node.cast(node.emit(SoftmaxOp(scores, 3)), element_of(v))
    y = node.emit(MatMulOp(node.reshape(weights, (b, g, h // g * s, t)), v))
    return node.reshape(y, (b, h, s, shape_of(v)[3]))


def causal(node: Node, s: int, t: int) -> SSAValue:
    """Booleans [s, t]: which keys lie after a query, the last query being the last key's."""
    node.bounded(s * t)
    return node.constant(~np.tri(s, t, t - s, dtype=bool))


def key_mask(node: Node, i: int, s: int, t: int, filter: float) -> SSAValue:
    """Input `i` of onnxruntime's mask forms as what is added to scores [b, h, s, t].

    [b, t] and [b, s, t]: 0 masks a key; [b, 1, m, m]: that, cut to the scores; [b]: ends of the
    keys; [2 b]: ends, then begins; [3 b + 2]: lengths, then what is for other kernels.
    """
    mask, shape = node.x(i), node.shape(i)
    if len(shape) == 1:
        mask = _by_lengths(node, i, t)
    else:
        if len(shape) == 2:
            mask = node.reshape(mask, (shape[0], 1, 1, shape[1]))
        elif len(shape) == 3:
            mask = node.reshape(mask, (shape[0], 1, *shape[1:]))
        elif shape[2] != s or shape[3] != t:
            mask = node.slice(mask, (0, 0, t - s, 0), (shape[0], 1, s, t))
        mask = node.map("greater", node.cast(mask, i32), node.constant(np.int32(0)))
    none, some = (node.constant(np.float32(x)) for x in (0.0, filter))
    return node.map("select", mask, none, some)


def _by_lengths(node: Node, i: int, t: int) -> SSAValue:
    """Booleans [b, 1, 1, t] from ends (and begins) of the keys."""
    lengths, size, batch = node.cast(node.x(i), i32), node.shape(i)[0], node.shape(0)[0]
    if size not in (batch, 2 * batch, 3 * batch + 2):
        raise node.error(f"a mask of {size} elements does not fit a batch of {batch}")
    positions = node.constant(np.arange(node.bounded(t), dtype=np.int32))

    def column(begin: int) -> SSAValue:
        return node.reshape(node.slice_axis(lengths, 0, begin, batch), (batch, 1, 1, 1))

    inside = node.map("less", positions, column(0))
    if size == 2 * batch:
        begun = node.map("greater_equal", positions, column(batch))
        inside = node.map("and", inside, begun)
    return inside


def scale_of(node: Node, size: int) -> float:
    """The attribute `scale`, 1 / sqrt(size of a head) if it is absent or 0."""
    return node.real("scale", 0.0) or 1 / math.sqrt(size)


def rotate(node: Node, x: SSAValue, cos: SSAValue, sin: SSAValue, *, interleaved: bool) -> SSAValue:
    """Rotary embedding of x [b, h, s, d]: the first 2 r of each head by tables [b | 1, s, r].

    The pairs rotated are halves of the 2 r, or neighbours if `interleaved`.
    """
    (b, h, s, d), r = shape_of(x), shape_of(cos)[-1]
    if 2 * r > d or shape_of(cos)[-2] != s:
        raise node.error(f"tables of shape {list(shape_of(cos))} do not fit {list(shape_of(x))}")
    cos, sin = (
        node.cast(node.reshape(t, (shape_of(t)[0], 1, s, r)), element_of(x)) for t in (cos, sin)
    )
    turned = node.slice_axis(x, 3, 0, 2 * r)
    if interleaved:
        pairs = node.reshape(turned, (b, h, s, r, 2))
        first, second = (
            node.reshape(node.slice_axis(pairs, 4, i, 1), (b, h, s, r)) for i in (0, 1)
        )
    else:
        first, second = (node.slice_axis(turned, 3, i * r, r) for i in (0, 1))
    left = node.map("sub", node.map("mul", first, cos), node.map("mul", second, sin))
    right = node.map("add", node.map("mul", second, cos), node.map("mul", first, sin))
    if interleaved:
        both = [node.reshape(part, (b, h, s, r, 1)) for part in (left, right)]
        out = [node.reshape(node.concat(both, 4), (b, h, s, 2 * r))]
    else:
        out = [left, right]
    if 2 * r < d:
        out.append(node.slice_axis(x, 3, 2 * r, d - 2 * r))
    return node.concat(out, 3)


def table_rows(node: Node, table: int, positions: SSAValue) -> SSAValue:
    """Rows of the table that is input `table`, at positions [b | 1, s]."""
    return node.emit(GatherOp(node.x(table), node.cast(positions, i64), 0))

"""onnxruntime's attention operators (domain `com.microsoft`), as matrix products and softmax.

`Attention` projects its input by packed weights; `MultiHeadAttention` takes queries, keys and
values; `GroupQueryAttention` is causal attention of language models with a cache of keys and
values, whose filled length is an input.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i32, i64
from xdsl.ir import SSAValue

from ....dialects.graph import GatherOp, MatMulOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .attention import (
    Scores,
    attend,
    causal,
    key_mask,
    merge_heads,
    rotate,
    scale_of,
    split_heads,
    table_rows,
)
from .contrib_transformers import DOMAIN
from .elementwise import same_type


def _refuse(node: Node, *attributes: str) -> None:
    for name in attributes:
        if node.integer(name, 0) > 0:
            raise node.unsupported(f"attribute {name!r}", "export without it")


def _refuse_inputs(node: Node, **inputs: int) -> None:
    for name, i in inputs.items():
        if node.has(i):
            raise node.unsupported(f"the input {name!r}", "export without it")


def _biases(node: Node, s: int, t: int, mask: int, bias: int) -> tuple[SSAValue, ...]:
    filter = node.real("mask_filter_value", -10000.0, infinite=True)
    found = [key_mask(node, mask, s, t, filter)] if node.has(mask) else []
    return (*found, *([node.x(bias)] if node.has(bias) else []))


@rule(DOMAIN + "Attention")
def attention(node: Node) -> list[Value]:
    """Self-attention: x W + b gives queries, keys and values; outputs the result and the cache."""
    _refuse(node, "do_rotary", "past_present_share_buffer")
    x, shape = node.x(0), node.shape(0)
    same_type(node, x, node.x(1))
    projected = node.emit(MatMulOp(x, node.x(1)))
    if node.has(2):
        projected = node.map("add", projected, node.x(2))
    if len(shape) != 3:
        raise node.error(f"the input must have rank 3, not shape {list(shape)}")
    return self_attention(node, projected, 3, 4, 5)


def self_attention(node: Node, projected: SSAValue, mask: int, past: int, bias: int) -> list[Value]:
    """Attention of queries, keys and values side by side in [b, s, ...]."""
    heads, (_, s, width) = node.integer("num_heads"), shape_of(projected)
    sizes = node.integers("qkv_hidden_sizes", []) or [width // 3] * 3
    if len(sizes) != 3 or sum(sizes) != width or min(sizes) < 1:
        raise node.error(f"qkv_hidden_sizes {sizes} do not fit {width} columns")
    begins = (0, sizes[0], sizes[0] + sizes[1])
    q, k, v = (
        split_heads(node, node.slice_axis(projected, 2, begin, size), heads)
        for begin, size in zip(begins, sizes, strict=True)
    )
    if node.has(past):
        pasts = [
            node.reshape(node.slice_axis(node.x(past), 0, i, 1), node.shape(past)[1:])
            for i in (0, 1)
        ]
        k, v = node.concat([pasts[0], k], 2), node.concat([pasts[1], v], 2)
    t = shape_of(k)[2]
    how = Scores(
        scale_of(node, shape_of(q)[3]),
        _biases(node, s, t, mask, bias),
        causal(node, s, t) if node.integer("unidirectional", 0) else None,
    )
    out: list[Value] = [merge_heads(node, attend(node, q, k, v, how))]
    if len(node.outputs) > 1 and node.outputs[1]:
        parts = [node.reshape(part, (1, *shape_of(part))) for part in (k, v)]
        out.append(node.concat(parts, 0))
    return out


@rule(DOMAIN + "MultiHeadAttention")
def multi_head_attention(node: Node) -> list[Value]:
    """Attention of separate or packed queries, keys and values, with a cache as input."""
    _refuse_inputs(node, past_sequence_length=8, cache_indirection=9)
    heads = node.integer("num_heads")
    q, k, v = _separated(node, heads)
    if node.has(6) and node.has(7):
        k, v = node.concat([node.x(6), k], 2), node.concat([node.x(7), v], 2)
    s, t = shape_of(q)[2], shape_of(k)[2]
    how = Scores(
        scale_of(node, shape_of(q)[3]),
        _biases(node, s, t, 4, 5),
        causal(node, s, t) if node.integer("unidirectional", 0) else None,
    )
    return [merge_heads(node, attend(node, q, k, v, how)), k, v]


def _separated(node: Node, heads: int) -> tuple[SSAValue, SSAValue, SSAValue]:
    """Queries, keys and values as [b, h, length, size], the bias added."""
    shape = node.shape(0)
    if len(shape) == 5:  # [b, s, h, 3, d]
        parts = [_part(node, node.x(0), i) for i in range(3)]
    elif node.has(1) and len(node.shape(1)) == 5:  # [b, t, h, 2, d]
        parts = [split_heads(node, node.x(0), heads)]
        parts += [_part(node, node.x(1), i) for i in range(2)]
    else:
        parts = [
            x if len(shape_of(x)) == 4 else split_heads(node, x, heads)
            for x in (node.x(0), node.x(1), node.x(2))
        ]
    if node.has(3):
        begin, bias = 0, node.x(3)
        for i, part in enumerate(parts):
            width = heads * shape_of(part)[3]
            if i and len(shape) == 3 and node.has(i) and len(node.shape(i)) == 4:
                continue  # keys and values of an encoder come with their bias
            one = node.slice_axis(bias, 0, begin, width)
            one = node.reshape(one, (heads, 1, width // heads))
            parts[i] = node.map("add", part, one)
            begin += width
    return parts[0], parts[1], parts[2]


def _part(node: Node, packed: SSAValue, i: int) -> SSAValue:
    """Part `i` of [b, s, h, n, d] as [b, h, s, d]."""
    b, s, h, _, d = shape_of(packed)
    return node.transpose(
        node.reshape(node.slice_axis(packed, 3, i, 1), (b, s, h, d)), (0, 2, 1, 3)
    )


@rule(DOMAIN + "RotaryEmbedding")
def rotary_embedding(node: Node) -> Value:
    """Rotary embedding at given positions (one: the first of a run)."""
    _refuse(node, "is_packed_batching")
    x, shape = node.x(0), node.shape(0)
    width = node.shape(2)[-1]
    if len(shape) == 4:
        b, _, s, _ = shape
        heads = x
    else:
        b, s, hidden = shape
        count = node.integer("num_heads", 0) or hidden // (2 * width)
        heads = split_heads(node, x, count)
    positions = node.x(1)
    if node.shape(1) != (b, s):
        if node.shape(1) != (1,):
            raise node.error(f"positions of shape {list(node.shape(1))} do not fit {[b, s]}")
        run = node.constant(np.arange(node.bounded(s), dtype=np.int64).reshape(1, s))
        positions = node.map("add", node.cast(positions, i64), run)
    cos, sin = (table_rows(node, i, positions) for i in (2, 3))
    y = rotate(node, heads, cos, sin, interleaved=bool(node.integer("interleaved", 0)))
    return y if len(shape) == 4 else merge_heads(node, y)


@rule(DOMAIN + "GroupQueryAttention")
def group_query_attention(node: Node) -> list[Value]:
    """Causal attention of language models; new keys and values join the cache at its filled end.

    `seqlens_k` holds the last filled position after this step, for each of the batch.
    """
    _refuse(node, "smooth_softmax", "qk_output", "k_quant_type")
    _refuse_inputs(node, head_sink=11)
    heads, groups = node.integer("num_heads"), node.integer("kv_num_heads")
    q, k, v = _grouped(node, heads, groups)
    b, _, s, size = shape_of(q)
    total = int(node.static_scalar(6, "the total sequence length"))
    cached = node.shape(3)[2] if node.has(3) else 0
    t = max(cached, total)
    if total < s:
        raise node.error(f"a total length of {total} is less than the {s} new ones")
    column = (b, 1)
    last = node.reshape(node.cast(node.x(5), i32), column)
    past = node.map("sub", last, node.constant(np.int32(s - 1)))  # filled before this step
    if s == total:  # the first step: all is new, also where sequences are padded to `s`
        past = node.constant(np.zeros(column, np.int32))
    steps = node.constant(np.arange(s, dtype=np.int32).reshape(1, s))
    at = node.map("add", past, steps)  # position of each query
    if node.integer("do_rotary", 0):
        positions = node.x(9) if node.has(9) else at
        tables = [table_rows(node, i, positions) for i in (7, 8)]
        inter = bool(node.integer("rotary_interleaved", 0))
        q, k = (rotate(node, x, *tables, interleaved=inter) for x in (q, k))
    k, v = (_joined(node, 3 + i, x, past, t, first=s == total) for i, x in enumerate((k, v)))
    keys = node.constant(np.arange(t, dtype=np.int32).reshape(1, 1, 1, t))
    query = node.reshape(at, (b, 1, s, 1))
    filled = node.reshape(last, (b, 1, 1, 1))  # queries after it are padding
    hidden = node.map("greater", keys, node.map("minimum", query, filled))
    window = node.integer("local_window_size", -1)
    if window > 0:
        first = node.map("sub", query, node.constant(np.int32(window)))
        hidden = node.map("or", hidden, node.map("less_equal", keys, first))
    bias = [node.x(10)] if node.has(10) else []
    if bias and shape_of(bias[0])[3] < t:
        short = t - shape_of(bias[0])[3]
        bias = [node.pad(bias[0], (0, 0, 0, 0), (0, 0, 0, short))]
    how = Scores(scale_of(node, size), tuple(bias), hidden, node.real("softcap", 0.0))
    return [merge_heads(node, attend(node, q, k, v, how)), k, v]


def _grouped(node: Node, heads: int, groups: int) -> tuple[SSAValue, SSAValue, SSAValue]:
    """Queries, keys and values by heads; all three may be packed in the first input."""
    if node.has(1):
        return (
            split_heads(node, node.x(0), heads),
            split_heads(node, node.x(1), groups),
            split_heads(node, node.x(2), groups),
        )
    every = split_heads(node, node.x(0), heads + 2 * groups)
    begins = ((0, heads), (heads, groups), (heads + groups, groups))
    q, k, v = (node.slice_axis(every, 1, begin, count) for begin, count in begins)
    return q, k, v


def _joined(
    node: Node, cache: int, new: SSAValue, past: SSAValue, t: int, *, first: bool
) -> SSAValue:
    """The cache [b, g, c, d] with `new` [b, g, s, d] from position past[b] on, t long.

    A gather of rows: position p is row p of the cache if p < past[b], else row p - past[b] of
    `new` while there is one, else zero.
    """
    b, g, s, d = shape_of(new)
    cached = node.shape(cache)[2] if node.has(cache) else 0
    if first or not cached:  # constant places
        return node.pad(new, (0, 0, 0, 0), (0, 0, t - s, 0))
    width = cached + s + 1
    rows = [node.x(cache), new, node.broadcast(node.scalar(0, new), (b, g, 1, d))]
    table = node.transpose(node.concat(rows, 2), (0, 2, 1, 3))
    positions = node.constant(np.arange(t, dtype=np.int32).reshape(1, t))
    step = node.map("sub", positions, past)
    old = node.map("less", step, node.constant(np.int32(0)))
    fresh = node.map("minimum", step, node.constant(np.int32(s)))
    fresh = node.map("add", fresh, node.constant(np.int32(cached)))
    kept = node.constant(np.minimum(np.arange(t, dtype=np.int32), cached - 1).reshape(1, t))
    row = node.map("select", old, kept, fresh)
    base = node.constant((np.arange(b, dtype=np.int32) * width).reshape(b, 1))
    at = node.cast(node.map("add", row, base), i64)
    taken = node.emit(GatherOp(node.reshape(table, (b * width, g * d)), at, 0))
    return node.transpose(node.reshape(taken, (b, t, g, d)), (0, 2, 1, 3))

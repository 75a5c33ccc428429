"""Convolution and matrix product as nests.

Domains (2-d convolution; other ranks likewise), the innermost parallel dimension is the result's
innermost axis:

    conv NHWC           n, oh, ow, oc, | kh, kw, ic
    grouped             n, oh, ow, g, oc, | kh, kw, ic      channel = g * (channels a group) + ic
    depthwise           n, oh, ow, c, | kh, kw
    conv NCHW           n, oc, oh, ow, | ic, kh, kw
    matmul              batch..., m, n, | k
"""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....dialects.graph import ConvOp, MatMulOp
from ....dialects.loop import Linear
from ....dialects.types import element_of, int_values, is_float, shape_of
from .builder import compute_type
from .kernel import Kernel

Row = dict[int, int]


def _product(
    k: Kernel,
    op: ConvOp | MatMulOp,
    a: SSAValue,
    b: SSAValue,
    a_zp: int,
    b_zp: int,
    bias: SSAValue | None,
) -> None:
    """End the body with a * b (widened when integer), and add the bias in the epilogue."""
    result = element_of(op.result)
    if result == i32 and element_of(op.operands[0]) != i32:
        a = k.nest.apply("widen", [a], i32, {"zp": a_zp} if a_zp else None)
        b = k.nest.apply("widen", [b], i32, {"zp": b_zp} if b_zp else None)
    a, b = k.nest.wide(a), k.nest.wide(b)
    acc = k.nest.reduce(k.nest.apply("mul", [a, b], compute_type(result)))
    if bias is not None:
        at = Linear(k.out.coeffs[_channel_axis(op) :][:1], (0,), k.nest.rank)
        acc = k.nest.apply("add", [acc, k.nest.wide(k.scalar(bias, at))], acc.type)
    k.nest.acc = k.nest.cast(acc, result)


def _channel_axis(op: ConvOp | MatMulOp) -> int:
    rank = len(shape_of(op.result))
    return 1 if isinstance(op, ConvOp) and op.layout.data == "NCHW" else rank - 1


def conv(k: Kernel, op: ConvOp) -> None:
    """A convolution of any rank, grouping and layout."""
    nchw = op.layout.data == "NCHW"
    x, y, kernel, group = shape_of(op.x), shape_of(op.result), op.kernel, op.group.value.data
    n = len(kernel)
    in_channels, out_channels = (x[1] if nchw else x[-1]), op.out_channels
    per_group, outs = in_channels // group, out_channels // group
    depthwise = group > 1 and per_group == 1 and outs == 1
    # name the dimensions, then number them in order
    channel = ["c"] if depthwise else (["g", "oc"] if group > 1 else ["oc"])
    spatial, window = [f"o{i}" for i in range(n)], [f"k{i}" for i in range(n)]
    inner = [] if depthwise else ["ic"]
    parallel = ["n", *channel, *spatial] if nchw else ["n", *spatial, *channel]
    reduced = [*inner, *window] if nchw else [*window, *inner]
    d = {name: i for i, name in enumerate([*parallel, *reduced])}
    out_spatial = y[2:] if nchw else y[1:-1]
    extents = {"n": y[0], "c": out_channels, "g": group, "oc": outs, "ic": per_group}
    extents |= dict(zip(spatial, out_spatial, strict=True)) | dict(zip(window, kernel, strict=True))

    strides, dilations, pads = int_values(op.strides), int_values(op.dilations), int_values(op.pads)
    x_spatial: list[Row] = [{d[f"o{i}"]: strides[i], d[f"k{i}"]: dilations[i]} for i in range(n)]
    x_channel: Row = (
        {d["c"]: 1} if depthwise else {d["ic"]: 1, **({d["g"]: per_group} if group > 1 else {})}
    )
    y_channel: Row = (
        {d["c"]: 1} if depthwise else {d["oc"]: 1, **({d["g"]: outs} if group > 1 else {})}
    )
    w_in: Row = {} if depthwise else {d["ic"]: 1}
    taps: list[Row] = [{d[w]: 1} for w in window]
    batch: Row = {d["n"]: 1}
    begins = [-p for p in pads[:n]]

    def layout(channels: Row, positions: list[Row]) -> list[Mapping[int, int]]:
        return [batch, channels, *positions] if nchw else [batch, *positions, channels]

    k.begin(
        [extents[name] for name in d],
        layout(y_channel, [{d[s]: 1} for s in spatial]),
        reduced=[d[name] for name in reduced],
        kind="add",
    )
    consts = [0, 0, *begins] if nchw else [0, *begins, 0]
    fill = 0.0 if is_float(element_of(op.x)) else op.x_zp.value.data
    a = k.scalar(op.x, k.nest.rows(layout(x_channel, x_spatial), consts), fill)
    b = k.scalar(op.w, k.nest.rows([y_channel, w_in, *taps] if nchw else [*taps, w_in, y_channel]))
    _product(k, op, a, b, op.x_zp.value.data, op.w_zp.value.data, op.b)


def matmul(k: Kernel, op: MatMulOp) -> None:
    """A batched matrix product; batch axes broadcast."""
    a, b, y = shape_of(op.a), shape_of(op.b), shape_of(op.result)
    rank = len(y)
    m, n, inner = rank - 2, rank - 1, rank
    k.begin([*y, a[-1]], [{i: 1} for i in range(rank)], reduced=[inner], kind="add")

    def batch(shape: tuple[int, ...]) -> list[Row]:
        skip = rank - len(shape)
        return [
            {skip + i: 1} if e != 1 or y[skip + i] == 1 else {} for i, e in enumerate(shape[:-2])
        ]

    left = k.scalar(op.a, k.nest.rows([*batch(a), {m: 1}, {inner: 1}]))
    right = k.scalar(op.b, k.nest.rows([*batch(b), {inner: 1}, {n: 1}]))
    _product(k, op, left, right, op.a_zp.value.data, op.b_zp.value.data, op.bias)

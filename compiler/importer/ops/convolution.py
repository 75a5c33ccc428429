"""Conv, ConvTranspose and their integer relatives.

ConvTranspose by stride s is a convolution at stride 1 with s times the output channels, one set
for each phase of the output, followed by depth-to-space (the sub-pixel form): with t = q s + r,

    Y[q s + r] = sum_j x[q - j] w[j s + r]          j < ceil(k / s)

so nothing is multiplied by inserted zeros (Shi et al., "Is the deconvolution layer the same as a
convolutional layer?", 2016).  Padding crops the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import ConvOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .elementwise import same_type
from .matmul import centred
from .windows import Window, window


@rule("Conv")
def conv(node: Node) -> Value:
    """Convolution of any number of spatial axes."""
    same_type(node, node.x(0), node.x(1), *([node.x(2)] if node.has(2) else []))
    frame = conv_window(node, node.shape(0), node.shape(1))
    return emit_conv(node, node.x(0), node.x(1), node.x(2) if node.has(2) else None, frame)


def conv_window(node: Node, x: Sequence[int], w: Sequence[int]) -> Window:
    """The window of a Conv; ModelError if the channels do not fit."""
    if len(x) < 3 or len(w) != len(x):
        raise node.error(f"input of shape {list(x)} and weights of shape {list(w)} do not fit")
    group = node.integer("group", 1)
    if group < 1 or x[1] != w[1] * group or w[0] % group:
        raise node.error(
            f"{x[1]} input channels do not fit weights of shape {list(w)} in {group} groups"
        )
    kernel = node.integers("kernel_shape", w[2:])
    if kernel != list(w[2:]):
        raise node.error(f"attribute 'kernel_shape' is {kernel}, the weights have shape {list(w)}")
    return window(node, x[2:], kernel)


def emit_conv(node: Node, x: SSAValue, w: SSAValue, b: SSAValue | None, frame: Window) -> SSAValue:
    """`graph.conv` of the window `frame`, in the groups of the node."""
    return node.emit(
        ConvOp(
            x,
            w,
            b,
            strides=frame.strides,
            pads=frame.pads,
            dilations=frame.dilations,
            group=node.integer("group", 1),
        )
    )


@rule("ConvInteger")
def conv_integer(node: Node) -> Value:
    """Convolution of 8-bit operands minus their zero points, in i32."""
    frame = conv_window(node, node.shape(0), node.shape(1))
    w = node.cast(node.x(1), i32)
    if node.has(3):
        zp = node.cast(node.x(3), i32)
        w = node.map(
            "sub", w, node.reshape(zp, (math.prod(shape_of(zp)), *[1] * (len(node.shape(1)) - 1)))
        )
    return emit_conv(node, centred(node, 0, 2, -1), w, None, frame)


@rule("ConvTranspose")
def conv_transpose(node: Node) -> Value:
    """Transposed convolution as a convolution and depth-to-space."""
    x, shape, w = node.x(), node.shape(0), node.shape(1)
    same_type(node, x, node.x(1), *([node.x(2)] if node.has(2) else []))
    n, group = len(shape) - 2, node.integer("group", 1)
    if n < 1 or len(w) != n + 2 or shape[1] != w[0] or group < 1 or shape[1] % group:
        raise node.error(
            f"input of shape {list(shape)} and weights of shape {list(w)} "
            f"in {group} groups do not fit"
        )
    if node.integers("kernel_shape", w[2:]) != list(w[2:]):
        raise node.error(f"attribute 'kernel_shape' does not fit weights of shape {list(w)}")
    strides, dilations = node.integers("strides", [1] * n), node.integers("dilations", [1] * n)
    if len(strides) != n or len(dilations) != n or min(*strides, *dilations) < 1:
        raise node.error(
            f"strides {strides} and dilations {dilations} must be {n} positive numbers each"
        )
    extents = [(k - 1) * d + 1 for k, d in zip(w[2:], dilations, strict=True)]
    begins, sizes = _crop(node, shape[2:], strides, extents)
    # Taps for each phase: enough for the kernel and for output beyond it, which is bias only.
    taps = [
        max(math.ceil(k / s), math.ceil((b + size) / s) - i + 1)
        for k, s, b, size, i in zip(extents, strides, begins, sizes, shape[2:], strict=True)
    ]
    node.bounded(w[0] * w[1] * math.prod(map(mul, taps, strides)))
    constant = node.array(1)
    if constant is not None:
        weights = node.constant(_phases(constant, group, strides, dilations, taps))
    else:
        weights = _computed_phases(node, group, strides, dilations, taps)
    outputs, phases = w[1] * group, math.prod(strides)
    bias = node.x(2) if node.has(2) else None
    if bias is not None and phases > 1:
        constant = node.array(2)
        if constant is not None:
            bias = node.constant(np.repeat(constant, phases))
        else:
            wide = node.broadcast(node.reshape(bias, (outputs, 1)), (outputs, phases))
            bias = node.reshape(wide, (outputs * phases,))
    pads = [t - 1 for t in taps]
    y = node.emit(
        ConvOp(
            x,
            weights,
            bias,
            strides=[1] * n,
            pads=pads * 2,
            dilations=[1] * n,
            group=group,
        )
    )
    full = shape_of(y)[2:]
    if phases > 1:
        y = node.reshape(y, (shape[0], outputs, *strides, *full))
        y = node.transpose(y, (0, 1, *[axis for i in range(n) for axis in (2 + n + i, 2 + i)]))
        y = node.reshape(
            y, (shape[0], outputs, *[q * s for q, s in zip(full, strides, strict=True)])
        )
    return node.slice(y, (0, 0, *begins), (shape[0], outputs, *sizes))


def _crop(
    node: Node, x: Sequence[int], strides: Sequence[int], extents: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Where the result begins in the full output, and its extents."""
    n = len(x)
    extra = node.integers("output_padding", [0] * n)
    auto_pad, wanted = node.text("auto_pad", "NOTSET"), node.opt_integers("output_shape")
    pads = node.integers("pads", [0] * (2 * n))
    if (
        len(pads) != 2 * n
        or len(extra) != n
        or (wanted is not None and len(wanted) != n)
        or min(*pads, *extra) < 0
    ):
        raise node.error(f"pads, output_padding and output_shape do not fit {n} spatial axes")
    begins, sizes = pads[:n], list[int]()
    for i in range(n):
        full = strides[i] * (x[i] - 1) + extra[i] + extents[i]
        if wanted is None and auto_pad in ("NOTSET", "VALID"):
            if auto_pad == "VALID":
                begins[i] = pads[n + i] = 0
            sizes.append(full - begins[i] - pads[n + i])
        else:
            size = wanted[i] if wanted is not None else x[i] * strides[i]
            total = max(0, full - size)
            begins[i] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            sizes.append(size)
    if min(sizes) < 1:
        raise node.error(f"its result would have the spatial shape {sizes}")
    return begins, sizes


def _phases(
    w: Array, group: int, strides: Sequence[int], dilations: Sequence[int], taps: Sequence[int]
) -> Array:
    """Weights [C, M/g, *k] of a transposed convolution as [M * prod(strides), C/g, *taps]."""
    n = len(strides)
    channels, per_group = w.shape[:2]
    # Dilate, and pad to taps * stride.
    spread = np.zeros(
        (channels, per_group, *[t * s for t, s in zip(taps, strides, strict=True)]), w.dtype
    )
    spread[
        (
            slice(None),
            slice(None),
            *[slice(0, (k - 1) * d + 1, d) for k, d in zip(w.shape[2:], dilations, strict=True)],
        )
    ] = w
    split = spread.reshape(
        group,
        channels // group,
        per_group,
        *[e for t, s in zip(taps, strides, strict=True) for e in (t, s)],
    )
    # [g, C/g, M/g, t0, s0, t1, s1 ...] -> [g, M/g, s0, s1 ..., C/g, t0, t1 ...], taps reversed.
    order = (0, 2, *[4 + 2 * i for i in range(n)], 1, *[3 + 2 * i for i in range(n)])
    moved = split.transpose(order)[(slice(None),) * (n + 3) + (slice(None, None, -1),) * n]
    return np.ascontiguousarray(
        moved.reshape(group * per_group * math.prod(strides), channels // group, *taps)
    )


def _computed_phases(
    node: Node,
    group: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    taps: Sequence[int],
) -> SSAValue:
    """As `_phases`, of weights that are computed."""
    w, n, none = node.x(1), len(strides), [0] * (len(strides) + 2)
    channels, per_group = shape_of(w)[:2]
    for i, dilation in enumerate(dilations):  # insert zeros: pad an axis after this one, merge it
        shape, axis = shape_of(w), i + 2
        if dilation > 1:
            w = node.reshape(w, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
            high = [dilation - 1 if a == axis + 1 else 0 for a in range(n + 3)]
            w = node.pad(w, [0] * (n + 3), high)
            w = node.reshape(w, (*shape[:axis], shape[axis] * dilation, *shape[axis + 1 :]))
            w = node.slice_axis(w, axis, 0, (shape[axis] - 1) * dilation + 1)
    wanted = (channels, per_group, *map(mul, taps, strides))
    w = node.pad(w, none, [a - b for a, b in zip(wanted, shape_of(w), strict=True)])
    pairs = [e for t, s in zip(taps, strides, strict=True) for e in (t, s)]
    w = node.reshape(w, (group, channels // group, per_group, *pairs))
    order = (0, 2, *[4 + 2 * i for i in range(n)], 1, *[3 + 2 * i for i in range(n)])
    w = node.transpose(w, order)
    shape = shape_of(w)
    starts = [0] * (n + 3) + [t - 1 for t in taps]
    w = node.slice(w, starts, shape, [1] * (n + 3) + [-1 if t > 1 else 1 for t in taps])
    return node.reshape(w, (group * per_group * math.prod(strides), channels // group, *taps))

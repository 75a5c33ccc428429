"""Random convolutional and attention networks: the models that an NPU runs, at odd extents.

`random_graphs` draws any operators at tiny extents; here every layer has an integer form, channels
and extents are larger and odd, so that tiles are split, partial and spilled:

    @given(networks())
    def test_ends(model): ...
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from support.random_layers import Builder, Value, window

Layer = Callable[[Builder, Value], Value | None]
MAX_MACS = 1_500_000
"""Of any layer, so that one example costs about a second."""
MAX_SIZE = 40_000


def activation(b: Builder, x: Value) -> Value:
    """One of the functions that fuse into what produces `x`, or become a table."""
    kind = b.pick(
        [
            "none", "Relu", "Relu", "Clip", "LeakyRelu", "HardSwish", "silu", "Sigmoid", "Tanh",
            "PRelu", "Elu",
        ]
    )  # fmt: skip
    if kind == "none":
        return x
    if kind == "silu":
        return b.add("Mul", [x, b.add("Sigmoid", [x], x.shape)], x.shape)
    if kind == "Clip":
        bounds = [b.constant(np.asarray(v, np.float32)) for v in (0.0, b.pick([6.0, 1.0]))]
        return b.add("Clip", [x, *bounds], x.shape)
    if kind == "PRelu":
        slope = (x.shape[1], *[1] * (len(x.shape) - 2)) if len(x.shape) > 2 else x.shape[-1:]
        return b.add("PRelu", [x, b.weight(slope)], x.shape)
    return b.add(kind, [x], x.shape)


def _conv(
    b: Builder, x: Value, m: int, group: int, kernel: tuple[int, int], strides: tuple[int, int],
    dilations: tuple[int, int], pads: tuple[int, int, int, int],
) -> Value | None:  # fmt: skip
    n, c, h, w = x.shape
    oh = window(h, kernel[0], strides[0], pads[0], pads[2], dilations[0])
    ow = window(w, kernel[1], strides[1], pads[1], pads[3], dilations[1])
    fan = c // group * kernel[0] * kernel[1]
    if oh < 1 or ow < 1 or n * m * oh * ow * fan > MAX_MACS or n * m * oh * ow > MAX_SIZE:
        return None
    inputs: list[Value | str] = [x, b.weight((m, c // group, *kernel), fan)]
    if b.pick([True, True, False]):
        inputs.append(b.weight((m,)))
    return b.add(
        "Conv", inputs, (n, m, oh, ow), group=group, kernel_shape=list(kernel),
        strides=list(strides), dilations=list(dilations), pads=list(pads),
    )  # fmt: skip


def conv(b: Builder, x: Value) -> Value | None:
    """A convolution of any kernel, stride, pads and dilation, then an activation."""
    if len(x.shape) != 4:
        return None
    kernel = b.pick(
        [(1, 1), (1, 1), (3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (2, 2), (7, 3), (4, 1)]
    )
    kh, kw = kernel
    same = ((kh - 1) // 2, (kw - 1) // 2, kh // 2, kw // 2)
    pads = b.pick([same, same, (0, 0, 0, 0), (1, 0, 2, 3)])
    group = b.pick([g for g in (1, 1, 1, 2, 3, 4) if x.shape[1] % g == 0])
    m = group * b.pick([1, 2, 3, 5, 8, 16, 17, 33, 40])
    strides = b.pick([(1, 1), (1, 1), (2, 2), (2, 1), (3, 3), (1, 4)])
    y = _conv(b, x, m, group, kernel, strides, b.pick([(1, 1), (1, 1), (2, 2), (3, 1)]), pads)
    return y and activation(b, y)


def depthwise(b: Builder, x: Value) -> Value | None:
    """A depthwise convolution with a channel multiplier, then an activation."""
    if len(x.shape) != 4:
        return None
    c, kernel = x.shape[1], b.pick([(3, 3), (5, 5), (1, 3), (2, 2)])
    pads = b.pick([(1, 1, 1, 1), (0, 0, 0, 0), (2, 2, 2, 2), (0, 1, 1, 0)])
    strides, dilations = b.pick([(1, 1), (2, 2), (1, 2)]), b.pick([(1, 1), (1, 1), (2, 2)])
    y = _conv(b, x, c * b.pick([1, 1, 1, 2, 3]), c, kernel, strides, dilations, pads)
    return y and activation(b, y)


def conv_transpose(b: Builder, x: Value) -> Value | None:
    """A transposed convolution."""
    if len(x.shape) != 4:
        return None
    n, c, h, w = x.shape
    k, s, p = b.pick([(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 1, 1), (3, 3, 0)])
    group = b.pick([1, 1, c])
    m, extra = group * b.pick([1, 2, 7] if group == 1 else [1, 2]), b.pick([0, 0, s - 1])
    shape = (n, m, *((d - 1) * s - 2 * p + k + extra for d in (h, w)))
    if (
        min(shape) < 1
        or math.prod(shape) * c // group * k * k > MAX_MACS
        or math.prod(shape) > MAX_SIZE
    ):
        return None
    return b.add(
        "ConvTranspose", [x, b.weight((c, m // group, k, k), c * k), b.weight((m,))], shape,
        group=group,
        kernel_shape=[k, k], strides=[s, s], pads=[p] * 4, output_padding=[extra] * 2,
    )  # fmt: skip


def pool(b: Builder, x: Value) -> Value | None:
    """Maximum or average pooling, windows clipped by the border or rounded up."""
    if len(x.shape) != 4:
        return None
    n, c, h, w = x.shape
    kind, k, s = b.pick(["MaxPool", "AveragePool"]), b.pick([2, 3, 5]), b.pick([1, 2, 2, 3])
    p = b.pick([0, k // 2])
    ceil = b.pick([0, 0, 1]) if p == 0 and s <= k else 0
    shape = [n, c]
    for d in (h, w):
        out = (d + 2 * p - k) // s + 1
        if ceil and (d - k) % s:
            out += 1
        if d + 2 * p < k or out < 1:
            return None
        shape.append(out)
    more = {"count_include_pad": b.pick([0, 1])} if kind == "AveragePool" and not ceil else {}
    return b.add(
        kind, [x], tuple(shape), kernel_shape=[k, k], strides=[s, s], pads=[p] * 4,
        ceil_mode=ceil, **more,
    )  # fmt: skip


def squeeze_excite(b: Builder, x: Value) -> Value | None:
    """Channels scaled by a gate computed from their means."""
    if len(x.shape) != 4:
        return None
    n, c, _, _ = x.shape
    g = b.add("GlobalAveragePool", [x], (n, c, 1, 1))
    g = _conv(b, g, max(1, c // 2), 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    g = g and b.add("Relu", [g], g.shape)
    g = g and _conv(b, g, c, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    if g is None:
        return None
    g = b.add(b.pick(["Sigmoid", "HardSigmoid"]), [g], g.shape)
    return b.add("Mul", [x, g] if b.pick([True, False]) else [g, x], x.shape)


def residual(b: Builder, x: Value) -> Value | None:
    """A sum, difference or product with an earlier value of the same shape, then an activation."""
    others = [v for v in b.values if v.shape == x.shape]
    y = b.add(b.pick(["Add", "Add", "Add", "Mul", "Sub", "Max"]), [x, b.pick(others)], x.shape)
    return activation(b, y)


def concat(b: Builder, x: Value) -> Value | None:
    """Concatenation of up to four earlier values, most often of channels."""
    axis = b.pick([1, 1, 1, len(x.shape) - 1])
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    others = [
        v
        for v in b.values
        if len(v.shape) == len(x.shape) and v.shape[:axis] + v.shape[axis + 1 :] == rest
    ]
    parts = [x, *(b.pick(others) for _ in range(b.number(1, 3)))]
    shape = (*x.shape[:axis], sum(p.shape[axis] for p in parts), *x.shape[axis + 1 :])
    return b.add("Concat", parts, shape, axis=axis) if math.prod(shape) <= MAX_SIZE else None


def split(b: Builder, x: Value) -> Value | None:
    """Two parts of the channels, one of them processed, put together again."""
    if len(x.shape) < 2 or x.shape[1] < 2:
        return None
    k = b.number(1, x.shape[1] - 1)
    names = (f"v{len(b.nodes)}", f"v{len(b.nodes)}_b")
    sizes = b.constant(np.asarray([k, x.shape[1] - k], np.int64))
    b.nodes.append(
        helper.make_node("Split", [x.name, sizes], names, name=f"n{len(b.nodes)}", axis=1)
    )
    first = Value(names[0], (x.shape[0], k, *x.shape[2:]))
    second = Value(names[1], (x.shape[0], x.shape[1] - k, *x.shape[2:]))
    b.values += [first, second]
    return b.add("Concat", [second, activation(b, first)], x.shape, axis=1)


def shuffle(b: Builder, x: Value) -> Value | None:
    """Channels shuffled between groups."""
    groups = b.pick([2, 3, 4])
    if len(x.shape) != 4 or x.shape[1] % groups:
        return None
    n, c, h, w = x.shape
    wide = (n, groups, c // groups, h, w)
    y = b.add("Reshape", [x, b.constant(np.asarray(wide, np.int64))], wide)
    y = b.add("Transpose", [y], (n, c // groups, groups, h, w), perm=[0, 2, 1, 3, 4])
    return b.add("Reshape", [y, b.constant(np.asarray(x.shape, np.int64))], x.shape)


def resize(b: Builder, x: Value) -> Value | None:
    """Nearest or linear upsampling by a whole factor."""
    factor = b.pick([2, 2, 3])
    if len(x.shape) != 4 or math.prod(x.shape) * factor**2 > MAX_SIZE:
        return None
    scales = b.constant(np.asarray([1, 1, factor, factor], np.float32))
    shape = (*x.shape[:2], *(d * factor for d in x.shape[2:]))
    mode = b.pick(["nearest", "nearest", "linear"])
    more = {"nearest_mode": "floor"} if mode == "nearest" else {}
    kind = "asymmetric" if mode == "nearest" else b.pick(["asymmetric", "half_pixel"])
    return b.add(
        "Resize", [x, "", scales], shape, mode=mode, coordinate_transformation_mode=kind, **more
    )


def pad(b: Builder, x: Value) -> Value | None:
    """Padding of the spatial axes."""
    if len(x.shape) != 4:
        return None
    low, high = b.pick([(1, 1), (0, 2), (0, 1)]), b.pick([(1, 1), (1, 0)])
    n, c, h, w = x.shape
    amounts = b.constant(np.asarray([0, 0, *low, 0, 0, *high], np.int64))
    return b.add("Pad", [x, amounts], (n, c, h + low[0] + high[0], w + low[1] + high[1]))


def slice_(b: Builder, x: Value) -> Value | None:
    """Part of the channels or of the rows, or every second."""
    axis = b.pick([1, len(x.shape) - 1, len(x.shape) // 2])
    if x.shape[axis] < 2:
        return None
    start, step = b.number(0, x.shape[axis] // 2), b.pick([1, 1, 2])
    stop = b.number(start + 1, x.shape[axis])
    shape = (*x.shape[:axis], -(-(stop - start) // step), *x.shape[axis + 1 :])
    values = [b.constant(np.asarray([v], np.int64)) for v in (start, stop, axis, step)]
    return b.add("Slice", [x, *values], shape)


def scaled(b: Builder, x: Value) -> Value | None:
    """A product or sum with a constant scalar or a constant per channel."""
    shape = b.pick([(), (x.shape[1], *[1] * (len(x.shape) - 2)) if len(x.shape) > 1 else ()])
    return b.add(b.pick(["Mul", "Add", "Sub"]), [x, b.weight(shape)], x.shape)


def dense(b: Builder, x: Value) -> Value | None:
    """Flatten (or means first), then a fully connected layer, then an activation."""
    y = x
    if len(x.shape) == 4 and b.pick([True, False]):
        y = b.add("ReduceMean", [y], x.shape[:2], axes=[2, 3], keepdims=0)
    elif len(x.shape) > 2:
        y = b.add("Flatten", [x], (x.shape[0], math.prod(x.shape[1:])), axis=1)
    if len(y.shape) != 2:
        return None
    m, k = b.pick([1, 3, 10, 16, 37]), y.shape[1]
    if m * k > 200_000:
        return None
    inputs: list[Value | str] = [y, b.weight((m, k), k)]
    if b.pick([True, False]):
        inputs.append(b.weight((m,)))
    return activation(b, b.add("Gemm", inputs, (y.shape[0], m), transB=1))


def attention(b: Builder, x: Value) -> Value | None:
    """Self-attention over the pixels, or over the rows of a matrix."""
    y = x
    if len(x.shape) == 4:
        n, c, h, w = x.shape
        y = b.add("Reshape", [x, b.constant(np.asarray([n, c, h * w], np.int64))], (n, c, h * w))
        y = b.add("Transpose", [y], (n, h * w, c), perm=[0, 2, 1])
    if len(y.shape) != 3 or y.shape[1] > 80 or y.shape[2] > 80:
        return None
    n, t, c = y.shape
    d = b.pick([4, 7, 16])
    if b.pick([True, False]):
        y = b.add("LayerNormalization", [y, b.weight((c,)), b.weight((c,))], y.shape, axis=-1)
    q, k, v = (b.add("MatMul", [y, b.weight((c, d), c)], (n, t, d)) for _ in range(3))
    k = b.add("Transpose", [k], (n, d, t), perm=[0, 2, 1])
    scores = b.add("MatMul", [q, k], (n, t, t))
    scores = b.add("Mul", [scores, b.constant(np.asarray(d**-0.5, np.float32))], scores.shape)
    scores = b.add("Softmax", [scores], scores.shape, axis=-1)
    return b.add(
        "MatMul", [b.add("MatMul", [scores, v], (n, t, d)), b.weight((d, c), d)], (n, t, c)
    )


def batch_norm(b: Builder, x: Value) -> Value | None:
    """Batch normalisation that stands alone, then an activation."""
    if len(x.shape) < 3:
        return None
    c = (x.shape[1],)
    variance = b.constant((b.rng.random(c) + 0.5).astype(np.float32))
    inputs: list[Value | str] = [x, b.weight(c), b.weight(c), b.weight(c), variance]
    return activation(b, b.add("BatchNormalization", inputs, x.shape))


LAYERS: tuple[Layer, ...] = (
    conv, conv, conv, conv, depthwise, depthwise, conv_transpose, pool, squeeze_excite, residual,
    residual, concat, split, shuffle, resize, pad, slice_, scaled, dense, attention, batch_norm,
)  # fmt: skip
"""What a network is made of; None from a layer means that it does not fit here."""


@st.composite
def networks(draw: Any, max_layers: int = 7) -> onnx.ModelProto:
    """A random network of one image input and every value that nothing uses as an output."""
    b = Builder(draw, np.random.default_rng(draw(st.integers(0, 2**16))))
    extents = st.sampled_from([1, 2, 5, 7, 8, 13, 16, 19, 28])
    shape = (
        b.pick([1, 1, 1, 2]),
        b.pick([1, 3, 4, 8, 15, 16, 24, 35]),
        draw(extents),
        draw(extents),
    )
    x = Value("x", shape)
    b.values.append(x)
    for _ in range(b.number(1, max_layers)):
        source = b.values[-1] if b.pick([True, True, True, True, False]) else b.pick(b.values)
        b.pick(LAYERS)(b, source)
    if not b.nodes:
        b.add("Relu", [x], shape)
    used = {name for node in b.nodes for name in node.input}
    produced = [v for v in b.values if v is not x]
    outputs = [v for v in produced if v.name not in used][-3:] or produced[-1:]
    graph = helper.make_graph(
        b.nodes, "network", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in outputs],
        b.weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model

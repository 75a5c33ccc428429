"""Layers of random models: each adds nodes to a `Builder`, or says that it does not fit.

A layer is a function of the builder and the value it continues from; what it returns is the new
value, or None where the shape does not allow it.  `LAYERS` is the table `random_graphs` draws from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper, numpy_helper

Array = np.ndarray
Shape = tuple[int, ...]
MAX_ELEMENTS = 4096
"""Elements of any intermediate value, so that one example costs milliseconds."""


T = TypeVar("T")


@dataclass
class Value:
    """A tensor of the model under construction."""

    name: str
    shape: Shape


@dataclass
class Builder:
    """Accumulates nodes; `draw` makes the choices, `rng` the weights."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    weights: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])
    values: list[Value] = field(default_factory=list[Value])

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return self.draw(st.sampled_from(list(options)))

    def number(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return self.draw(st.integers(low, high))

    def constant(self, array: Array) -> str:
        """Name of a new initializer."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, shape: Shape, fan_in: int = 1) -> str:
        """A random f32 initializer of moderate size."""
        return self.constant(
            (self.rng.standard_normal(shape) / math.sqrt(fan_in)).astype(np.float32)
        )

    def add(self, op: str, inputs: Sequence[Value | str], shape: Shape, **attributes: Any) -> Value:
        """A node of one output of `shape`."""
        names = [i if isinstance(i, str) else i.name for i in inputs]
        out = Value(f"v{len(self.nodes)}", shape)
        self.nodes.append(
            helper.make_node(op, names, [out.name], name=f"n{len(self.nodes)}", **attributes)
        )
        self.values.append(out)
        return out


def window(extent: int, kernel: int, stride: int, begin: int, end: int, dilation: int) -> int:
    """Output extent of a sliding window."""
    return (extent + begin + end - (kernel - 1) * dilation - 1) // stride + 1


def conv(b: Builder, x: Value) -> Value | None:
    """Ordinary, grouped or depthwise, any stride, pads and dilation."""
    if len(x.shape) != 4:
        return None
    n, c, h, w = x.shape
    group = b.pick([g for g in (1, 1, 2, c) if c % g == 0])
    m = group * b.number(1, 3)
    kernel, stride, dilation = b.pick([1, 1, 3, 3, 2]), b.pick([1, 1, 2]), b.pick([1, 1, 2])
    top, left, bottom, right = b.draw(st.tuples(*[st.integers(0, 2)] * 4))
    oh = window(h, kernel, stride, top, bottom, dilation)
    ow = window(w, kernel, stride, left, right, dilation)
    if oh < 1 or ow < 1:
        return None
    inputs: list[Value | str] = [
        x,
        b.weight((m, c // group, kernel, kernel), c // group * kernel * kernel),
    ]
    if b.pick([True, False]):
        inputs.append(b.weight((m,)))
    y = b.add(
        "Conv",
        inputs,
        (n, m, oh, ow),
        group=group,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        dilations=[dilation, dilation],
        pads=[top, left, bottom, right],
    )
    return batch_norm(b, y) if b.pick([True, False, False]) else y


def batch_norm(b: Builder, x: Value) -> Value | None:
    """Inference batch normalisation over axis 1."""
    if len(x.shape) < 3:
        return None
    c = (x.shape[1],)
    variance = b.constant((b.rng.random(c) + 0.5).astype(np.float32))
    inputs: list[Value | str] = [x, b.weight(c), b.weight(c), b.weight(c), variance]
    return b.add("BatchNormalization", inputs, x.shape, epsilon=1e-5)


def pool(b: Builder, x: Value) -> Value | None:
    """Maximum and average pooling."""
    if len(x.shape) != 4:
        return None
    n, c, h, w = x.shape
    kernel, stride, pad = b.pick([2, 3]), b.pick([1, 2]), b.pick([0, 0, 1])
    oh, ow = (window(d, kernel, stride, pad, pad, 1) for d in (h, w))
    if oh < 1 or ow < 1:
        return None
    kind = b.pick(["MaxPool", "AveragePool"])
    extra = {"count_include_pad": b.pick([0, 1])} if kind == "AveragePool" else {}
    return b.add(
        kind,
        [x],
        (n, c, oh, ow),
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[pad] * 4,
        **extra,
    )


def unary(b: Builder, x: Value) -> Value | None:
    """An elementwise function."""
    op = b.pick(
        [
            "Relu",
            "Sigmoid",
            "Tanh",
            "LeakyRelu",
            "HardSwish",
            "Neg",
            "Abs",
            "Identity",
            "Clip",
            "Erf",
        ]
    )
    if op == "Clip":
        bounds = [
            b.constant(np.asarray(v, np.float32)) for v in (b.pick([-1.0, 0.0]), b.pick([1.0, 6.0]))
        ]
        return b.add("Clip", [x, *bounds], x.shape)
    return b.add(op, [x], x.shape)


def spelled_activation(b: Builder, x: Value) -> Value | None:
    """silu, hard-swish or gelu in elementary operations."""
    kind = b.pick(["silu", "hard_swish", "gelu"])
    if kind == "silu":
        return b.add("Mul", [x, b.add("Sigmoid", [x], x.shape)], x.shape)

    def scalar(value: float) -> str:
        return b.constant(np.asarray(value, np.float32))

    if kind == "hard_swish":
        y = b.add("Add", [x, scalar(3.0)], x.shape)
        y = b.add("Clip", [y, scalar(0.0), scalar(6.0)], x.shape)
        return b.add("Div", [b.add("Mul", [x, y], x.shape), scalar(6.0)], x.shape)
    y = b.add("Erf", [b.add("Div", [x, scalar(math.sqrt(2))], x.shape)], x.shape)
    y = b.add("Mul", [x, b.add("Add", [y, scalar(1.0)], x.shape)], x.shape)
    return b.add("Mul", [y, scalar(0.5)], x.shape)


def with_constant(b: Builder, x: Value) -> Value | None:
    """A binary operation with a constant: scalar, per channel, or of the whole shape."""
    shapes: list[Shape] = [(), (1,), x.shape, x.shape[-1:]]
    if len(x.shape) > 2:
        shapes.append((x.shape[1], *[1] * (len(x.shape) - 2)))
    op, shape = b.pick(["Add", "Mul", "Sub", "Div", "Max"]), b.pick(shapes)
    array = b.rng.standard_normal(shape).astype(np.float32)
    if op == "Div":
        array = np.asarray(np.abs(array) + np.float32(0.5), np.float32)
    operands: list[Value | str] = [x, b.constant(np.asarray(array))]
    if op in ("Add", "Mul") and b.pick([True, False]):
        operands.reverse()
    return b.add(op, operands, x.shape)


def residual(b: Builder, x: Value) -> Value | None:
    """A binary operation with an earlier value of a shape that broadcasts."""

    def fits(v: Value) -> bool:
        return len(v.shape) == len(x.shape) and all(
            p in (1, q) for p, q in zip(v.shape, x.shape, strict=True)
        )

    others = [v for v in b.values if fits(v)]
    return b.add(b.pick(["Add", "Mul"]), [x, b.pick(others)], x.shape)


def concat(b: Builder, x: Value) -> Value | None:
    """Concatenation with earlier values along one axis."""
    axis = b.number(0, len(x.shape) - 1)
    others = [
        v
        for v in b.values
        if len(v.shape) == len(x.shape)
        and all(p == q for i, (p, q) in enumerate(zip(v.shape, x.shape, strict=True)) if i != axis)
    ]
    other = b.pick(others)
    shape = tuple(d + other.shape[i] if i == axis else d for i, d in enumerate(x.shape))
    return (
        b.add("Concat", [x, other], shape, axis=axis) if math.prod(shape) <= MAX_ELEMENTS else None
    )


def slice_(b: Builder, x: Value) -> Value | None:
    """A strided slice along one axis."""
    axis = b.number(0, len(x.shape) - 1)
    extent = x.shape[axis]
    start = b.number(0, extent - 1)
    stop, step = b.number(start + 1, extent), b.pick([1, 1, 2])
    shape = tuple(-(-(stop - start) // step) if i == axis else d for i, d in enumerate(x.shape))
    values = [b.constant(np.asarray([v], np.int64)) for v in (start, stop, axis, step)]
    return b.add("Slice", [x, *values], shape)


def reshape(b: Builder, x: Value) -> Value | None:
    """Split, merge or regroup axes."""
    size, shape, dims = math.prod(x.shape), list[int](), b.number(1, 5)
    for _ in range(dims - 1):
        shape.append(b.pick([d for d in range(1, size + 1) if size % d == 0][:6]))
        size //= shape[-1]
    shape = b.pick([[*shape, size], [size, *shape]])
    return b.add("Reshape", [x, b.constant(np.asarray(shape, np.int64))], tuple(shape))


def shuffle(b: Builder, x: Value) -> Value | None:
    """A channel shuffle."""
    if len(x.shape) != 4 or x.shape[1] % 2:
        return None
    n, c, h, w = x.shape
    y = b.add(
        "Reshape", [x, b.constant(np.asarray([n, 2, c // 2, h, w], np.int64))], (n, 2, c // 2, h, w)
    )
    y = b.add("Transpose", [y], (n, c // 2, 2, h, w), perm=[0, 2, 1, 3, 4])
    return b.add("Reshape", [y, b.constant(np.asarray([n, c, h, w], np.int64))], x.shape)


def depth_to_space(b: Builder, x: Value) -> Value | None:
    """A pixel shuffle of what a convolution makes, in either order of channels."""
    if len(x.shape) != 4 or math.prod(x.shape) * 4 > MAX_ELEMENTS:
        return None
    n, c, h, w = x.shape
    m = b.number(1, 3)
    y = b.add("Conv", [x, b.weight((4 * m, c, 1, 1), c), b.weight((4 * m,))], (n, 4 * m, h, w))
    y = unary(b, y) or y if b.pick([True, False]) else y
    mode = b.pick(["DCR", "CRD"])
    return b.add("DepthToSpace", [y], (n, m, 2 * h, 2 * w), blocksize=2, mode=mode)


def transpose(b: Builder, x: Value) -> Value | None:
    """Any permutation."""
    perm: list[int] = b.draw(st.permutations(range(len(x.shape))))
    return b.add("Transpose", [x], tuple(x.shape[p] for p in perm), perm=list(perm))


def resize(b: Builder, x: Value) -> Value | None:
    """Up- or down-sampling of the spatial axes."""
    if len(x.shape) != 4 or math.prod(x.shape) * 4 > MAX_ELEMENTS or min(x.shape[2:]) < 2:
        return None
    factor, mode = b.pick([2.0, 0.5]), b.pick(["nearest", "linear"])
    shape = (*x.shape[:2], *(int(d * factor) for d in x.shape[2:]))
    scales = b.constant(np.asarray([1, 1, factor, factor], np.float32))
    coordinates = b.pick(["asymmetric", "half_pixel", "align_corners"])
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    return b.add(
        "Resize",
        [x, "", scales],
        shape,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **extra,
    )


def reduce(b: Builder, x: Value) -> Value | None:
    """Mean, maximum or sum over some axes."""
    axes = sorted(b.draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1)))
    keep, op = b.pick([0, 1]), b.pick(["ReduceMean", "ReduceMax", "ReduceMin"])
    if not keep and len(axes) == len(x.shape):
        keep = 1
    shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape) if keep or i not in axes)
    return b.add(op, [x], shape, axes=axes, keepdims=keep)


def softmax(b: Builder, x: Value) -> Value | None:
    """Softmax along any axis."""
    return b.add("Softmax", [x], x.shape, axis=b.number(0, len(x.shape) - 1))


def pad(b: Builder, x: Value) -> Value | None:
    """Zero padding of the two last axes."""
    if len(x.shape) < 2:
        return None
    low, high = (
        b.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        b.pick([(0, 0), (1, 1), (0, 2)]),
    )
    still = [0] * (len(x.shape) - 2)
    shape = (*x.shape[:-2], *(d + a + c for d, a, c in zip(x.shape[-2:], low, high, strict=True)))
    return b.add("Pad", [x, b.constant(np.asarray([*still, *low, *still, *high], np.int64))], shape)


def matmul(b: Builder, x: Value) -> Value | None:
    """A product with a constant matrix, flattened before or not, with or without a bias."""
    y = x
    if len(x.shape) < 2 or b.pick([True, False]):
        y = b.add("Flatten", [x], (*x.shape[:1], math.prod(x.shape[1:])), axis=1)
    n = b.number(1, 6)
    outer, depth = y.shape[:-1], y.shape[-1]
    y = b.add("MatMul", [y, b.weight((depth, n), depth)], (*outer, n))
    return b.add("Add", [y, b.weight((n,))], y.shape) if b.pick([True, False]) else y


LAYERS: tuple[Callable[[Builder, Value], Value | None], ...] = (
    conv,
    conv,
    conv,
    pool,
    unary,
    unary,
    spelled_activation,
    with_constant,
    residual,
    concat,
    slice_,
    reshape,
    shuffle,
    depth_to_space,
    transpose,
    resize,
    reduce,
    softmax,
    pad,
    matmul,
    batch_norm,
)
"""What a model is made of; None from a layer means that it does not fit here."""

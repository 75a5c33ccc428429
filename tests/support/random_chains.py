"""Hypothesis strategies for NPU segments of several layers with tensors that only they use.

Every family of nests reads what earlier ones wrote: borders of several consumers, strides, slices
of concatenations, reshapes, rows of softmax and normalisation.

    @given(chains())
    def test_pass(chain: Chain): ...
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from hypothesis import strategies as st
from xdsl.ir import SSAValue

from support.chain import CHANNELS, EXTENTS, Chain, image_of, matrix_of, rows
from support.chain_rows import norm, softmax
from support.segments import Row, Scalars, Segment
from tilewright.dialects.types import shape_of

Layer = Callable[["Chain", SSAValue], None]


def _requantized(channels: list[Row], count: int) -> Callable[[Scalars], SSAValue]:
    return lambda s: s.requantize(s.block.args[0], channels, [count])


def window(c: Chain, extent: int, kernel: int) -> tuple[int, int, int, int]:
    """(stride, dilation, padding, output extent)."""
    stride, dilation = c.pick([1, 1, 1, 2, 3]), c.pick([1, 1, 2])
    pad = c.pick([0, kernel // 2, kernel // 2, 1])
    out = (extent + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    return stride, dilation, pad, max(out, 0)


def convolve(
    c: Chain, x: SSAValue, y: SSAValue | None = None, at: int = 0, count: int | None = None
) -> None:
    """A convolution, into channels [at, at + count) of `y` or a tensor of its own."""
    s, (n, h, w, channels) = c.segment, shape_of(x)
    kernel = c.pick([1, 1, 3, 3, 2])
    (sh, dh, ph, oh), (sw, dw, pw, ow) = window(c, h, kernel), window(c, w, kernel)
    if y is not None:
        sh, dh, ph, oh, sw, dw, pw, ow = 1, 1, kernel // 2, h, 1, 1, kernel // 2, w
    if oh < 1 or ow < 1:
        return
    outputs = c.pick((*CHANNELS, 40)) if count is None else count
    zp = c.pick([c.origin, c.origin, c.origin, 5])
    out = s.buffer([n, oh, ow, outputs]) if y is None else y
    s.nest(
        [n, oh, ow, outputs, kernel, kernel, channels],
        [
            (x, [{0: 1}, {1: sh, 4: dh}, {2: sw, 5: dw}, {6: 1}], [0, -ph, -pw, 0], zp),
            (s.weights([kernel, kernel, channels, outputs]), rows(4, 5, 6, 3), None, None),
        ],
        (out, rows(0, 1, 2, 3), [0, 0, 0, at]),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(zp, 0),
        chain=_requantized([{3: 1}], outputs),
    )
    if y is None:
        c.values.append(out)


def depthwise(c: Chain, x: SSAValue) -> None:
    s, (n, h, w, channels) = c.segment, shape_of(x)
    (sh, dh, ph, oh), (sw, dw, pw, ow) = window(c, h, 3), window(c, w, 3)
    if oh < 1 or ow < 1:
        return
    out = s.buffer([n, oh, ow, channels])
    s.nest(
        [n, oh, ow, channels, 3, 3],
        [
            (x, [{0: 1}, {1: sh, 4: dh}, {2: sw, 5: dw}, {3: 1}], [0, -ph, -pw, 0], c.origin),
            (s.weights([3, 3, channels]), rows(4, 5, 3), None, None),
        ],
        (out, rows(0, 1, 2, 3), None),
        reduce="add",
        reduced=[4, 5],
        zero_points=(c.origin, 0),
        chain=_requantized([{3: 1}], channels),
    )
    c.values.append(out)


def max_pool(c: Chain, x: SSAValue) -> None:
    s, (n, h, w, channels) = c.segment, shape_of(x)
    kernel = c.pick([2, 3])
    (sh, dh, ph, oh), (sw, dw, pw, ow) = window(c, h, kernel), window(c, w, kernel)
    if oh < 1 or ow < 1:
        return
    out, fill = s.buffer([n, oh, ow, channels]), c.pick([-128, c.origin])
    look_up = c.pick([True, False])
    s.nest(
        [n, oh, ow, channels, kernel, kernel],
        [(x, [{0: 1}, {1: sh, 4: dh}, {2: sw, 5: dw}, {3: 1}], [0, -ph, -pw, 0], fill)],
        (out, rows(0, 1, 2, 3), None),
        reduce="max",
        reduced=[4, 5],
        chain=(lambda k: k.table(k.block.args[0])) if look_up else None,
    )
    c.values.append(out)


def elementwise(c: Chain, x: SSAValue) -> None:
    """A residual sum with an earlier tensor, a product with it, or a look-up."""
    s, shape = c.segment, shape_of(x)
    other = c.pick([v for v in c.values if shape_of(v) == shape])
    kind, out = c.pick(["qadd", "qadd", "qmul", "table", "clip"]), s.buffer(shape)

    def body(k: Scalars) -> SSAValue:
        a = k.block.args[0]
        if kind == "table":
            return k.table(a)
        if kind == "clip":
            return k.apply("clip", [a], min=-30, max=40)
        b = k.operand(other, rows(0, 1, 2, 3))
        if kind == "qmul":
            return k.apply("qmul", [a, b], za=1, zb=2, multiplier=1 << 30, shift=36)
        scale = {"ma": 1 << 20, "mb": 700_000, "multiplier": 1 << 30, "shift": 50}
        return k.apply("qadd", [a, b], za=3, zb=-4, zp=7, **scale)

    same = rows(0, 1, 2, 3)
    s.nest(list(shape), [(x, same, None, None)], (out, same, None), accumulator=body)
    c.values.append(out)


def move(c: Chain, x: SSAValue) -> None:
    """A strided slice, a pad, a transpose of the spatial axes, or nearest resizing."""
    s, shape = c.segment, list(shape_of(x))
    kind, same = c.pick(["slice", "pad", "transpose", "resize", "copy"]), rows(0, 1, 2, 3)
    if kind == "resize":
        n, h, w, channels = shape
        out = s.buffer([n, 2 * h, 2 * w, channels])
        target = [{0: 1}, {1: 2, 2: 1}, {3: 2, 4: 1}, {5: 1}]
        s.nest([n, h, 2, w, 2, channels], [(x, rows(0, 1, 3, 5), None, None)], (out, target, None))
    elif kind == "slice":
        axis: int = c.pick([1, 2, 3])
        step: int = c.pick([1, 2])
        begin = shape[axis] // 3
        shape[axis] = -(-(shape[axis] - begin) // step)
        source = [{d: step if d == axis else 1} for d in range(4)]
        consts = [begin if d == axis else 0 for d in range(4)]
        out = s.buffer(shape)
        s.nest(shape, [(x, source, consts, None)], (out, same, None))
    elif kind == "pad":
        shape[1], shape[2] = shape[1] + 2, shape[2] + 1
        out = s.buffer(shape)
        s.nest(shape, [(x, same, [0, -1, 0, 0], c.origin)], (out, same, None))
    elif kind == "transpose":
        out = s.buffer([shape[0], shape[2], shape[1], shape[3]])
        s.nest(shape, [(x, same, None, None)], (out, rows(0, 2, 1, 3), None))
    else:
        out = s.buffer(shape)
        s.nest(shape, [(x, same, None, None)], (out, same, None))
    c.values.append(out)


def concat(c: Chain, x: SSAValue) -> None:
    """Two producers into slices of one tensor; perhaps one slice is read on its own."""
    s, (n, h, w, _) = c.segment, shape_of(x)
    first, second = c.pick(CHANNELS), c.pick(CHANNELS)
    whole = s.buffer([n, h, w, first + second])
    convolve(c, x, whole, 0, first)
    convolve(c, c.pick([v for v in c.values if shape_of(v)[:3] == (n, h, w)]), whole, first, second)
    if c.pick([True, False]):
        part = s.buffer([n, h, w, second])
        s.nest(
            [n, h, w, second],
            [(whole, rows(0, 1, 2, 3), [0, 0, 0, first], None)],
            (part, rows(0, 1, 2, 3), None),
            accumulator=lambda k: k.table(k.block.args[0]),
        )
        c.values.append(part)
    c.values.append(whole)


def dense(c: Chain, x: SSAValue) -> None:
    s, (a, m, k) = c.segment, matrix_of(c, x)
    n = c.pick([1, 5, 16, 33, 64])
    y = s.buffer([m, n])
    s.nest(
        [m, n, k],
        [(a, rows(0, 2), None, None), (s.weights([k, n]), rows(2, 1), None, None)],
        (y, rows(0, 1), None),
        reduce="add",
        reduced=[2],
        zero_points=(-7, 0),
        chain=_requantized([{1: 1}], n),
    )
    image_of(c, y)


def product(c: Chain, x: SSAValue) -> None:
    """Two activations: x x^T, and what comes of it times x."""
    s, (a, m, k) = c.segment, matrix_of(c, x)
    if m > 64:
        return
    scores, y = s.buffer([m, m]), s.buffer([m, k])
    for domain, left, other, out, second in (
        ([m, m, k], a, a, scores, rows(1, 2)),
        ([m, k, m], scores, a, y, rows(2, 1)),
    ):
        s.nest(
            domain,
            [(left, rows(0, 2), None, None), (other, second, None, None)],
            (out, rows(0, 1), None),
            reduce="add",
            reduced=[2],
            zero_points=(-7, 9),
            chain=_requantized([{}], 1),
        )
    image_of(c, y)


LAYERS: tuple[Layer, ...] = (
    convolve, convolve, convolve, convolve, depthwise, depthwise, max_pool, max_pool, elementwise,
    elementwise, elementwise, move, move, concat, concat, dense, product, softmax, norm,
)  # fmt: skip


@st.composite
def chains(
    draw: st.DrawFn, max_layers: int = 6, batch: int = 1, layers: tuple[Layer, ...] = LAYERS
) -> Chain:
    """A chain of random layers; most of its tensors are marked `local`."""
    c = Chain(draw, Segment(draw(st.integers(0, 1 << 16))), batch)
    shape = [batch, c.pick(EXTENTS), c.pick(EXTENTS), c.pick(CHANNELS)]
    c.values.append(c.segment.buffer(shape))
    for _ in range(draw(st.integers(2, max_layers))):
        source = c.values[-1] if c.pick([True, True, True, False]) else c.pick(c.values)
        if prod(shape_of(source)) <= 6000 * batch:
            c.pick(layers)(c, source)
    if len(c.values) == 1:
        move(c, c.values[0])
    c.finish()
    return c

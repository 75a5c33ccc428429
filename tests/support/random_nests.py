"""Hypothesis strategies for NPU segments: one nest each, of every family the NPU runs."""

from __future__ import annotations

from hypothesis import strategies as st
from xdsl.ir import SSAValue

from support.segments import Chain, Row, Scalars, Segment

Draw = st.DrawFn
_SMALL = st.integers(1, 9)


def _rows(*dims: int | None) -> list[Row]:
    return [{} if d is None else {d: 1} for d in dims]


def _finish(draw: Draw, channels: list[Row], shape: list[int], out_shape: list[int]) -> Chain:
    """A random epilogue: requantisation, then perhaps residual, table, clip."""
    bias, per_tensor = draw(st.booleans()), draw(st.booleans())
    residual, table, clip, square = (draw(st.booleans()) for _ in range(4))

    def chain(s: Scalars) -> SSAValue:
        value = s.requantize(s.block.args[0], channels, shape, bias, per_tensor)
        if residual:
            value = s.residual(value, out_shape)
        if table:
            looked = s.table(value)
            value = (
                looked
                if not square
                else s.apply("qmul", [value, looked], za=1, zb=2, multiplier=1 << 30, shift=36)
            )
        return s.apply("clip", [value], min=-90, max=101) if clip else value

    return chain


def _look_up(s: Scalars) -> SSAValue:
    return s.table(s.block.args[0])


@st.composite
def segments(draw: Draw) -> Segment:
    """A segment with one random nest."""
    segment = Segment(draw(st.integers(0, 1 << 16)))
    draw(
        st.sampled_from(
            [
                _conv,
                _grouped,
                _depthwise,
                _matmul,
                _batched,
                _pool,
                _average,
                _large_window,
                _elementwise,
                _resize,
                _slice,
                _transpose,
                _pad,
            ]
        )
    )(draw, segment)
    return segment


def _window(draw: Draw) -> tuple[int, int, int, int, int, int]:
    """(input extent, kernel, stride, dilation, pad, output extent) of one spatial axis."""
    kernel, stride, dilation = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
    )
    extent, pad = draw(st.integers(4, 13)), draw(st.integers(0, 2))
    out = max(1, (extent + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1)
    return extent, kernel, stride, dilation, pad, out


def _conv(draw: Draw, s: Segment) -> None:
    n, ic, oc = draw(st.integers(1, 2)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    (h, kh, sh, dh, ph, oh), (w, kw, sw, dw, pw, ow) = _window(draw), _window(draw)
    zp = draw(st.integers(-128, 127))
    offset, wide = draw(
        st.sampled_from([(0, oc), (3, oc + 5)])
    )  # perhaps into a slice of a concatenation
    x, y, k = s.buffer([n, h, w, ic]), s.buffer([n, oh, ow, wide]), s.weights([kh, kw, ic, oc])
    out_rows, consts = _rows(0, 1, 2, 3), [0, 0, 0, offset]
    s.nest(
        [n, oh, ow, oc, kh, kw, ic],
        [
            (x, [{0: 1}, {1: sh, 4: dh}, {2: sw, 5: dw}, {6: 1}], [0, -ph, -pw, 0], zp),
            (k, _rows(4, 5, 6, 3), None, None),
        ],
        (y, out_rows, consts),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(zp, draw(st.sampled_from([0, 5]))),
        chain=_finish(draw, [{3: 1}], [oc], [n, oh, ow, wide]),
    )


def _grouped(draw: Draw, s: Segment) -> None:
    g, ic, oc = draw(st.integers(2, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    h, kh, sh, dh, ph, oh = _window(draw)
    x, y, k = (
        s.buffer([1, h, h, g * ic]),
        s.buffer([1, oh, oh, g * oc]),
        s.weights([kh, kh, ic, g * oc]),
    )
    s.nest(
        [1, oh, oh, g, oc, kh, kh, ic],
        [
            (x, [{0: 1}, {1: sh, 5: dh}, {2: sh, 6: dh}, {3: ic, 7: 1}], [0, -ph, -ph, 0], 3),
            (k, [{5: 1}, {6: 1}, {7: 1}, {3: oc, 4: 1}], None, None),
        ],
        (y, [{0: 1}, {1: 1}, {2: 1}, {3: oc, 4: 1}], None),
        reduce="add",
        reduced=[5, 6, 7],
        zero_points=(3, 0),
        chain=_finish(draw, [{3: oc, 4: 1}], [g * oc], [1, oh, oh, g * oc]),
    )


def _depthwise(draw: Draw, s: Segment) -> None:
    n, c = draw(st.integers(1, 2)), draw(st.integers(2, 24))
    (h, kh, sh, dh, ph, oh), (w, kw, sw, dw, pw, ow) = _window(draw), _window(draw)
    x, y, k = s.buffer([n, h, w, c]), s.buffer([n, oh, ow, c]), s.weights([kh, kw, c])
    s.nest(
        [n, oh, ow, c, kh, kw],
        [
            (x, [{0: 1}, {1: sh, 4: dh}, {2: sw, 5: dw}, {3: 1}], [0, -ph, -pw, 0], 3),
            (k, _rows(4, 5, 3), None, None),
        ],
        (y, _rows(0, 1, 2, 3), None),
        reduce="add",
        reduced=[4, 5],
        zero_points=(3, 0),
        chain=_finish(draw, [{3: 1}], [c], [n, oh, ow, c]),
    )


def _matmul(draw: Draw, s: Segment) -> None:
    m, n, k = draw(st.integers(1, 20)), draw(st.integers(1, 40)), draw(st.integers(1, 200))
    x, y, w = s.buffer([m, k]), s.buffer([m, n]), s.weights([k, n])
    s.nest(
        [m, n, k],
        [(x, _rows(0, 2), None, None), (w, _rows(2, 1), None, None)],
        (y, _rows(0, 1), None),
        reduce="add",
        reduced=[2],
        zero_points=(-7, 0),
        chain=_finish(draw, [{1: 1}], [n], [m, n]),
    )


def _batched(draw: Draw, s: Segment) -> None:
    """Activations on both sides, the second transposed, as in attention."""
    b, m, n, k = (
        draw(st.integers(1, 4)),
        draw(_SMALL),
        draw(st.integers(1, 20)),
        draw(st.integers(1, 40)),
    )
    x, z, y = s.buffer([b, m, k]), s.buffer([b, n, k]), s.buffer([m, b, n])
    s.nest(
        [b, m, n, k],
        [(x, _rows(0, 1, 3), None, None), (z, _rows(0, 2, 3), None, None)],
        (y, _rows(1, 0, 2), None),
        reduce="add",
        reduced=[3],
        zero_points=(-7, 9),
        chain=_finish(draw, [{}], [1], [m, b, n]),
    )


def _pool(draw: Draw, s: Segment) -> None:
    n, c = draw(st.integers(1, 2)), draw(st.integers(1, 20))
    (h, kh, sh, dh, ph, oh), (w, kw, sw, dw, pw, ow) = _window(draw), _window(draw)
    x, y = s.buffer([n, h, w, c]), s.buffer([n, oh, ow, c])
    table = draw(st.booleans())
    s.nest(
        [n, oh, ow, c, kh, kw],
        [(x, [{0: 1}, {1: sh, 4: dh}, {2: sw, 5: dw}, {3: 1}], [0, -ph, -pw, 0], -128)],
        (y, _rows(0, 1, 2, 3), None),
        reduce="max",
        reduced=[4, 5],
        chain=_look_up if table else None,
    )


def _average(draw: Draw, s: Segment) -> None:
    n, c, h, w = draw(st.integers(1, 2)), draw(st.integers(1, 20)), draw(_SMALL), draw(_SMALL)
    x, y = s.buffer([n, h, w, c]), s.buffer([n, c])
    s.nest(
        [n, c, h, w],
        [(x, _rows(0, 2, 3, 1), None, None)],
        (y, _rows(0, 1), None),
        reduce="add",
        reduced=[2, 3],
        zero_points=(4,),
        chain=_finish(draw, [{}], [1], [n, c]),
    )


def _elementwise(draw: Draw, s: Segment) -> None:
    shape = [draw(st.integers(1, 2)), draw(_SMALL), draw(_SMALL), draw(st.integers(1, 20))]
    x, y, z = s.buffer(shape), s.buffer(shape), s.buffer([shape[3]])
    kind = draw(st.sampled_from(["qadd", "qmul", "table", "channel"]))

    def body(c: Scalars) -> SSAValue:
        a = c.block.args[0]
        if kind == "table":
            return c.table(a)
        if kind == "qadd":
            return c.residual(a, shape)
        other = c.operand(z, _rows(3))
        return c.apply(
            "qmul", [a, other if kind == "channel" else a], za=1, zb=2, multiplier=1 << 30, shift=36
        )

    s.nest(
        shape, [(x, _rows(0, 1, 2, 3), None, None)], (y, _rows(0, 1, 2, 3), None), accumulator=body
    )


def _resize(draw: Draw, s: Segment) -> None:
    """Nearest neighbour by whole factors, as split dimensions (h, r), perhaps with a look-up."""
    h, w, c, f = draw(_SMALL), draw(_SMALL), draw(st.integers(1, 20)), draw(st.integers(2, 3))
    x, y = s.buffer([1, h, w, c]), s.buffer([1, h * f, w * f, c])
    body = _look_up if draw(st.booleans()) else None
    s.nest(
        [1, h, f, w, f, c],
        [(x, _rows(0, 1, 3, 5), None, None)],
        (y, [{0: 1}, {1: f, 2: 1}, {3: f, 4: 1}, {5: 1}], None),
        accumulator=body,
    )


def _slice(draw: Draw, s: Segment) -> None:
    """A strided slice written into a slice of a concatenation."""
    n, step, begin, offset, c = (
        draw(st.integers(1, 12)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 3)),
        draw(st.integers(1, 20)),
    )
    x, y = s.buffer([n * step + begin, c + 2]), s.buffer([n, offset + c + 3])
    s.nest([n, c], [(x, [{0: step}, {1: 1}], [begin, 2], None)], (y, _rows(0, 1), [0, offset]))


def _transpose(draw: Draw, s: Segment) -> None:
    shape, perm = [draw(_SMALL) for _ in range(4)], draw(st.permutations(range(4)))
    x, y = s.buffer(shape), s.buffer([shape[p] for p in perm])
    s.nest(shape, [(x, _rows(0, 1, 2, 3), None, None)], (y, _rows(*perm), None))


def _pad(draw: Draw, s: Segment) -> None:
    shape, before, after = (
        [draw(_SMALL) for _ in range(3)],
        draw(st.integers(0, 3)),
        draw(st.integers(0, 3)),
    )
    out = [n + before + after for n in shape]
    x, y = s.buffer(shape), s.buffer(out)
    s.nest(out, [(x, _rows(0, 1, 2), [-before] * 3, -5)], (y, _rows(0, 1, 2), None))


def _large_window(draw: Draw, s: Segment) -> None:
    """A sum, maximum or weighted sum of more taps than small scratchpads hold, perhaps padded."""
    c, h, w, pad = (draw(st.integers(*r)) for r in ((1, 8), (1, 40), (1, 40), (0, 2)))
    kind = draw(st.sampled_from(["sum", "max", "weighted"]))
    zp = 4
    x, y = s.buffer([1, h, w, c]), s.buffer([1, c])
    reads: list[tuple[SSAValue, list[Row], list[int] | None, int | None]] = [
        (x, [{0: 1}, {2: 1}, {3: 1}, {1: 1}], [0, -pad, -pad, 0], -128 if kind == "max" else zp)
    ]
    if kind == "weighted":
        k = s.weights([h + 2 * pad, w + 2 * pad, c])
        reads.append((k, _rows(2, 3, 1), None, None))
    s.nest(
        [1, c, h + 2 * pad, w + 2 * pad],
        reads,
        (y, _rows(0, 1), None),
        reduce="max" if kind == "max" else "add",
        reduced=[2, 3],
        zero_points=(zp, 0)[: len(reads)],
        chain=_look_up if kind == "max" else _finish(draw, [{}], [1], [1, c]),
    )

"""Convolutions and products of matrices against the semantics of the loop dialect."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import f16, f32, i8, i32
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation, SSAValue

from support.cpu_nests import Buffer, body, program, run_both
from tilewright.backends.cpu.emit import emit_function, whole_function
from tilewright.backends.cpu.jit import aligned, load
from tilewright.backends.cpu.schedule import Vectors
from tilewright.dialects.graph.attributes import ConstantRefAttr
from tilewright.dialects.loop import ApplyOp, GlobalOp, Linear, NestOp, ScalarConstantOp
from tilewright.dialects.types import memref, string

from .test_nests import FAST, check, draw_array, nothing


def product(element: Attribute) -> Callable[[SSAValue, SSAValue], list[Operation]]:
    def make(a: SSAValue, b: SSAValue) -> list[Operation]:
        return [ApplyOp("mul", [a, b], element)]

    return make


def conv(
    n: int,
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    pad: int,
    dilation: int = 1,
    element: Attribute = f32,
    groups: int = 1,
) -> tuple[FuncOp, list[Buffer]]:
    """NHWC convolution with bias and an activation."""
    (h, w), (ic, oc), (kh, kw) = size, channels, kernel
    oh = (h + 2 * pad - dilation * (kh - 1) - 1) // stride + 1
    ow = (w + 2 * pad - dilation * (kw - 1) - 1) // stride + 1
    floats = element == f32
    fill = 0.0 if floats else 3
    acc = f32 if floats else i32
    rank = 8  # n h w g oc kh kw ic
    icg, ocg = ic // groups, oc // groups
    rows = [{0: 1}, {1: stride, 5: dilation}, {2: stride, 6: dilation}, {3: icg, 7: 1}]
    x_map = Linear.of(rows, rank, [0, -pad, -pad, 0])
    w_map = Linear.of([{5: 1}, {6: 1}, {7: 1}, {3: ocg, 4: 1}], rank)
    b_map = Linear.of([{3: ocg, 4: 1}], rank)
    y_map = Linear.of([{0: 1}, {1: 1}, {2: 1}, {3: ocg, 4: 1}], rank)

    def inner(a: SSAValue, k: SSAValue) -> list[Operation]:
        if floats:
            return [ApplyOp("mul", [a, k], f32)]
        left, right = ApplyOp("widen", [a], i32, {"zp": 3}), ApplyOp("widen", [k], i32)
        return [left, right, ApplyOp("mul", [left.result, right.result], i32)]

    def outer(total: SSAValue, bias: SSAValue) -> list[Operation]:
        biased = ApplyOp("add", [total, bias], acc)
        if floats:
            return [biased, ApplyOp("relu", [biased.result], f32)]
        m, s = ScalarConstantOp(1518500250, i32), ScalarConstantOp(42, i32)
        return [
            biased,
            m,
            s,
            ApplyOp("requantize", [biased.result, m.result, s.result], i8, {"zp": -5}),
        ]

    def make(x: SSAValue, k: SSAValue, b: SSAValue, y: SSAValue) -> list[Operation]:
        return [
            NestOp(
                [n, oh, ow, groups, ocg, kh, kw, icg],
                [x, k],
                [b],
                [x_map, w_map, b_map, y_map],
                body([element, element], inner),
                body([acc, acc], outer),
                reduce="add",
                reduction_dims=[5, 6, 7],
                fills=[fill, None, None],
                outs=[y],
            )
        ]

    shapes: list[Buffer] = [((n, h, w, ic), element), ((kh, kw, icg, oc), element), ((oc,), acc)]
    return program(shapes, [((n, oh, ow, oc), element)], make), shapes


@pytest.mark.parametrize("element", [f32, i8], ids=str)
@FAST
@given(
    n=st.integers(1, 2),
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    pad=st.integers(0, 2),
    dilation=st.integers(1, 2),
    lanes=st.sampled_from([4, 8, 16]),
    seed=st.integers(0, 99),
)
def test_convolution(
    element: Attribute,
    n: int,
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    pad: int,
    dilation: int,
    lanes: int,
    seed: int,
) -> None:
    if any(s + 2 * pad < dilation * (k - 1) + 1 for s, k in zip(size, kernel, strict=True)):
        return
    func, shapes = conv(n, size, channels, kernel, stride, pad, dilation, element)
    rng = np.random.default_rng(seed)
    check(func, [draw_array(rng, *s) for s in shapes], Vectors(lanes))


@pytest.mark.parametrize("element", [f32, i8], ids=str)
@pytest.mark.parametrize(
    ("groups", "channels"), [(8, (8, 8)), (19, (19, 19)), (4, (8, 16)), (3, (6, 3)), (32, (32, 64))]
)
def test_grouped_and_depthwise_convolution(
    element: Attribute, groups: int, channels: tuple[int, int]
) -> None:
    func, shapes = conv(1, (9, 7), channels, (3, 3), 1, 1, 1, element, groups)
    rng = np.random.default_rng(0)
    check(func, [draw_array(rng, *s) for s in shapes])


@FAST
@given(
    m=st.integers(1, 20),
    n=st.integers(1, 40),
    k=st.integers(1, 40),
    batch=st.integers(1, 3),
    left=st.booleans(),
    right=st.booleans(),
    element=st.sampled_from([f32, i32, f16]),
    seed=st.integers(0, 99),
)
def test_matrix_products(
    m: int, n: int, k: int, batch: int, left: bool, right: bool, element: Attribute, seed: int
) -> None:
    """Any transposition: row panels, dot products, gathers."""
    a_axes, b_axes = ([3, 1] if left else [1, 3]), ([2, 3] if right else [3, 2])
    a_shape, b_shape = (
        (batch, *((k, m) if left else (m, k))),
        (batch, *((n, k) if right else (k, n))),
    )

    def make(a: SSAValue, b: SSAValue, y: SSAValue) -> list[Operation]:
        maps = [
            Linear.select([0, *a_axes], 4),
            Linear.select([0, *b_axes], 4),
            Linear.select([0, 1, 2], 4),
        ]
        region = body([element, element], product(element))
        return [
            NestOp(
                [batch, m, n, k],
                [a, b],
                [],
                maps,
                region,
                reduce="add",
                reduction_dims=[3],
                outs=[y],
            )
        ]

    ins = [(a_shape, element), (b_shape, element)]
    rng = np.random.default_rng(seed)
    check(program(ins, [((batch, m, n), element)], make), [draw_array(rng, *s) for s in ins])


@pytest.mark.parametrize(("n", "lanes"), [(200, 8), (257, 16), (130, 4), (1000, 16)])
def test_constant_matrices_are_packed(n: int, lanes: int) -> None:
    """Wide constants become panels at load; twice, with other constants at another address."""
    k, m = 160, 11

    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        weights = GlobalOp(ConstantRefAttr(string("00")), memref((k, n), f32, "const"), offset=64)
        maps = [Linear.select([0, 2], 3), Linear.select([2, 1], 3), Linear.select([0, 1], 3)]
        region = body([f32, f32], product(f32))
        nest = NestOp(
            [m, n, k],
            [x, weights.result],
            [],
            maps,
            region,
            reduce="add",
            reduction_dims=[2],
            outs=[y],
        )
        return [weights, nest]

    func = program([((m, k), f32)], [((m, n), f32)], make)
    module = load(emit_function(func, whole_function(func), Vectors(lanes)))
    assert module.packed_bytes >= k * n * 4
    for seed in range(6):
        rng = np.random.default_rng(seed)
        consts = aligned(64 + k * n * 4)
        consts[64:].view(np.float32)[:] = rng.standard_normal(k * n)
        x = draw_array(rng, (m, k), f32)
        (got,), (want,) = run_both(func, [x], Vectors(lanes), consts=consts)
        assert np.allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 600000), (700, 700), (3, 5000), (70001, 1)])
def test_long_sums_keep_their_precision(shape: tuple[int, int]) -> None:
    """Sums of many floats of one sign, by rows and by columns."""

    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        maps = [Linear.select([1, 2, 0], 3), Linear.select([0], 3)]
        return [
            NestOp(
                [4, *shape], [x], [], maps, body([f32], nothing), reduce="add",
                reduction_dims=[1, 2], outs=[y],
            )
        ]  # fmt: skip

    x = np.random.default_rng(0).uniform(1, 2, (*shape, 4)).astype(np.float32)
    got, want = run_both(program([((*shape, 4), f32)], [((4,), f32)], make), [x])
    assert np.allclose(got[0], want[0], rtol=2e-6)

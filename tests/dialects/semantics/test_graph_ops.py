"""Single operations against onnxruntime, and integer operations against plain loops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper
from xdsl.dialects.test import TestOp as AnyOp
from xdsl.ir import Attribute, Operation, SSAValue

from tilewright.dialects import graph
from tilewright.dialects.constants import Array, ConstantStore
from tilewright.dialects.semantics.graph import evaluate_op
from tilewright.dialects.types import element_type, tensor

RNG = np.random.default_rng(3)


def value(array: np.ndarray, encoding: Attribute | None = None) -> SSAValue:
    return AnyOp(result_types=[tensor(array.shape, element_type(array.dtype), encoding)]).results[0]


def run(op: Operation, *args: np.ndarray) -> np.ndarray:
    op.verify()
    return evaluate_op(op, args, ConstantStore())[0]


def oracle(op: str, inputs: Sequence[Array | None], **attributes: Any) -> np.ndarray:
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(inputs)]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, inputs, strict=True)
        if a is not None
    ]
    node = helper.make_node(op, names, ["y"], **attributes)
    made = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {n: a for n, a in zip(names, inputs, strict=True) if a is not None}
    return np.asarray(session.run(None, feed)[0])


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


Ints = tuple[int, ...]
ConvCase = tuple[int, int, int, Ints, Ints, int, Ints, int]
CONVS: list[ConvCase] = [
    # channels, out, group, spatial, kernel, stride, pads, dilation
    (3, 8, 1, (9, 10), (3, 3), 2, (1, 1, 1, 1), 1),
    (8, 8, 8, (9, 7), (3, 5), 1, (0, 2, 1, 2), 1),
    (4, 12, 4, (6, 6), (2, 2), 1, (0, 0, 1, 1), 2),
    (6, 4, 2, (5, 5), (1, 1), 1, (0, 0, 0, 0), 1),
    (4, 6, 2, (11,), (4,), 3, (2, 1), 1),
    (2, 4, 1, (4, 5, 6), (2, 3, 3), 1, (1, 0, 1, 0, 1, 1), 1),
]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CONVS, ids=str)
def test_convolution(case: ConvCase, layout: str) -> None:
    channels, out, group, spatial, kernel, stride, pads, dilation = case
    n = len(spatial)
    x, w, b = floats(2, channels, *spatial), floats(out, channels // group, *kernel), floats(out)
    options: dict[str, Any] = {
        "strides": [stride] * n,
        "pads": list(pads),
        "dilations": [dilation] * n,
        "group": group,
    }
    expected = oracle("Conv", [x, w, b], **options)
    if layout == "NHWC":
        x, w, expected = last(x), np.moveaxis(w, (0, 1), (-1, -2)), last(expected)
    op = graph.ConvOp(value(x), value(w), value(b), layout=layout, **options)
    np.testing.assert_allclose(run(op, x, w, b), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CONVS, ids=str)
def test_integer_convolution_is_exact(case: ConvCase, layout: str) -> None:
    channels, out, group, spatial, kernel, stride, pads, dilation = case
    n = len(spatial)
    x = RNG.integers(-128, 128, (1, channels, *spatial)).astype(np.int8)
    w = RNG.integers(-128, 128, (out, channels // group, *kernel)).astype(np.int8)
    b = RNG.integers(-1000, 1000, out).astype(np.int32)
    x_zp, w_zp = 17, -3
    wide = np.pad(
        x.astype(np.int64) - x_zp, [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)]
    )
    shape = [
        (d - (k - 1) * dilation - 1) // stride + 1
        for d, k in zip(wide.shape[2:], kernel, strict=True)
    ]
    expected = np.zeros((1, out, *shape), np.int64)
    per, outs = channels // group, out // group
    for m, at in itertools.product(range(out), itertools.product(*map(range, shape))):
        g = m // outs
        window = wide[
            (
                0,
                slice(g * per, (g + 1) * per),
                *(
                    slice(p * stride, p * stride + (k - 1) * dilation + 1, dilation)
                    for p, k in zip(at, kernel, strict=True)
                ),
            )
        ]
        expected[(0, m, *at)] = (window * (w[m].astype(np.int64) - w_zp)).sum() + b[m]
    if layout == "NHWC":
        x, w, expected = last(x), np.moveaxis(w, (0, 1), (-1, -2)), last(expected)
    op = graph.ConvOp(
        value(x),
        value(w),
        value(b),
        layout=layout,
        strides=[stride] * n,
        pads=pads,
        dilations=[dilation] * n,
        group=group,
        x_zp=x_zp,
        w_zp=w_zp,
    )
    np.testing.assert_array_equal(run(op, x, w, b), expected)


def test_integer_matmul_is_exact_beyond_24_bits() -> None:
    a = np.full((3, 4000), -128, np.int8)
    b = RNG.integers(-128, 128, (4000, 5)).astype(np.int8)
    op = graph.MatMulOp(value(a), value(b), a_zp=127, b_zp=1)
    expected = (a.astype(np.int64) - 127) @ (b.astype(np.int64) - 1)
    np.testing.assert_array_equal(run(op, a, b), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["max", "average", "average_padded"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "ceil"),
    [
        (2, 2, (0, 0, 0, 0), (0, 0)),
        (3, 2, (1, 1, 1, 1), (0, 0)),
        (3, 2, (1, 0, 1, 1), (1, 1)),
        (3, 1, (1, 1, 1, 1), (0, 0)),
    ],
)
def test_pooling(
    kernel: int, stride: int, pads: Sequence[int], ceil: Sequence[int], kind: str, layout: str
) -> None:
    x = floats(2, 3, 8, 9)
    options: dict[str, Any] = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": list(pads),
    }
    extra: dict[str, Any] = (
        {} if kind == "max" else {"count_include_pad": int(kind == "average_padded")}
    )
    expected = oracle(
        "MaxPool" if kind == "max" else "AveragePool",
        [x],
        ceil_mode=int(any(ceil)),
        **options,
        **extra,
    )
    full = [*pads[:2], pads[2] + ceil[0], pads[3] + ceil[1]]
    if layout == "NHWC":
        x, expected = last(x), last(expected)
    op = graph.PoolOp(
        value(x),
        "max" if kind == "max" else "average",
        kernel=[kernel] * 2,
        strides=[stride] * 2,
        pads=full,
        ceil_pads=list(ceil),
        layout=layout,
        **extra,
    )
    np.testing.assert_allclose(run(op, x), expected, rtol=1e-5, atol=1e-5)


def test_integer_sum_pool_ignores_padding() -> None:
    x = RNG.integers(-128, 128, (1, 2, 5, 5)).astype(np.int8)
    op = graph.PoolOp(value(x), "sum", kernel=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], x_zp=9)
    wide = np.pad(x.astype(np.int32) - 9, [(0, 0), (0, 0), (1, 1), (1, 1)])
    expected = [
        [
            [[wide[0, c, i : i + 3, j : j + 3].sum() for j in (0, 2, 4)] for i in (0, 2, 4)]
            for c in (0, 1)
        ]
    ]
    np.testing.assert_array_equal(run(op, x), expected)


RESIZES = [
    ("nearest", c, n, 0)
    for c in ("asymmetric", "half_pixel", "align_corners")
    for n in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
] + [
    (m, c, "floor", 0)
    for m in ("linear", "cubic")
    for c in ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")
]


@pytest.mark.parametrize(("scale_h", "scale_w"), [(2.0, 3.0), (0.5, 0.5), (1.7, 0.6)])
@pytest.mark.parametrize(("mode", "coordinates", "nearest", "_"), RESIZES)
def test_resize(
    mode: str, coordinates: str, nearest: str, _: int, scale_h: float, scale_w: float
) -> None:
    x = floats(1, 2, 6, 7)
    scales = np.asarray([1, 1, scale_h, scale_w], np.float32)
    expected = oracle(
        "Resize",
        [x, None, scales],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=nearest,
    )
    op = graph.ResizeOp(
        value(x),
        expected.shape[2:],
        mode,
        scales[2:].tolist(),
        coordinates=coordinates,
        nearest=nearest,
    )
    np.testing.assert_allclose(run(op, x), expected, rtol=1e-4, atol=1e-4)
    op = graph.ResizeOp(
        value(last(x)),
        expected.shape[2:],
        mode,
        scales[2:].tolist(),
        coordinates=coordinates,
        nearest=nearest,
        layout="NHWC",
    )
    np.testing.assert_allclose(run(op, last(x)), last(expected), rtol=1e-4, atol=1e-4)


ONNX_REDUCTIONS = {
    "mean": "ReduceMean",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "l1": "ReduceL1",
    "l2": "ReduceL2",
    "sum_square": "ReduceSumSquare",
    "log_sum": "ReduceLogSum",
    "log_sum_exp": "ReduceLogSumExp",
}


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("kind", sorted(ONNX_REDUCTIONS))
def test_reductions(kind: str, keep: int) -> None:
    x = np.abs(floats(2, 3, 4)) if kind == "log_sum" else floats(2, 3, 4)
    expected = oracle(ONNX_REDUCTIONS[kind], [x], axes=[0, 2], keepdims=keep)
    np.testing.assert_allclose(
        run(graph.ReduceOp(value(x), kind, [0, 2], keep), x), expected, rtol=1e-5, atol=1e-5
    )


def test_integer_mean_truncates_and_sum_subtracts_the_zero_point() -> None:
    x = np.asarray([[-3, -4], [3, 4]], np.int32)
    np.testing.assert_array_equal(run(graph.ReduceOp(value(x), "mean", [1], 0), x), [-3, 3])
    q = np.asarray([[-128, 127]], np.int8)
    np.testing.assert_array_equal(run(graph.ReduceOp(value(q), "sum", [1], 0, x_zp=-128), q), [255])


@pytest.mark.parametrize("select_last", [0, 1])
def test_arg_reduce_on_ties(select_last: int) -> None:
    x = np.asarray([[1, 3, 3, 0], [5, 5, 5, 5]], np.float32)
    expected = oracle("ArgMax", [x], axis=1, keepdims=0, select_last_index=select_last)
    np.testing.assert_array_equal(
        run(graph.ArgReduceOp(value(x), "max", 1, 0, select_last), x), expected
    )


def test_softmax_of_large_values() -> None:
    x = floats(2, 5, 3) * 100
    np.testing.assert_allclose(
        run(graph.SoftmaxOp(value(x), 1), x), oracle("Softmax", [x], axis=1), rtol=1e-5, atol=1e-7
    )


def test_half_precision_rounds_once() -> None:
    a, b = floats(4, 300).astype(np.float16), floats(300, 4).astype(np.float16)
    got = run(graph.MatMulOp(value(a), value(b)), a, b)
    assert got.dtype == np.float16
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(got, exact, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str) -> None:
    x = floats(3, 4, 5)
    expected = oracle(
        "Pad", [x, np.asarray([0, 1, 2, 0, 2, 1], np.int64), np.asarray(1.5, np.float32)], mode=mode
    )
    got = run(
        graph.PadOp(value(x), [0, 1, 2], [0, 2, 1], mode, 1.5 if mode == "constant" else 0.0), x
    )
    np.testing.assert_array_equal(got, expected)


def test_crop_slice_and_gather() -> None:
    x = floats(4, 5)
    np.testing.assert_array_equal(
        run(graph.PadOp(value(x), [-1, 0], [1, -2]), x), np.pad(x[1:, :3], [(0, 1), (0, 0)])
    )
    np.testing.assert_array_equal(
        run(graph.SliceOp(value(x), [3, 1], [4, 2], [-1, 2]), x), x[::-1, 1::2]
    )
    index = np.asarray([[-1, 0], [2, -4]], np.int64)
    np.testing.assert_array_equal(
        run(graph.GatherOp(value(x), value(index), 0), x, index), np.take(x, index, 0)
    )


@pytest.mark.parametrize("axis", [None, 1])
def test_quantize_and_dequantize(axis: int | None) -> None:
    x = floats(3, 4, 2) * 50
    scales, zps = ([0.3], [7]) if axis is None else ([0.1, 0.2, 0.5, 1.0], [0, 1, -2, 3])
    encoding = graph.QuantAttr.get(scales, zps, axis)
    q = run(graph.QuantizeOp(value(x), encoding), x)
    arrays = [np.asarray(scales, np.float32), np.asarray(zps, np.int8)]
    arrays = [a.reshape(()) if axis is None else a for a in arrays]
    extra = {} if axis is None else {"axis": axis}
    np.testing.assert_array_equal(q, oracle("QuantizeLinear", [x, *arrays], **extra))
    got = run(graph.DequantizeOp(value(q, encoding)), q)
    np.testing.assert_array_equal(got, oracle("DequantizeLinear", [q, *arrays], **extra))


def test_lookup_of_both_signednesses() -> None:
    table = RNG.permutation(np.arange(-128, 128)).astype(np.int8)
    for dtype in (np.int8, np.uint8):
        x = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
        np.testing.assert_array_equal(run(graph.LookupOp(value(x), value(table)), x, table), table)


def test_requantize_per_channel_rounds_half_up() -> None:
    acc = np.asarray([[3, 3], [-3, -3], [1000, -1000]], np.int32)
    m, s = np.asarray([1 << 30, 1 << 30], np.int32), np.asarray([31, 32], np.int32)
    op = graph.RequantizeOp(
        value(acc), value(m), value(s), graph.QuantAttr.get([1.0], [5]), lo=-100, hi=100
    )
    np.testing.assert_array_equal(run(op, acc, m, s), [[7, 6], [4, 4], [100, -100]])

"""Implementations of this project against onnxruntime, on random data."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.host_calls import agree

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)


def reals(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def choices(*options: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(itertools.product(*options))


@pytest.mark.parametrize(
    ("mode", "padding", "align"),
    choices(["linear", "nearest", "cubic"], ["zeros", "border", "reflection"], [0, 1]),
)
def test_grid_sample(mode: str, padding: str, align: int) -> None:
    attributes: dict[str, Any] = dict(mode=mode, padding_mode=padding, align_corners=align)
    grid = RNG.uniform(-1.4, 1.4, (2, 4, 6, 2)).astype(np.float32)
    agree("GridSample", [reals(2, 3, 7, 5), grid], 20, **attributes)
    if mode != "cubic":
        grid = RNG.uniform(-1.3, 1.3, (1, 3, 2, 4, 3)).astype(np.float32)
        agree("GridSample", [reals(1, 2, 4, 5, 6), grid], 20, **attributes)


@pytest.mark.parametrize(
    ("mode", "place"),
    choices(
        ["nearest", "linear", "cubic"],
        ["half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"],
    ),
)
def test_resize(mode: str, place: str) -> None:
    for scales, option in choices([(1, 1, 0.6, 1.7), (1, 1, 2, 0.5), (1, 1, 0.3, 0.4)], [0, 1]):
        attributes: dict[str, Any] = dict(mode=mode, coordinate_transformation_mode=place)
        if mode == "nearest":
            attributes["nearest_mode"] = ["floor", "round_prefer_ceil"][option]
        else:
            attributes["antialias"] = option
        factors = np.array(scales, np.float32)
        agree("Resize", [reals(2, 3, 7, 5), None, factors], 19, **attributes)
        if mode == "cubic":
            attributes["exclude_outside"] = 1
            agree("Resize", [reals(2, 3, 7, 5), None, factors], 19, **attributes)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_resize_of_some_axes(policy: str) -> None:
    sizes = np.array([9, 4], np.int64)
    for axes in ([2, 3], [3, 2]):
        inputs = [reals(2, 3, 7, 5), None, None, sizes]
        agree("Resize", inputs, 19, mode="linear", axes=axes, keep_aspect_ratio_policy=policy)


def test_upsample() -> None:
    for mode in ("nearest", "linear"):
        agree("Upsample", [reals(1, 2, 3, 4)], 7, mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
        scales = np.array([1, 1, 2, 3], np.float32)
        agree("Upsample", [reals(1, 2, 3, 4), scales], 9, mode=mode)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(mode: str) -> None:
    rois = np.array([[0, 0, 6, 6], [1.2, 0.5, 20, 30], [-3, -2, 4, 5], [5, 5, 4, 4]], np.float32)
    inputs = [reals(2, 3, 7, 5), rois, np.array([0, 1, 1, 0])]
    size: dict[str, Any] = dict(output_height=3, output_width=2, spatial_scale=0.5, mode=mode)
    for ratio, place in choices([0, 2], ["half_pixel", "output_half_pixel"]):
        attributes: dict[str, Any] = {**size, "sampling_ratio": ratio}
        agree("RoiAlign", inputs, 16, coordinate_transformation_mode=place, **attributes)
    agree("RoiAlign", inputs, 10, **size)


def test_max_roi_pool() -> None:
    rois = np.array([[0, 0, 0, 6, 6], [1, 1.2, 0.5, 20, 30], [1, -3, -2, 4, 5]], np.float32)
    agree("MaxRoiPool", [reals(2, 3, 7, 5), rois], 1, pooled_shape=[3, 2], spatial_scale=0.5)


@given(st.integers(1, 60), st.integers(0, 1), st.floats(0, 1), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_non_max_suppression(boxes: int, centred: int, iou: float, limit: int) -> None:
    inputs: list[Array | None] = [
        RNG.uniform(0, 1, (2, boxes, 4)).astype(np.float32),
        RNG.uniform(0, 1, (2, 3, boxes)).astype(np.float32),
        np.array([limit]),
        np.array([iou], np.float32),
        np.array([0.2], np.float32),
    ]
    agree("NonMaxSuppression", inputs, 11, center_point_box=centred)


@pytest.mark.parametrize(
    ("op", "direction", "short"),
    choices(["RNN", "GRU", "LSTM"], ["forward", "reverse", "bidirectional"], [False, True]),
)
def test_recurrent(op: str, direction: str, short: bool) -> None:
    gates, ways = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 2 if direction == "bidirectional" else 1
    lengths = np.array([3, 5, 1], np.int32) if short else None
    inputs: list[Array | None] = [reals(5, 3, 4), reals(ways, 6 * gates, 4)]
    inputs += [reals(ways, 6 * gates, 6), reals(ways, 12 * gates), lengths, reals(ways, 3, 6)]
    if op == "LSTM":
        inputs += [reals(ways, 3, 6), reals(ways, 18)]
    count = 3 if op == "LSTM" else 2
    attributes: dict[str, Any] = dict(hidden_size=6, direction=direction)
    agree(op, inputs, 14, count, **attributes)
    agree(op, inputs, 14, count, clip=0.3, **attributes)
    if op == "GRU":
        agree(op, inputs, 14, count, linear_before_reset=1, **attributes)


def test_recurrent_activations() -> None:
    inputs = [reals(5, 3, 4), reals(1, 18, 4), reals(1, 18, 6)]
    parameters: dict[str, Any] = dict(activation_alpha=[0.3, 0.7], activation_beta=[0.4, 0.6])
    names = ["HardSigmoid", "ScaledTanh"]
    agree("GRU", inputs, 14, 2, hidden_size=6, activations=names, **parameters)
    inputs = [reals(5, 3, 4), reals(1, 24, 4), reals(1, 24, 6)]
    agree("LSTM", inputs, 14, 3, hidden_size=6, input_forget=1)


@pytest.mark.parametrize("ceil", [0, 1])
def test_pooling(ceil: int) -> None:
    x = reals(2, 3, 7, 5)
    for strides, pads, dilations in choices(
        [(1, 1), (2, 3)], [(0, 0, 0, 0), (1, 1, 1, 0)], [(1, 1), (2, 1)]
    ):
        shape: dict[str, Any] = dict(
            kernel_shape=(3, 2), strides=strides, pads=pads, dilations=dilations, ceil_mode=ceil
        )
        for option in (0, 1):
            agree("MaxPool", [x], 12, 2, storage_order=option, **shape)
            agree("AveragePool", [x], 19, count_include_pad=option, **shape)
        agree("LpPool", [x], 18, p=3, **shape)
    for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        agree("MaxPool", [x], 12, kernel_shape=(3, 2), strides=(2, 3), auto_pad=auto)
    agree("GlobalLpPool", [x], 2, p=3)


@pytest.mark.parametrize("group", [1, 2, 6])
def test_convolution(group: int) -> None:
    x = reals(2, 6, 7, 5)
    for strides, dilations, pads in choices(
        [(1, 1), (2, 1)], [(1, 1), (2, 2)], [(0, 0, 0, 0), (2, 1, 0, 1)]
    ):
        shape: dict[str, Any] = dict(group=group, strides=strides, dilations=dilations, pads=pads)
        weights = reals(12, 6 // group, 3, 2)
        agree("Conv", [x, weights, reals(12)], 11, **shape)
        extra = [1 if strides[0] > 1 else 0, 0]
        inputs: list[Array | None] = [x, reals(6, 4, 3, 2), reals(4 * group)]
        agree("ConvTranspose", inputs, 11, output_padding=extra, **shape)
        out = [
            (d + pads[i] + pads[2 + i] - (k - 1) * dilations[i] - 1) // strides[i] + 1
            for i, (d, k) in enumerate(((7, 3), (5, 2)))
        ]
        offsets, mask = reals(2, 24, *out), np.abs(reals(2, 12, *out))
        inputs = [x, weights, offsets, reals(12), mask]
        agree("DeformConv", inputs, 19, offset_group=2, **shape)


def test_convolution_padding() -> None:
    x = reals(2, 3, 7, 5)
    for auto, strides in choices(["SAME_UPPER", "SAME_LOWER", "VALID"], [(1, 1), (2, 3)]):
        agree("Conv", [x, reals(4, 3, 3, 2)], 11, auto_pad=auto, strides=strides)
        agree("ConvTranspose", [x, reals(3, 4, 3, 2)], 11, auto_pad=auto, strides=strides)
    wanted: dict[str, Any] = dict(strides=(2, 3), output_shape=[15, 15])
    agree("ConvTranspose", [x, reals(3, 4, 3, 2)], 11, **wanted)


def test_integer_convolution() -> None:
    x, w = RNG.integers(0, 255, (1, 2, 5, 5)), RNG.integers(0, 255, (4, 1, 3, 3))
    x, w = x.astype(np.uint8), w.astype(np.uint8)
    zeros = [np.array(3, np.uint8), np.array(5, np.uint8)]
    agree("ConvInteger", [x, w, *zeros], 10, group=2, pads=[1, 1, 1, 1])
    scales = [np.array(s, np.float32) for s in (0.1, 0.2, 5)]
    bias = RNG.integers(-99, 99, 4).astype(np.int32)
    inputs: list[Array | None] = [x, scales[0], zeros[0], w, scales[1], zeros[1], scales[2]]
    inputs += [np.array(9, np.uint8), bias]
    agree("QLinearConv", inputs, 10, group=2, pads=[1, 1, 1, 1], strides=[2, 1])


@given(st.integers(0, 2), st.integers(0, 1), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_top_k_and_unique(axis: int, option: int, k: int) -> None:
    x = RNG.integers(0, 5, (4, 6, 3)).astype(np.float32)
    agree("TopK", [x, np.array([k])], 11, 2, largest=option, axis=axis)
    agree("Unique", [x], 11, 4, sorted=option)
    agree("Unique", [x[:, :2, 0].copy()], 11, 4, sorted=option, axis=min(axis, 1))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter(reduction: str) -> None:
    x = reals(4, 6, 3)
    if reduction == "none":  # of several writes to one element any may win
        spots = np.stack([RNG.permutation(4)[:3] for _ in range(12)], 1).reshape(3, 6, 2)
        rows = np.array([[1, 2], [-1, 0]])
    else:
        spots, rows = RNG.integers(-4, 4, (3, 6, 2)), RNG.integers(-3, 3, (5, 2))
    agree("ScatterElements", [x, spots, reals(3, 6, 2)], 18, reduction=reduction)
    agree("ScatterND", [x, rows, reals(len(rows), 3)], 18, reduction=reduction)


def test_gather() -> None:
    x = reals(3, 4, 5)
    agree("Gather", [x, np.array([[0, -1], [2, 1]])], 13, axis=1)
    agree("GatherElements", [x, RNG.integers(-4, 4, (2, 6, 5))], 13, axis=1)
    agree("GatherND", [x, RNG.integers(-3, 3, (3, 2, 1))], 13, batch_dims=1)


def test_quantisation() -> None:
    x = np.array([1e20, -1e20, np.inf, 0.5, 1.5, -2.5], np.float32)
    for kind in (np.int8, np.uint8, np.int16):
        agree("QuantizeLinear", [x, np.array(0.5, np.float32), np.array(3, kind)], 21)
    blocks = np.abs(reals(2, 3)) + 0.1
    zeros = RNG.integers(-9, 9, (2, 3)).astype(np.int8)
    agree("QuantizeLinear", [reals(2, 6), blocks, zeros], 21, axis=1, block_size=2)
    stored = RNG.integers(-99, 99, (2, 6)).astype(np.int8)
    agree("DequantizeLinear", [stored, blocks, zeros], 21, axis=1, block_size=2)


@pytest.mark.parametrize("opset", [7, 10, 11, 12, 13])
def test_older_opsets(opset: int) -> None:
    x = reals(2, 3, 4)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        agree(op, [x], opset, axis=1)
    statistics = [reals(3), reals(3), reals(3), np.abs(reals(3))]
    agree("BatchNormalization", [x, *statistics], opset)
    agree("Div", [np.array([-7, 7, -6], np.int32), np.array([2, -2, 3], np.int32)], opset)
    if opset < 11:
        agree("Pad", [x], opset, pads=[0, 1, 0, 0, 0, 2], mode="reflect")
    else:
        agree("Pad", [x, np.array([0, 1, 0, 0, 0, -2])], opset, mode="edge")


def test_signals() -> None:
    mel: list[Array | None] = [np.array(v) for v in (20, 512, 16000)]
    mel += [np.array(0.0, np.float32), np.array(8000.0, np.float32)]
    agree("MelWeightMatrix", mel, 17)
    agree("STFT", [reals(2, 50, 1), np.array(7), reals(16)], 17)
    for name, periodic in choices(["Hann", "Hamming", "Blackman"], [0, 1]):
        agree(f"{name}Window", [np.array(11)], 17, periodic=periodic)
    for inverse, onesided in ((0, 0), (1, 0), (0, 1)):
        signal = reals(2, 9, 1 if onesided else 2)
        agree("DFT", [signal], 17, axis=1, inverse=inverse, onesided=onesided)

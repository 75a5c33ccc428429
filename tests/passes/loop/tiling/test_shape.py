"""Extents of layers as their designer would state them."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.npu.networks import sample
from benchmarks.npu.zoo.builder import Builder

from tilewright.compiler import api


def shapes(net: Builder, *outputs: str) -> list[dict[str, Any]]:
    model = net.model(*outputs)
    made = api.compile(model, "gemmini-16x16", quantize="int8", calibration=sample(model))
    layers = made.simulate_timing().to_json()["layers"]
    return [shape for layer in layers for shape in layer["shapes"]]


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_convolution(kernel: int, stride: int) -> None:
    net = Builder("n")
    x = net.conv(net.input("x", (2, 5, 12, 12)), 5, 7, kernel, name="c", stride=stride)
    taps, side = kernel * kernel, 12 // stride
    assert shapes(net, x) == [
        {"kind": "matmul", "batch": 1, "m": 2 * side**2, "n": 7, "k": 5 * taps, "taps": taps}
    ]


def test_depthwise_and_pooling() -> None:
    net = Builder("n")
    x = net.conv(net.input("x", (1, 20, 12, 12)), 20, 20, 3, name="c", groups=20)
    y = net.max_pool(x, 2, 2, 0, name="p")
    assert shapes(net, y) == [
        {"kind": "vmac", "batch": 1, "m": 144, "n": 20, "k": 9, "taps": 9},
        {"kind": "vmax", "batch": 1, "m": 36, "n": 20, "k": 4, "taps": 4},
    ]


def test_connected() -> None:
    net = Builder("n")
    x = net.gemm(net.input("x", (3, 40)), 40, 10, name="fc")
    assert shapes(net, x) == [{"kind": "matmul", "batch": 1, "m": 3, "n": 10, "k": 40, "taps": 1}]

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Block, Operation

from support.quantized import MACHINE, Graph
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.graph import (
    CastOp,
    ConvOp,
    MatMulOp,
    PadOp,
    PoolOp,
    QAddOp,
    QuantAttr,
    ReduceOp,
    ResizeOp,
    SliceOp,
    SoftmaxOp,
)
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import tensor
from tilewright.passes.graph.capabilities import npu_reason, whole_factors

COORDINATES = (
    "asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric",
)  # fmt: skip
NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@given(
    st.integers(1, 5), st.integers(1, 4), st.sampled_from(COORDINATES), st.sampled_from(NEAREST),
)  # fmt: skip
def test_whole_factors_repeat_every_element(
    extent: int, factor: int, coordinates: str, nearest: str
) -> None:
    graph = Graph(ConstantStore(), (1, 1, extent, 2))
    scales = [float(factor), 1.0]
    op = ResizeOp(
        graph.args[0],
        [extent * factor, 2],
        "nearest",
        scales,
        coordinates=coordinates,
        nearest=nearest,
    )
    module = graph.module(graph.add(op))
    x = np.arange(extent * 2, dtype=np.float32).reshape(1, 1, extent, 2)
    repeats = np.array_equal(evaluate(module, [x], graph.store)[0], np.repeat(x, factor, 2))
    factors = whole_factors(op)
    assert factors is None or factors == (factor, 1)
    if factors is not None:
        assert repeats


@pytest.mark.parametrize(
    ("coordinates", "nearest"), [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")]
)
def test_the_usual_exporters_upsampling_has_whole_factors(coordinates: str, nearest: str) -> None:
    graph = Graph(ConstantStore(), (1, 1, 4, 4))
    op = ResizeOp(
        graph.args[0], [8, 12], "nearest", [2.0, 3.0], coordinates=coordinates, nearest=nearest
    )
    assert whole_factors(op) == (2, 3)


def reason(op: Operation) -> str | None:
    return npu_reason(op, MACHINE, ConstantStore())


def test_reasons_speak_of_the_data_and_the_machine() -> None:
    block = Block(arg_types=[tensor((1, 4, 8, 8), i8)])
    x = block.args[0]
    graph = Graph(ConstantStore(), (1, 4, 8, 8))
    f = graph.args[0]
    w = graph.constant(np.zeros((6, 4, 1, 1), np.int8))
    conv: dict[str, Any] = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
    assert reason(ConvOp(x, w, **conv)) is None
    assert reason(ConvOp(x, w, **conv, w_zp=3)) is None
    assert (
        reason(ConvOp(f, graph.constant(np.zeros((6, 4, 1, 1), np.float32)), **conv))
        == "float32 data: the NPU computes on int8"
    )
    bias = graph.add(CastOp(f, i32))
    assert reason(ConvOp(x, x, strides=[1, 1], pads=[0] * 4, dilations=[1, 1])) is None
    assert "bias computed at run time" in (reason(ConvOp(x, w, bias, **conv)) or "")
    assert reason(SoftmaxOp(f, 1)) == "float32 softmax: the vector unit has no exponential"
    assert reason(MatMulOp(x, x, b_zp=3)) is None
    assert reason(PoolOp(x, "max", kernel=[2, 2], strides=[2, 2], pads=[0] * 4)) is None
    assert reason(ReduceOp(x, "sum", [2, 3])) is None
    assert reason(ReduceOp(x, "sum", [1])) is None
    assert reason(ReduceOp(x, "max", [0, 3])) is None
    assert "'prod'" in (reason(ReduceOp(x, "prod", [1])) or "")
    assert reason(PadOp(x, [0, 0, 1, 1], [0, 0, 1, 1])) is None
    assert "reflect" in (reason(PadOp(x, [0, 0, 1, 1], [0, 0, 1, 1], "reflect")) or "")
    assert "negative step" in (reason(SliceOp(x, [0, 0, 7, 0], [1, 4, 8, 8], [1, 1, -1, 1])) or "")
    assert "linear" in (reason(ResizeOp(x, [16, 16], "linear", [2.0, 2.0])) or "")


@pytest.mark.parametrize(
    "shape", [(1, 4, 8, 8), (4, 1, 1), (1, 4, 1, 1), (), (1,), (8,), (8, 1), (4, 8, 1)]
)
def test_broadcasting_is_of_anything(shape: tuple[int, ...]) -> None:
    block = Block(arg_types=[tensor((1, 4, 8, 8), i8), tensor(shape, i8)])
    a, b = block.args
    op = QAddOp(a, b, QuantAttr.get([1.0], [0]), za=0, ma=1, zb=0, mb=1, multiplier=1, shift=1)
    assert reason(op) is None

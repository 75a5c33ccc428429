"""Conversions between all element types."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference.ops.op_cast import cast_to

from support.host_calls import call

TYPES = [name for name in list(TensorProto.DataType.keys()) if name != "UNDEFINED"]
reference: Any = cast_to
VALUES = np.array([0, 1, 2, 3, 0.25, 6, -0.0])


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name)))


@pytest.mark.filterwarnings("ignore")
def test_every_type_to_every_type() -> None:
    for source, target in itertools.product(TYPES, TYPES):
        if "COMPLEX" in source and target != source:
            continue
        x = call("Cast", [VALUES], 25, to=TensorProto.DataType.Value(source))[0]
        y = call("Cast", [x], 25, to=TensorProto.DataType.Value(target))[0]
        assert x.dtype == dtype_of(source) and y.dtype == dtype_of(target)
        assert call("CastLike", [x, y], 25)[0].dtype == y.dtype
        if "STRING" in (source, target) or source == target:
            continue
        try:
            want = reference(x, TensorProto.DataType.Value(target), True)
        except TypeError:  # ml_dtypes has no direct conversion, ours goes by a wider type
            continue
        assert ((want == y) | ((want != want) & (y != y))).all(), (source, target)


@pytest.mark.parametrize("target", ["FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT8E4M3FNUZ"])
def test_saturation(target: str) -> None:
    x, element = np.array([1e9, -1e9], np.float32), TensorProto.DataType.Value(target)
    bounded = call("Cast", [x], 19, to=element)[0].astype(np.float32)
    assert np.isfinite(bounded).all() and bounded[0] > 200 and bounded[1] < -200
    assert not np.isfinite(call("Cast", [x], 19, to=element, saturate=0)[0].astype(float)).any()


def test_strings() -> None:
    text = call("Cast", [np.array([1.5, 0.1, -2], np.float32)], 21, to=TensorProto.STRING)[0]
    assert text.tolist() == ["1.5", "0.1", "-2.0"]
    assert call("Cast", [text], 21, to=TensorProto.INT64)[0].tolist() == [1, 0, -2]
    assert call("Cast", [text], 21, to=TensorProto.BFLOAT16)[0].tolist()[0] == 1.5


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT2", "UINT2", "FLOAT8E4M3FN", "FLOAT4E2M1"])
@pytest.mark.parametrize("block", [0, 2])
def test_narrow_quantisation_round_trip(kind: str, block: int) -> None:
    levels = np.array([[0, 1, 1, 0, 1, 0]] * 4).astype(dtype_of(kind))
    scale = np.full((4, 3) if block else (6,), 0.5, np.float32)
    shape: dict[str, Any] = dict(axis=1, block_size=block)
    real = call("DequantizeLinear", [levels, scale], 25, **shape)[0]
    np.testing.assert_array_equal(real, levels.astype(np.float32) / 2)
    element = TensorProto.DataType.Value(kind)
    again = call("QuantizeLinear", [real, scale], 25, output_dtype=element, **shape)[0]
    assert again.dtype == levels.dtype and (again == levels).all()

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.dialects.graph import QuantAttr
from tilewright.dialects.types import ui8
from tilewright.passes.graph.encodings import (
    BIAS_LIMIT,
    activation_encoding,
    all_values,
    dequantize_array,
    quantize_array,
    weight_scales,
)

bounds = st.floats(-1e30, 1e30, allow_subnormal=True)


@given(bounds, bounds)
def test_any_range_has_an_encoding_in_which_zero_is_exact(a: float, b: float) -> None:
    encoding = activation_encoding(min(a, b), max(a, b))
    assert np.float32(encoding.scale) >= np.finfo(np.float32).tiny
    assert -128 <= encoding.zero_point <= 127
    assert dequantize_array(quantize_array(np.zeros(1), encoding), encoding) == 0


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 999))
def test_rounding_errs_by_one_step_at_most(lo: float, width: float, seed: int) -> None:
    encoding = activation_encoding(lo, lo + width)
    x = np.random.default_rng(seed).uniform(lo, lo + width, 200).astype(np.float32)
    error = np.abs(dequantize_array(quantize_array(x, encoding), encoding) - x)
    assert (
        error.max() <= encoding.scale * 1.001
    )  # half a step, and half a step of nudging at the ends


def test_ranges_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        activation_encoding(0.0, float("inf"))


def test_weight_scales_leave_room_for_the_bias() -> None:
    weights = np.array([[1.0, -2.0], [0.0, 0.0], [1e-12, 0.0], [0.0, 0.0]])
    bias = np.array([0.5, 3.0, 3.0, 0.0])
    scales = weight_scales(weights, 0, bias, 0.01)
    assert scales[0] == np.float32(2 / 127)
    assert (np.abs(bias) / (0.01 * scales.astype(np.float64)) <= BIAS_LIMIT * 1.001).all()
    assert scales[3] == 1.0
    assert weight_scales(weights, None, None, 1.0).tolist() == [np.float32(2 / 127)]


def test_all_values_are_in_order_of_the_stored_value() -> None:
    signed, unsigned = QuantAttr.get([0.5], [-128]), QuantAttr.get([0.5], [0])
    expected = np.arange(256) * 0.5
    np.testing.assert_array_equal(all_values(signed), expected)
    np.testing.assert_array_equal(all_values(unsigned, ui8), expected)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tilewright
from support.models import inputs_for, small_cnn
from support.oracle import session
from tilewright.dialects.errors import InputError


@pytest.fixture(scope="module")
def executable() -> Any:
    return tilewright.compile(small_cnn())


def test_outputs_equal_onnxruntime(executable: Any) -> None:
    model = small_cnn()
    inputs = inputs_for(model)
    expected = session(model.SerializeToString()).run(None, inputs)[0]
    for given in (inputs, [inputs["x"]], inputs["x"], {"in:x": inputs["x"]}):
        np.testing.assert_allclose(executable(given)["y"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(executable.run(x=inputs["x"])["y"], executable(inputs)["y"])


class Foreign:
    def __init__(self, array: Any):
        self.array = array

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_dlpack_inputs(executable: Any) -> None:
    x = inputs_for(small_cnn())["x"]
    np.testing.assert_array_equal(executable(Foreign(x))["y"], executable(x)["y"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "missing input: x float32"),
        ({"z": np.zeros(3)}, "missing input"),
        ({"x": np.zeros((1, 3, 12, 12), np.float32), "z": np.zeros(3)}, "unknown input: z"),
        ({"x": np.zeros((1, 3, 12, 13), np.float32)}, "shape"),
        ({"x": np.zeros((1, 3, 12, 12), np.complex64)}, "type complex64"),
        ([1, 2], "2 inputs given"),
    ],
)
def test_wrong_inputs_are_named(executable: Any, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        executable(given)


def test_simulation_is_bit_identical_to_the_cpu_end() -> None:
    model = small_cnn()
    exe = tilewright.compile(model, "gemmini-16x16", quantize="int8", calibration=inputs_for(model))
    inputs = inputs_for(model, 7)
    outputs, result = exe.simulate(inputs)
    np.testing.assert_array_equal(outputs["y"], exe.run(inputs)["y"])
    assert result.cycles >= result.lower_bound_cycles > 0
    assert result.macs > 0

"""`tilewright.onnx_backend`, as users import it."""

from __future__ import annotations

import numpy as np
from onnx import helper

import tilewright.onnx_backend as backend


def test_the_module_is_a_backend() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    x = np.array([-1.0, 2.0], np.float32)
    (y,) = backend.run_node(helper.make_node("Relu", ["x"], ["y"]), [x])
    np.testing.assert_array_equal(y, [0, 2])

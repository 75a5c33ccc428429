"""The backend test suite of the onnx package, and the cases of it that cannot pass.

All cases run on the CPU as they are.  A case in `UNMET` has to fail: once it passes, the table is
out of date, and its test fails.
"""

from __future__ import annotations

import warnings
from typing import Any
from unittest import TestCase

import onnx.backend.test

from tilewright.compiler.onnx_backend import TilewrightBackend

_DRAWS = (
    "random numbers: the expected values are draws of numpy's generator, which ONNX says another "
    "implementation need not reproduce, with a seed or without"
)
_HALF = (
    "float16: two elements differ by two units in the last place; the result is nearer to the "
    "exact one than the expected values, which are rounded at every step"
)
_CORNERS = (
    "the expected values put the last sample where an output of fractional size would end; "
    "tilewright puts it on the corner, as onnxruntime and PyTorch do"
)
_SCALARS = "the suite cannot compare scalars in a sequence: it takes their length"
_GRADIENT = "refused: gradients of subgraphs are not computed"

UNMET = {
    "test_bernoulli": _DRAWS,
    "test_bernoulli_expanded": _DRAWS,
    "test_bernoulli_double": _DRAWS,
    "test_bernoulli_double_expanded": _DRAWS,
    "test_bernoulli_seed": _DRAWS,
    "test_bernoulli_seed_expanded": _DRAWS,
    "test_attention_4d_causal_fp16": _HALF,
    "test_attention_4d_causal_fp16_expanded": _HALF,
    "test_resize_downsample_scales_linear_align_corners": _CORNERS,
    "test_resize_downsample_scales_cubic_align_corners": _CORNERS,
    "test_loop16_seq_none": _SCALARS,
    "test_gradient_of_add": _GRADIENT,
    "test_gradient_of_add_and_mul": _GRADIENT,
}
"""Why a case cannot pass, by its name without the device."""


def backend_test(
    parent: str | None = None, backend: type[TilewrightBackend] = TilewrightBackend
) -> Any:
    """The suite (`onnx.backend.test.BackendTest`), with the unmet cases expected to fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the numpy expressions that make the expected values
        suite: Any = onnx.backend.test.BackendTest(backend, parent)
    for name in UNMET:
        suite.xfail(rf"^{name}_cpu$")
    return suite


def cpu_cases(suite: Any) -> dict[str, type[TestCase]]:
    """The test classes of `suite`, without the methods for other devices, which would skip."""
    cases: dict[str, type[TestCase]] = suite.test_cases
    for case in cases.values():
        for name in [n for n in vars(case) if n.startswith("test_") and not n.endswith("_cpu")]:
            delattr(case, name)
    return cases


def names_of(case: type[TestCase]) -> list[str]:
    """The names of a class's cases, without the device."""
    return [n.removesuffix("_cpu") for n in vars(case) if n.startswith("test_")]

"""Imported operators against onnxruntime: each one-node model means what ONNX says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.op_models import CASES, OpCase
from support.oracle import session
from tilewright.compiler.importer import import_model
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext


def random_input(info: Any, rng: Any) -> Any:
    match info.type:
        case "tensor(float)":
            return rng.standard_normal(info.shape).astype(np.float32)
        case "tensor(bool)":
            return rng.integers(0, 2, info.shape).astype(np.bool_)
        case "tensor(uint8)":
            return rng.integers(0, 256, info.shape).astype(np.uint8)
        case "tensor(int8)":
            return rng.integers(-128, 128, info.shape).astype(np.int8)
        case kind:
            dtype = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}[kind]
            return rng.integers(-3, 3, info.shape).astype(dtype)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_means_what_onnxruntime_computes(case: OpCase) -> None:
    oracle = session(case.model.SerializeToString())
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {i.name: random_input(i, rng) for i in oracle.get_inputs()}
    expected: list[Any] = oracle.run(None, inputs)
    ctx = CompilerContext()
    module = import_model(case.model, ctx)
    module.verify()
    found = evaluate(module, inputs, ctx.constants)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
        elif case.id.startswith(
            "QLinear"
        ):  # onnxruntime multiplies by a rounded ratio of the scales
            np.testing.assert_allclose(a.astype(int), b.astype(int), atol=1)
        else:
            np.testing.assert_array_equal(a, b)

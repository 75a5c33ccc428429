"""Artefacts that malformed input is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from support.models import inputs_for, small_cnn, tilewright


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, and its artefacts for the CPU and an NPU."""
    at = tmp_path_factory.mktemp("artefacts")
    onnx.save(small_cnn(), at / "m.onnx")
    np.savez(at / "cal.npz", **inputs_for(small_cnn()))
    assert tilewright("compile", str(at / "m.onnx"), "-o", str(at / "cpu.tw"))[0] == 0
    code, _, err = tilewright(
        "compile", str(at / "m.onnx"), "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", str(at / "cal.npz"), "-o", str(at / "npu.tw"),
        "--emit", "binary,graph,loop,npu",
    )  # fmt: skip
    assert code == 0, err
    return at

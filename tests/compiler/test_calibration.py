from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from support.models import tilewright
from tilewright.compiler.calibration import read_calibration, shapes_from, stack_samples
from tilewright.compiler.tensors import TensorInfo
from tilewright.dialects.errors import InputError

X = TensorInfo("x", (1, 3, 4, 5), "float32")


def array(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (6, 1, 3, 4, 5), (6, 3, 4, 5)])
def test_samples_alone_stacked_or_along_the_batch(shape: tuple[int, ...]) -> None:
    given = array(*shape)
    stacked = stack_samples(read_calibration({"in:x": given}), [X])["x"]
    assert stacked.shape == (given.size // 60, 1, 3, 4, 5)
    np.testing.assert_array_equal(stacked.ravel(), given.ravel())


def test_a_folder_holds_a_file_per_sample(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=array(1, 3, 4, 5) + i)
    stacked = stack_samples(read_calibration(tmp_path), [X])["x"]
    assert stacked.shape == (3, 1, 3, 4, 5)
    assert stacked[2].ravel()[0] == 2


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.npz files"):
        read_calibration(tmp_path)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        stack_samples(read_calibration({"x": array(1, 3, 4, 6)}), [X])


@pytest.mark.parametrize(
    ("declared", "shape", "expected"),
    [
        ([None, 3, None, None], (1, 3, 8, 9), (1, 3, 8, 9)),
        ([None, 3, None, None], (7, 1, 3, 8, 9), (1, 3, 8, 9)),
        ([None, 3, None, None], (7, 3, 8, 9), (1, 3, 8, 9)),
        ([1, None], (1, 16), (1, 16)),
        ([1, 3], (1, 3), None),
        ([None, 3], (1, 4), None),
        ([None, 3], (2, 2, 2, 2), None),
    ],
)
def test_open_dimensions_come_from_the_data(
    declared: list[int | None], shape: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    found = shapes_from([{"x": array(*shape)}], {"x": declared})
    assert found == ({} if expected is None else {"x": expected})


def test_a_dynamic_model_runs_at_other_shapes_than_it_was_calibrated_at(tmp_path: Path) -> None:
    shape = ["batch", 2, "height", "width"]
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, [4, 2, 3, 3], array(4, 2, 3, 3).ravel() / 72
    )
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "cal.npz", x=array(5, 2, 8, 9))
    np.savez(tmp_path / "in.npz", x=array(1, 2, 8, 9))
    np.savez(tmp_path / "other.npz", x=array(1, 2, 8, 10))
    code, _, err = tilewright(
        "compile", tmp_path / "m.onnx", "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", tmp_path / "cal.npz", "-o", tmp_path / "m.tw",
    )  # fmt: skip
    assert code == 0, err
    assert tilewright("simulate", tmp_path / "m.tw", "--inputs", tmp_path / "in.npz")[0] == 0
    code, out, err = tilewright("simulate", tmp_path / "m.tw", "--inputs", tmp_path / "other.npz")
    assert code == 0, err
    assert "1x4x6x8" in out
    np.savez(tmp_path / "wrong.npz", x=array(1, 3, 8, 10))
    code, _, err = tilewright("run", tmp_path / "m.tw", "--inputs", tmp_path / "wrong.npz")
    assert code == 2
    assert "dimension 1 must be 2" in err

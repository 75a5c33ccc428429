"""The packaged digits model is small, and reads the packaged held-out digits."""

from importlib.resources import as_file, files
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

EXAMPLES = files("tilewright.compiler") / "examples"


def arrays(name: str) -> dict[str, NDArray[Any]]:
    with as_file(EXAMPLES / name) as path, np.load(path) as archive:
        return dict(archive)


def test_the_model_is_small_and_plain() -> None:
    data = (EXAMPLES / "digits.onnx").read_bytes()
    assert len(data) < 200_000
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert all(node.name for node in model.graph.node)


def test_the_model_reads_held_out_digits() -> None:
    held_out = arrays("digits_heldout.npz")
    assert held_out["image"].shape == (100, 1, 1, 8, 8)
    assert held_out["image"].dtype == np.float32
    assert held_out["label"].dtype == np.int64
    assert np.bincount(held_out["label"]).tolist() == [10] * 10
    session = ort.InferenceSession(
        (EXAMPLES / "digits.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    logits = np.array([session.run(["logits"], {"image": image}) for image in held_out["image"]])
    assert logits.shape == (100, 1, 1, 10)
    guesses = logits.argmax(axis=-1).ravel()
    assert np.mean(guesses == held_out["label"]) >= 0.97


def test_calibration_images_are_not_held_out_ones() -> None:
    calibration = arrays("digits_calibration.npz")["image"]
    assert calibration.shape == (64, 1, 1, 8, 8)
    assert calibration.dtype == np.float32
    seen = {image.tobytes() for image in calibration}
    assert not any(image.tobytes() in seen for image in arrays("digits_heldout.npz")["image"])

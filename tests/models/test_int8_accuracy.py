"""What quantisation costs on trained networks: the int8 graph by the reference semantics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.models import EXAMPLES
from support.quantized import count, run
from tilewright.compiler.importer import import_model
from tilewright.compiler.pipeline import phase_passes
from tilewright.dialects.constants import Array
from tilewright.dialects.graph import ConvOp, MapOp, RequantizeOp
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext

Model = Callable[..., list[Array]]


def prepared(path: Path, calibration: Mapping[str, Array]) -> tuple[Model, Model, Any]:
    """The real model, its int8 form, and the module of the latter."""
    ctx = CompilerContext(calibration=calibration)
    module = import_model(str(path), ctx)
    run(ctx, module, *(p.transform.name for p in phase_passes("graph")))
    real = module.clone()
    run(ctx, module, *(p.transform.name for p in phase_passes("quantize")))
    return (
        lambda *inputs: evaluate(real, list(inputs), ctx.constants),
        lambda *inputs: evaluate(module, list(inputs), ctx.constants),
        module,
    )


def accuracy(model: Model, inputs: Any, labels: Any) -> float:
    """Share of inputs whose largest output is the label."""
    return float(np.mean([model(x)[0].argmax() == y for x, y in zip(inputs, labels, strict=True)]))


def test_digits() -> None:
    held_out = np.load(EXAMPLES / "digits_heldout.npz")
    calibration = np.load(EXAMPLES / "digits_calibration.npz")
    _, int8, module = prepared(EXAMPLES / "digits.onnx", {"image": calibration["image"]})
    assert accuracy(int8, held_out["image"], held_out["label"]) >= 0.97
    assert count(module, MapOp) == 0
    assert count(module, ConvOp) <= count(module, RequantizeOp)


@pytest.mark.slow
def test_cifar10(models: Path) -> None:
    def images(name: str) -> Array:
        return (
            np.load(models / "data" / name)["x"].astype(np.float32).transpose(0, 3, 1, 2)[:, None]
        )

    labels = np.load(models / "data" / "cifar10_test_500.npz")["y"]
    real, int8, _ = prepared(
        models / "real" / "mlperf_tiny_ic_resnet8.onnx",
        {"input": images("cifar10_train_200.npz")[:50]},
    )
    test = images("cifar10_test_500.npz")
    assert accuracy(int8, test, labels) >= accuracy(real, test, labels) - 0.01


@pytest.mark.slow
def test_keywords(models: Path) -> None:
    data = np.load(models / "data" / "kws_500.npz")
    features = (
        ((data["q"] - data["zp"]) * data["scale"]).astype(np.float32).reshape(-1, 1, 1, 49, 10)
    )
    real, int8, _ = prepared(
        models / "real" / "mlperf_tiny_kws_dscnn.onnx", {"input": features[:50]}
    )
    assert accuracy(int8, features, data["y"]) >= accuracy(real, features, data["y"]) - 0.01


def inputs(models: Path, name: str) -> dict[str, Array]:
    """The inputs of an example in `inputs/`."""
    with np.load(models / "inputs" / f"{name}.npz") as archive:
        return {k.removeprefix("in:"): archive[k] for k in archive if k.startswith("in:")}


def test_imagenet_classes(models: Path) -> None:
    expected = {"kitten_224.png": 281, "pineapple.jpg": 953, "hummingbird.jpg": 94}
    photos = {
        p: next(iter(inputs(models, f"squeezenet1.1_fp32.{p}").values()))
        for p in (*expected, "fish.png")
    }
    _, int8, _ = prepared(
        models / "real" / "squeezenet1.1_fp32.onnx", {"data_0": np.stack(list(photos.values()))}
    )
    for photo, label in expected.items():
        assert int8(photos[photo])[0].argmax() == label


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common)


def distinct(boxes: Array, scores: Array, threshold: float) -> int:
    """Boxes left by greedy non-maximum suppression."""
    kept: list[Array] = []
    for i in np.argsort(-scores):
        if scores[i] > threshold and all(overlap(boxes[i], k) < 0.4 for k in kept):
            kept.append(boxes[i])
    return len(kept)


@pytest.mark.parametrize("photo", ["faces_3.jpg"])
def test_faces(models: Path, photo: str) -> None:
    example = inputs(models, f"ultraface_rfb320.{photo}")
    _, int8, _ = prepared(models / "real" / "ultraface_rfb320.onnx", example)
    scores, boxes = int8(*example.values())
    assert distinct(boxes[0], scores[0, :, 1], 0.7) == 5


def test_objects(models: Path) -> None:
    example = inputs(models, "nanodet_m_320.bus.jpg")
    _, int8, _ = prepared(models / "real" / "nanodet_m_320.onnx", example)
    outputs = int8(*example.values())
    found = {0: list[tuple[float, Array]](), 5: list[tuple[float, Array]]()}
    classes = sorted((o[0] for o in outputs if o.shape[-1] == 80), key=len)
    sides = sorted((o[0] for o in outputs if o.shape[-1] == 32), key=len)
    for scores, distances in zip(classes, sides, strict=True):
        grid = round(len(scores) ** 0.5)
        stride, weights = 320 // grid, np.exp(distances.reshape(-1, 4, 8))
        reach = (weights / weights.sum(-1, keepdims=True)) @ np.arange(8) * stride
        centre = (np.stack(np.divmod(np.arange(len(scores)), grid)[::-1], 1) + 0.5) * stride
        boxes = np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1)
        for label, hits in found.items():
            hits += [
                (float(scores[i, label]), boxes[i]) for i in np.flatnonzero(scores[:, label] > 0.4)
            ]
    counts = {
        k: distinct(np.stack([b for _, b in v]), np.array([s for s, _ in v]), 0.4)
        for k, v in found.items()
    }
    assert counts == {0: 3, 5: 1}  # three persons and a bus

"""Models through the whole pipeline: against onnxruntime, and one end against the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewright
from support.oracle import session
from support.whole import TARGETS, assert_ends_agree, assert_near, assert_same_bits
from tilewright.compiler.executable import Executable
from tilewright.dialects.constants import Array

NAMES = (
    "squeezenet1.1_fp32", "mnist_cntk", "mlperf_tiny_kws_dscnn", "mlperf_tiny_ic_resnet8",
    "mlperf_tiny_vww_mbv1_025", "mlperf_tiny_ad_autoencoder", "pilotnet", "nanodet_m_320",
    "ultraface_rfb320", "deeplabv3_mnv2_dm05", "keypoint_classifier", "super_resolution",
    "resnet18_ts17", "resnet50_ts17", "mobilenetv2_ts17", "yolov8n_ts17",
)  # fmt: skip
"""Those that benchmarks report on."""
OTHERS: dict[str, dict[str, tuple[int, ...]]] = {
    "cct2_32x32_128": {},
    "espnet_cityscapes_512x1024": {},
    "person_reid_0288": {},
    "ppocr_v3_det_en": {},
    "silero_vad": {"input": (1, 512), "state": (2, 1, 128)},
    "stories260k_decode_kv": {},
    "stories260k_prefill16": {},
    "tinyvit_demo": {},
    "xfeat_320x160": {},
    "yunet_n_dynamic": {"input": (1, 3, 192, 256)},
    "bevformer_layer_ts17": {},
    "centernet_r18_ts17": {},
    "efficientnet_b0_ts17": {},
    "gpt2_kv_ts17": {},
    "hf_bert_ts17": {},
    "hf_bert_ts17_dyn": {},
    "hf_clip_ts17": {},
    "hf_vit_dy18": {},
    "hf_vit_ts17": {},
    "llama_block_decode_ts17": {},
    "llama_block_prefill_dy18": {},
    "llama_block_prefill_ts17": {},
    "lss_bevdet_ts17": {},
    "mobilenetv2_ts17_dyn": {},
    "mobilenetv3_large_ts17": {},
    "occ_head3d_ts17": {},
    "pointpillars_ts17": {},
    "rt1_ts17": {},
    "traj_transformer_ts17": {},
    "vit_b16_ts17": {},
}
"""Further models, with the extents of those whose inputs have none."""
OUTSIDE_GIVEN = {"sr": np.asarray(16000, np.int64)}


def model_path(models: Path, name: str) -> str:
    return str(
        next(p for p in (models / k / f"{name}.onnx" for k in ("real", "arch")) if p.exists())
    )


def examples(models: Path, name: str) -> dict[str, Array]:
    """The first example of a model's inputs; empty where there is none."""
    found = sorted((models / "inputs").glob(f"{name}.*.npz")) + sorted(
        (models / "arch").glob(f"{name}.npz")
    )
    if not found:
        return {}
    with np.load(found[0]) as arrays:
        return {k.removeprefix("in:"): arrays[k] for k in arrays.files if not k.startswith("out:")}


def noise(executable: Executable) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        i.name: OUTSIDE_GIVEN[i.name]
        if i.name in OUTSIDE_GIVEN
        else (rng.random(i.shape) if "float" in i.dtype else rng.integers(0, 2, i.shape)).astype(
            i.dtype
        )
        for i in executable.inputs
    }


def check_fp32(models: Path, name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    path = model_path(models, name)
    given = examples(models, name)
    reference = session(path)
    inputs = {i.name: given[i.name] for i in reference.get_inputs() if i.name in given}
    executable = tilewright.compile(path, shapes=shapes or {k: v.shape for k, v in inputs.items()})
    inputs = inputs or noise(executable)
    results = executable.run({i.name: inputs[i.name] for i in executable.inputs})
    fed = {i.name: inputs.get(i.name, OUTSIDE_GIVEN.get(i.name)) for i in reference.get_inputs()}
    for info, expected in zip(reference.get_outputs(), reference.run(None, fed), strict=True):
        value = results[info.name]
        assert value.shape == expected.shape and value.dtype == expected.dtype
        if name == "yunet_n_dynamic" and info.name.startswith("obj_"):
            # Probabilities of 1e-5 at most, where onnxruntime's sigmoid is good to 1e-7 absolute.
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)
        else:
            assert_near(value, expected, 1e-4, info.name)


@pytest.mark.parametrize("name", NAMES)
def test_fp32(models: Path, name: str) -> None:
    check_fp32(models, name, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_fp32_of_others(models: Path, name: str) -> None:
    check_fp32(models, name, OTHERS[name])


# --- int8 ---

FAST = (
    "mnist_cntk", "mlperf_tiny_kws_dscnn", "mlperf_tiny_ic_resnet8", "mlperf_tiny_vww_mbv1_025",
    "mlperf_tiny_ad_autoencoder", "pilotnet", "keypoint_classifier", "mobilenetv2_ts17",
)  # fmt: skip


def int8(
    models: Path, name: str, target: str, calibration: dict[str, Array] | None = None
) -> tuple[Executable, dict[str, Array]]:
    path = model_path(models, name)
    inputs = examples(models, name) or noise(tilewright.compile(path))
    if name == "mlperf_tiny_ic_resnet8":
        inputs = {"input": cifar(models, "test_500")[0][0]}
    executable = tilewright.compile(
        path,
        target,
        quantize="int8",
        calibration=calibration or inputs,
        shapes={name: value.shape for name, value in inputs.items()},
    )
    return executable, {i.name: inputs[i.name] for i in executable.inputs}


def cases() -> list[Any]:
    return [
        pytest.param(
            name, target, marks=[] if name in FAST and target == TARGETS[0] else pytest.mark.slow
        )
        for target in TARGETS
        for name in NAMES
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "target"), cases())
def test_ends_agree(models: Path, name: str, target: str) -> None:
    executable, inputs = int8(models, name, target)
    if name in FAST:
        figures = assert_ends_agree(executable, inputs)
    else:  # the numpy semantics of large models take minutes
        on_npu, figures = executable.simulate(inputs, check=True)
        assert_same_bits(on_npu, executable.run(inputs))
    assert 0 < figures.lower_bound_cycles <= figures.cycles


# --- accuracy on data, on the CPU end, which equals the simulated NPU bit for bit ---


def cifar(models: Path, part: str) -> tuple[Array, Array]:
    """Images (samples, 1, 3, 32, 32) of 0..255, and labels."""
    with np.load(models / "data" / f"cifar10_{part}.npz") as data:
        pixels: Array = data["x"]
        return pixels.astype(np.float32).transpose(0, 3, 1, 2)[:, None], data["y"]


def accuracy(executable: Executable, samples: Array, labels: Array) -> float:
    scores = executable.run(samples)[executable.outputs[0].name]
    hits: Array = scores.reshape(len(labels), -1).argmax(1) == labels
    return float(hits.mean())


def test_cifar10_accuracy(models: Path) -> None:
    images, labels = cifar(models, "test_500")
    path = model_path(models, "mlperf_tiny_ic_resnet8")
    exact = accuracy(tilewright.compile(path), images, labels)
    calibration = {"input": cifar(models, "train_200")[0][:100]}
    quantized = tilewright.compile(path, "gemmini-16x16", quantize="int8", calibration=calibration)
    assert exact > 0.7
    assert accuracy(quantized, images, labels) >= exact - 0.01


def test_keyword_accuracy(models: Path) -> None:
    with np.load(models / "data" / "kws_500.npz") as data:
        samples = (
            ((data["q"] - data["zp"]) * data["scale"]).astype(np.float32).reshape(-1, 1, 1, 49, 10)
        )
        labels = data["y"]
    path = model_path(models, "mlperf_tiny_kws_dscnn")
    exact = accuracy(tilewright.compile(path), samples, labels)
    name = tilewright.compile(path).inputs[0].name
    quantized = tilewright.compile(
        path, "gemmini-16x16", quantize="int8", calibration={name: samples[:100]}
    )
    assert exact > 0.88
    assert accuracy(quantized, samples, labels) >= exact - 0.01


def photos(models: Path, name: str) -> dict[str, dict[str, Array]]:
    """All examples of a model by the name of what they show."""
    out: dict[str, dict[str, Array]] = {}
    for path in sorted((models / "inputs").glob(f"{name}.*.npz")):
        with np.load(path) as arrays:
            out[path.name[len(name) + 1 : -4].split(".")[0]] = {
                k[3:]: arrays[k] for k in arrays.files if k.startswith("in:")
            }
    return out


def stacked(samples: dict[str, dict[str, Array]]) -> dict[str, Array]:
    rows = list(samples.values())
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]}


def test_imagenet_classes(models: Path) -> None:
    shown = photos(models, "squeezenet1.1_fp32")
    classes = (models / "images" / "synset.txt").read_text().splitlines()
    executable, _ = int8(models, "squeezenet1.1_fp32", "gemmini-16x16", stacked(shown))
    for photo, word in (
        ("kitten_224", "tabby"),
        ("pineapple", "pineapple"),
        ("hummingbird", "hummingbird"),
    ):
        scores = next(iter(executable.run(shown[photo]).values()))
        assert word in classes[int(scores.argmax())], photo


def test_steering(models: Path) -> None:
    shown = photos(models, "pilotnet")
    executable, _ = int8(models, "pilotnet", "gemmini-16x16", stacked(shown))
    assert float(
        next(iter(executable.run(shown["pilot_center"]).values())).item()
    ) == pytest.approx(-0.42, abs=0.03)


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    common = float(np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)))
    return common / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common)


def objects(boxes: Array, scores: Array, threshold: float) -> int:
    """Boxes left by greedy non-maximum suppression."""
    kept: list[Array] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > threshold and all(overlap(boxes[i], k) < 0.4 for k in kept):
            kept.append(boxes[i])
    return len(kept)


def test_faces(models: Path) -> None:
    shown = photos(models, "ultraface_rfb320")
    executable, _ = int8(models, "ultraface_rfb320", "gemmini-16x16", stacked(shown))
    scores, boxes = executable.run(shown["faces_3"]).values()
    assert objects(boxes[0], scores[0, :, 1], 0.7) == 5


def test_persons_and_a_bus(models: Path) -> None:
    executable, inputs = int8(models, "nanodet_m_320", "gemmini-16x16")
    outputs = list(executable.run(inputs).values())
    every: list[tuple[Array, Array]] = []
    for scores in (o[0] for o in outputs if o.shape[-1] == 80):
        sides = next(o[0] for o in outputs if o.shape[-1] == 32 and o.shape[1] == len(scores))
        grid = round(len(scores) ** 0.5)
        weights = np.exp(sides.reshape(-1, 4, 8))
        reach = (weights / weights.sum(-1, keepdims=True)) @ np.arange(8) * (320 // grid)
        centre = (np.stack(np.divmod(np.arange(len(scores)), grid)[::-1], 1) + 0.5) * (320 // grid)
        every.append((scores, np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1)))
    scores, boxes = (np.concatenate(parts) for parts in zip(*every, strict=True))
    assert objects(boxes, scores[:, 0], 0.4) == 3
    assert objects(boxes, scores[:, 5], 0.4) == 1

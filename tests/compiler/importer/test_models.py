"""Real models: all import, and those small enough compute what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.oracle import session
from tilewright.compiler.importer import check_model, import_model
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext

MODELS = [
    "real/squeezenet1.1_fp32",
    "real/mnist_cntk",
    "real/mlperf_tiny_kws_dscnn",
    "real/mlperf_tiny_ic_resnet8",
    "real/mlperf_tiny_vww_mbv1_025",
    "real/mlperf_tiny_ad_autoencoder",
    "real/pilotnet",
    "real/nanodet_m_320",
    "real/ultraface_rfb320",
    "real/deeplabv3_mnv2_dm05",
    "real/keypoint_classifier",
    "real/super_resolution",
    "real/yunet_n_dynamic",
    "real/ppocr_v3_det_en",
    "real/person_reid_0288",
    "real/xfeat_320x160",
    "real/cct2_32x32_128",
    "real/tinyvit_demo",
    "real/stories260k_prefill16",
    "real/stories260k_decode_kv",
    "arch/resnet18_ts17",
    "arch/resnet50_ts17",
    "arch/mobilenetv2_ts17",
    "arch/mobilenetv2_ts17_dyn",
    "arch/mobilenetv3_large_ts17",
    "arch/efficientnet_b0_ts17",
    "arch/yolov8n_ts17",
    "arch/hf_bert_ts17",
    "arch/hf_vit_dy18",
    "arch/hf_vit_ts17",
    "arch/hf_clip_ts17",
    "arch/gpt2_kv_ts17",
    "arch/llama_block_prefill_ts17",
    "arch/llama_block_prefill_dy18",
    "arch/llama_block_decode_ts17",
    "arch/occ_head3d_ts17",
    "arch/rt1_ts17",
    "arch/vit_b16_ts17",
    "arch/centernet_r18_ts17",
    "arch/pointpillars_ts17",
    "arch/lss_bevdet_ts17",
    "arch/traj_transformer_ts17",
    "arch/bevformer_layer_ts17",
]

IMPORTED_ONLY = ["real/candy", "real/espnet_cityscapes_512x1024", "real/squeezenet1.1_fp16"]

SHAPES = {
    "real/yunet_n_dynamic": {"input": (1, 3, 64, 96)},
    "real/ppocr_v3_det_en": {"x": (1, 3, 64, 96)},
    "arch/mobilenetv2_ts17_dyn": {"x": (1, 3, 64, 64)},
}


def inputs_for(
    oracle: Any, shapes: dict[str, tuple[int, ...]], archive: Path
) -> dict[str, np.ndarray]:
    saved = dict(np.load(archive)) if archive.exists() and not shapes else {}
    rng = np.random.default_rng(0)
    out: dict[str, np.ndarray] = {}
    for spec in oracle.get_inputs():
        shape = shapes.get(spec.name, tuple(d if isinstance(d, int) else 1 for d in spec.shape))
        if f"in:{spec.name}" in saved:
            out[spec.name] = saved[f"in:{spec.name}"]
        elif spec.type == "tensor(float)":
            out[spec.name] = rng.standard_normal(shape).astype(np.float32)
        elif spec.name == "sr":
            out[spec.name] = np.full(shape, 16000, np.int64)
        else:
            out[spec.name] = np.ones(shape, np.bool_ if spec.type == "tensor(bool)" else np.int64)
    return out


@pytest.mark.parametrize("name", MODELS)
def test_computes_what_onnxruntime_computes(name: str, models: Path) -> None:
    path, shapes = models / f"{name}.onnx", SHAPES.get(name, {})
    oracle = session(str(path))
    inputs = inputs_for(oracle, shapes, path.with_suffix(".npz"))
    expected: list[Any] = oracle.run(None, inputs)
    ctx = CompilerContext()
    module = import_model(path, ctx, shapes)
    module.verify()
    found = evaluate(module, inputs, ctx.constants)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(
                a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(b).max()))
            )
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", IMPORTED_ONLY)
def test_imports(name: str, models: Path) -> None:
    assert check_model(models / f"{name}.onnx", CompilerContext()) == []

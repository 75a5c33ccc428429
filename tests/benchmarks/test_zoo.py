from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from benchmarks.npu.zoo import build, counts, default_batch, names
from benchmarks.npu.zoo.pruning import prune
from onnx import numpy_helper

from tilewright.dialects.errors import InputError

PUBLISHED = {
    "resnet18": (11.69e6, 1.814e9),
    "resnet34": (21.80e6, 3.664e9),
    "resnet50": (25.557e6, 4.089e9),
    "resnet50_v1": (25.557e6, 3.858e9),
    "resnet50_v2": (25.55e6, 4.089e9),
    "resnet101": (44.55e6, 7.801e9),
    "mobilenet_v1": (4.232e6, 0.569e9),
    "mobilenet_v2": (3.505e6, 0.3008e9),
    "vit_b16": (86.568e6, 17.56e9),
}
"""Parameters and multiply-accumulates of one image, as published, to the digits published."""

TPU = {
    "tpu_mlp0": (20e6, 200, {"Gemm": 5}),
    "tpu_mlp1": (5e6, 168, {"Gemm": 4}),
    "tpu_lstm0": (52e6, 64, {"Gemm": 24}),
    "tpu_lstm1": (34e6, 96, {"Gemm": 37}),
    "tpu_cnn0": (8e6, 2888, {"Conv": 16}),
    "tpu_cnn1": (100e6, 1750, {"Conv": 72, "Gemm": 4}),
}
"""Weights, operations per weight byte, layers: table 1 of the paper."""


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_published(name: str) -> None:
    parameters, macs = PUBLISHED[name]
    found = counts(build(name, weights=False))
    assert found.parameters == pytest.approx(parameters, rel=5e-4)
    assert found.macs == pytest.approx(macs, rel=1e-3)


def test_exact_parameters() -> None:
    # PyTorch's figures for the same networks.
    exact = {"resnet18": 11689512, "resnet50": 25557032, "mobilenet_v2": 3504872}
    exact |= {"resnet34": 21797672, "resnet101": 44549160, "vit_b16": 86567656}
    assert {n: counts(build(n, weights=False)).parameters for n in exact} == exact


def test_bert_encoder() -> None:
    encoder = counts(build("bert_base", weights=False, ids=False))
    assert encoder.parameters == 85_054_464
    assert encoder.macs == 12 * (128 * 12 * 768**2 + 2 * 128**2 * 768)
    whole = counts(build("bert_base", weights=False))
    assert whole.macs == encoder.macs
    assert whole.parameters - encoder.parameters == (30522 + 512 + 2 + 2) * 768
    longer = counts(build("bert_base", weights=False, sequence=384))
    assert longer.macs == 12 * (384 * 12 * 768**2 + 2 * 384**2 * 768)


@pytest.mark.parametrize("name", TPU)
def test_tpu_applications_meet_table_1(name: str) -> None:
    weights, intensity, layers = TPU[name]
    model = build(name, weights=False)
    found = counts(model)
    assert found.parameters == pytest.approx(weights, rel=0.065)
    assert found.macs / found.parameters == pytest.approx(intensity, rel=0.03)
    assert {k: kinds(model)[k] for k in layers} == layers


def test_tpu_vector_and_pool_layers() -> None:
    lstm0 = build("tpu_lstm0", weights=False)
    activations = sum(n.name.endswith(("sigmoid", "tanh")) for n in lstm0.graph.node) - 6
    operations = kinds(lstm0)
    assert activations == 24  # one for each gate, part of its layer
    assert sum(operations[k] for k in ("Mul", "Add", "Tanh", "Sigmoid")) - activations == 34
    groups = {
        tuple(n.name.split(".")[:2]) for n in build("tpu_lstm1", weights=False).graph.node
        if ".state" in n.name or ".hidden" in n.name or n.name == "residual"
    }  # fmt: skip
    assert len(groups) == 19
    cnn1 = kinds(build("tpu_cnn1", weights=False))
    assert cnn1["MaxPool"] + cnn1["AveragePool"] + cnn1["GlobalAveragePool"] == 13


def test_versions_put_the_stride_where_they_should() -> None:
    def strided(name: str) -> set[str]:
        return {
            node.name.rpartition(".")[2]
            for node in build(name, weights=False).graph.node
            if node.op_type == "Conv" and node.name.startswith("layer2.0.conv")
            for a in node.attribute
            if a.name == "strides" and a.ints[0] == 2
        }

    assert strided("resnet50_v1") == {"conv1"}
    assert strided("resnet50") == strided("resnet50_v1.5") == strided("resnet50_v2") == {"conv2"}
    first = [n.op_type for n in build("resnet50_v2", weights=False).graph.node][4:7]
    assert first == ["BatchNormalization", "Relu", "Conv"]


@pytest.mark.parametrize("name", names())
def test_models_are_valid_and_have_the_batch_asked_for(name: str) -> None:
    model = build(name, 3, weights=False)
    onnx.checker.check_model(model, full_check=True)
    for value in (model.graph.input[0], *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_value == 3


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v2", "tpu_mlp1"])
def test_models_with_weights_are_valid_and_the_same_every_time(name: str) -> None:
    model = build(name)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString(deterministic=True) == build(name).SerializeToString(
        deterministic=True
    )
    assert counts(model) == counts(build(name, weights=False))


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v2", "mobilenet_v1", "mobilenet_v2"])
def test_activations_keep_a_sane_range(name: str) -> None:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    session = onnxruntime.InferenceSession(build(name, size=64).SerializeToString())
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    logits = np.asarray(session.run(None, {"image": image})[0], np.float32)
    assert np.isfinite(logits).all()
    assert 0.1 < logits.std() < 30


def test_defaults_and_errors() -> None:
    assert default_batch("tpu_mlp0") == 200
    assert default_batch("resnet50") == 1
    with pytest.raises(InputError, match="unknown network 'resnet51'"):
        build("resnet51")
    with pytest.raises(InputError, match="batch 0"):
        build("tiny", 0)


def test_pruning() -> None:
    """Two of every four input channels are left, the greater ones; others are as they were."""
    dense, pruned = build("tiny"), build("tiny")
    count = prune(pruned)
    changed = 0
    for before, after in zip(dense.graph.initializer, pruned.graph.initializer, strict=True):
        if before == after:
            continue
        changed += 1
        old, new = numpy_helper.to_array(before), numpy_helper.to_array(after)
        fours = np.moveaxis(new, 1, -1).reshape(-1, 4)
        assert ((fours != 0).sum(axis=1) <= 2).all()
        assert (new[new != 0] == old[new != 0]).all()
        lost = np.abs(np.moveaxis(np.where(new == 0, old, 0), 1, -1).reshape(-1, 4)).max(axis=1)
        kept = np.abs(np.where(fours == 0, np.inf, fours)).min(axis=1)
        assert (lost <= kept).all()
    assert changed == count > 0

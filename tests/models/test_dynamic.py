"""Open dimensions: one artefact for many shapes, on real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tilewright
from support.oracle import session
from support.whole import assert_near
from tilewright.dialects.constants import Array

Feeds = dict[str, Array]


def bert(batch: int, length: int) -> Feeds:
    rng = np.random.default_rng(length)
    return {
        "input_ids": rng.integers(0, 90, (batch, length)),
        "attention_mask": np.ones((batch, length), np.int64),
        "token_type_ids": rng.integers(0, 2, (batch, length)),
    }


def image(name: str, *shape: int) -> Feeds:
    return {name: np.random.default_rng(sum(shape)).random(shape).astype(np.float32)}


def speech(batch: int, length: int, rate: int) -> Feeds:
    rng = np.random.default_rng(length)
    return {
        "input": (0.1 * rng.standard_normal((batch, length))).astype(np.float32),
        "state": rng.standard_normal((2, batch, 128)).astype(np.float32),
        "sr": np.asarray(rate, np.int64),
    }


CASES: dict[str, list[Feeds]] = {
    "real/yunet_n_dynamic": [
        image("input", 1, 3, h, w)
        for h, w in [(160, 160), (320, 320), (192, 256), (256, 416), (480, 640)]
    ],
    "arch/hf_bert_ts17_dyn": [
        bert(b, n) for b, n in [(1, 1), (1, 8), (2, 33), (1, 64), (3, 17), (1, 100), (2, 128)]
    ],
    "arch/mobilenetv2_ts17_dyn": [
        image("x", *shape) for shape in [(1, 3, 64, 64), (2, 3, 96, 96), (4, 3, 128, 160)]
    ],
    "real/silero_vad": [speech(1, 576, 16000), speech(1, 288, 8000), speech(3, 576, 16000)],
}


@pytest.mark.parametrize("name", CASES)
def test_one_artefact_serves_every_shape(models: Path, name: str, tmp_path: Path) -> None:
    path = models / f"{name}.onnx"
    tilewright.compile(path).save(tmp_path / "m.tw")
    executable = tilewright.load(tmp_path / "m.tw")
    reference = session(str(path))
    for feeds in CASES[name]:
        outputs = executable.run(feeds)
        for info, expected in zip(reference.get_outputs(), reference.run(None, feeds), strict=True):
            value = outputs[info.name]
            assert value.shape == expected.shape and value.dtype == expected.dtype
            if info.name.startswith("obj_"):  # probabilities of 1e-5, see test_models.py
                np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)
            else:
                assert_near(value, expected, 1e-4, info.name)


def growing_cache(models: Path) -> onnx.ModelProto:
    """GPT-2 with a key-value cache of open length (its causal mask has a fixed one)."""
    model = onnx.load(models / "arch" / "gpt2_kv_ts17.onnx")
    (both,) = (node for node in model.graph.node if node.op_type == "And")
    both.op_type = "Identity"
    del both.input[0]
    for info in (*model.graph.input, *model.graph.output):
        dims = info.type.tensor_type.shape.dim
        if info.name.startswith("past_"):
            dims[2].dim_param = "past"
        elif info.name == "attention_mask":
            dims[1].dim_param = "total"
        elif info.name.startswith("present"):
            dims[2].dim_param = "total"
    del model.graph.value_info[:]
    return model


def test_a_cache_grows_step_by_step(models: Path) -> None:
    model = growing_cache(models)
    executable = tilewright.compile(model)
    reference = session(model.SerializeToString())
    caches = [i.name for i in reference.get_inputs() if i.name.startswith("past_")]
    feeds: dict[str, Any] = {
        i.name: np.zeros((1, 4, 0, 16), np.float32)
        for i in reference.get_inputs()
        if i.name in caches
    }
    token = 5
    for step in range(12):
        feeds |= {
            "input_ids": np.array([[token]]),
            "position_ids": np.array([[step]]),
            "attention_mask": np.ones((1, step + 1), np.int64),
        }
        outputs = executable.run(feeds)
        expected = dict(
            zip([o.name for o in reference.get_outputs()], reference.run(None, feeds), strict=True)
        )
        for name, value in expected.items():
            assert_near(outputs[name], value, 1e-4, name)
        logits, *present = outputs.values()
        token = int(logits[0, -1].argmax())
        feeds |= dict(zip(caches, present, strict=True))


def greedy(step: Any, tokens: list[int], count: int) -> list[int]:
    """Tokens of a story teller that reads one token a time, its cache a window of 255."""
    past: dict[str, Array] = {
        f"past_{kind}{layer}": np.zeros((1, 4, 255, 8), np.float32)
        for layer in range(5)
        for kind in "kv"
    }
    told = list(tokens)
    for position in range(count):
        mask = np.full((1, 1, 1, 256), -1e9, np.float32)
        mask[..., 255 - position :] = 0
        feeds = {
            "ids": np.array([[told[position]]]),
            "pos": np.array([[position]]),
            "mask": mask,
            **past,
        }
        logits, *present = step(feeds)
        if position + 1 == len(told):
            told.append(int(logits[0, -1].argmax()))
        past = {name: value[:, :, 1:] for name, value in zip(past, present, strict=True)}
    return told


def test_the_story_is_that_of_onnxruntime(models: Path) -> None:
    path = models / "real" / "stories260k_decode_kv.onnx"
    executable = tilewright.compile(path)
    reference = session(str(path))
    names = [o.name for o in reference.get_outputs()]

    def ours(feeds: Feeds) -> list[Array]:
        outputs = executable.run(feeds)
        return [outputs[name] for name in names]

    def theirs(feeds: Feeds) -> list[Array]:
        return list(reference.run(None, feeds))

    told = greedy(ours, [1], 60)
    assert told == greedy(theirs, [1], 60)
    assert len(set(told)) > 20

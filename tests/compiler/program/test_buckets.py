"""Padding to buckets: only where it is proved safe, and then without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tilewright
from support.models import tilewright as command_line
from tilewright.compiler.program.executable import ProgramExecutable
from tilewright.dialects.errors import InputError

FLOAT = TensorProto.FLOAT
info = helper.make_tensor_value_info


def model(nodes: Sequence[onnx.NodeProto], **weights: np.ndarray) -> onnx.ModelProto:
    """From x [batch, 4, 6] to y."""
    graph = helper.make_graph(
        nodes, "g", [info("x", FLOAT, ["batch", 4, 6])], [info("y", FLOAT, None)],
        [numpy_helper.from_array(w, n) for n, w in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs[:-1], inputs[-1:], f"the_{op.lower()}", **attributes)


W = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
SAFE: dict[str, onnx.ModelProto] = {
    "product": model([node("MatMul", "x", "w", "p"), node("Relu", "p", "y")], w=W),
    "softmax": model([node("Softmax", "x", "y", axis=-1)]),
    "attention": model(
        [
            node("Transpose", "x", "t", perm=[0, 2, 1]),
            node("MatMul", "x", "t", "s"),
            node("Softmax", "s", "a", axis=-1),
            node("MatMul", "a", "x", "y"),
        ]
    ),
    "moved": model([node("Transpose", "x", "t", perm=[1, 0, 2]), node("Neg", "t", "y")]),
    "flattened": model(
        [node("Flatten", "x", "f", axis=1), node("ReduceMean", "f", "y", axes=[1], keepdims=0)]
    ),
    "norm": model(
        [node("LayerNormalization", "x", "s", "b", "y", axis=-1)],
        s=np.ones(6, np.float32), b=np.ones(6, np.float32),
    ),
}  # fmt: skip
UNSAFE: dict[str, onnx.ModelProto] = {
    "reduced": model([node("ReduceSum", "x", "axes", "y", keepdims=1)], axes=np.array([0])),
    "softmax": model([node("Softmax", "x", "y", axis=0)]),
    "reversed": model(
        [node("Slice", "x", "starts", "ends", "axes", "steps", "y")],
        starts=np.array([-1]), ends=np.array([-100]), axes=np.array([0]), steps=np.array([-1]),
    ),
    "first": model([node("Gather", "x", "zero", "y", axis=0)], zero=np.array(0)),
    "counted": model(
        [
            node("Shape", "x", "s", start=0, end=1),
            node("Cast", "s", "n", to=FLOAT),
            node("Div", "x", "n", "y"),
        ]
    ),
    "columns": model(
        [node("Shape", "x", "n", start=0, end=1), node("Slice", "x", "zero", "n", "two", "y")],
        zero=np.array([0]), two=np.array([2]),
    ),
    "merged": model([node("Reshape", "x", "to", "y")], to=np.array([-1, 2])),
    "joined": model([node("Concat", "x", "x", "y", axis=0)]),
    "products": model(
        [node("Transpose", "x", "t", perm=[1, 0, 2]), node("Transpose", "x", "u", perm=[1, 2, 0]),
         node("MatMul", "t", "u", "y")]
    ),
}  # fmt: skip


def compiled(proto: onnx.ModelProto | Path, **options: Any) -> ProgramExecutable:
    executable = tilewright.compile(proto, **options)
    assert isinstance(executable, ProgramExecutable)
    return executable


@pytest.mark.parametrize("name", SAFE)
@settings(max_examples=8)
@given(extent=st.integers(1, 9), seed=st.integers(0, 99))
def test_padding_leaves_no_trace(name: str, extent: int, seed: int) -> None:
    bucketed = EXECUTABLES.get(name) or compiled(SAFE[name], buckets={"batch": [2, 6]})
    plain = PLAIN.get(name) or compiled(SAFE[name])
    EXECUTABLES[name], PLAIN[name] = bucketed, plain
    x = np.random.default_rng(seed).standard_normal((extent, 4, 6)).astype(np.float32)
    value, expected = bucketed.run(x)["y"], plain.run(x)["y"]
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


EXECUTABLES: dict[str, ProgramExecutable] = {}
PLAIN: dict[str, ProgramExecutable] = {}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_mixes_slices_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="'batch' cannot be padded"):
        compiled(UNSAFE[name], buckets={"batch": [4]})


def test_few_specialisations_serve_many_extents(tmp_path: Path) -> None:
    executable = compiled(SAFE["product"], buckets={"batch": [4, 8]}, profiles=[{"x": (4, 4, 6)}])
    executable.save(tmp_path / "m.tw")
    loaded = tilewright.load(tmp_path / "m.tw")
    assert isinstance(loaded, ProgramExecutable)
    for extent in range(1, 9):
        loaded.run(np.ones((extent, 4, 6), np.float32))
    assert len(loaded.session.store) == 2
    loaded.run(np.ones((20, 4, 6), np.float32))  # beyond the greatest
    assert len(loaded.session.store) == 3


def test_simulated_runs_are_padded_too() -> None:
    x = np.random.default_rng(1).standard_normal((3, 4, 6)).astype(np.float32)
    executable = compiled(
        SAFE["product"], target="gemmini-16x16", quantize="int8", calibration={"x": x[:1]},
        buckets={"batch": [4]},
    )  # fmt: skip
    outputs, figures = executable.simulate(x)
    assert outputs["y"].shape == (3, 4, 5)
    assert figures.cycles > 0
    np.testing.assert_array_equal(outputs["y"], executable.run(x)["y"])


def test_on_the_command_line(tmp_path: Path) -> None:
    onnx.save(SAFE["product"], tmp_path / "m.onnx")
    arguments = ("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.tw", "--bucket")
    assert command_line(*arguments, "batch:1,4")[0] == 0
    for wrong, message in [
        ("batch:0", "cannot read --bucket"),
        ("batch", "cannot read --bucket"),
        ("length:4", "no input has a dimension 'length'"),
    ]:
        code, _, err = command_line(*arguments, wrong)
        assert code == 2
        assert message in err


def test_bounds_are_compiled_at_both_ends(tmp_path: Path) -> None:
    executable = compiled(SAFE["softmax"], shapes={"x": ((2, 9), 4, 6)})
    assert len(executable.session.store) == 2
    executable.run(np.ones((9, 4, 6), np.float32))
    assert len(executable.session.store) == 2
    assert executable.arena_bytes >= 2 * 9 * 4 * 6 * 4
    onnx.save(SAFE["softmax"], tmp_path / "m.onnx")
    code, out, _ = command_line(
        "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.tw", "--shape", "x:2..9x4x6"
    )
    assert code == 0
    assert "memory at the greatest extents" in out


def test_embeddings_and_masks_keep_sentences_apart(models: Path) -> None:
    path = models / "arch" / "hf_bert_ts17_dyn.onnx"
    executable = compiled(path, buckets={"batch": [4]})
    rng = np.random.default_rng(2)
    feeds = {
        "input_ids": rng.integers(0, 90, (3, 12)),
        "attention_mask": rng.integers(0, 2, (3, 12)) | (np.arange(12) < 3),
        "token_type_ids": rng.integers(0, 2, (3, 12)),
    }
    plain = compiled(path).run(feeds)
    for name, value in executable.run(feeds).items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="cannot be padded"):
        compiled(path, buckets={"seq": [16]})

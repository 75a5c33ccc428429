"""The command line on programs: sequences, strings, bounds, profiles, comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.models import tilewright

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
info = helper.make_tensor_value_info


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **w: Any) -> Path:
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in w.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A convolution with open dimensions, and what is positive of its result."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("NonZero", ["r"], ["places"], "places"),
    ]
    return save(
        tmp_path / "m.onnx", nodes, [info("x", FLOAT, ["n", 3, "h", "w_"])],
        [info("r", FLOAT, None), info("places", INT64, None)],
        w=rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )  # fmt: skip


def ok(*argv: str | Path) -> str:
    code, out, err = tilewright(*argv)
    assert code == 0, err
    return out


def refused(*argv: str | Path, about: str) -> None:
    code, _, err = tilewright(*argv)
    assert code == 2 and about in err and "Traceback" not in err, (code, err)


def strict(path: Path) -> Any:
    def never(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    return json.loads(path.read_text(), parse_constant=never)


def npz(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def test_sequences_and_names_that_numpy_does_not_take(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["file"]),
        helper.make_node("SplitToSequence", ["file"], ["parts"], axis=0, keepdims=1),
    ]
    outputs = [info("file", FLOAT, None), helper.make_tensor_sequence_value_info("parts", 1, None)]
    model = save(tmp_path / "m.onnx", nodes, [info("x", FLOAT, ["n", 2])], outputs)
    ok("compile", model, "-o", tmp_path / "m.tw")
    given = npz(tmp_path / "in.npz", **{"in:x": np.ones((3, 2), np.float32)})
    ok("run", tmp_path / "m.tw", "--inputs", given, "--outputs", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert sorted(found.files) == ["file", "parts[0]", "parts[1]", "parts[2]"]
    for reference in ("m.tw", "m.onnx"):
        path = tmp_path / "c.json"
        ok("compare", tmp_path / reference, tmp_path / "m.tw", "--inputs", given, "--json", path)
        assert [t["name"] for t in strict(path)["outputs"]] == [
            "file", "parts[0]", "parts[1]", "parts[2]",
        ]  # fmt: skip
    empty = npz(tmp_path / "empty.npz", x=np.ones((0, 2), np.float32))
    ok("run", tmp_path / "m.tw", "--inputs", empty, "--outputs", tmp_path / "out.npz")


def test_strings(tmp_path: Path) -> None:
    nodes = [helper.make_node("StringNormalizer", ["s"], ["u"], case_change_action="UPPER")]
    text = [info("s", STRING, ["n"])]
    model = save(tmp_path / "m.onnx", nodes, text, [info("u", STRING, None)])
    ok("compile", model, "-o", tmp_path / "m.tw")
    given = npz(tmp_path / "in.npz", s=np.array(["ab", "ü"]))
    assert "string[2] = AB, Ü" in ok("run", tmp_path / "m.tw", "--inputs", given)
    numbers = npz(tmp_path / "numbers.npz", s=np.array([1, 2]))
    refused("run", tmp_path / "m.tw", "--inputs", numbers, about="takes strings")
    refused("run", tmp_path / "m.tw", about="--inputs")
    assert "not checked for the NPU" in ok("check", model, "--target", "gemmini-16x16")


def test_outputs_of_other_shapes_are_compared(network: Path) -> None:
    """Quantisation may change how many places are positive."""
    at = network.parent
    rng = np.random.default_rng(1)
    given = npz(at / "in.npz", x=rng.standard_normal((1, 3, 12, 12)).astype(np.float32))
    ok("compile", network, "-o", at / "q.tw", "--target", "gemmini-16x16", "--quantize", "int8",
       "--calibration", given)  # fmt: skip
    out = ok("compare", network, at / "q.tw", "--inputs", given, "--json", at / "c.json")
    found = {t["name"]: t for t in strict(at / "c.json")["outputs"]}
    assert "places" in out and set(found) == {"r", "places"}
    assert {t["name"] for t in strict(at / "c.json")["tensors"]} >= {"r"}


def test_tensors_of_host_nodes_are_compared(network: Path) -> None:
    at = network.parent
    ok("compile", network, "-o", at / "m.tw")
    given = npz(at / "in.npz", x=np.ones((2, 3, 5, 4), np.float32))
    ok("compare", network, at / "m.tw", "--inputs", given, "--json", at / "c.json")
    assert {t["name"] for t in strict(at / "c.json")["tensors"]} >= {"c", "r", "places"}
    refused("compare", at / "gone.onnx", at / "m.tw", "--inputs", given, about="gone.onnx")
    refused("compare", at, at / "m.tw", "--inputs", given, about="folder")


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["--shape", "z:1x3x?x?"], "no input 'z'"),
        (["--shape", "x:1x3x?"], "3 dimensions"),
        (["--shape", "x:1x4x?x?"], "fixed to 3"),
        (["--shape", "x:?x4..9x?x?"], "fixed to 3"),
        (["--profile", "z:1x3"], "no input 'z'"),
        (["--profile", "x:1x3x8"], "has shape [1, 3, 8]"),
        (["--profile", "x:1x5x8x8"], "must be 3"),
        (["--profile", "x:1000000x3x100000x100000"], "too large"),
        (["--profile", f"x:{10**25}x3x8x8"], "too large"),
        (["--shape", "x:?x3x8..9x?", "--profile", "x:1x3x7x8"], "outside 8..9"),
    ],
)
def test_wrong_extents(network: Path, arguments: list[str], about: str) -> None:
    refused("compile", network, "-o", network.parent / "o.tw", *arguments, about=about)
    assert sorted(network.parent.iterdir()) == [network]


def test_made_up_inputs_are_within_the_bounds(network: Path) -> None:
    at = network.parent
    ok("compile", network, "-o", at / "m.tw", "--shape", "x:2..4x3x8..9x?")
    assert "r float32[2x4x8x1]" in ok("run", at / "m.tw")
    refused("run", at / "m.tw", "--repeat", "-1", about="--repeat")


def test_calibration_of_inputs_that_hold_one_sample_only(tmp_path: Path) -> None:
    """An array that is open along its first dimension, beside one that is not."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("TopK", ["p", "k"], ["y", "at"], axis=1),
    ]
    model = save(
        tmp_path / "m.onnx", nodes, [info("x", FLOAT, ["n", 3]), info("k", INT64, [1])],
        [info("y", FLOAT, None)], w=np.ones((3, 4), np.float32),
    )  # fmt: skip
    given = npz(tmp_path / "in.npz", x=np.eye(2, 3, dtype=np.float32), k=np.array([2]))
    ok("compile", model, "--target", "gemmini-16x16", "--quantize", "int8", "--calibration", given,
       "-o", tmp_path / "m.tw")  # fmt: skip
    assert "y float32[2x2]" in ok("simulate", tmp_path / "m.tw", "--inputs", given)

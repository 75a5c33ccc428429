"""What a program keeps: bounded, shared between shapes and threads, complete when it is saved."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright.backends.targets import load as targets
from tilewright.compiler.artefact import load_artefact
from tilewright.compiler.program import kept
from tilewright.compiler.program.executable import ProgramExecutable
from tilewright.dialects.errors import InputError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
info = helper.make_tensor_value_info


def product(size: int = 8) -> onnx.ModelProto:
    """relu(x @ w) of x [n, size], then what is positive of it."""
    weights = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["p"], "product"),
            helper.make_node("Relu", ["p"], ["y"], "relu"),
            helper.make_node("NonZero", ["y"], ["places"], "places"),
        ],
        "g", [info("x", FLOAT, ["n", size])], [info("y", FLOAT, None), info("places", INT64, None)],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def program(proto: onnx.ModelProto, **options: Any) -> ProgramExecutable:
    executable = tilewright.compile(proto, **options)
    assert isinstance(executable, ProgramExecutable)
    return executable


def rows(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, size)).astype(np.float32)


def test_specialisations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_KEPT", 3)
    executable = program(product())
    for count in (1, 2, 3, 4, 5, 1, 2):
        executable.run(rows(count))
        assert len(executable.session.store) <= 4  # one of the guess
    before = set(executable.session.store)
    executable.run(rows(2))
    assert set(executable.session.store) == before


def test_specialisations_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    executable = program(product(16))
    for count in (2, 3, 4):
        executable.run(rows(count, 16))
    assert len(executable.session.store) <= 3  # that of the guess, and two


def test_weights_are_stored_and_held_once(tmp_path: Path) -> None:
    executable = program(product(128))
    for count in (2, 3):
        executable.run(rows(count, 128))
    blobs = {id(a.files["constants.bin"]) for a in executable.session.store.values()}
    assert len(executable.session.store) > 1 and len(blobs) == 1
    executable.save(tmp_path / "p.tw")
    assert (tmp_path / "p.tw").stat().st_size < 2.7 * 128 * 128 * 4
    assert (tmp_path / "p.tw").read_bytes() == executable.packed().to_bytes()


def test_threads_share_a_program() -> None:
    serial = program(product())
    feeds = [rows(count) for count in range(1, 7)]
    wanted = [serial.run(x) for x in feeds]
    executable = program(product())
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        for turn in range(12):
            index = (worker + turn) % len(feeds)
            for name, value in executable.run(feeds[index]).items():
                np.testing.assert_array_equal(value, wanted[index][name])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


SCRIPT = """
import sys, hashlib, onnx, numpy as np, tilewright
e = tilewright.compile(onnx.load(sys.argv[1]))
for n in sys.argv[2].split(","):
    e.run(np.ones((int(n), 8), np.float32))
print(hashlib.sha256(e.packed().to_bytes()).hexdigest())
"""


def test_artefacts_depend_on_neither_hash_order_nor_the_order_of_shapes(tmp_path: Path) -> None:
    onnx.save(product(), tmp_path / "m.onnx")
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "m.onnx"), order],
            env={"PYTHONHASHSEED": seed, "PATH": "", "HOME": str(tmp_path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed, order in (("1", "2,3,5"), ("77", "5,2,3"))
    }  # fmt: skip
    assert len(digests) == 1


def test_the_machine_is_in_the_artefact(tmp_path: Path) -> None:
    """New shapes are compiled for it when its description is elsewhere or gone."""
    toml = tmp_path / "mine.toml"
    toml.write_bytes((Path(targets.__file__).parent / "gemmini-16x16.toml").read_bytes())
    executable = program(
        product(), target=str(toml), quantize="int8", calibration={"x": rows(4)[:, None]}
    )
    executable.save(tmp_path / "p.tw")
    toml.unlink()
    assert str(tmp_path) not in str(load_artefact(tmp_path / "p.tw").manifest)
    loaded = tilewright.load(tmp_path / "p.tw")
    outputs, figures = loaded.simulate(rows(5))
    assert figures.cycles > 0
    np.testing.assert_array_equal(outputs["y"], loaded.run(rows(5))["y"])


def test_a_branch_that_cannot_be_compiled_is_not_left_out() -> None:
    """k = 0 is an error for the compiler and none for the host."""
    then = helper.make_graph(
        [
            helper.make_node("TopK", ["x", "k"], ["top", "at"], "top", axis=0),
            helper.make_node("ReduceSum", ["top"], ["then_y"], keepdims=0),
        ],
        "then", [], [info("then_y", FLOAT, [])],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["else_y"], keepdims=0)],
        "else", [], [info("else_y", FLOAT, [])],
    )  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Less", ["sum", "zero"], ["negative"]),
            helper.make_node("If", ["negative"], ["y"], then_branch=then, else_branch=other),
        ],
        "g", [info("x", FLOAT, ["n"]), info("k", INT64, [1])], [info("y", FLOAT, [])],
        [numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    executable = program(proto)
    x = np.array([-3, 1], np.float32)
    for k, want in ((0, 0), (1, 1), (2, -2), (0, 0)):
        assert executable.run({"x": x, "k": np.array([k])})["y"] == want
    assert executable.run({"x": -x, "k": np.array([0])})["y"] == 3


def test_names_of_bodies_may_hide_outer_constants() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Add", ["w", "w"], ["twice"]),
            helper.make_node("Identity", ["c"], ["on"]),
        ],
        "body",
        [info("i", INT64, []), info("c", TensorProto.BOOL, []), info("w", FLOAT, None)],
        [info("on", TensorProto.BOOL, []), info("twice", FLOAT, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "w"], ["v"]),
            helper.make_node("Loop", ["trips", "", "v"], ["y"], body=body),
        ],
        "g", [info("x", FLOAT, ["n"]), info("trips", INT64, [])], [info("y", FLOAT, None)],
        [numpy_helper.from_array(np.array(3, np.float32), "w")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    executable = program(proto)
    for trips in range(12):
        got = executable.run({"x": np.array([1, 2], np.float32), "trips": np.array(trips)})["y"]
        np.testing.assert_array_equal(got, np.array([3, 6]) * 2**trips)


def rows_product(nodes: list[Any], inputs: list[Any], weights: np.ndarray) -> onnx.ModelProto:
    """A model whose compiled operator has no implementation on the host."""
    graph = helper.make_graph(
        nodes, "g", inputs, [info("y", FLOAT, None)], [numpy_helper.from_array(weights, "w")]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("looped", [False, True])
def test_made_up_contents_that_do_not_fit_are_not_the_model_s_fault(looped: bool) -> None:
    """Neither at the top nor in a loop, although the product runs nowhere but compiled."""
    product_ = helper.make_node("FusedMatMul", ["r", "w"], ["q"], "product", domain="com.microsoft")
    inputs = [info("x", FLOAT, [2, 8]), info("shape", INT64, [2])]
    if looped:
        body = helper.make_graph(
            [
                helper.make_node("Reshape", ["h", "shape"], ["r"]),
                product_,
                helper.make_node("Identity", ["c"], ["on"]),
            ],
            "body",
            [info("i", INT64, []), info("c", TensorProto.BOOL, []), info("h", FLOAT, None)],
            [info("on", TensorProto.BOOL, []), info("q", FLOAT, None)],
        )
        nodes = [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)]
        inputs.append(info("trips", INT64, []))
    else:
        product_.output[0] = "y"
        nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), product_]
    executable = program(rows_product(nodes, inputs, np.eye(4, dtype=np.float32)))
    feeds = {"x": rows(2), "shape": np.array([4, 4])}
    feeds |= {"trips": np.array(3)} if looped else {}
    np.testing.assert_array_equal(executable.run(feeds)["y"], rows(2).reshape(4, 4))
    with pytest.raises(InputError, match="product"):
        executable.run(feeds | {"shape": np.array([8, 2])})


def test_batches_without_samples() -> None:
    weights = [numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "g", [info("x", FLOAT, ["n", 3, 6, 6])], [info("y", FLOAT, ["n", 4, 4, 4])], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    executable = program(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    for count in (2, 0, 1):
        assert executable.run(np.ones((count, 3, 6, 6), np.float32))["y"].shape == (count, 4, 4, 4)

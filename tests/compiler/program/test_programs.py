"""Models of several parts: open dimensions, data-dependent shapes, control flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright.compiler.program.executable import ProgramExecutable
from tilewright.compiler.program.region import MOST_SHAPES, MOST_VALUES, Region
from tilewright.dialects.errors import InputError, ModelError, UnsupportedError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
info = helper.make_tensor_value_info


def model(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], **weights: np.ndarray
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(w, n) for n, w in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def expected(proto: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = cast(Any, onnxruntime).SessionOptions()
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return list(session.run(None, feeds))


def program(proto: onnx.ModelProto, **options: Any) -> ProgramExecutable:
    executable = tilewright.compile(proto, **options)
    assert isinstance(executable, ProgramExecutable)
    return executable


def agree(executable: Any, proto: onnx.ModelProto, feeds: dict[str, Any]) -> None:
    for got, want in zip(executable.run(feeds).values(), expected(proto, feeds), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def convolution() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Shape", ["r"], ["s"], "shape"),
        helper.make_node("Slice", ["s", "zero", "two"], ["head"], "head"),
        helper.make_node("Concat", ["head", "rest"], ["to"], "to", axis=0),
        helper.make_node("Reshape", ["r", "to"], ["y"], "reshape"),
    ]
    x = info("x", FLOAT, ["batch", 3, "h", "w_"])
    return model(
        nodes, [x], [info("y", FLOAT, None)], w=weights, zero=np.array([0]), two=np.array([2]),
        rest=np.array([-1]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def dynamic() -> ProgramExecutable:
    return program(convolution())


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 9, 31), (5, 3, 16, 2), (1, 3, 1, 1)])
def test_one_artefact_serves_any_shape(dynamic: ProgramExecutable, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    agree(dynamic, convolution(), {"x": x})


def test_what_has_been_compiled_is_kept(dynamic: ProgramExecutable, tmp_path: Path) -> None:
    x = np.ones((3, 3, 4, 4), np.float32)
    first = dynamic.run(x)["y"]
    dynamic.save(tmp_path / "m.tw")
    loaded = tilewright.load(tmp_path / "m.tw")
    assert isinstance(loaded, ProgramExecutable)
    before = set(loaded.session.store)
    np.testing.assert_array_equal(loaded.run(x)["y"], first)
    assert set(loaded.session.store) == before


def test_artefacts_are_deterministic() -> None:
    assert program(convolution()).packed().to_bytes() == program(convolution()).packed().to_bytes()


def test_samples_are_stacked(dynamic: ProgramExecutable) -> None:
    x = np.random.default_rng(2).standard_normal((4, 1, 3, 6, 6)).astype(np.float32)
    stacked = dynamic.run(x)["y"]
    np.testing.assert_array_equal(stacked[2], dynamic.run(x[2])["y"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 8, 8), "dimension 1 must be 3"),
        ((1, 3, 8), "has shape"),
        ((9, 3, 8, 8), r"outside 1\.\.8"),
        ((1, 3, 8, 9), "dimension 3 must be 8"),
    ],
)
def test_inputs_outside_the_bounds_are_refused(shape: Any, message: str) -> None:
    executable = tilewright.compile(
        convolution(), shapes={"x": ((1, 8), 3, None, 8)}, profiles=[{"x": (1, 3, 8, 8)}]
    )
    assert executable.run(np.ones((8, 3, 4, 8), np.float32))["y"].shape[0] == 8
    with pytest.raises(InputError, match=message):
        executable.run(np.ones(shape, np.float32))


def test_dimensions_of_one_name_must_agree() -> None:
    proto = model(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [info("a", FLOAT, ["n"]), info("b", FLOAT, ["n"])],
        [info("y", FLOAT, ["n"])],
    )
    with pytest.raises(InputError, match="'n'"):
        program(proto).run({"a": np.ones(3, np.float32), "b": np.ones(1, np.float32)})


def test_profiles_are_compiled_ahead() -> None:
    executable = program(convolution(), profiles=[{"x": (1, 3, 8, 8)}, {"x": (2, 3, 8, 8)}])
    before = set(executable.session.store)
    executable.run(np.ones((2, 3, 8, 8), np.float32))
    assert set(executable.session.store) == before
    assert len(before) == 2


# --- contents that decide about shapes ---


def top_k() -> onnx.ModelProto:
    return model(
        [
            helper.make_node("Mul", ["x", "x"], ["xx"]),
            helper.make_node("TopK", ["xx", "k"], ["values", "indices"]),
        ],
        [info("x", FLOAT, [2, 20]), info("k", INT64, [1])],
        [info("values", FLOAT, None), info("indices", INT64, None)],
    )


def test_contents_are_specialised_to_and_then_given_to_the_host() -> None:
    executable, proto = program(top_k()), top_k()
    x = np.random.default_rng(3).permutation(40).reshape(2, 20).astype(np.float32)
    for k in range(1, MOST_VALUES + 5):
        agree(executable, proto, {"x": x, "k": np.array([k])})
    (region,) = executable.body.steps
    assert isinstance(region, Region)
    assert region.unbindable == {"k"}
    assert [node.op_type for node in executable.body.hosted()] == ["TopK"]


def test_data_dependent_shapes_run_on_the_host_between_compiled_regions() -> None:
    proto = model(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("NonZero", ["r"], ["i"]),
            helper.make_node("Transpose", ["i"], ["t"], perm=[1, 0]),
            helper.make_node("GatherND", ["r", "t"], ["g"]),
            helper.make_node("Mul", ["g", "g"], ["y"]),
        ],
        [info("x", FLOAT, [4, 5])],
        [info("y", FLOAT, None)],
    )
    executable = program(proto)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((4, 5)).astype(np.float32)
        agree(executable, proto, {"x": x})
    assert [node.op_type for node in executable.body.hosted()] == ["NonZero"]
    nothing = executable.run(np.full((4, 5), -1, np.float32))["y"]
    assert nothing.shape == (0,)


# --- control flow ---


def loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["carried", "factor"], ["next"]),
            helper.make_node("ReduceSum", ["next"], ["total"], keepdims=0),
            helper.make_node("Less", ["total", "limit"], ["go_on"]),
            helper.make_node("Identity", ["next"], ["row"]),
        ],
        "body",
        [
            info("i", INT64, []),
            info("cond", TensorProto.BOOL, []),
            info("carried", FLOAT, [3]),
        ],
        [
            info("go_on", TensorProto.BOOL, []),
            info("next", FLOAT, [3]),
            info("row", FLOAT, [3]),
        ],
    )
    return model(
        [
            helper.make_node("Add", ["x", "one"], ["start"]),
            helper.make_node("Loop", ["trips", "", "start"], ["last", "rows"], body=body),
            helper.make_node("Neg", ["last"], ["y"]),
        ],
        [info("x", FLOAT, [3]), info("trips", INT64, []), info("limit", FLOAT, [])],
        [info("y", FLOAT, [3]), info("rows", FLOAT, None)],
        one=np.ones(3, np.float32),
        factor=np.array([1.5], np.float32),
    )


@pytest.mark.parametrize(("trips", "limit"), [(5, 1e9), (50, 20.0), (0, 1.0)])
def test_loops(trips: int, limit: float) -> None:
    x = np.array([0.5, 1, 2], np.float32)
    feeds = {"x": x, "trips": np.array(trips), "limit": np.array(limit, np.float32)}
    proto = loop()
    executable = program(proto)
    if trips:
        agree(executable, proto, feeds)
    else:
        assert executable.run(feeds)["rows"].shape[0] == 0


def branches() -> onnx.ModelProto:
    def branch(name: str, op: str, **attributes: Any) -> onnx.GraphProto:
        node = helper.make_node(op, ["x"], [f"{name}_y"], **attributes)
        return helper.make_graph([node], name, [], [info(f"{name}_y", FLOAT, None)])

    return model(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["positive"]),
            helper.make_node(
                "If",
                ["positive"],
                ["y"],
                then_branch=branch("then", "Transpose", perm=[1, 0]),
                else_branch=branch("else", "Exp"),
            ),
        ],
        [info("x", FLOAT, [2, 3])],
        [info("y", FLOAT, None)],
        zero=np.array(0, np.float32),
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_branches_of_other_shapes(sign: int) -> None:
    x = sign * np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    agree(program(branches()), branches(), {"x": x})


def test_growing_tensors_in_a_loop_stop_being_specialised() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Concat", ["carried", "x"], ["next"], axis=0),
            helper.make_node("Identity", ["cond"], ["go_on"]),
        ],
        "body",
        [info("i", INT64, []), info("cond", TensorProto.BOOL, []), info("carried", FLOAT, None)],
        [info("go_on", TensorProto.BOOL, []), info("next", FLOAT, None)],
    )
    proto = model(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
        [info("x", FLOAT, [2]), info("trips", INT64, [])],
        [info("y", FLOAT, None)],
    )
    executable = program(proto)
    feeds = {"x": np.array([1, 2], np.float32), "trips": np.array(3 * MOST_SHAPES)}
    agree(executable, proto, feeds)
    assert len(executable.session.store) <= MOST_SHAPES


# --- the NPU ---


def test_quantised_programs_simulate_bit_identically_at_any_shape() -> None:
    rng = np.random.default_rng(4)
    samples = rng.standard_normal((6, 1, 3, 12, 12)).astype(np.float32)
    executable = program(
        convolution(), target="gemmini-16x16", quantize="int8", calibration={"x": samples}
    )
    for shape in [(1, 3, 12, 12), (2, 3, 10, 14)]:
        x = rng.standard_normal(shape).astype(np.float32)
        outputs, figures = executable.simulate(x)
        np.testing.assert_array_equal(outputs["y"], executable.run(x)["y"])
        assert figures.cycles >= figures.lower_bound_cycles > 0
        for kinds in figures.units.values():
            assert sum(kinds.values()) == figures.cycles
        real = expected(convolution(), {"x": x})[0]
        assert np.abs(outputs["y"] - real).max() < 0.05 * np.ptp(real)


def test_quantising_needs_data() -> None:
    with pytest.raises(InputError, match="calibration"):
        program(convolution(), target="gemmini-16x16", quantize="int8")


# --- what is wrong ---


def test_nodes_that_run_nowhere_are_listed_at_once() -> None:
    proto = model(
        [
            helper.make_node("NonZero", ["x"], ["i"]),
            helper.make_node("Frobnicate", ["i"], ["a"], "first", domain="acme"),
            helper.make_node("Frobnicate", ["a"], ["y"], "second", domain="acme"),
        ],
        [info("x", FLOAT, [3])],
        [info("y", FLOAT, None)],
    )
    proto.opset_import.append(helper.make_opsetid("acme", 1))
    with pytest.raises(UnsupportedError) as caught:
        tilewright.compile(proto)
    assert [row.node for row in caught.value.rows] == ["first", "second"]


def test_wrong_shapes_are_errors_whatever_the_extents() -> None:
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        [info("x", FLOAT, ["n", 4])],
        [info("y", FLOAT, None)],
        w=np.ones((5, 2), np.float32),
    )
    with pytest.raises((ModelError, InputError), match="product"):
        tilewright.compile(proto)


def test_made_up_data_that_the_model_does_not_fit_are_not_its_fault() -> None:
    # as many rows are replaced as `ids` has marks: made-up ids have none
    proto = model(
        [
            helper.make_node("Equal", ["ids", "mark"], ["marked"]),
            helper.make_node("NonZero", ["marked"], ["found"]),
            helper.make_node("Transpose", ["found"], ["rows"]),
            helper.make_node("Shape", ["rows"], ["count"], end=1),
            helper.make_node("Concat", ["count", "width"], ["shape"], axis=0),
            helper.make_node("Expand", ["images", "shape"], ["wide"]),
            helper.make_node("ScatterND", ["x", "rows", "wide"], ["y"]),
        ],
        [info("ids", INT64, [5]), info("images", FLOAT, [2, 3]), info("x", FLOAT, [5, 3])],
        [info("y", FLOAT, [5, 3])],
        mark=np.array(7), width=np.array([3]),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    feeds = {
        "ids": np.array([1, 7, 2, 7, 3]),
        "images": rng.standard_normal((2, 3), np.float32),
        "x": rng.standard_normal((5, 3), np.float32),
    }
    agree(program(proto), proto, feeds)


def test_a_branch_that_contradicts_the_shapes_is_an_error_only_where_it_is_taken() -> None:
    def branch(name: str, shape: str) -> onnx.GraphProto:
        node = helper.make_node("Reshape", ["x", shape], [f"{name}_y"], f"{name}_reshape")
        return helper.make_graph([node], name, [], [info(f"{name}_y", FLOAT, None)])

    proto = model(
        [
            helper.make_node(
                "If",
                ["good"],
                ["y"],
                then_branch=branch("then", "six"),
                else_branch=branch("else", "seven"),
            )
        ],
        [info("x", FLOAT, [2, 3]), info("good", TensorProto.BOOL, [])],
        [info("y", FLOAT, None)],
        six=np.array([6]),
        seven=np.array([7]),
    )
    executable = program(proto)
    x = np.ones((2, 3), np.float32)
    assert executable.run({"x": x, "good": np.array(True)})["y"].shape == (6,)
    with pytest.raises((ModelError, InputError), match="else_reshape"):
        executable.run({"x": x, "good": np.array(False)})

"""Operators of plugins: registered in one place, run at every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from xdsl.dialects.builtin import ModuleOp, f32, i64
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region

import tilewright
from support.plugins import doubled, identity_types, model_of, network, noise, register, single
from support.random_graphs import SLOW_DATA, onnx_models
from tilewright.compiler.importer import import_model
from tilewright.compiler.ir_text import parse_module
from tilewright.compiler.program.executable import ProgramExecutable
from tilewright.dialects import plugins
from tilewright.dialects.errors import TilewrightError
from tilewright.dialects.graph import CustomOp, LookupOp, QAddOp
from tilewright.dialects.types import element_of, shape_of, tensor
from tilewright.passes.base import CompilerContext

# --- running ---


def test_a_shape_rule_and_numpy_run_on_the_host(example: ModuleType, tmp_path: Path) -> None:
    x = noise(2, 3, 10)
    executable = tilewright.compile(single("TopMean", (2, 3, 10), (2, 3), k=4))
    expected = np.sort(x, axis=-1)[..., -4:].mean(axis=-1)
    np.testing.assert_array_equal(executable.run({"x": x})["y"], expected)
    executable.save(tmp_path / "m.tw")
    np.testing.assert_array_equal(tilewright.load(tmp_path / "m.tw").run({"x": x})["y"], expected)


def test_the_host_takes_nodes_between_compiled_regions(example: ModuleType) -> None:
    register("Snake", evaluate=example.snake)
    x = {"x": noise(1, 4, 8, 8)}
    hosted = tilewright.compile(network("Snake", domain="com.test"))
    assert isinstance(hosted, ProgramExecutable)
    compiled = tilewright.compile(network("Snake"))
    np.testing.assert_allclose(hosted.run(x)["y"], compiled.run(x)["y"], rtol=1e-4, atol=1e-4)
    assert list(hosted.hosted()) == ["plug"]


def test_a_decomposition_is_compiled(example: ModuleType) -> None:
    x = noise(2, 5, 7)
    executable = tilewright.compile(
        single("Snake", (2, 5, 7), (2, 5, 7), alpha=0.7), verify="semantic"
    )
    assert "cpu/kernels.ll" in executable.artefact.files
    (expected,) = example.snake([x], {"alpha": 0.7})
    np.testing.assert_allclose(executable.run({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "form"),
    [("Snake", 1, {"alpha": 0.7}, LookupOp), ("Blend", 2, {"share": 0.3}, QAddOp)],
)
def test_operators_run_on_the_npu(
    example: ModuleType, op: str, inputs: int, attributes: dict[str, Any], form: type,
    tmp_path: Path,
) -> None:  # fmt: skip
    np.savez(tmp_path / "samples.npz", x=noise(16, 4, 8, 8))
    model, x = network(op, inputs, **attributes), noise(1, 4, 8, 8, seed=1)
    real = tilewright.compile(model, verify="semantic").run({"x": x})["y"]
    executable = tilewright.compile(
        model, target="gemmini-16x16", quantize="int8", calibration=tmp_path / "samples.npz",
        verify="semantic", keep_ir=True,
    )  # fmt: skip
    assert executable.artefact.manifest["placement"] == {}
    assert len(executable.npu_programs) == 1
    ir = executable.artefact.files["ir/quantize.mlir"].decode()
    made = [line for line in ir.splitlines() if '"plug"' in line]
    assert any(form.name in line for line in made)
    quantized = executable.run({"x": x})["y"]
    simulated, _ = executable.simulate({"x": x})
    np.testing.assert_array_equal(simulated["y"], quantized)
    assert np.square(quantized - real).sum() < 1e-2 * np.square(real).sum()


def test_a_loop_lowering_runs_on_the_cpu_and_stays_real(
    example: ModuleType, tmp_path: Path
) -> None:
    register("Blend", evaluate=example.blend, lower=example.lower_blend)
    x = noise(1, 4, 8, 8)
    np.savez(tmp_path / "samples.npz", x=noise(8, 4, 8, 8))
    model = network("Blend", 2, domain="com.test", share=0.25)
    ctx = CompilerContext()
    assert sum(isinstance(op, CustomOp) for op in import_model(model, ctx).walk()) == 1
    mixed = tilewright.compile(
        model, target="gemmini-16x16", quantize="int8", calibration=tmp_path / "samples.npz",
        verify="semantic",
    )  # fmt: skip
    assert "com.test.Blend" in mixed.artefact.manifest["placement"]["plug"]
    simulated, _ = mixed.simulate({"x": x})
    np.testing.assert_array_equal(simulated["y"], mixed.run({"x": x})["y"])


def weigh(arrays: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
    """Two outputs that know which axis is which."""
    (x,) = arrays
    count = np.arange(1, x.shape[1] + 1, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 2))
    return [x.sum(axis=1, keepdims=True), x * count]


def weighed_types(types: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
    dtype, shape = types[0]
    return [(dtype, (shape[0], 1, *shape[2:])), (dtype, shape)]


def lower_weigh(kernel: Any, op: CustomOp) -> None:
    shape = shape_of(op.args[0])
    axes = [{d: 1} for d in range(len(shape))]
    if op.output.value.data == 0:
        domain = [1 if d == 1 else n for d, n in enumerate(shape)]
        nest = kernel.begin([*domain, shape[1]], axes, reduced=[len(shape)], kind="add")
        rows = [{len(shape): 1} if d == 1 else {d: 1} for d in range(len(shape))]
        nest.reduce(nest.read(kernel.whole(op.args[0]), nest.rows(rows)))
        return
    nest = kernel.begin(shape, axes)
    count = nest.cast(nest.apply("add", [nest.index(1), nest.const(1, i64)], i64), f32)
    x = nest.read(kernel.whole(op.args[0]), nest.rows(axes))
    nest.acc = nest.apply("mul", [x, count], element_of(op.result))


def test_a_lowering_makes_every_output(table: None) -> None:
    register("Weigh", infer=weighed_types, evaluate=weigh, lower=lower_weigh)
    node = helper.make_node("Weigh", ["x"], ["s", "y"], name="plug", domain="com.test")
    outputs = {"s": (2, 1, 5), "y": (2, 3, 5)}
    model = model_of([node], {"x": (2, 3, 5)}, outputs, {}, "com.test")
    x = noise(2, 3, 5)
    found = tilewright.compile(model, verify="semantic").run({"x": x})
    for name, expected in zip(outputs, weigh([x], {}), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_a_refused_decomposition_leaves_the_host(table: None) -> None:
    def refuse(node: Any) -> Any:
        raise node.unsupported("not today")

    register(decompose=refuse)
    x = noise(3)
    model = single("Op", (3,), (3,), "com.test")
    np.testing.assert_array_equal(tilewright.compile(model).run({"x": x})["y"], x * 2)


def test_results_whose_shape_the_data_decides(table: None) -> None:
    def unknown(types: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
        return [(types[0].dtype, (None,))]

    def positive(arrays: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
        return [arrays[0][arrays[0] > 0]]

    register(infer=unknown, evaluate=positive)
    model = single("Op", (4,), ("n",), "com.test")  # pyright: ignore[reportArgumentType]
    x = np.array([1, -1, 2, -2], np.float32)
    np.testing.assert_array_equal(tilewright.compile(model).run({"x": x})["y"], [1, 2])


def test_attributes_are_plain_values(table: None) -> None:
    seen: list[Mapping[str, Any]] = []

    def infer(types: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
        seen.append(attributes)
        return [types[0]]

    register(infer=infer)
    given_attributes: dict[str, Any] = {
        "i": 3, "f": 0.5, "s": "text", "li": [1, 2], "lf": [0.5, 1.5], "ls": ["a", "b"],
    }  # fmt: skip
    array = np.arange(3, dtype=np.int32)
    model = single(
        "Op", (3,), (3,), "com.test", t=onnx.numpy_helper.from_array(array), **given_attributes
    )
    tilewright.compile(model).run({"x": noise(3)})
    for attributes in seen:
        np.testing.assert_array_equal(attributes["t"], array)
        assert {k: v for k, v in attributes.items() if k != "t"} == given_attributes


PLAIN = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.from_regex("[a-z_]+", fullmatch=True), PLAIN, max_size=4))
def test_attributes_survive_in_ir_and_its_text(values: dict[str, Any]) -> None:
    operator = tilewright.Operator("com.absent", "Op", identity_types, doubled)
    op = CustomOp(operator, [], values, tensor((2,), f32))
    text = str(ModuleOp([FuncOp("main", ((), ()), Region(Block([op, ReturnOp()])))]))
    (again,) = (o for o in parse_module(text, CompilerContext(), "ir").walk() if o.name == op.name)
    assert isinstance(again, CustomOp)
    assert op.attribute_values == again.attribute_values == values


@given(
    model=onnx_models(max_layers=5),
    seed=st.integers(0, 2**16),
    target=st.sampled_from([{}, {"target": "gemmini-16x16", "quantize": "int8"}]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=SLOW_DATA)
def test_no_pass_changes_what_an_operator_means(
    model: Any, seed: int, target: dict[str, str]
) -> None:
    """An operator that knows its axes, put between two nodes of a random network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_OPERATORS", {})
        patch.setattr(plugins, "_loaded", True)
        register("Weigh", infer=weighed_types, evaluate=weigh, lower=lower_weigh)
        _put_in(model, seed)
        options = {"calibration": "random", **target} if target else {}
        executable = tilewright.compile(model, verify="semantic", **options)
        x = {info.name: noise(*info.shape, seed=seed) for info in executable.inputs}
        if target:
            simulated, _ = executable.simulate(x)
            for name, value in executable.run(x).items():
                np.testing.assert_array_equal(simulated[name], value)


def _put_in(model: Any, seed: int) -> None:
    """Have some node read what `Weigh` makes of one of its 3- or 4-dimensional operands."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        i.name: len(i.type.tensor_type.shape.dim)
        for i in (*graph.value_info, *graph.input)
        if i.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    weights = {w.name for w in graph.initializer}
    places = [
        (at, i)
        for at, node in enumerate(model.graph.node)
        for i, name in enumerate(node.input)
        if ranks.get(name, 0) in (3, 4) and name not in weights
    ]
    if not places:
        return
    at, index = places[seed % len(places)]
    node = model.graph.node[at]
    plug = helper.make_node(
        "Weigh", [node.input[index]], ["plug_sum", "plug_out"], name="plug", domain="com.test"
    )
    node.input[index] = "plug_out"
    model.graph.node.insert(at, plug)
    model.opset_import.append(helper.make_opsetid("com.test", 1))


def test_ir_with_operators_can_be_read_back(example: ModuleType) -> None:
    ctx = CompilerContext()
    text = str(import_model(network("Blend", 2, share=0.25), ctx))
    again = parse_module(text, ctx, "again")
    again.verify()
    assert str(again) == text
    wrong = text.replace("output = 0 : i64", "output = 1 : i64")
    assert wrong != text
    with pytest.raises(TilewrightError, match="has no output 1"):
        parse_module(wrong, ctx, "wrong")


def test_types_of_operators_stay_in_half_precision_graphs(table: None) -> None:
    """Quantisation computes halves in f32; this operator takes nothing but f16."""
    taken: set[str] = set()

    def half_only(arrays: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
        taken.add(arrays[0].dtype.name)
        return doubled(arrays, attributes)

    def lower(kernel: Any, op: CustomOp) -> None:
        axes = [{d: 1} for d in range(4)]
        nest = kernel.begin(shape_of(op.result), axes)
        x = nest.wide(nest.read(kernel.whole(op.args[0]), nest.rows(axes)))
        nest.acc = nest.cast(nest.apply("add", [x, x], f32), element_of(op.result))

    register(evaluate=half_only, lower=lower)
    weights = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float16)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first", pads=[1] * 4),
        helper.make_node("Op", ["c"], ["d"], name="plug", domain="com.test"),
        helper.make_node("Conv", ["d", "w"], ["y"], name="second", pads=[1] * 4),
    ]
    model = model_of(nodes, {"x": (1, 4, 6, 6)}, {"y": (1, 4, 6, 6)}, {"w": weights}, "com.test")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    x = {"x": noise(1, 4, 6, 6).astype(np.float16)}
    real = tilewright.compile(model, verify="semantic").run(x)["y"].astype(np.float32)
    quantized = tilewright.compile(
        model, quantize="int8", calibration="random", verify="semantic"
    ).run(x)["y"]
    assert taken == {"float16"}
    assert np.square(quantized - real).sum() < 0.05 * np.square(real).sum()

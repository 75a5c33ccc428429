"""What importing keeps and decides besides the meaning of operators."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from malformed.cases import call, function
from malformed.making import array, info, model, node
from support.op_model import In, op_model
from tilewright.compiler.importer import check_model, import_model
from tilewright.dialects.errors import ModelError, UnsupportedError
from tilewright.dialects.graph import ConstantOp
from tilewright.dialects.locations import onnx_nodes
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.rewriting import tensor_name

F32: Any = np.float32
LOCAL = [helper.make_opsetid("local", 1)]


def imported(made: onnx.ModelProto, **kw: Any) -> tuple[Any, CompilerContext]:
    ctx = CompilerContext()
    module = import_model(made, ctx, **kw)
    module.verify()
    return module, ctx


def operations(module: Any) -> list[Any]:
    return [op for op in main_function(module).body.block.ops if not isinstance(op, ConstantOp)][
        :-1
    ]


def names(attribute: Any) -> list[str]:
    return [entry.data for entry in attribute.data]


def test_operations_carry_the_names_of_nodes_and_tensors() -> None:
    made = model(
        [
            node("Relu", ["x"], ["/layer1/out_0"], "/layer1/Relu"),
            node("Abs", ["/layer1/out_0"], ["y"], ""),
        ]
    )
    module, _ = imported(made)
    relu, absolute = operations(module)
    assert [onnx_nodes(op) for op in (relu, absolute)] == [("/layer1/Relu",), ("Abs_1",)]
    assert [tensor_name(op) for op in (relu, absolute)] == ["/layer1/out_0", "y"]
    func = main_function(module)
    assert names(func.attributes["input_names"]) == ["x"]
    assert names(func.attributes["output_names"]) == ["y"]
    assert "%layer1_out" in str(module)


def test_dead_nodes_are_not_imported_even_if_unsupported() -> None:
    made = model([node("Unique", ["x"], ["u"]), node("Relu", ["x"])])
    module, _ = imported(made)
    assert len(operations(module)) == 1


def test_unsupported_nodes_are_listed_at_once() -> None:
    made = model(
        [
            node("RandomNormalLike", ["x"], ["d"], "first"),
            node("Relu", ["d"], ["r"]),
            node("Unique", ["r"], name="second"),
        ]
    )
    rows = check_model(made, CompilerContext())
    assert [(r.node, r.op, r.opset) for r in rows] == [
        ("first", "RandomNormalLike", 17),
        ("second", "Unique", 17),
    ]
    assert all(r.reason and r.hint for r in rows)
    with pytest.raises(UnsupportedError, match="2 unsupported nodes"):
        import_model(made, CompilerContext())
    assert check_model(model([node("Relu", ["x"])]), CompilerContext()) == []


def test_open_dimensions_are_bound_or_noted() -> None:
    made = model([node("Add", ["x", "z"])], inputs=[info("x", ("n", 4)), info("z", ("n", 1))])
    module, ctx = imported(made)
    assert [shape_of(a) for a in main_function(module).body.block.args] == [(1, 4), (1, 1)]
    assert [("'x'" in n and "'n'" in n) or "'z'" in n for n in ctx.notes] == [True, True]
    module, ctx = imported(made, shapes={"x": [5, 4]})
    assert [shape_of(a) for a in main_function(module).body.block.args] == [(5, 4), (5, 1)]
    assert ctx.notes == []


def test_shape_arithmetic_leaves_no_operations() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["c"], axis=0),
        node("Unsqueeze", ["c", "zero"], ["c1"]),
        node("Mul", ["c1", "two"], ["c2"]),
        node("Concat", ["minus", "c2"], ["t"], axis=0),
        node("Reshape", ["x", "t"]),
    ]
    weights = [
        array(n, v, np.int64) for n, v in {"one": 1, "zero": [0], "two": [2], "minus": [-1]}.items()
    ]
    module, ctx = imported(model(nodes, inputs=[info("x", (4, 3, 2))], weights=weights))
    (reshape,) = operations(module)
    assert shape_of(reshape.result) == (4, 6)
    assert len(ctx.constants) == 0 and not [
        op for op in module.walk() if isinstance(op, ConstantOp)
    ]


def test_weights_are_shared_and_not_copied() -> None:
    weights = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    data = model(
        [node("MatMul", ["x", "w"])], inputs=[info("x", (1, 1024))], weights=[array("w", weights)]
    ).SerializeToString()
    tracemalloc.start()
    ctx = CompilerContext()
    import_model(data, ctx)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * weights.nbytes
    ((_, stored),) = ctx.constants.items()
    assert not stored.flags.writeable
    np.testing.assert_array_equal(stored, weights)


def test_external_data(tmp_path: Path) -> None:
    weights = np.arange(8, dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(bytes(12) + weights.tobytes())
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[8], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", "weights.bin"), ("offset", "12"), ("length", "32")):
        tensor.external_data.add(key=key, value=value)
    made = model([node("Add", ["x", "w"])], inputs=[info("x", (8,))], weights=[tensor])
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    ctx = CompilerContext()
    module = import_model(tmp_path / "model.onnx", ctx)
    np.testing.assert_array_equal(evaluate(module, [weights], ctx.constants)[0], weights * 2)
    with pytest.raises(ModelError, match="by path"):
        import_model(made, CompilerContext())


def test_functions_of_the_model_are_expanded() -> None:
    inner = function(
        "scaled", [node("Mul", ["a", "a"], ["m"], "square"), node("Relu", ["m"], ["b"], "")]
    )
    outer = function("twice", [call("scaled", ["a"], ["t"]), call("scaled", ["t"], ["b"])])
    module, ctx = imported(
        model([call("twice", ["x"], ["y"])], functions=[inner, outer], imports=LOCAL)
    )
    assert [onnx_nodes(op)[0] for op in operations(module)][:2] == [
        "call_twice/call_scaled/square",
        "call_twice/call_scaled/Relu_1",
    ]
    x = F32([[-1, 2, 0, 3]])
    np.testing.assert_array_equal(evaluate(module, [x], ctx.constants)[0], x**4)


def test_bodies_of_standard_operators_keep_the_name_of_the_node() -> None:
    module, _ = imported(op_model("Shrink", [In((2, 3))]))
    assert {onnx_nodes(op) for op in operations(module)} == {("the_node",)}


def test_the_taken_branch_of_a_constant_condition_is_imported() -> None:
    branches = [
        onnx.GraphProto(name=op, node=[node(op, ["x"], ["z"], "n")], output=[info("z")])
        for op in ("Abs", "Relu")
    ]
    made = model(
        [node("If", ["c"], then_branch=branches[0], else_branch=branches[1])],
        weights=[array("c", True, np.bool_)],
    )
    module, _ = imported(made)
    assert [onnx_nodes(op) for op in operations(module)] == [("the_if/n",)]


def test_both_branches_of_a_computed_condition_are_selected_from() -> None:
    branches = [
        onnx.GraphProto(name=op, node=[node(op, ["x"], ["z"], "n")], output=[info("z")])
        for op in ("Abs", "Relu")
    ]
    made = model(
        [node("If", ["c"], then_branch=branches[0], else_branch=branches[1])],
        inputs=[info("c", (), TensorProto.BOOL), info("x")],
    )
    module, ctx = imported(made)
    x = F32([[-1, 2, 0, 3]])
    for condition, expected in ((True, np.abs(x)), (False, np.maximum(x, 0))):
        np.testing.assert_array_equal(
            evaluate(module, [np.array(condition), x], ctx.constants)[0], expected
        )


def test_outputs_have_memory_of_their_own() -> None:
    made = model(
        [node("Identity", ["x"]), node("Relu", ["x"], ["r"]), node("Identity", ["r"], ["r2"])],
        outputs=[info("x"), info("y"), info("r"), info("r2"), info("w", ())],
        weights=[array("w", 3.0)],
    )
    module, ctx = imported(made)
    last: Any = main_function(module).body.block.last_op
    returned = last.operands
    assert len(set(returned)) == 5
    x = F32([[-1, 2, 0, 3]])
    for found, expected in zip(
        evaluate(module, [x], ctx.constants),
        [x, x, np.maximum(x, 0), np.maximum(x, 0), 3.0],
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["raw", "typed"])
@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "int8",
        "uint8",
        "int32",
        "int64",
        "uint64",
        "bool",
    ],
)
def test_every_element_type_and_storage(kind: str, dtype: str) -> None:
    import ml_dtypes

    values = np.array([1, 0, 3]).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
    if kind == "raw":
        tensor = TensorProto(name="w", data_type=data_type, dims=[3], raw_data=values.tobytes())
    else:
        tensor = helper.make_tensor("w", data_type, [3], values)
    module, ctx = imported(model([node("Identity", ["w"])], inputs=[], weights=[tensor]))
    (found,) = evaluate(module, [], ctx.constants)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_operators_of_old_opsets() -> None:
    x, w = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 9, F32([1, -2, 3])
    for made, expected in (
        (op_model("Add", [In((2, 3, 4)), w], opset=6, broadcast=1, axis=1), x + w[:, None]),
        (op_model("PRelu", [In((2, 3, 4)), w], opset=6), np.where(x < 0, x * w[:, None], x)),
        (op_model("Reshape", [In((2, 3, 4))], opset=1, shape=[0, -1]), x.reshape(2, 12)),
        (op_model("Cast", [In((2, 3, 4))], opset=1, to="INT32"), x.astype(np.int32)),
        (
            op_model(
                "Concat", [In((2, 3, 4)), w.reshape(1, 3, 1).repeat(2, 0).repeat(4, 2)], opset=1
            ),
            np.concatenate([x, w.reshape(1, 3, 1).repeat(2, 0).repeat(4, 2)], 1),
        ),
        (
            op_model("Pad", [In((2, 3, 4))], opset=1, paddings=[0, 0, 1, 0, 1, 0]),
            np.pad(x, ((0, 0), (0, 1), (1, 0))),
        ),
    ):
        module, ctx = imported(made)
        np.testing.assert_array_equal(evaluate(module, [x], ctx.constants)[0], expected)


def test_a_model_without_opset_is_of_opset_1() -> None:
    made = model([node("Reshape", ["x"], shape=[2, 2])], opset=None)
    module, _ = imported(made)
    assert shape_of(operations(module)[0].result) == (2, 2)


def test_a_long_chain_is_imported_without_recursion_in_linear_time() -> None:
    nodes = [node("Relu", [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(20_000)]
    module, _ = imported(model(nodes, inputs=[info("t0")], outputs=[info("t20000", None)]))
    assert len(operations(module)) == 20_000


def test_unsorted_nodes_are_sorted() -> None:
    made = model([node("Relu", ["a"]), node("Abs", ["b"], ["a"]), node("Neg", ["x"], ["b"])])
    module, _ = imported(made)
    assert [onnx_nodes(op)[0] for op in operations(module)] == ["the_neg", "the_abs", "the_relu"]


def test_the_text_is_the_same_each_time() -> None:
    made = model(
        [node("Add", ["x", "w"], ["a"]), node("Relu", ["a"])], weights=[array("w", np.ones(4))]
    )
    assert str(imported(made)[0]) == str(imported(made)[0])


def test_weights_are_in_memory_once(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((1 << 11, 1 << 10)).astype(np.float32)
    made = model(
        [node("MatMul", ["x", "a"], ["m"]), node("Add", ["m", "b"])],
        inputs=[info("x", (1, 1 << 11))],
        weights=[array("a", weights), array("small", [1.0]), array("b", weights[0])],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    del made
    tracemalloc.start()
    ctx = CompilerContext()
    import_model(path, ctx)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * weights.nbytes
    stored = {a.shape: a for _, a in ctx.constants.items()}
    np.testing.assert_array_equal(stored[weights.shape], weights)
    np.testing.assert_array_equal(stored[weights[0].shape], weights[0])

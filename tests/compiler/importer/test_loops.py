"""Loop and Scan: unrolled if their length is known, refused whole if not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from support.oracle import session
from tilewright.compiler.importer import check_model, import_model
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext


def graph_model(
    nodes: list[onnx.NodeProto], shapes: dict[str, list[int]], outputs: list[str], **constants: Any
) -> onnx.ModelProto:
    """A model of float inputs."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [onnx.ValueInfoProto(name=o) for o in outputs],
        [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def value(name: str, shape: list[int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def loop_body(condition: list[onnx.NodeProto]) -> onnx.GraphProto:
    """h = tanh(h + x) * iteration, yielding h; `condition` makes `going`."""
    nodes = [
        helper.make_node("Add", ["h", "x"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["bent"]),
        helper.make_node("Cast", ["i"], ["step"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bent", "step"], ["new"]),
        helper.make_node("Identity", ["new"], ["row"]),
        *condition,
    ]
    return helper.make_graph(
        nodes,
        "body",
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("h", [3])],
        [value("going", [], TensorProto.BOOL), value("new", [3]), value("row", [3])],
    )


def compare(made: onnx.ModelProto, shapes: dict[str, list[int]]) -> None:
    rng = np.random.default_rng(2)
    inputs = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    expected = session(made.SerializeToString()).run(None, inputs)
    ctx = CompilerContext()
    found = evaluate(import_model(made, ctx), inputs, ctx.constants)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trips", [1, 4])
def test_loops_of_known_length_are_unrolled(trips: int) -> None:
    body = loop_body([helper.make_node("Identity", ["c"], ["going"])])
    node = helper.make_node("Loop", ["trips", "", "h0"], ["last", "rows"], body=body)
    shapes = {"x": [3], "h0": [3]}
    made = graph_model([node], shapes, ["last", "rows"], trips=np.array(trips))
    compare(made, shapes)


def test_loops_end_when_a_counted_condition_ends() -> None:
    below = [helper.make_node("Less", ["i", "limit"], ["going"])]
    node = helper.make_node("Loop", ["", "on", "h0"], ["last", "rows"], body=loop_body(below))
    shapes = {"x": [3], "h0": [3]}
    constants = {"limit": np.array(3), "on": np.array(True)}
    compare(graph_model([node], shapes, ["last", "rows"], **constants), shapes)


@pytest.mark.parametrize("reverse", [0, 1])
def test_scans_are_unrolled(reverse: int) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Add", ["h", "a"], ["new"]),
            helper.make_node("Mul", ["new", "b"], ["y"]),
        ],
        "body",
        [value(n, [3]) for n in ("h", "a", "b")],
        [value(n, [3]) for n in ("new", "y")],
    )
    node = helper.make_node(
        "Scan", ["h0", "a", "b"], ["last", "all"], body=body, num_scan_inputs=2,
        scan_input_axes=[0, 1], scan_input_directions=[0, reverse],
        scan_output_axes=[1], scan_output_directions=[reverse],
    )  # fmt: skip
    shapes = {"h0": [3], "a": [5, 3], "b": [3, 5]}
    compare(graph_model([node], shapes, ["last", "all"]), shapes)


def test_loops_that_depend_on_data_are_refused_whole() -> None:
    stop = [
        helper.make_node("ReduceSum", ["new"], ["total"], keepdims=0),
        helper.make_node("Less", ["total", "bound"], ["going"]),
    ]
    node = helper.make_node("Loop", ["trips", "", "h0"], ["last", "rows"], body=loop_body(stop))
    shapes = {"x": [3], "h0": [3]}
    constants = {"trips": np.array(3), "bound": np.array(9, np.float32)}
    made = graph_model([node], shapes, ["last", "rows"], **constants)
    rows = check_model(made, CompilerContext())
    assert [row.op for row in rows] == ["Loop"]
    assert "depends on the data" in rows[0].reason

"""Weights of which several share a byte: dequantised at import, refused elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tilewright.compiler.importer import check_model, import_model
from tilewright.dialects.errors import ModelError
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext

KINDS: dict[int, tuple[int, int]] = {
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT2: (-2, 1),
    TensorProto.UINT2: (0, 3),
}


def model(
    kind: int, scales: tuple[int, ...], zero_point: bool, op: str = "", raw: bool = False
) -> onnx.ModelProto:
    """X times 12 x 5 weights of `kind`, in blocks of 4 rows if there are several rows of scales."""
    rng, limits = np.random.default_rng(kind), KINDS[kind]

    def packed(name: str, shape: tuple[int, ...]) -> TensorProto:
        values = rng.integers(limits[0], limits[1] + 1, shape)
        made = helper.make_tensor(name, kind, shape, values.reshape(-1).tolist())
        if raw:
            data = np.array(made.int32_data or np.frombuffer(made.raw_data, np.uint8), np.uint8)
            made.ClearField("int32_data")
            made.raw_data = data.tobytes()
        return made

    weights = [packed("w", (12, 5))]
    weights.append(onnx.numpy_helper.from_array(rng.random(scales).astype(np.float32), "s"))
    weights += [packed("z", scales)] if zero_point else []
    attributes: dict[str, Any] = {"axis": 1}
    if len(scales) == 2:
        attributes = {"axis": 0, "block_size": 4}
    dequantize = helper.make_node(
        "DequantizeLinear", [w.name for w in weights], ["real"], **attributes
    )
    nodes = [dequantize, helper.make_node("MatMul", ["x", "real"], ["y"])]
    if op:
        nodes = [helper.make_node(op, ["w"], ["y"], "the_node", to=TensorProto.INT8)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 12))],
        [onnx.ValueInfoProto(name="y")],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=11)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("zero_point", [False, True])
@pytest.mark.parametrize("scales", [(), (5,), (3, 5)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights_are_dequantised(
    kind: int, scales: tuple[int, ...], zero_point: bool, raw: bool
) -> None:
    made = model(kind, scales, zero_point, raw=raw)
    x = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
    expected: Any = ReferenceEvaluator(made).run(None, {"x": x})
    ctx = CompilerContext()
    found = evaluate(import_model(made, ctx), [x], ctx.constants)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)


def test_other_uses_are_refused() -> None:
    rows = check_model(model(TensorProto.INT4, (5,), False, "Cast"), CompilerContext())
    assert [(row.node, row.reason) for row in rows] == [
        ("the_node", "the compiler has no int4 tensors")
    ]


def test_packed_data_must_fit_the_shape() -> None:
    made = model(TensorProto.INT4, (5,), False, raw=True)
    made.graph.initializer[0].raw_data = b"123"
    with pytest.raises(ModelError, match="3 bytes of data"):
        import_model(made, CompilerContext())

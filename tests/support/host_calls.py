"""Single nodes on the host, alone and against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from support.host_models import HostModel
from tilewright.backends.host import Value, evaluate

Array = np.ndarray[Any, Any]


def refuse_graphs(graph: onnx.GraphProto, bound: Mapping[str, Value]) -> list[Value]:
    """For nodes without bodies."""
    raise AssertionError(graph.name)


def call(
    op: str,
    inputs: Sequence[Value],
    opset: int,
    outputs: int = 1,
    domain: str = "",
    name: str = "the_node",
    **attributes: Any,
) -> list[Value]:
    """What the host makes of one node."""
    names = ["" if value is None else f"i{i}" for i, value in enumerate(inputs)]
    made = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, name, domain=domain, **attributes)
    return evaluate(node, inputs, {"": 21, domain: opset}, refuse_graphs)


def node_model(
    op: str,
    inputs: Sequence[Array | None],
    opset: int,
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node."""
    names = ["" if value is None else f"i{i}" for i, value in enumerate(inputs)]
    made = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, domain=domain, **attributes)
    typed: list[onnx.ValueInfoProto] = []
    for name, value in zip(names, inputs, strict=True):
        if value is not None:
            text = value.dtype == object
            element = 8 if text else helper.np_dtype_to_tensor_dtype(value.dtype)
            typed.append(helper.make_tensor_value_info(name, element, value.shape))
    graph = helper.make_graph([node], "g", typed, [onnx.ValueInfoProto(name=n) for n in made])
    imports = [helper.make_opsetid("", 21 if domain else opset)]
    imports += [helper.make_opsetid(domain, opset)] if domain else []
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def agree(
    op: str,
    inputs: Sequence[Array | None],
    opset: int,
    outputs: int = 1,
    domain: str = "",
    tolerance: float = 1e-4,
    **attributes: Any,
) -> None:
    """Assert that the host and onnxruntime compute the same from one node."""
    model = node_model(op, inputs, opset, outputs, domain, **attributes)
    feeds = {f"i{i}": value for i, value in enumerate(inputs) if value is not None}
    options = cast(Any, onnxruntime).SessionOptions()
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted: Any = session.run(None, feeds)
    for want, have in zip(wanted, HostModel(model).run(list(feeds.values())), strict=True):
        assert want.shape == have.shape and want.dtype == have.dtype, (op, attributes)
        if want.dtype == object:
            assert want.tolist() == have.tolist(), (op, attributes)
        else:
            np.testing.assert_allclose(
                have.astype(np.float64),
                want.astype(np.float64),
                rtol=1e-3,
                atol=tolerance,
                err_msg=f"{op} {attributes}",
            )

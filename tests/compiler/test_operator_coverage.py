"""The NPU column of docs/operators.md, against what placement does with one-operator models."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from support.op_models import CASES
from tilewright.backends.targets.load import load_target
from tilewright.compiler.driver import main_infos, random_calibration
from tilewright.compiler.importer import import_model
from tilewright.compiler.importer.coverage import NPU
from tilewright.compiler.importer.node import RULES
from tilewright.compiler.instruments import Instruments
from tilewright.compiler.pipeline import phase_passes
from tilewright.dialects.graph import ConstantOp, device_of
from tilewright.dialects.locations import onnx_nodes
from tilewright.passes.base import CompilerContext, main_function

NODE = "the_node"
PROVABLE = ("convolution", "product", "pooling", "mean", "table", "movement", "resize", "row")
"""Forms of which one-operator models show an example."""

NO_EXAMPLE = {"Div", "Max", "Min", "Mod", "ReduceMean"}
"""The cases are of two run-time operands, and of means over other than the spatial axes."""


def product(model: ModelProto, x: str, y: str, k: int, n: int) -> None:
    """Append y = x @ (k x n weights)."""
    weights = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, f"{y}_weights"))
    model.graph.node.append(helper.make_node("MatMul", [x, f"{y}_weights"], [y], f"{y}_node"))


def between_products(case: ModelProto) -> ModelProto | None:
    """The model with its first input computed, and its first output read, by a product."""
    model = copy.deepcopy(case)
    first = next((i for i in model.graph.input if i.name == "x0"), None)
    if first is None or first.type.tensor_type.elem_type != TensorProto.FLOAT:
        return None
    shape = [d.dim_value for d in first.type.tensor_type.shape.dim]
    module = import_model(case.SerializeToString(), CompilerContext(), {})
    result = main_infos(main_function(module), "output_names")[0]
    if len(shape) < 2 or len(result.shape) < 2 or result.dtype != "float32":
        return None
    node = model.graph.node[0]
    for i, name in enumerate(node.input):
        if name == "x0":
            node.input[i] = "before"
    product(model, "x0", "before", shape[-1], shape[-1])
    product(model, node.output[0], "after", result.shape[-1], 4)
    model.graph.output.append(ValueInfoProto(name="after"))
    del model.graph.output[0]
    return model


def devices(model: ModelProto) -> Iterator[str | None]:
    """Where the operations of the node run."""
    ctx = CompilerContext()
    ctx.machine = load_target("ethos-u65-512")
    module = import_model(model.SerializeToString(), ctx, {})
    instruments = Instruments(verify="none")
    instruments.run(ctx, module, phase_passes("graph"))
    ctx.calibration = random_calibration(main_function(module))
    instruments.run(ctx, module, phase_passes("quantize"))
    instruments.run(ctx, module, phase_passes("partition")[:1])  # assign-device
    for op in module.walk():
        if NODE in onnx_nodes(op) and not isinstance(op, ConstantOp):
            yield device_of(op)


@pytest.fixture(scope="module")
def placed() -> dict[str, set[str | None]]:
    """Devices by operator, over all cases that can stand between products."""
    found: dict[str, set[str | None]] = {}
    for case in CASES:
        model = between_products(case.model)
        if model is not None:
            found.setdefault(case.model.graph.node[0].op_type, set()).update(devices(model))
    return found


def test_what_the_page_leaves_to_the_cpu_runs_there(placed: dict[str, set[str | None]]) -> None:
    alone = {op for op, found in placed.items() if found == {"npu"} and op in RULES}
    assert alone - set(NPU) == set()


def test_what_the_page_gives_the_npu_can_run_there(placed: dict[str, set[str | None]]) -> None:
    claimed = {op for op in placed if NPU.get(op) in PROVABLE} - NO_EXAMPLE
    assert len(claimed) > 40
    assert {op for op in claimed if "npu" not in placed[op]} == set()

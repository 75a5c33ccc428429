"""Random products, of two tensors computed at run time in particular: exact, and on the NPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.models import inputs_for
from support.oracle import session
from support.random_machines import machines
from support.random_products import convolutions, matrix_products
from support.whole import TARGETS, assert_ends_agree, compile_int8, target_file
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.options import CompileOptions


def check(model: onnx.ModelProto, target: str) -> None:
    """Compiled to int8, all of `model` is on the NPU, both ends agree, and the result is near."""
    inputs = inputs_for(model)
    options = CompileOptions(target=target, quantize="int8", calibration=inputs)
    run = compile_model(model, options)
    assert run.ctx.placement == {}
    assert run.artefact is not None
    executable = Executable(run.artefact)
    assert_ends_agree(executable, inputs)
    [value] = executable.run(inputs).values()
    [expected] = session(model.SerializeToString()).run(None, inputs)
    error, size = np.linalg.norm(value - expected), np.linalg.norm(expected)
    assert error <= 0.05 * size + 0.2 * np.sqrt(expected.size)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(model=matrix_products() | convolutions())
def test_products_run_on_the_npu(model: onnx.ModelProto, target: str) -> None:
    check(model, target)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(model=matrix_products() | convolutions(), machine=machines())
def test_ends_agree_on_any_machine(
    tmp_path: Path, model: onnx.ModelProto, machine: Machine
) -> None:
    inputs = inputs_for(model)
    assert_ends_agree(compile_int8(model, target_file(machine, tmp_path), inputs), inputs)


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(model=matrix_products() | convolutions(), target=st.sampled_from(TARGETS))
def test_every_pass_keeps_the_meaning(model: onnx.ModelProto, target: str) -> None:
    inputs = inputs_for(model)
    assert_ends_agree(compile_int8(model, target, inputs, verify="semantic"), inputs)


def test_geometry_stays_real() -> None:
    nodes = [onnx.helper.make_node("MatMul", ["points", "rotation"], ["y"], name="rotate")]
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in (("points", [2, 50, 3]), ("rotation", [2, 3, 3]), ("y", [2, 50, 3]))
    ]
    graph = onnx.helper.make_graph(nodes, "rotation", values[:2], values[2:])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    inputs = inputs_for(model)
    executable = compile_int8(model, TARGETS[0], inputs)
    assert_ends_agree(executable, inputs)
    [expected] = session(model.SerializeToString()).run(None, inputs)
    np.testing.assert_allclose(executable.run(inputs)["y"], expected, rtol=1e-5, atol=1e-5)

"""Whatever the machine, a model compiles, and both ends agree bit for bit."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import onnx
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from support.random_graphs import SLOW_DATA, onnx_models, random_inputs
from support.random_machines import machines
from tilewright.backends.targets.load import load_target, parse_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.options import CompileOptions
from tilewright.dialects.errors import TargetError


def _toml(machine: Machine) -> str:
    """The machine's description as TOML text."""

    def value(v: Any) -> str:
        if isinstance(v, dict):
            table = cast(dict[str, Any], v)
            return "{ " + ", ".join(f"{k} = {value(x)}" for k, x in table.items()) + " }"
        return (
            repr(v).lower() if isinstance(v, bool) else f'"{v}"' if isinstance(v, str) else repr(v)
        )

    return "".join(f"{k} = {value(v)}\n" for k, v in asdict(machine).items())


def compile_and_compare(model: onnx.ModelProto, machine: Machine, seed: int = 0) -> Executable:
    """Compile `model` for `machine`; simulated and CPU outputs must be identical."""
    shapes = [
        (tuple(d.dim_value for d in i.type.tensor_type.shape.dim), np.dtype(np.float32))
        for i in model.graph.input
    ]
    names = [i.name for i in model.graph.input]
    inputs = dict(zip(names, random_inputs(shapes, seed), strict=True))
    with TemporaryDirectory() as folder:
        (path := Path(folder) / "machine.toml").write_text(_toml(machine))
        (file := Path(folder) / "model.onnx").write_bytes(model.SerializeToString())
        options = CompileOptions(target=str(path), quantize="int8", calibration=inputs)
        result = compile_model(str(file), options)
    assert result.artefact is not None
    executable = Executable(result.artefact)
    simulated, _ = executable.simulate(inputs)
    for name, expected in executable.run(inputs).items():
        np.testing.assert_array_equal(simulated[name], expected)
    return executable


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW_DATA)
@given(onnx_models(5), machines(512, 4096), st.integers(0, 99))
def test_every_model_compiles_for_every_machine(
    model: onnx.ModelProto, machine: Machine, seed: int
) -> None:
    try:
        parse_target(_toml(machine), "random")
    except TargetError:
        reject()  # not even one matmul fits
    compile_and_compare(model, machine, seed)


def _pooled(kind: str, extent: int, channels: int) -> onnx.ModelProto:
    """A 1 x 1 convolution, pooled over everything."""
    rng = np.random.default_rng(0)
    w = onnx.numpy_helper.from_array(
        rng.standard_normal((channels, 3, 1, 1)).astype(np.float32), "w"
    )
    kernel: dict[str, Any] = {} if kind.startswith("Global") else {"kernel_shape": [extent, extent]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node(kind, ["c"], ["y"], name="pool", **kernel),
    ]
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", [1, 3, extent, extent]), ("y", [1, channels, 1, 1]))
    )
    graph = helper.make_graph(nodes, "pooled", [x], [y], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _small(scratchpad: int, accumulator: int) -> Machine:
    machine = load_target("gemmini-16x16")
    assert machine is not None
    return replace(
        machine,
        scratchpad=replace(machine.scratchpad, bytes=scratchpad),
        accumulator=replace(machine.accumulator, bytes=accumulator),
    )


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "AveragePool", "MaxPool"])
def test_pooling_larger_than_the_scratchpad_stays_on_the_npu(kind: str) -> None:
    executable = compile_and_compare(_pooled(kind, 112, 24), _small(16384, 4096))
    assert not executable.artefact.manifest["placement"]


def test_what_does_not_fit_goes_to_the_cpu_with_a_reason() -> None:
    machine = _small(384, 256)
    machine = replace(machine, matrix=replace(machine.matrix, rows=1, columns=1))
    model = _pooled("GlobalAveragePool", 8, 3)
    pool = model.graph.node.pop()
    model.graph.node.extend(
        [
            helper.make_node("Conv", ["c", "w"], ["d"], name="second"),
            helper.make_node("Add", ["c", "d"], ["e"], name="residual"),
            helper.make_node("GlobalAveragePool", ["e"], list(pool.output), name="pool"),
        ]
    )
    executable = compile_and_compare(model, machine)
    reason = executable.artefact.manifest["placement"]["residual"]
    assert "smallest tiles" in reason and "384 bytes of scratchpad" in reason

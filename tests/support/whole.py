"""Whole compilations in tests: the two ends of an artefact and its graph, against each other.

    executable = compile_int8(model, "gemmini-16x16", inputs)
    assert_ends_agree(executable, inputs)

The simulated NPU and the CPU end must agree bit for bit on every output, real ones included,
since what runs on the CPU is the same machine code.  The graph stored in the artefact, evaluated by
the reference semantics, must agree with both: exactly where an output is a dequantised integer,
otherwise to float rounding.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from xdsl.dialects.func import ReturnOp

import tilewright
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.executable import Executable
from tilewright.compiler.ir_text import parse_module
from tilewright.dialects.constants import Array
from tilewright.dialects.graph import DequantizeOp, QuantizeOp, quantization
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext, main_function

TARGETS = ("gemmini-16x16", "ethos-u65-512", "tpu-v1", "auto-200", "vta-pynq", "nvdla-128")


def compile_int8(
    model: onnx.ModelProto | str, target: str | Path, inputs: Mapping[str, Array], **options: Any
) -> Executable:
    """An int8 artefact calibrated on `inputs` and on half of them."""
    calibration = {name: np.stack([x, (x / 2).astype(x.dtype)]) for name, x in inputs.items()}
    return tilewright.compile(
        model, str(target), quantize="int8", calibration=calibration, **options
    )


def graph_outputs(
    executable: Executable, inputs: Mapping[str, Array]
) -> tuple[list[Array], list[float | None], bool]:
    """Outputs of the artefact's graph by the reference semantics.

    Beside them, for each output that is a dequantised integer its scale; and whether real numbers
    are computed and quantised again on the way, so that rounding may move later integers by a step.
    """
    files = executable.artefact.files
    ctx = CompilerContext()
    with np.load(io.BytesIO(files["debug/constants.npz"]), allow_pickle=False) as arrays:
        for key in arrays.files:
            ctx.constants.add(arrays[key])
    module = parse_module(files["debug/graph.mlir"].decode(), ctx, "debug/graph.mlir")
    values = evaluate(module, [inputs[i.name] for i in executable.inputs], ctx.constants)
    block = main_function(module).body.block
    mixed = any(
        isinstance(op, QuantizeOp) and op.operands[0] not in block.args for op in module.walk()
    )
    scales: list[float | None] = []
    last = block.last_op
    assert isinstance(last, ReturnOp)
    for operand in last.operands:
        owner = operand.owner
        encoding = quantization(owner.operands[0].type) if isinstance(owner, DequantizeOp) else None
        scales.append(encoding.scale if encoding and encoding.axis_index is None else None)
    return values, scales, mixed


def assert_same_bits(a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
    """Equal names, types, shapes and bytes (any NaN equals any other)."""
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def assert_near(value: Array, reference: Array, tolerance: float, name: str = "") -> None:
    """Equal infinities and NaNs; elsewhere within `tolerance` of the reference's range."""
    assert value.shape == reference.shape and value.dtype == reference.dtype, name
    if value.dtype.kind != "f":
        np.testing.assert_array_equal(value, reference, err_msg=name)
        return
    finite = np.isfinite(reference)
    scale = float(np.max(np.abs(reference[finite]), initial=0.0)) or 1.0
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * scale, err_msg=name)


def assert_ends_agree(executable: Executable, inputs: Mapping[str, Array]) -> Any:
    """The simulator, the CPU end and the graph compute the same; returns its figures."""
    on_cpu = executable.run(inputs)
    on_npu, figures = executable.simulate(inputs, check=True)
    assert_same_bits(on_npu, on_cpu)
    values, scales, mixed = graph_outputs(executable, inputs)
    for value, scale, (name, result) in zip(values, scales, on_cpu.items(), strict=True):
        if mixed:
            continue
        if scale is not None:
            steps = np.max(np.abs(result.astype(np.float64) - value) / scale, initial=0.0)
            assert steps < 0.5, f"{name}: the graph differs by {steps:.2f} steps"
        else:
            assert_near(result, value, 1e-5, name)
    return figures


def target_file(machine: Machine, folder: Path) -> Path:
    """The machine as a TOML file."""
    lines: list[str] = []
    tables = asdict(machine)
    for key, value in tables.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {_toml(value)}")
    for key, table in tables.items():
        if isinstance(table, dict):
            lines.append(f"[{key}]")
            lines += [f"{k} = {_toml(v)}" for k, v in table.items()]  # pyright: ignore
    path = folder / f"{machine.name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"  # pyright: ignore
    return f'"{value}"' if isinstance(value, str) else repr(value)

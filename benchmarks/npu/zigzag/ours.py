"""The same layers by our compiler: each one alone, from DRAM to DRAM, on the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from tilewright.backends.npu.simulator import SimulationResult
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.driver import compile_module
from tilewright.compiler.executable import Executable
from tilewright.compiler.importer import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantised_layer import quantised_layer
from tilewright.dialects.errors import CapacityError, InputError, TargetError
from tilewright.passes.base import CompilerContext

from .machine import Layer


@dataclass(frozen=True)
class Run:
    """A layer on our simulator, in cycles, whose parts sum to `cycles`.

    `onload` until the array starts; then `temporal`, in which it is busy, and `stall`; `drain`, in
    which its last results leave it; and `offload`, until they are in DRAM.
    """

    cycles: int
    temporal: int
    stall: int
    onload: int
    offload: int
    drain: int
    dram_bytes: int


def run_of(result: SimulationResult) -> Run:
    """The parts of a traced simulation."""
    events: list[dict[str, Any]] = (result.trace or {})["traceEvents"]
    products = [e["args"] for e in events if e["name"].startswith("matmul")]
    start = min(e["start"] for e in products)
    end = max(e["end"] for e in products)
    complete = max(e["completed"] for e in products)
    busy = result.units["matrix"]["busy"]
    return Run(
        result.cycles, busy, end - start - busy, start, result.cycles - complete, complete - end,
        result.dram_bytes,
    )  # fmt: skip


def read_target(path: Path) -> Machine:
    """A target of ours from a TOML file; TargetError if it is none."""
    machine = load_target(str(path))
    if machine is None:
        raise TargetError(f"{path} is no NPU")
    return machine


def padding(layer: Layer, output: str) -> tuple[int, int]:
    """Padding before and after, of the input dimension that a loop over outputs slides along."""
    window = next(w for w in layer.windows.values() if w.output == output)
    reach = (layer.dims[output] - 1) * window.stride
    past = reach + (layer.dims[window.tap] - 1) * window.dilation + 1 - window.extent
    before = max(past, 0) // 2 + max(past, 0) % 2
    return before, max(past, 0) - before


def layer_model(layer: Layer) -> onnx.ModelProto:
    """An ONNX model of one quantised layer, int8, channels last in DRAM, seeded weights.

    Convolutions with a batch of one or products of two matrices; InputError for others.
    """
    dims = layer.dims
    if dims.get("B", 1) != 1:
        raise InputError(f"{layer.name}: a batch of {dims['B']} is not compared")
    if not layer.windows:
        rows = dims.get("D", 1)
        return quantised_layer([rows, dims["C"]], [dims["C"], dims["K"]], [rows, dims["K"]])
    groups = dims.get("G", 1)
    x = next(w for w in layer.windows.values() if w.output == "OX")
    y = next(w for w in layer.windows.values() if w.output == "OY")
    (top, bottom), (left, right) = padding(layer, "OY"), padding(layer, "OX")
    return quantised_layer(
        [1, y.extent, x.extent, groups * dims["C"]],
        [groups * dims["K"], dims["C"], dims["FY"], dims["FX"]],
        [1, dims["OY"], dims["OX"], groups * dims["K"]],
        {
            "group": groups,
            "strides": [y.stride, x.stride],
            "dilations": [y.dilation, x.dilation],
            "pads": [top, left, bottom, right],
        },
    )


def run(layer: Layer, machine: Machine) -> Run:
    """Compile and simulate; CapacityError where the layer does not run on the NPU as a whole."""
    ctx = CompilerContext()
    ctx.machine = machine
    module = import_model(layer_model(layer), ctx, {})
    options = CompileOptions(quantize="int8", verify="none", strip=True)
    artefact = compile_module(ctx, module, options, "layer", "")
    work = [w for s in artefact.manifest["steps"] if s["kind"] == "npu" for w in s["work"]]
    if sum(c[0] for w in work for c in w["contractions"]) != layer.macs:
        reasons = "; ".join(sorted(set(ctx.placement.values()))) or "it was split"
        raise CapacityError(f"{layer.name} does not run on the NPU as a whole: {reasons}")
    programs = Executable(artefact).simulate_timing(trace=True).programs
    if len(programs) != 1:
        raise CapacityError(f"{layer.name} became {len(programs)} programs")
    return run_of(programs[0])

"""The same layers by our compiler: each one alone, from DRAM to DRAM, on the simulator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tilewright.backends.npu.simulator import SimulationResult
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.driver import compile_module
from tilewright.compiler.executable import Executable
from tilewright.compiler.importer import import_model
from tilewright.compiler.options import CompileOptions
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
    dims, rng = layer.dims, np.random.default_rng(0)
    if dims.get("B", 1) != 1:
        raise InputError(f"{layer.name}: a batch of {dims['B']} is not compared")
    taps = math.prod(dims.get(d, 1) for d in ("FX", "FY"))
    reduction = dims["C"] * taps
    constants: dict[str, Any] = {
        "one": np.float32(1.0), "zero": np.int8(0),
        "scale": np.float32(2.0 ** math.ceil(math.log2(reduction) / 2 + 7)),
    }  # fmt: skip
    arguments = ["one", "zero", "w", "one", "zero", "scale", "zero"]
    if not layer.windows:
        rows = dims.get("D", 1)
        constants["w"] = rng.integers(-127, 128, (dims["C"], dims["K"]), np.int8)
        nodes = [helper.make_node("QLinearMatMul", ["x", *arguments], ["y"], "layer")]
        shape, result = [rows, dims["C"]], [rows, dims["K"]]
    else:
        groups = dims.get("G", 1)
        weights = (groups * dims["K"], dims["C"], dims["FY"], dims["FX"])
        constants["w"] = rng.integers(-127, 128, weights, np.int8)
        x = next(w for w in layer.windows.values() if w.output == "OX")
        y = next(w for w in layer.windows.values() if w.output == "OY")
        (top, bottom), (left, right) = padding(layer, "OY"), padding(layer, "OX")
        nodes = [
            helper.make_node("Transpose", ["x"], ["x1"], "in", perm=[0, 3, 1, 2]),
            helper.make_node(
                "QLinearConv", ["x1", *arguments], ["y1"], "layer", group=groups,
                strides=[y.stride, x.stride], dilations=[y.dilation, x.dilation],
                pads=[top, left, bottom, right],
            ),
            helper.make_node("Transpose", ["y1"], ["y"], "out", perm=[0, 2, 3, 1]),
        ]  # fmt: skip
        shape = [1, y.extent, x.extent, groups * dims["C"]]
        result = [1, dims["OY"], dims["OX"], groups * dims["K"]]
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", TensorProto.INT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, result)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


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

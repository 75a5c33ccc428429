"""Executions of a network as a publication has it: our compiler and simulator, or its own method.

A **policy** says for the targets of a publication, never for one workload, what its software does
that our present compiler would do otherwise:

    method      "simulate", or the published method: "nvdla-primer", "gemmini-library", "tpu-fifo"
    passes      the npu phase without optimisation across layers; absent: as the compiler has it
    after       the network begins behind the first operator of this type: what is before it, and
    before      from the first operator of this type on, the publication runs on its host
    one_unit    the matrix and vector units are one: time in which both work counts twice
    machine     values of parameters that the publication leaves open, by "table.key"
    host_bytes_per_cycle   inputs and outputs go to and from the host before and after, at this rate
    host_average_cycles    the host averages each channel over its positions, cycles per element
    weight_share           of an NVDLA's convolution buffer, for weights in use
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto
from onnx.utils import Extractor

from tilewright.backends.targets.load import load_target, parse_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.api import executable_of
from tilewright.compiler.driver import compile_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.pipeline import PHASES
from tilewright.compiler.simulation import Simulation
from tilewright.dialects.errors import InputError

from . import zoo
from .validate_gemmini import estimate as gemmini_library
from .validate_layers import Layer, layers_of
from .validate_nvdla import WEIGHT_SHARE
from .validate_nvdla import estimate as nvdla_primer
from .validate_results import Estimate
from .validate_tpu import estimate as tpu_fifo

METHODS = ("simulate", "nvdla-primer", "gemmini-library", "tpu-fifo")


@dataclass(frozen=True)
class Policy:
    """How the software of a publication runs a network; the fields are those of the module's text.

    `targets` are names of targets; `source` and `notes` go into reports, `ranges` says for open
    parameters how far they may lie: (low, high) by the key used in `machine`.
    """

    name: str = "default"
    targets: tuple[str, ...] = ()
    method: str = "simulate"
    passes: str | None = None
    after: str | None = None
    before: str | None = None
    one_unit: bool = False
    machine: Mapping[str, float] = field(default_factory=dict[str, float])
    ranges: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    host_bytes_per_cycle: float = 0.0
    host_average_cycles: float = 0.0
    weight_share: float = WEIGHT_SHARE
    source: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Workload:
    """A network of the zoo at a batch size, or an ONNX file, which has its own.

    `activation_bits` 16 runs twice the samples in 8 bits, each half of the work: as many cycles of
    the array and as many bytes of activations as 16-bit activations take.
    """

    network: str
    batch: int
    activation_bits: int = 8

    def model(self, *, weights: bool = True) -> ModelProto:
        """The network; InputError if there is none of that name."""
        if self.network.endswith(".onnx"):
            try:
                return onnx.load(self.network)
            except (OSError, DecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not an ONNX model"
                raise InputError(f"cannot read network {self.network!r}: {reason}") from None
        return zoo.build(self.network, self.batch * self.activation_bits // 8, weights=weights)


def override(machine: Machine, values: Mapping[str, Any]) -> Machine:
    """`machine` with other values by "table.key" (or "key"); InputError for what it has not."""
    for path, value in values.items():
        *tables, key = path.split(".")
        part: Any = getattr(machine, tables[0], None) if tables else machine
        if len(tables) > 1 or not is_dataclass(part) or key not in {f.name for f in fields(part)}:
            raise InputError(
                f"a machine has no parameter {path!r}", hint='write "dram.read_latency"'
            )
        if tables:
            machine = replace(machine, **{tables[0]: replace(part, **{key: value})})  # pyright: ignore[reportArgumentType]
        else:
            machine = replace(machine, **{key: value})
    return parse_target(_toml(asdict(machine)), "[row.machine]")


def _toml(values: Mapping[str, Any], table: str = "") -> str:
    """TOML of nested dictionaries of scalars."""
    plain = {k: v for k, v in values.items() if not isinstance(v, dict)}
    lines = [f"[{table}]"] if table else []
    for key, value in plain.items():
        text = str(value).lower() if isinstance(value, bool) else repr(value)
        lines.append(f"{key} = {_quoted(value) if isinstance(value, str) else text}")
    tables = [
        _toml(cast(dict[str, Any], v), f"{table}.{k}" if table else k)
        for k, v in values.items()
        if isinstance(v, dict)
    ]
    return "\n".join([*lines, *tables])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def execute(workload: Workload, machine: Machine, policy: Policy) -> Estimate:
    """Figures of `workload` under `policy`.

    TilewrightErrors for what cannot be compiled or is unknown to the method.
    """
    if policy.method == "simulate":
        result = _simulate(workload, machine, policy)
    else:
        layers = layers_of(part_of(workload.model(weights=False), policy))
        if policy.method == "tpu-fifo":
            rate = policy.host_bytes_per_cycle
            result = tpu_fifo(layers, machine, _moved(workload)[0] / rate if rate else 0.0)
        else:
            result = (
                nvdla_primer(layers, machine, policy.weight_share)
                if policy.method == "nvdla-primer"
                else gemmini_library(layers, machine)
            )
    return _with_host(result, workload, policy)


def simulated(workload: Workload, machine: Machine, policy: Policy) -> Estimate:
    """Our compiler's program on our simulator, under `policy` but for its method and its host."""
    return _scaled(_simulate(workload, machine, policy), workload)


def _simulate(workload: Workload, machine: Machine, policy: Policy) -> Estimate:
    model = part_of(workload.model(), policy)
    with tempfile.TemporaryDirectory() as folder, _pipeline(policy.passes):
        path = Path(folder) / "target.toml"
        path.write_text(_toml(asdict(machine)), encoding="utf-8")
        options = CompileOptions(
            target=str(path), quantize="int8", calibration="random", strip=True
        )
        artefact = compile_model(model, options).artefact
    assert artefact is not None
    result = executable_of(artefact).simulate_timing(trace=policy.one_unit)
    cycles = result.cycles + (_overlap(result) if policy.one_unit else 0)
    return Estimate(cycles, result.macs, result.units)


def part_of(model: ModelProto, policy: Policy) -> ModelProto:
    """The part of a network that the accelerator runs; all of it where an operator is missing."""
    nodes = model.graph.node
    start = next((n for n in nodes if n.op_type == policy.after), None)
    stop = next((n for n in nodes if n.op_type == policy.before), None)
    if start is None and stop is None:
        return model
    parameters = [i.name for i in model.graph.input if i.name.endswith((".weight", ".bias"))]
    inputs = [i.name for i in model.graph.input] if start is None else [start.output[0]]
    outputs = [o.name for o in model.graph.output] if stop is None else [stop.input[0]]
    extractor = Extractor(onnx.shape_inference.infer_shapes(model))
    used = {name for node in nodes for name in node.input}
    wanted = [*inputs, *(p for p in parameters if p in used and p not in inputs)]
    part = extractor.extract_model(wanted, outputs)
    needed = {name for node in part.graph.node for name in node.input}
    kept = [i for i in part.graph.input if i.name in needed]
    del part.graph.input[:]
    part.graph.input.extend(kept)
    return part


@contextmanager
def _pipeline(passes: str | None) -> Generator[None]:
    """Compile with other passes in the npu phase."""
    if passes is None:
        yield
        return
    with patch.dict(PHASES, npu=passes):
        yield


def _overlap(result: Simulation) -> int:
    """Cycles in which the matrix and the vector unit work at the same time."""
    total = 0
    for program in result.programs:
        assert program.trace is not None
        events: Sequence[Mapping[str, Any]] = program.trace["traceEvents"]
        spans = {name: sorted(_spans(events, name)) for name in ("matrix", "vector")}
        total += _common(spans["matrix"], spans["vector"])
    return total


def _spans(events: Sequence[Mapping[str, Any]], unit: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each command of a unit, in cycles."""
    tracks = {
        (e["pid"], e["tid"]) for e in events
        if e["name"] == "thread_name" and e["args"]["name"] == unit
    }  # fmt: skip
    for event in events:
        if event["ph"] == "X" and (event["pid"], event["tid"]) in tracks:
            yield event["args"]["start"], event["args"]["end"]


def _common(a: Sequence[tuple[int, int]], b: Sequence[tuple[int, int]]) -> int:
    """Length of the intersection of two sorted lists of disjoint spans."""
    total = i = j = 0
    while i < len(a) and j < len(b):
        total += max(0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] <= b[j][1]:
            i += 1
        else:
            j += 1
    return total


def _with_host(result: Estimate, workload: Workload, policy: Policy) -> Estimate:
    """`result` with the work of the host, in which the accelerator waits."""
    host = 0.0
    if policy.host_bytes_per_cycle:
        inputs, outputs = _moved(workload)
        overlapped = policy.method == "tpu-fifo"  # which has the inputs' transfer in it
        host += (outputs + (0 if overlapped else inputs)) / policy.host_bytes_per_cycle
    if policy.host_average_cycles:
        layers: list[Layer] = layers_of(workload.model(weights=False))
        averaged = sum(x.inputs for x in layers if x.kind == "pool" and x.out_height == 1)
        host += averaged * policy.host_average_cycles
    if not host:
        return _scaled(result, workload)
    cycles = result.cycles + round(host)
    units = {name: {**kinds, "wait_host": round(host)} for name, kinds in result.units.items()}
    return _scaled(Estimate(cycles, result.macs, units), workload)


def _moved(workload: Workload) -> tuple[int, int]:
    """Bytes of a network's inputs and outputs in 8 bits each."""
    graph = workload.model(weights=False).graph
    inputs = [v for v in graph.input if not v.name.endswith((".weight", ".bias"))]
    sizes = [
        sum(prod(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values)
        for values in (inputs, graph.output)
    ]
    return sizes[0], sizes[1]


def _scaled(result: Estimate, workload: Workload) -> Estimate:
    """Useful work of samples that were run in several parts of 8 bits."""
    return replace(result, macs=result.macs * 8 // workload.activation_bits)


def machine_of(target: str) -> Machine:
    """The machine of a target; InputError for the CPU."""
    machine = load_target(target)
    if machine is None:
        raise InputError(f"target {target!r} has no NPU")
    return machine

"""Our own schedule of a SCALE-Sim layer: the layer as an ONNX node, compiled and simulated.

The machine has what SCALE-Sim's has: an array of R x C, the given DRAM bandwidth, the given SRAM.
What SCALE-Sim leaves out is made as good as free: no DRAM latency, no instruction fetch beyond a
command a cycle, on-chip memories wide enough for the array, a vector unit as wide as the array.

    bound = max(stall-free cycles of SCALE-Sim's dataflow, (input + filter + output words) / B)

with B words a cycle for all three operands together.  A word is a byte: the layer is computed on
8-bit integers, with 32-bit sums in the accumulator, of which there are as many as the OFMAP SRAM
has words.  The 8-bit outputs pass through the scratchpad, which is IFMAP and FILTER SRAM together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import onnx

from ..backends.scalesim import Array, Layer, LayerTiming, time_layer
from ..backends.targets.load import load_target, machine_from_dict
from ..backends.targets.machine import (
    QUEUE_NAMES,
    Control,
    Dram,
    Machine,
    MatrixUnit,
    Memory,
    VectorUnit,
)  # fmt: skip
from ..dialects.errors import CapacityError, InputError, TargetError
from ..passes.base import CompilerContext
from .driver import compile_module
from .executable import Executable
from .importer import import_model
from .options import CompileOptions
from .quantised_layer import quantised_layer

BASE = "gemmini-16x16"
"""What energies are taken from."""
BANKS = 16
TILES = 256
"""Folds that one command runs by itself."""
QUEUE_DEPTH = 64
MAX_WORDS = 1 << 29
"""Of a layer that is compiled: its arrays are made."""
STATIONARY = {"ws": "weight-stationary", "os": "output-stationary", "is": "weight-stationary"}
"""Our array has no input-stationary mode: its schedule for `is` keeps weights."""


@dataclass(frozen=True)
class Memories:
    """SRAM in KiB (= 1024 words) of input, filters and output; DRAM words a cycle."""

    ifmap: int
    filters: int
    ofmap: int
    bandwidth: float


@dataclass(frozen=True)
class Scheduled:
    """A layer's SCALE-Sim timing beside our schedule under the same bandwidth.

    `units`: cycles of each unit by kind (busy, stalls), as the simulator counts them.
    """

    timing: LayerTiming
    transfer_cycles: int
    cycles: int
    dram_bytes: int
    units: Mapping[str, Mapping[str, int]]

    @property
    def bound(self) -> int:
        """max(stall-free cycles, words / bandwidth)."""
        return max(self.timing.cycles, self.transfer_cycles, 1)

    @property
    def ratio(self) -> float:
        """Cycles over the bound."""
        return self.cycles / self.bound

    @property
    def limit(self) -> str:
        """What the busier of array and load unit does most: `matrix busy 60%, wait_load 31%`."""
        name = max(("matrix", "load"), key=lambda unit: self.units[unit]["busy"])
        kinds = sorted(self.units[name].items(), key=lambda kind: -kind[1])
        return f"{name} " + ", ".join(f"{k} {v / max(1, self.cycles):.0%}" for k, v in kinds[:2])


def machine_for(array: Array, dataflow: str, memories: Memories) -> Machine:
    """Our machine with SCALE-Sim's array, SRAM and bandwidth; InputError if it is impossible."""
    base = load_target(BASE)
    assert base is not None
    burst = 1 << max(4, math.ceil(math.log2(max(memories.bandwidth, 1))))
    spm = 1024 * (memories.ifmap + memories.filters)
    wide = max(array.rows, array.columns, burst)
    machine = replace(
        base,
        name=f"scalesim-{array.rows}x{array.columns}-{dataflow}",
        description="SCALE-Sim's array, SRAM and bandwidth",
        source="SCALE-Sim",
        matrix=MatrixUnit(
            array.rows, array.columns, dataflow=STATIONARY[dataflow], max_tiles=TILES
        ),
        vector=VectorUnit(array.columns),
        scratchpad=Memory(spm, BANKS, 2, min(1 << math.ceil(math.log2(wide)), spm // BANKS), 1),
        accumulator=Memory(4096 * memories.ofmap, 2, 2, 4 * array.columns, 1),
        dram=Dram(memories.bandwidth, burst, 1, 1, 1024, 1024),
        control=Control(256.0, queue_depths=dict.fromkeys(QUEUE_NAMES, QUEUE_DEPTH)),
        dma_bytes_per_cycle=float(math.ceil(memories.bandwidth)),
        alignment=min(burst, 4096),
    )
    try:
        return machine_from_dict(asdict(machine), "the machine of --array, --sram and --bandwidth")
    except TargetError as error:
        raise InputError(error.message) from None


def layer_model(layer: Layer) -> onnx.ModelProto:
    """A model of one quantised layer, int8 in and out, channels last, deterministic weights."""
    conv = layer.convolution
    if conv is None:
        return quantised_layer([layer.m, layer.k], [layer.k, layer.n], [layer.m, layer.n])
    height, width = conv.output
    past = [
        (height - 1) * conv.stride_height + conv.filter_height - conv.height,
        (width - 1) * conv.stride_width + conv.filter_width - conv.width,
    ]
    return quantised_layer(
        [1, conv.height, conv.width, conv.channels],
        [conv.filters, conv.channels, conv.filter_height, conv.filter_width],
        [1, height, width, conv.filters],
        {
            "strides": [conv.stride_height, conv.stride_width],
            "pads": [0, 0, *(max(p, 0) for p in past)],
        },
    )


def schedule_layer(
    layer: Layer, array: Array, dataflow: str, memories: Memories, machine: Machine
) -> Scheduled:
    """Compile a layer for `machine` and simulate its timing; CapacityError if it does not fit."""
    timing = time_layer(layer, array, dataflow)
    if sum(layer.words) > MAX_WORDS:
        raise CapacityError(f"{sum(layer.words):,} words are too many to compile the layer")
    transfer = math.ceil(sum(layer.words) / memories.bandwidth)
    cycles, dram_bytes, units = _compiled(
        replace(layer, name="layer"), json.dumps(asdict(machine), sort_keys=True)
    )
    return Scheduled(timing, transfer, cycles, dram_bytes, units)


@lru_cache(maxsize=4096)
def _compiled(layer: Layer, description: str) -> tuple[int, int, dict[str, dict[str, int]]]:
    """Cycles, DRAM bytes and counters of a layer on a machine (as JSON); equal ones only once."""
    ctx = CompilerContext()
    ctx.machine = machine_from_dict(json.loads(description))
    module = import_model(layer_model(layer), ctx, {})
    options = CompileOptions(quantize="int8", verify="none", strip=True)
    artefact = compile_module(ctx, module, options, layer.name, "")
    work = [w for s in artefact.manifest["steps"] if s["kind"] == "npu" for w in s["work"]]
    if sum(c[0] for w in work for c in w["contractions"]) != layer.macs:
        reasons = "; ".join(sorted(set(ctx.placement.values()))) or "it was split"
        raise CapacityError(f"the layer does not run on the NPU as a whole: {reasons}")
    figures = Executable(artefact).simulate_timing()
    return figures.cycles, figures.dram_bytes, figures.units

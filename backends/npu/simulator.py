"""The cycle-level simulator: runs machine code bit-exactly and says where every cycle went.

    result = simulate(code, machine, arena, consts, layers=layers)
    result.cycles, result.utilization, result.units["matrix"]["wait_load"], result.layers[0].name

decode ─▶ expand loops ─▶ schedule in time ─▶ check for races ─▶ execute ─▶ count.  The stages are
in `sim/`, the timing rules in docs/timing.md.  A program runs on as many cores as its `cores` says,
or on one; utilisation and lower bounds are of the whole machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...dialects.constants import Array
from ...dialects.errors import SimulationError
from ..targets.machine import Machine
from .program import DecodedProgram, EncodedProgram
from .sim import bounds, counters, functional, hazards
from .sim import layers as rows
from .sim.commands import Commands, commands_of, executions
from .sim.effort import effort
from .sim.expand import Expansion, expand
from .sim.footprint import used_bytes
from .sim.layers import Layer, Traffic
from .sim.timing import Schedule, schedule
from .sim.trace import trace_events


@dataclass(frozen=True)
class SimulationResult:
    """What one run of a program did.

    `units[u]` has "busy" and each kind of stall (`sim.counters.STALLS`), summing to `cycles` x
    `cores`, the number of cores that ran it.
    `energy` is in pJ by kind.  `trace` is a Perfetto trace (JSON object) if it was asked for.
    """

    machine: str
    clock_hz: float
    cycles: int
    lower_bound_cycles: int
    macs: int
    commands: int
    units: dict[str, dict[str, int]]
    traffic: Traffic
    compulsory_bytes: int
    peak_macs_per_cycle: int
    energy: dict[str, float]
    layers: tuple[Layer, ...]
    trace: dict[str, Any] | None = None
    cores: int = 1

    @property
    def utilization(self) -> float:
        """MACs done over those the whole machine could have done in the time."""
        return self.macs / (self.cycles * self.peak_macs_per_cycle) if self.cycles else 0.0

    @property
    def dram_bytes(self) -> int:
        """Payload bytes read from and written to DRAM."""
        return self.traffic.dram_read_bytes + self.traffic.dram_write_bytes

    @property
    def seconds(self) -> float:
        """Time at the machine's clock."""
        return self.cycles / self.clock_hz

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable summary (without the trace)."""
        t = self.traffic
        return {
            "machine": self.machine,
            "clock_hz": self.clock_hz,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "lower_bound_cycles": self.lower_bound_cycles,
            "macs": self.macs,
            "utilization": self.utilization,
            "commands": self.commands,
            "dram_bytes": self.dram_bytes,
            "dram_read_bytes": t.dram_read_bytes,
            "dram_write_bytes": t.dram_write_bytes,
            "dram_bus_bytes": t.dram_bus_bytes,
            "compulsory_bytes": self.compulsory_bytes,
            "spm_bytes": t.spm_bytes,
            "acc_bytes": t.acc_bytes,
            "energy_pj": {**self.energy, "total": sum(self.energy.values())},
            **({"cores": self.cores, "network_bytes": t.network_bytes} if self.cores > 1 else {}),
            "units": self.units,
            "layers": [_layer_json(layer) for layer in self.layers],
        }


def _layer_json(layer: Layer) -> dict[str, Any]:
    row = {k: getattr(layer, k) for k in Layer.__dataclass_fields__}
    shapes = [asdict(shape) for shape in layer.shapes]
    return {"name": layer.name, **row, "nodes": list(layer.nodes), "shapes": shapes}


def simulate(
    program: bytes | EncodedProgram | DecodedProgram,
    machine: Machine,
    arena: Array,
    consts: Array,
    *,
    layers: Sequence[Sequence[str]] = (),
    check: bool = True,
    run: bool = True,
    trace: bool = False,
    arena_valid: Array | None = None,
    outputs: Sequence[tuple[int, int]] | None = None,
    compulsory_bytes: int | None = None,
    work: Sequence[bounds.LayerWork] = (),
) -> SimulationResult:
    """Run `program` on `machine`, on the cores that it asks for.

    `arena` (uint8, in and out) and `consts` (uint8) are DRAM.  `layers` are the ONNX node names per
    layer index.  `check` finds races and reads of bytes never written (`arena_valid`, if given: a
    bool per arena byte, updated); `run=False` is timing only.  `outputs` are the arena ranges that
    count as the program's results in its lower bound; `compulsory_bytes` replaces that count.
    `work` is what each layer has to compute, by layer index: MACs, utilisation and lower bounds are
    then of the useful work alone; without it, of the commands as they are, partial tiles included.

    Raises SimulationError for what the machine cannot do: an address outside its memory, an operand
    that does not fit, a race, a read of poison, a deadlock; ArtefactError for damaged machine code.
    """
    decoded, layers = _decode(program, layers)
    for name, memory in (("arena", arena), ("consts", consts)):
        if memory.dtype != np.uint8 or memory.ndim != 1 or not memory.flags.c_contiguous:
            raise ValueError(f"{name} must be a contiguous one-dimensional uint8 array")
    if decoded.cores > machine.cores:
        raise SimulationError(
            f"the program is for {decoded.cores} cores, {machine.name} has {machine.cores}"
        )
    spm, acc = machine.scratchpad.bytes, machine.accumulator.bytes
    sizes = {"spm": spm, "acc": acc, "dram": arena.size, "const": consts.size}
    expansion = expand(decoded, machine.control, sizes, layers)
    steps = executions(expansion)
    commands = commands_of(expansion, machine, len(decoded.semaphores))
    times = schedule(
        commands,
        machine,
        decoded.semaphores,
        lambda c: expansion.where(expansion.site[c], steps[c]),
    )
    if check:
        hazards.check_races(expansion, commands, times.order, steps, decoded.semaphores)
    if run:
        used = used_bytes(expansion)
        cores = functional.memories(
            used["spm"], used["acc"], arena, consts, arena_valid, check, expansion.cores
        )
        functional.run(expansion, times.order, steps, cores)
    required = bounds.compulsory_bytes(expansion, steps, outputs)
    return _result(expansion, commands, times, machine, required, compulsory_bytes, trace, work)


def _decode(
    program: bytes | EncodedProgram | DecodedProgram, layers: Sequence[Sequence[str]]
) -> tuple[DecodedProgram, Sequence[Sequence[str]]]:
    if isinstance(program, DecodedProgram):
        return program, layers
    from .binary import decode

    if isinstance(program, EncodedProgram):
        return decode(program.code), layers or program.layers
    return decode(program), layers


def _result(
    expansion: Expansion, commands: Commands, times: Schedule, machine: Machine,
    required: bounds.Compulsory, compulsory_bytes: int | None, trace: bool,
    work: Sequence[bounds.LayerWork],
) -> SimulationResult:  # fmt: skip
    idle = counters.gaps(expansion, times)
    efforts = [effort(s, machine) for s in expansion.sites]
    parts = rows.traffic(expansion, efforts, commands.cost, machine)
    whole = rows.total(parts)
    needed = required.total if compulsory_bytes is None else compulsory_bytes
    if work:
        macs = sum(w.macs for w in work)
        bound = bounds.work_bound(machine, work, needed)
    else:
        macs = whole.macs
        bound = bounds.lower_bound(machine, whole.matrix_macs, whole.vector_cycles, needed)
    return SimulationResult(
        machine.name,
        machine.clock_hz,
        times.cycles,
        bound,
        macs,
        len(commands),
        counters.unit_cycles(expansion, commands.cost, times, idle),
        whole,
        needed,
        machine.peak_macs_per_cycle,
        rows.energy(whole, times.cycles, machine),
        tuple(
            rows.layer_rows(expansion, commands.cost, times, idle, parts, required, machine, work)
        ),
        trace_events(expansion, commands.cost, times, idle, machine) if trace else None,
        expansion.cores,
    )


def write_trace(result: SimulationResult, path: str) -> None:
    """Write the Perfetto trace of a run made with `trace=True` to `path`."""
    if result.trace is None:
        raise SimulationError("this run recorded no trace", hint="simulate with trace=True")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result.trace, file)

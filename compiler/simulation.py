"""Simulating an artefact: NPU programs on the simulator, the rest on the CPU end, one arena."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backends.npu.sim.bounds import LayerShape, LayerWork
from ..backends.npu.simulator import SimulationResult, simulate
from ..backends.targets.load import machine_from_dict
from ..backends.targets.machine import Machine
from ..dialects.constants import Array
from ..dialects.errors import ArtefactError
from .report_cliffs import Cliff, cliffs

if TYPE_CHECKING:
    from .artefact import Artefact
    from .executable import Executable


@dataclass(frozen=True)
class HostStep:
    """A CPU segment: its place among the steps, milliseconds measured here (not simulated).

    `node` names the ONNX node of an operator that runs in numpy; empty for compiled code.
    """

    index: int
    milliseconds: float
    node: str = ""


@dataclass(frozen=True)
class Simulation:
    """Figures of one inference: NPU programs in order, and the CPU segments between them.

    Cycles, counters and bounds are sums over the programs (segments run one after another).
    """

    machine: Machine
    programs: tuple[SimulationResult, ...]
    host: tuple[HostStep, ...]
    placement: Mapping[str, str]

    @property
    def cycles(self) -> int:
        """NPU cycles."""
        return sum(p.cycles for p in self.programs)

    @property
    def lower_bound_cycles(self) -> int:
        """No schedule on this machine can take fewer cycles."""
        return sum(p.lower_bound_cycles for p in self.programs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates done by the NPU, useful ones."""
        return sum(p.macs for p in self.programs)

    @property
    def utilization(self) -> float:
        """Macs / (cycles x peak of the whole machine)."""
        return self.macs / (self.cycles * self.machine.peak_macs_per_cycle) if self.cycles else 0.0

    @property
    def dram_bytes(self) -> int:
        """Bytes read from and written to DRAM by the NPU."""
        return sum(p.dram_bytes for p in self.programs)

    @property
    def seconds(self) -> float:
        """NPU time at the target's clock."""
        return self.cycles / self.machine.clock_hz

    @property
    def units(self) -> dict[str, dict[str, int]]:
        """For each unit, busy and every kind of stall in cycles; each sums to `cycles`."""
        total: dict[str, dict[str, int]] = {}
        for program in self.programs:
            for unit, kinds in program.units.items():
                row = total.setdefault(unit, {})
                for kind, cycles in kinds.items():
                    row[kind] = row.get(kind, 0) + cycles
        return total

    @property
    def energy(self) -> dict[str, float]:
        """PJ by kind of action."""
        total: dict[str, float] = {}
        for program in self.programs:
            for kind, value in program.energy.items():
                total[kind] = total.get(kind, 0.0) + value
        return total

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Rows of all programs, in order; start and end cycles counted from the first program's."""
        rows: list[dict[str, Any]] = []
        offset = 0
        for program in self.programs:
            for layer in program.to_json()["layers"]:
                moved = {k: layer[k] + offset for k in ("start", "end") if k in layer}
                rows.append({**layer, **moved})
            offset += program.cycles
        return rows

    @property
    def cliffs(self) -> list[Cliff]:
        """Layers that use the machine badly, and why; the most expensive first."""
        return cliffs(self.layers, self.machine)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "target": self.machine.name,
            "clock_hz": self.machine.clock_hz,
            "cycles": self.cycles,
            "lower_bound_cycles": self.lower_bound_cycles,
            "seconds": self.seconds,
            "macs": self.macs,
            "utilization": self.utilization,
            "dram_bytes": self.dram_bytes,
            "units": self.units,
            "energy_pj": self.energy,
            "layers": self.layers,
            "cliffs": [cliff.to_json() for cliff in self.cliffs],
            "host": [
                {"step": h.index, "milliseconds": h.milliseconds, "node": h.node} for h in self.host
            ],
            "on_cpu": [{"node": n, "reason": r} for n, r in sorted(self.placement.items())],
        }

    def trace_json(self) -> dict[str, Any]:
        """One Perfetto trace of all programs, end to end (simulated with `trace=True`)."""
        events: list[dict[str, Any]] = []
        rest: dict[str, Any] = {}
        offset = 0.0
        for program in self.programs:
            trace = program.trace or {}
            rest = rest or {k: v for k, v in trace.items() if k != "traceEvents"}
            for event in trace.get("traceEvents", ()):
                if event.get("ph") == "M":
                    if offset == 0.0:
                        events.append(event)
                else:
                    events.append({**event, "ts": event["ts"] + offset})
            offset += program.cycles / self.machine.clock_hz * 1e6
        return {**rest, "traceEvents": events}


def _layer_work(row: Mapping[str, Any]) -> LayerWork:
    contractions = tuple((int(m), int(n), int(k)) for m, n, k in row["contractions"])
    shapes = tuple(LayerShape(**shape) for shape in row.get("shapes", ()))
    return LayerWork(contractions, int(row["vector_elements"]), shapes)


def machine_of(artefact: Artefact) -> Machine:
    """The machine that an artefact was compiled for; ArtefactError if that is the CPU alone."""
    target = artefact.manifest["target"]
    if "machine" not in target:
        raise ArtefactError("the artefact was compiled for the CPU alone and has no NPU program")
    return machine_from_dict(target["machine"])


def simulate_steps(
    executable: Executable, arena: Array, *, check: bool, trace: bool, timing_only: bool = False
) -> Simulation:
    """Run every step of an artefact over `arena` (in place) and collect the figures.

    `timing_only` computes nothing: `arena` is left as it is, and CPU segments are not run.
    """
    manifest = executable.artefact.manifest
    machine = machine_of(executable.artefact)
    programs: list[SimulationResult] = []
    host: list[HostStep] = []
    for index, step in enumerate(manifest["steps"]):
        if step["kind"] == "npu":
            programs.append(
                simulate(
                    executable.artefact.files[step["program"]],
                    machine,
                    arena,
                    executable.consts,
                    layers=[tuple(names) for names in step["layers"]],
                    work=[_layer_work(row) for row in step["work"]],
                    check=check,
                    run=not timing_only,
                    trace=trace,
                )
            )
        elif not timing_only:
            cpu = executable.cpu()
            started = time.perf_counter()
            cpu.call(step["entry"], executable.consts, arena)
            host.append(HostStep(index, (time.perf_counter() - started) * 1e3))
    return Simulation(machine, tuple(programs), tuple(host), dict(manifest.get("placement", {})))

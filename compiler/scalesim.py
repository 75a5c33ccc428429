"""`tilewright simulate --timing scalesim`: a topology on SCALE-Sim's array, no artefact needed.

Cycles without stalls come from `backends/scalesim`; with `--bandwidth` and `--sram` every layer is
compiled as well, and our schedule stands beside max(stall-free cycles, words / bandwidth).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from ..backends.scalesim import (
    Array,
    LayerTiming,
    Topology,
    parse_array,
    read_topology,
    time_layer,
)  # fmt: skip
from ..dialects.errors import InputError, TilewrightError
from .scalesim_schedule import Memories, Scheduled, machine_for, schedule_layer


@dataclass(frozen=True)
class ScaleSimReport:
    """A topology's layers, in order; `scheduled` is empty unless a bandwidth was given."""

    topology: Topology
    array: Array
    dataflow: str
    memories: Memories | None
    layers: tuple[LayerTiming, ...]
    scheduled: tuple[Scheduled, ...] = ()

    @property
    def cycles(self) -> int:
        """Without stalls, layers one after another."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Multiply-accumulates over cycles x multipliers, of all layers."""
        peak = self.cycles * self.array.multipliers
        return min(1.0, sum(t.layer.macs for t in self.layers) / peak) if peak else 0.0

    @property
    def bound(self) -> int:
        """The layers' bounds under the given bandwidth."""
        return sum(s.bound for s in self.scheduled)

    @property
    def scheduled_cycles(self) -> int:
        """Our schedule's cycles."""
        return sum(s.cycles for s in self.scheduled)

    @property
    def ratio(self) -> float:
        """Our cycles over the bound."""
        return self.scheduled_cycles / max(1, self.bound)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        out: dict[str, Any] = {
            "topology": self.topology.name,
            "array": [self.array.rows, self.array.columns],
            "dataflow": self.dataflow,
            "total_cycles": self.cycles,
            "utilization": self.utilization,
        }
        rows = [_layer_json(timing) for timing in self.layers]
        if self.memories is not None:
            m = self.memories
            out |= {
                "bandwidth": m.bandwidth,
                "sram_kb": [m.ifmap, m.filters, m.ofmap],
                "total_bound_cycles": self.bound,
                "total_scheduled_cycles": self.scheduled_cycles,
                "ratio": self.ratio,
            }
            rows = [row | _scheduled_json(s) for row, s in zip(rows, self.scheduled, strict=True)]
        return out | {"layers": rows}


def _layer_json(timing: LayerTiming) -> dict[str, Any]:
    layer = timing.layer
    return {
        "name": layer.name,
        "m": layer.m,
        "n": layer.n,
        "k": layer.k,
        "cycles": timing.cycles,
        "utilization": timing.utilization,
        "folds": timing.folds,
        "mapping_efficiency": timing.mapping_efficiency,
        "fill": timing.fill,
        "stream": timing.stream,
        "drain": timing.drain,
        "macs": layer.macs,
        "words": dict(zip(("ifmap", "filter", "ofmap"), layer.words, strict=True)),
    }


def _scheduled_json(scheduled: Scheduled) -> dict[str, Any]:
    return {
        "transfer_cycles": scheduled.transfer_cycles,
        "bound_cycles": scheduled.bound,
        "scheduled_cycles": scheduled.cycles,
        "ratio": scheduled.ratio,
        "dram_bytes": scheduled.dram_bytes,
        "units": {unit: dict(kinds) for unit, kinds in scheduled.units.items()},
    }


def simulate_topology(
    path: str, array: Array, dataflow: str, memories: Memories | None = None
) -> ScaleSimReport:
    """Time every layer of a topology file; with `memories`, compile and simulate it as well.

    Raises InputError for what is wrong with the file or the machine, CapacityError for a layer that
    our machine cannot hold.
    """
    topology = read_topology(path)
    timings = tuple(time_layer(layer, array, dataflow) for layer in topology.layers)
    report = ScaleSimReport(topology, array, dataflow, memories, timings)
    if memories is None:
        return report
    machine = machine_for(array, dataflow, memories)
    scheduled: list[Scheduled] = []
    for layer in topology.layers:
        try:
            scheduled.append(schedule_layer(layer, array, dataflow, memories, machine))
        except TilewrightError as error:
            raise type(error)(f"{path}: layer {layer.name!r}: {error.message}") from None
    return replace(report, scheduled=tuple(scheduled))


def report_of(
    topology: str | None, array: str | None, dataflow: str, bandwidth: float | None,
    sram: str | None,
) -> ScaleSimReport:  # fmt: skip
    """The report that command-line options ask for; InputError where they are not fit."""
    if topology is None or array is None:
        raise InputError(
            f"--timing scalesim needs {'--topology' if topology is None else '--array'}",
            hint="tilewright simulate --timing scalesim --topology FILE.csv --array 128x128",
        )
    if (bandwidth is None) != (sram is None):
        raise InputError(
            "--bandwidth and --sram go together",
            hint="such as --bandwidth 10 --sram 64,64,64 (words a cycle; KiB of each operand)",
        )
    memories = None
    if bandwidth is not None and sram is not None:
        memories = parse_memories(bandwidth, sram)
    return simulate_topology(topology, parse_array(array), dataflow.lower(), memories)


def parse_memories(bandwidth: float, sram: str) -> Memories:
    """Memories from `--bandwidth` and `--sram`; InputError where they cannot be read."""
    if not (math.isfinite(bandwidth) and 0 < bandwidth <= 1 << 20):
        raise InputError(f"--bandwidth {bandwidth:g}: give words a cycle, more than 0")
    sizes = [s.strip() for s in sram.split(",")]
    if len(sizes) != 3 or not all(re.fullmatch(r"0*[1-9][0-9]{0,6}", s) for s in sizes):
        raise InputError(
            f"cannot read --sram {sram!r}", hint="write IFMAP,FILTER,OFMAP in KiB, such as 64,64,64"
        )
    ifmap, filters, ofmap = map(int, sizes)
    return Memories(ifmap, filters, ofmap, bandwidth)


def print_report(report: ScaleSimReport) -> None:
    """The report as a table on standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("layer", overflow="fold")
    for name in ("M", "N", "K", "folds", "fill", "stream", "drain", "cycles", "utilisation"):
        table.add_column(name, justify="right")
    bounded = report.memories is not None
    for name in ("transfer", "bound", "ours", "ratio") if bounded else ():
        table.add_column(name, justify="right")
    for index, t in enumerate(report.layers):
        sizes = (t.layer.m, t.layer.n, t.layer.k, t.folds, t.fill, t.stream, t.drain, t.cycles)
        cells = [escape(t.layer.name), *(f"{size:,}" for size in sizes), f"{t.utilization:.1%}"]
        if bounded:
            s = report.scheduled[index]
            cells += [f"{v:,}" for v in (s.transfer_cycles, s.bound, s.cycles)]
            cells.append(f"{s.ratio:.2f}")
        table.add_row(*cells)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=160, highlight=False)
    a = report.array
    console.print(
        f"{report.topology.name} on {a.rows}x{a.columns}, {report.dataflow}", markup=False
    )
    console.print(table)
    console.print(
        f"total {report.cycles:,} cycles without stalls, utilisation {report.utilization:.1%}"
    )
    if report.memories is not None:
        console.print(
            f"at {report.memories.bandwidth:g} words a cycle: bound {report.bound:,}, our schedule "
            f"{report.scheduled_cycles:,} cycles, {report.ratio:.2f} times the bound"
        )

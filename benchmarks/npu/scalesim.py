"""SCALE-Sim's topologies on SCALE-Sim's machines: stall-free cycles, the bound, our schedule.

    python -m benchmarks.npu.scalesim [--topologies A,B] [--configs scale,google] [--json OUT.json]

For each topology file (in `TILEWRIGHT_SCALESIM`, else ../shared/yardsticks/scalesim) and each of
SCALE-Sim's configuration files (array, SRAM, dataflow and bandwidth as they ship):

    cycles   SCALE-Sim's, without stalls, fold by fold
    bound    sum over layers of max(cycles, words / bandwidth)
    ours     cycles of our compiler's schedule on our machine with the same array, SRAM, bandwidth
    ratio    ours / bound; the bar is 1.3

Layers above the bar follow with how the busier of array and load unit spends its time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from tilewright.backends.scalesim import Array, Layer, read_topology, time_layer
from tilewright.compiler.scalesim_schedule import (
    Memories,
    Scheduled,
    machine_for,
    schedule_layer,
)  # fmt: skip
from tilewright.dialects.errors import InputError, TilewrightError

from ..models import failure

TOPOLOGIES = Path(
    os.environ.get("TILEWRIGHT_SCALESIM")
    or Path(__file__).parents[3] / "shared" / "yardsticks" / "scalesim"
)
BAR = 1.3


@dataclass(frozen=True)
class Config:
    """One of the configuration files in SCALE-Sim's `configs/`."""

    array: Array
    dataflow: str
    memories: Memories


CONFIGS = {
    "scale": Config(Array(32, 32), "os", Memories(64, 64, 64, 10)),
    "google": Config(Array(256, 256), "ws", Memories(6144, 6144, 2048, 10)),
    "eyeriss": Config(Array(12, 14), "ws", Memories(36, 36, 36, 10)),
}
"""`scale.cfg` of version 3 (an earlier one has bandwidth 64), `google.cfg`, `eyeriss.cfg`."""


@dataclass(frozen=True)
class LayerRow:
    """One layer under one configuration."""

    name: str
    m: int
    n: int
    k: int
    words: int
    cycles: int
    transfer_cycles: int
    bound_cycles: int
    scheduled_cycles: int
    ratio: float
    dram_bytes: int
    limit: str


@dataclass
class Row:
    """One topology under one configuration; sums of the layers that could be compiled."""

    topology: str
    config: str
    cycles: int
    bound_cycles: int
    scheduled_cycles: int
    ratio: float
    seconds: float
    layers: list[LayerRow]
    failures: list[str]


def _layer_row(layer: Layer, s: Scheduled) -> LayerRow:
    return LayerRow(
        layer.name, layer.m, layer.n, layer.k, sum(layer.words), s.timing.cycles,
        s.transfer_cycles, s.bound, s.cycles, s.ratio, s.dram_bytes, s.limit,
    )  # fmt: skip


def measure(path: Path, name: str) -> Row:
    """All layers of a topology file; what fails becomes a line of text."""
    config, started = CONFIGS[name], time.perf_counter()
    machine = machine_for(config.array, config.dataflow, config.memories)
    topology = read_topology(path)
    layers: list[LayerRow] = []
    failures: list[str] = []
    for layer in topology.layers:
        try:
            scheduled = schedule_layer(
                layer, config.array, config.dataflow, config.memories, machine
            )
        except Exception as error:
            failures.append(failure(layer.name, error))
            continue
        layers.append(_layer_row(layer, scheduled))
    ours, bound = sum(r.scheduled_cycles for r in layers), sum(r.bound_cycles for r in layers)
    cycles = sum(time_layer(la, config.array, config.dataflow).cycles for la in topology.layers)
    return Row(
        topology.name, name, cycles, bound, ours, ours / max(1, bound),
        time.perf_counter() - started, layers, failures,
    )  # fmt: skip


def print_rows(rows: list[Row]) -> None:
    """A table of topologies, then the layers above the bar."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=170, highlight=False)
    table = Table("topology", "config", box=None)
    for name in ("cycles", "bound", "ours", "ratio", "above 1.3", "failed", "s"):
        table.add_column(name, justify="right")
    for row in rows:
        above = f"{sum(r.ratio > BAR for r in row.layers)} of {len(row.layers)}"
        table.add_row(
            row.topology, row.config, f"{row.cycles:,}", f"{row.bound_cycles:,}",
            f"{row.scheduled_cycles:,}", f"{row.ratio:.2f}", above,
            str(len(row.failures)), f"{row.seconds:.0f}",
        )  # fmt: skip
    console.print(table)
    details = Table("topology", "config", "layer", "M x N x K", box=None)
    details.add_column("limit", no_wrap=True)
    for name in ("bound", "ours", "ratio", "DRAM / words"):
        details.add_column(name, justify="right")
    for row in rows:
        seen: set[tuple[int, int, int]] = set()
        for r in sorted(row.layers, key=lambda r: r.bound_cycles - r.scheduled_cycles):
            size = (r.m, r.n, r.k)
            if r.ratio > BAR and size not in seen and len(seen) < 6:
                seen.add(size)
                details.add_row(
                    row.topology, row.config, r.name, "x".join(map(str, size)), r.limit,
                    f"{r.bound_cycles:,}", f"{r.scheduled_cycles:,}", f"{r.ratio:.2f}",
                    f"{r.dram_bytes / r.words:.2f}",
                )  # fmt: skip
        for reason, count in Counter(text.partition(": ")[2] for text in row.failures).items():
            text = f"{row.topology} on {row.config}: {count} layers failed: {reason}"
            console.print(text, markup=False, soft_wrap=True)
    if details.row_count:
        console.print(f"\nlayers above {BAR} that lose most, of each shape one")
        console.print(details)


def select(topologies: str | None, configs: str) -> list[tuple[Path, str]]:
    """Topology files and configurations to measure; InputError for unknown names."""
    names = configs.split(",")
    if unknown := [name for name in names if name not in CONFIGS]:
        raise InputError(
            f"unknown configuration {', '.join(unknown)}", hint=f"choose from {', '.join(CONFIGS)}"
        )
    given = (topologies or "").split(",") if topologies else []
    paths = [Path(t) if t.endswith(".csv") else TOPOLOGIES / f"{t}.csv" for t in given]
    paths = paths or sorted(TOPOLOGIES.glob("*.csv"))
    if not paths:
        raise InputError(
            f"there are no topologies in {TOPOLOGIES}",
            hint="give --topologies FILE.csv, or a folder of them in TILEWRIGHT_SCALESIM",
        )
    return [(path, name) for path in paths for name in names]


def main(argv: list[str] | None = None) -> None:
    """Measure and print; JSON with --json (- for standard output, without the tables)."""
    parser = argparse.ArgumentParser(description="SCALE-Sim's topologies, and our schedule of them")
    parser.add_argument("--topologies", help="names or .csv files, separated by commas")
    parser.add_argument("--configs", default=",".join(CONFIGS))
    parser.add_argument("--json", metavar="OUT.json")
    options = parser.parse_args(argv)
    try:
        rows = [measure(*pair) for pair in select(options.topologies, options.configs)]
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
        return
    print_rows(rows)
    if options.json:
        Path(options.json).write_text(text)


if __name__ == "__main__":
    main()

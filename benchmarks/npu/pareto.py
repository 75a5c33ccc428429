"""Latency against scratchpad: one network on one machine with more and less memory.

    python -m benchmarks.npu.pareto --network N --target T [--capacity B1,B2] [--batch B] [--json]

The network is compiled in int8 and simulated for each capacity of the scratchpad (bytes of a core;
by default 1/16 to 4 times the target's own, in powers of two).  Printed are cycles, the bytes that
cross the DRAM interface and the arena in DRAM, which holds what does not stay on the chip.  A point
with * is on the Pareto front: no smaller scratchpad is as fast.  A capacity with which the machine
or the network is impossible says why.  `--json` prints the points instead, or writes them:
`--json FILE`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from onnx import ModelProto
from rich.console import Console
from rich.table import Table

from tilewright.backends.targets.load import load_target
from tilewright.compiler.api import executable_of
from tilewright.compiler.driver import compile_model
from tilewright.compiler.files import write_atomically
from tilewright.compiler.options import CompileOptions
from tilewright.dialects.constants import Array
from tilewright.dialects.errors import InputError, TargetError, TilewrightError

from .networks import sample
from .zoo import build, default_batch, names

FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4)
"""Capacities that are tried, over the target's own."""


@dataclass(frozen=True)
class Point:
    """A capacity in bytes of a core's scratchpad, and what it leads to; `error`: impossible."""

    capacity: int
    cycles: int = 0
    dram_bytes: int = 0
    arena_bytes: int = 0
    cpu_nodes: int = 0
    front: bool = False
    error: str | None = None


def capacities(target: str, given: str) -> list[int]:
    """In ascending order: those `given`, else `FACTORS` of the target's own."""
    if (machine := load_target(target)) is None:
        raise TargetError(f"{target} is no NPU", hint="see `tilewright targets`")
    if not given:
        return [int(machine.scratchpad.bytes * f) for f in FACTORS]
    try:
        found = sorted({int(c) for c in given.split(",")})
    except ValueError:
        raise InputError(f"--capacity {given}: give bytes, with commas between them") from None
    if found[0] < 1:
        raise InputError(f"--capacity {found[0]} is below 1")
    return found


def measure(model: ModelProto, inputs: Mapping[str, Array], target: str, capacity: int) -> Point:
    """One capacity."""
    with_more = "," if ":" in target and "=" in target else ":"
    name = f"{target}{with_more}scratchpad.bytes={capacity}"
    options = CompileOptions(target=name, quantize="int8", calibration=inputs, strip=True)
    try:
        result = compile_model(model, options)
    except TilewrightError as error:
        return Point(capacity, error=str(error).splitlines()[0])
    assert result.artefact is not None
    executable = executable_of(result.artefact)
    figures = executable.simulate_timing()
    return Point(
        capacity,
        figures.cycles,
        figures.dram_bytes,
        executable.arena_bytes,
        len(figures.placement),
    )


def marked(points: Sequence[Point]) -> list[Point]:
    """With `front` set: points that no other is at least as small and as fast as.

    Points that leave more nodes to the CPU than the one with fewest are out: their cycles leave
    out work.
    """
    usable = [p for p in points if p.error is None]
    fewest = min((p.cpu_nodes for p in usable), default=0)
    usable = [p for p in usable if p.cpu_nodes == fewest]

    def beaten(p: Point) -> bool:
        return any(
            q.capacity <= p.capacity
            and q.cycles <= p.cycles
            and (q.capacity, q.cycles) != (p.capacity, p.cycles)
            for q in usable
        )

    return [replace(p, front=p in usable and not beaten(p)) for p in points]


def table(points: Sequence[Point], title: str) -> Table:
    """A line for each capacity."""
    out = Table(title=title, title_justify="left")
    out.add_column("", no_wrap=True)
    for column in ("scratchpad bytes", "cycles", "DRAM bytes", "arena bytes", "CPU nodes"):
        out.add_column(column, justify="right", no_wrap=True)
    for p in points:
        if p.error is None:
            cells = [p.cycles, p.dram_bytes, p.arena_bytes, p.cpu_nodes]
            out.add_row("*" if p.front else "", f"{p.capacity:,}", *(f"{n:,}" for n in cells))
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.npu.pareto",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--network", default="resnet50", help=", ".join(names()))
    parser.add_argument("--target", default="ethos-u65-512", help="a name or a TOML file")
    parser.add_argument("--capacity", default="", help="bytes, with commas between them")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--json", nargs="?", const="-", metavar="OUT.json", help="default: print")
    args = parser.parse_args(argv)
    try:
        sizes = capacities(args.target, args.capacity)
        batch = default_batch(args.network) if args.batch is None else args.batch
        model = build(args.network, batch)
        inputs, progress = sample(model), Console(stderr=True, highlight=False)
        points: list[Point] = []
        for size in sizes:
            progress.print(f"{args.network} with {size:,} bytes ...", style="dim")
            points.append(measure(model, inputs, args.target, size))
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    points = marked(points)
    found = {"network": args.network, "target": args.target, "batch": batch}
    text = json.dumps({**found, "points": [asdict(p) for p in points]}, indent=1) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table(points, f"{args.network} x{batch} on {Path(args.target).stem}, int8"))
    for p in points:
        if p.error:
            console.print(f"{p.capacity:,} bytes: {p.error}", markup=False)
    if args.json:
        write_atomically(Path(args.json), text.encode())


if __name__ == "__main__":
    main()

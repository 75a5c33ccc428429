"""How fast the simulator is: cycles per second, timing only and with data and race checks.

    python -m benchmarks.npu.simulation_speed [--target auto-200] [--cores 1,4] [--network resnet50]
                                              [--json OUT.json]

Two kinds of work:

    gemm N     N x N x N in tiles of the array, double-buffered, hand-written: the worst case, since
               its commands are as short as full tiles can be; on each number of cores of `--cores`
    NETWORK    a network of `benchmarks.npu.zoo`, compiled in int8 for the target

`timing` is `run=False, check=False`; `checked` computes every byte and looks for races as well.  If
time grows linearly, microseconds per command are the same in all rows of a kind.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tilewright.backends.npu.assembler import assemble
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.api import executable_of
from tilewright.compiler.driver import compile_model
from tilewright.compiler.files import write_atomically
from tilewright.compiler.options import CompileOptions
from tilewright.dialects.errors import InputError, TilewrightError
from tilewright.dialects.fixed_point import requantize

from .networks import sample
from .zoo import build, default_batch

SIZES = (512, 1024, 2048)
"""Extents of the products, in multiples of which they are cut for the array."""


@dataclass(frozen=True)
class Row:
    """Seconds of host time for `cycles` of the machine; `commands` of all cores."""

    work: str
    cores: int
    commands: int
    cycles: int
    timing_seconds: float
    checked_seconds: float

    @property
    def cycles_per_second(self) -> float:
        """Of timing alone."""
        return self.cycles / self.timing_seconds


def gemm(machine: Machine, n: int, cores: int) -> str:
    """Assembly of C = A x B: A at 0 and C behind it in the arena, rows divided among `cores`.

    Constants: 3 x `columns` words of requantisation, then B.  Three pairs of semaphores are free
    lists of two slots each: tiles of operands (s0, s1), sums (s2, s3), results (s4, s5).
    """
    r, c = machine.matrix.rows, machine.matrix.columns
    m = r  # rows of a command: as many as hide the preload
    rows = n // cores
    word = 4 * c
    a, b, out = 3 * word, 3 * word + 2 * m * r, 3 * word + 2 * m * r + 2 * r * c
    turn = "(n4%2)"
    tile_a = f"spm[{a}+{m * r}*{turn}]({m}:{r}, {r}:1)"
    tile_b = f"spm[{b}+{r * c}*{turn}]({r}:{c}, {c}:1)"
    sums = f"acc[0+{4 * m * c}*(n3%2)]({m}:{4 * c}, {c}:4)"
    result = f"spm[{out}+{m * c}*(n3%2)]({m}:{c}, {c}:1)"
    from_a = f"dram[0]({m} of {n}:{n} at 0+{rows}*i0+{m}*i1, {r} of {n}:1 at 0+{r}*i3)"
    from_b = f"const[{3 * word}]({r} of {n}:{n} at 0+{r}*i3, {c} of {n}:1 at 0+{c}*i2)"
    to_c = f"dram[{n * n}]({m} of {n}:{n} at 0+{rows}*i0+{m}*i1, {c} of {n}:1 at 0+{c}*i2)"
    scale = " ".join(
        f"{name}=spm[{i * word}]({m}:0, {c}:4)"
        for i, name in enumerate(("bias", "multiplier", "shift"))
    )
    return f"""\
.layers 1
.semaphore 0 = 0
.semaphore 1 = 2
.semaphore 2 = 0
.semaphore 3 = 2
.semaphore 4 = 0
.semaphore 5 = 2
.semaphore 6 = 0
cores count={cores}
load src=const[0]({3 * word} of {3 * word}:1 at 0) dst=spm[0]({3 * word}:1) element=1 signal s6
sync vector wait s6
loop count={rows // m}
loop count={n // c}
sync matrix wait s3
loop count={n // r}
load src={from_a} dst={tile_a} element=1 wait s1
load src={from_b} dst={tile_b} element=1 signal s0
matmul a={tile_a} b={tile_b} acc={sums} m_rank=1 overwrite=8 wait s0 signal s1
end
sync matrix signal s2
vrequant acc={sums} {scale} dst={result} lo=-128 hi=127 wait s2 s5 signal s3 s4
store dst={to_c} src={result} element=1 wait s4 signal s5
end
end
end
halt
"""


def time_gemm(machine: Machine, n: int, cores: int) -> Row:
    """Simulate; AssertionError if the product is wrong."""
    tile = max(machine.matrix.rows, machine.matrix.columns)
    if n % tile or n % (machine.matrix.rows * cores):
        raise InputError(
            f"gemm {n}: not a multiple of the array of {machine.name} on {cores} cores"
        )
    code = assemble(gemm(machine, n, cores))
    rng = np.random.default_rng(n)
    left, right = (rng.integers(-128, 128, (n, n)).astype(np.int8) for _ in range(2))
    columns = machine.matrix.columns
    scale = np.repeat(np.array([0, 1, 12], np.int32), columns)  # bias, multiplier, shift
    consts = np.concatenate([scale.view(np.uint8), right.view(np.uint8).ravel()])
    arena = np.zeros(2 * n * n, np.uint8)
    arena[: n * n] = left.view(np.uint8).ravel()
    started = time.perf_counter()
    simulate(code, machine, arena, consts, check=False, run=False)
    timed = time.perf_counter()
    result = simulate(code, machine, arena, consts)
    checked = time.perf_counter() - timed
    total = (left.astype(np.float64) @ right.astype(np.float64)).astype(np.int32)
    want = requantize(total, 1, 12, 0, -128, 127)
    assert np.array_equal(arena[n * n :].view(np.int8).reshape(n, n), want)
    return Row(f"gemm {n}", cores, result.commands, result.cycles, timed - started, checked)


def time_network(name: str, target: str) -> Row:
    """Compile and simulate a network of the zoo."""
    model = build(name, default_batch(name))
    inputs = sample(model)
    options = CompileOptions(target=target, quantize="int8", calibration=inputs, strip=True)
    artefact = compile_model(model, options).artefact
    assert artefact is not None
    executable = executable_of(artefact)
    started = time.perf_counter()
    figures = executable.simulate_timing()
    timed = time.perf_counter()
    executable.simulate(inputs)
    checked = time.perf_counter() - timed
    commands = sum(p.commands for p in figures.programs)
    cores = max((p.cores for p in figures.programs), default=1)
    return Row(name, cores, commands, figures.cycles, timed - started, checked)


def table(rows: Sequence[Row]) -> Table:
    """For people."""
    out = Table("work", "cores", "commands", "cycles", "timing s", "Mcycles/s", "us/command",
                "checked s", "us/command")  # fmt: skip
    for column in out.columns[1:]:
        column.justify = "right"
    for row in rows:
        out.add_row(
            row.work, str(row.cores), f"{row.commands:,}", f"{row.cycles:,}",
            f"{row.timing_seconds:.2f}", f"{row.cycles_per_second / 1e6:.2f}",
            f"{row.timing_seconds / row.commands * 1e6:.0f}", f"{row.checked_seconds:.2f}",
            f"{row.checked_seconds / row.commands * 1e6:.0f}",
        )  # fmt: skip
    return out


def run(args: argparse.Namespace, console: Console) -> list[Row]:
    """Measure, smallest first."""
    machine = load_target(args.target)
    if machine is None:
        raise InputError("the CPU has no simulator")
    rows: list[Row] = []
    for cores in (int(x) for x in args.cores.split(",") if x):
        for n in SIZES:
            console.print(f"gemm {n} on {cores} of {machine.cores} cores ...", style="dim")
            rows.append(time_gemm(machine, n, cores))
    for name in (x for x in args.network.split(",") if x):
        console.print(f"{name} on {machine.name} ...", style="dim")
        rows.append(time_network(name, args.target))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.npu.simulation_speed",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--target", default="auto-200", help="a name or a TOML file")
    parser.add_argument("--cores", default="1,4", help="numbers of cores for the products")
    parser.add_argument(
        "--network", default="resnet50", help="names, comma-separated; may be empty"
    )
    parser.add_argument("--json", metavar="OUT.json", help="- for standard output")
    args = parser.parse_args(argv)
    try:
        rows = run(args, Console(stderr=True, highlight=False))
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    figures = [{**asdict(row), "cycles_per_second": row.cycles_per_second} for row in rows]
    text = json.dumps(figures, indent=1) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
        return
    width = None if sys.stdout.isatty() else 120
    Console(width=width, highlight=False).print(table(rows))
    if args.json:
        write_atomically(Path(args.json), text.encode())


if __name__ == "__main__":
    main()

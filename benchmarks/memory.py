"""How close the DRAM arena is to the most bytes alive at once, by model and precision.

    python -m benchmarks.memory [--models M1,M2] [--target T] [--json OUT.json]

Models of `real/` and `arch/` are compiled as far as the loop level, in fp32 for the CPU and in int8
for the target.  The bound, the arena and the peer's arena count the same buffers, aligned, inputs
and outputs included, which live throughout.  The peer is TensorFlow Lite's planner: greedy by size,
each buffer in the tightest gap, those that live throughout at the bottom.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tilewright.compiler.driver import compile_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.staged import integer_attribute
from tilewright.passes.base import main_function
from tilewright.passes.loop.allocate_arena import lifetimes
from tilewright.passes.loop.packing import align, buffer_bytes
from tilewright.passes.memory.buffers import Buffer, lower_bound
from tilewright.passes.memory.planning import greedy_by_size, plan

from .models import failure, model_path
from .placement import (
    PINNED,
    SHAPES,
    _pinned,  # pyright: ignore[reportPrivateUsage]  # benchmarks of one folder
    calibration,
    model_names,
)

PRECISIONS = ("fp32", "int8")


@dataclass
class Arena:
    """Bytes of one model in one precision; `ratio` is the arena's to the bound."""

    buffers: int
    arguments: int
    bound: int
    arena: int
    greedy: int
    ratio: float
    greedy_ratio: float
    plan_seconds: float


@dataclass
class Row:
    """One model by precision; failures are text."""

    model: str
    precisions: dict[str, Arena] = field(default_factory=dict[str, Arena])
    failures: list[str] = field(default_factory=list[str])


def options(name: str, precision: str, target: str) -> CompileOptions:
    """Options for one compilation: open dimensions have the extents of an example."""
    example = calibration(name)
    shapes = dict(SHAPES.get(name, {}))
    if not isinstance(example, str):
        skip = PINNED.get(name, {})
        shapes |= {k: v.shape for k, v in example.items() if k not in skip}
    if precision == "fp32":
        return CompileOptions(target="cpu", shapes=shapes, compile_to="loop")
    return CompileOptions(
        target=target, quantize="int8", calibration=example, shapes=shapes, compile_to="loop"
    )


def measure(name: str, target: str) -> Row:
    """Arenas of one model."""
    row, path = Row(name), model_path(name)
    for precision in PRECISIONS:
        try:
            result = compile_model(_pinned(name, path), options(name, precision, target))
            func = main_function(result.module)
            base = sum(align(buffer_bytes(arg)) for arg in func.body.block.args)
            arena = arena_of(list(lifetimes(func).values()), base)
            assert arena.arena == integer_attribute(func, "arena_bytes")
            row.precisions[precision] = arena
        except Exception as error:
            row.failures.append(failure(precision, error))
    return row


def arena_of(buffers: Sequence[Buffer], base: int) -> Arena:
    """Figures for `buffers` above `base` bytes of inputs and outputs."""
    started = time.perf_counter()
    size = base + plan(buffers).size
    seconds = time.perf_counter() - started
    bound, greedy = base + lower_bound(buffers), base + greedy_by_size(buffers).size
    return Arena(
        len(buffers), base, bound, size, greedy,
        round(size / max(bound, 1), 4), round(greedy / max(bound, 1), 4), round(seconds, 3),
    )  # fmt: skip


def line(model: str, precision: str, a: Arena) -> str:
    """One arena as text."""
    return (
        f"{model:<28} {precision:<5} {a.buffers:>7} {a.bound:>12} {a.arena:>12} {a.greedy:>12} "
        f"{a.ratio:>7.4f} {a.greedy_ratio:>7.4f} {a.plan_seconds * 1000:>7.0f}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models")
    parser.add_argument("--target", default="gemmini-16x16")
    parser.add_argument("--json")
    args = parser.parse_args(arguments)
    print(
        f"{'model':<28} {'type':<5} {'buffers':>7} {'bound':>12} {'arena':>12} {'greedy':>12} "
        f"{'ratio':>7} {'greedy':>7} {'plan ms':>7}"
    )
    rows: list[Row] = []
    for name in args.models.split(",") if args.models else model_names():
        rows.append(measure(name, args.target))
        for precision, arena in rows[-1].precisions.items():
            print(line(name, precision, arena), flush=True)
        for text in rows[-1].failures:
            print(f"{name:<28} FAILED {text}", flush=True)
    arenas = [a for row in rows for a in row.precisions.values()]
    print(
        f"{len(arenas)} arenas, {sum(a.arena == a.bound for a in arenas)} at the bound, "
        f"worst ratio {max((a.ratio for a in arenas), default=1):.4f}; "
        f"bytes {sum(a.arena for a in arenas)}, bound {sum(a.bound for a in arenas)}, "
        f"greedy {sum(a.greedy for a in arenas)}, greedy's worst ratio "
        f"{max((a.greedy_ratio for a in arenas), default=1):.4f}"
    )
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Does the cost model that chooses tilings agree with the simulator?

    python -m benchmarks.npu.correlation [--network N1,N2] [--target T1,T2] [--candidates K]
                                         [--layers L] [--json OUT.json]

Every distinct layer of a network is compiled alone in int8, and the model's estimate of its tiling
is set beside the cycles of the simulation; a layer of several nests is their sum.  Then K tilings
of its largest nest, from the best estimate to the worst that is within `WORST` times that, are
compiled in place of the chosen one: does the model order them as the simulator does, and how much
slower is the one it chose than the fastest of them (regret)?

Correlations are over layers (Pearson, of cycles and of their logarithms; Spearman), and over the
tilings of a layer (Kendall's tau-b, averaged over layers whose tilings differ by 1% or more in
simulated cycles).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from onnx import ModelProto
from rich.console import Console
from rich.table import Table

from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.api import executable_of
from tilewright.compiler.driver import compile_model
from tilewright.compiler.files import write_atomically
from tilewright.compiler.options import CompileOptions
from tilewright.dialects.errors import TargetError, TilewrightError
from tilewright.passes.loop import tile_npu
from tilewright.passes.loop.tiling.candidates import attempts, grid
from tilewright.passes.loop.tiling.model import Tiling, best_of
from tilewright.passes.loop.tiling.work import Nest, Work

from .layers_alone import LayerAlone, distinct_layers
from .networks import sample
from .zoo import build, names

NETWORKS = ("resnet50", "mobilenet_v2", "bert_base")
TARGETS = ("gemmini-16x16", "ethos-u65-512", "auto-200", "tpu-v1")
WORST = 3.0
"""Estimates of the tilings that are tried, over the best one's."""
DIFFERENT = 1.01
"""Slowest over fastest of a layer's tilings from which on their order means something."""
RESULTS = Path(__file__).parents[1] / "results" / "npu_correlation.json"


@dataclass(frozen=True)
class Tried:
    """A tiling of a layer's largest nest: estimate and simulated cycles of the whole layer."""

    tile: tuple[int, ...]
    estimate: float
    cycles: int


@dataclass(frozen=True)
class LayerRow:
    """A layer on a target: estimate, cycles, the tilings tried (the chosen one first)."""

    network: str
    target: str
    layer: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    count: int
    estimate: float
    cycles: int
    tried: tuple[Tried, ...] = ()

    @property
    def error(self) -> float:
        """Estimate over cycles, less 1."""
        return self.estimate / self.cycles - 1

    @property
    def regret(self) -> float:
        """Cycles of the chosen tiling over those of the fastest that was tried, less 1."""
        return self.cycles / min((t.cycles for t in self.tried), default=self.cycles) - 1

    @property
    def tau(self) -> float | None:
        """Kendall's tau-b between estimates and cycles of its tilings; None if all take alike."""
        cycles = [t.cycles for t in self.tried]
        if len(cycles) < 3 or max(cycles) < DIFFERENT * min(cycles):
            return None
        return kendall([t.estimate for t in self.tried], cycles)


@dataclass
class Summary:
    """Agreement over the layers of a network on a target."""

    network: str
    target: str
    layers: int
    pearson: float
    pearson_log: float
    spearman: float
    mean_error: float
    worst_layer: str
    worst_error: float
    tilings: int
    kendall: float | None
    mean_regret: float
    worst_regret: float
    skipped: dict[str, str] = field(default_factory=dict[str, str])


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """The correlation coefficient; 1 where either is constant."""
    a, b = np.asarray(x, float), np.asarray(y, float)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 1.0


def ranks(x: Sequence[float]) -> list[float]:
    """Ranks from 0; those of equal values are averaged."""
    values = np.asarray(x, float)
    below = (values[None, :] < values[:, None]).sum(axis=1)
    same = (values[None, :] == values[:, None]).sum(axis=1)
    return (below + (same - 1) / 2).tolist()


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """The correlation of ranks."""
    return pearson(ranks(x), ranks(y))


def kendall(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b: pairs in the same order less pairs in the opposite one, ties corrected."""
    upper = np.triu_indices(len(x), 1)
    a, b = (np.sign(np.subtract.outer(v, v))[upper] for v in (np.asarray(x), np.asarray(y)))
    untied = float(np.sqrt((a != 0).sum() * (b != 0).sum()))
    return float((a * b).sum()) / untied if untied else 1.0


@contextmanager
def tilings(forced: Tiling | None = None) -> Generator[list[tuple[Work, int, bool, Tiling]]]:
    """Collect what `tile-npu` does with each nest: work, scratchpad, cold, tiling.

    The nest of most points takes the tiling `forced`, if one is given.
    """
    seen: list[tuple[Work, int, bool, Tiling]] = []
    original = tile_npu.tiling_of

    def spy(
        nest: Any, machine: Machine, capacity: int | None = None, cores: Any = (),
        cold: bool = False,
    ) -> tuple[Nest, Tiling]:  # fmt: skip
        info, tiling = original(nest, machine, capacity, cores, cold)
        if capacity is None:  # not tile-npu: fit-npu asks whether there is any
            return info, tiling
        if forced is not None and len(forced.tile) == len(info.work.domain):
            counts = zip(info.work.domain, forced.tile, strict=True)
            tiling = forced if all(t <= n for n, t in counts) else tiling
        seen.append((info.work, capacity, cold, tiling))
        return info, tiling

    with mock.patch.object(tile_npu, "tiling_of", spy):
        yield seen


def others(
    work: Work, capacity: int, cold: bool, best: Tiling, machine: Machine, count: int
) -> list[Tiling]:
    """Up to `count` other tilings, evenly over the order of their estimates; deterministic."""
    rng = np.random.default_rng(0)
    found: dict[tuple[Any, ...], Tiling] = {}
    for attempt in attempts(work):
        tiles = grid(work, machine, attempt)
        picked = rng.choice(len(tiles[0]), min(len(tiles[0]), 40 * count), replace=False)
        for i in picked:
            one = [t[i : i + 1] for t in tiles]
            tiling = best_of(work, machine, attempt.slots, capacity, cold, one)
            if tiling is not None and best.cycles <= tiling.cycles <= WORST * best.cycles:
                found[tiling.tile] = tiling
        if len(found) > count:
            break
    found.pop(best.tile, None)
    ordered = sorted(found.values(), key=lambda t: (t.cycles, t.tile))
    at = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[i] for i in dict.fromkeys(at.tolist())]


def simulate(model: ModelProto, target: str) -> int:
    """NPU cycles of a model; TilewrightError if it cannot be compiled."""
    options = CompileOptions(target=target, quantize="int8", calibration=sample(model), strip=True)
    result = compile_model(model, options)
    assert result.artefact is not None
    return executable_of(result.artefact).simulate_timing().cycles


def measure(
    layer: LayerAlone, network: str, target: str, machine: Machine, count: int
) -> LayerRow | None:
    """One layer; None if nothing of it runs on the NPU."""
    with tilings() as seen:
        cycles = simulate(layer.model, target)
    if not seen or not cycles:
        return None
    estimate = sum(tiling.cycles for *_, tiling in seen)
    work, capacity, cold, best = max(
        seen, key=lambda row: np.prod([float(n) for n in row[0].domain])
    )
    tried = [Tried(best.tile, estimate, cycles)]
    alone = sum(len(row[0].domain) == len(work.domain) for row in seen) == 1
    for other in others(work, capacity, cold, best, machine, count) if count and alone else ():
        with tilings(other):
            took = simulate(layer.model, target)
        tried.append(Tried(other.tile, estimate - best.cycles + other.cycles, took))
    return LayerRow(
        network, target, layer.name, layer.kind, layer.shapes, layer.count, estimate, cycles,
        tuple(tried) if len(tried) > 1 else (),
    )  # fmt: skip


def summarise(rows: Sequence[LayerRow], skipped: dict[str, str]) -> Summary:
    """Agreement over the layers of one network on one target."""
    estimates, cycles = [r.estimate for r in rows], [float(r.cycles) for r in rows]
    worst = max(rows, key=lambda r: abs(r.error))
    taus = [tau for r in rows if (tau := r.tau) is not None]
    regrets = [r.regret for r in rows if r.tried] or [0.0]
    return Summary(
        rows[0].network,
        rows[0].target,
        len(rows),
        pearson(estimates, cycles),
        pearson(np.log(estimates).tolist(), np.log(cycles).tolist()),
        spearman(estimates, cycles),
        float(np.mean([abs(r.error) for r in rows])),
        worst.layer,
        worst.error,
        sum(len(r.tried) for r in rows),
        float(np.mean(taus)) if taus else None,
        float(np.mean(regrets)),
        max(regrets),
        skipped,
    )


def table(summaries: Sequence[Summary]) -> Table:
    """A line for each network and target."""
    out = Table(title="estimate of the tiling against simulated cycles, layers alone in int8")
    for column in ("network", "target"):
        out.add_column(column, no_wrap=True)
    for column in (
        "layers", "Pearson", "of logs", "Spearman", "mean |error|", "worst", "tilings", "tau-b",
        "regret", "worst regret",
    ):  # fmt: skip
        out.add_column(column, justify="right")
    for s in summaries:
        out.add_row(
            s.network, Path(s.target).stem, f"{s.layers}", f"{s.pearson:.3f}",
            f"{s.pearson_log:.3f}", f"{s.spearman:.3f}", f"{s.mean_error:.1%}",
            f"{s.worst_error:+.0%} {s.worst_layer}", f"{s.tilings}",
            "" if s.kendall is None else f"{s.kendall:.2f}", f"{s.mean_regret:.1%}",
            f"{s.worst_regret:.1%}",
        )  # fmt: skip
    return out


def run(args: argparse.Namespace, console: Console) -> tuple[list[Summary], list[LayerRow]]:
    """Measure all pairs; a layer that cannot be compiled is named in the summary."""
    summaries: list[Summary] = []
    rows: list[LayerRow] = []
    for network in args.network.split(","):
        layers = distinct_layers(build(network))[: args.layers]
        for target in args.target.split(","):
            if (machine := load_target(target)) is None:
                raise TargetError(f"{target} is no NPU", hint="see `tilewright targets`")
            here: list[LayerRow] = []
            skipped: dict[str, str] = {}
            for i, layer in enumerate(layers):
                where = f"{network} on {target}: {i + 1}/{len(layers)} {layer.name}"
                console.print(where, style="dim", markup=False)
                try:
                    row = measure(layer, network, target, machine, args.candidates)
                except TilewrightError as error:
                    skipped[layer.name] = str(error).splitlines()[0]
                    continue
                if row is None:
                    skipped[layer.name] = "nothing of it runs on the NPU"
                else:
                    here.append(row)
            if here:
                summaries.append(summarise(here, skipped))
            rows += here
    return summaries, rows


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.npu.correlation",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--network", default=",".join(NETWORKS), help=", ".join(names()))
    parser.add_argument("--target", default=",".join(TARGETS), help="names or TOML files")
    parser.add_argument("--candidates", type=int, default=3, help="other tilings of each layer")
    parser.add_argument("--layers", type=int, help="the first so many layers of each network")
    parser.add_argument("--json", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    args = parser.parse_args(argv)
    try:
        summaries, rows = run(args, Console(stderr=True, highlight=False))
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    Console(width=None if sys.stdout.isatty() else 170, highlight=False).print(table(summaries))
    found = {
        "summaries": [asdict(s) for s in summaries],
        "layers": [{**asdict(r), "error": r.error, "regret": r.regret, "tau": r.tau} for r in rows],
    }
    write_atomically(args.json, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

"""Full-size networks on NPUs: cycles against the lower bound, and where they go.

    python -m benchmarks.npu.networks [--network N1,N2] [--target T1,T2] [--batch B]
                                      [--sparsity 2:4] [--json OUT.json] [--verify]

Each network of `benchmarks.npu.zoo` is compiled in int8 (calibrated with one seeded sample of the
whole batch) and simulated for timing only.  Without options: the rows of `ROWS`.  `--network` alone
takes the targets that `ROWS` pairs it with (else auto-200), `--target` alone the networks (else
resnet50), both all pairs.  A target is a name or a TOML file.  `--verify` computes as well, and
compares outputs of the simulated NPU with those of the CPU end bit for bit.  `--sparsity 2:4` has
two rows for each: as it is, and with weights pruned by magnitude (two of every four are 0).

A row that cannot be compiled or simulated says why.  Exit code 2 for an unknown network or target
(one message), 1 if outputs differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto
from rich.console import Console
from rich.table import Table

from tilewright.backends.targets.load import load_target
from tilewright.compiler.api import executable_of
from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.files import write_atomically
from tilewright.compiler.options import CompileOptions
from tilewright.dialects.constants import Array
from tilewright.dialects.errors import InputError, TargetError, TilewrightError

from .zoo import build, counts, default_batch, names
from .zoo.pruning import prune

ROWS: tuple[tuple[str, str, int], ...] = (
    ("resnet50", "auto-200", 1), ("resnet50", "ethos-u65-512", 1), ("resnet50", "gemmini-16x16", 1),
    ("resnet50", "tpu-v1", 1), ("resnet50", "tpu-v1", 8), ("resnet50", "auto-200", 8),
    ("mobilenet_v2", "ethos-u65-512", 1), ("mobilenet_v2", "ethos-u85-1024", 1),
    ("bert_base", "auto-200", 1), ("vit_b16", "auto-200", 1),
)  # fmt: skip
"""What is measured by default: network, target, batch."""
LEVELS = {"graph": "partition", "loop": "loop", "npu": "npu"}
"""The phase after which the operations of each level are counted."""


@dataclass
class Row:
    """One network on one target; `error` instead of figures where there are none.

    Cycles, utilisation (of the peak of the whole machine), bytes and seconds are the NPU's;
    `attribution` has the cycles of each unit by kind, which sum to the unit's total.  `macs` and
    `params` are the network's (zeros counted), the former at this batch; `tops` = 2 macs / second
    / 1e12; `energy` in pJ by kind.
    """

    network: str
    target: str
    batch: int
    sparsity: str = ""
    cycles: int = 0
    lower_bound_cycles: int = 0
    ratio: float = 0.0
    utilization: float = 0.0
    attribution: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    compile_seconds: float = 0.0
    simulate_seconds: float = 0.0
    ops: dict[str, int] = field(default_factory=dict[str, int])
    macs: int = 0
    params: int = 0
    dram_bytes: int = 0
    energy: dict[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0
    fps: float = 0.0
    tops: float = 0.0
    cpu_nodes: int = 0
    identical_to_cpu: bool | None = None
    error: str | None = None

    @property
    def label(self) -> str:
        """The network as tables name it."""
        return f"{self.network} {self.sparsity}".strip()


def rows_for(
    networks: Sequence[str], targets: Sequence[str], batch: int | None
) -> list[tuple[str, str, int]]:
    """What to measure; InputError for an unknown network, TargetError for an unknown target."""
    for network in networks:
        default_batch(network)
    for target in targets:
        if load_target(target) is None:
            raise TargetError(f"{target} is no NPU", hint="see `tilewright targets`")
    if networks and targets:
        chosen = [(n, t, default_batch(n)) for n in networks for t in targets]
    elif networks:
        chosen = [
            row
            for n in networks
            for row in ([r for r in ROWS if r[0] == n] or [(n, "auto-200", default_batch(n))])
        ]
    elif targets:
        chosen = [
            row for t in targets for row in ([r for r in ROWS if r[1] == t] or [("resnet50", t, 1)])
        ]
    else:
        chosen = list(ROWS)
    if batch is None:
        return chosen
    if batch < 1:
        raise InputError(f"--batch {batch} is below 1")
    return list(dict.fromkeys((n, t, batch) for n, t, _ in chosen))


def sample(model: ModelProto) -> dict[str, Array]:
    """Seeded noise for each input: normal, or small non-negative integers."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            arrays[value.name] = rng.standard_normal(shape, dtype=np.float32)
        else:
            arrays[value.name] = rng.integers(0, 2, shape)
    return arrays


def measure(
    model: ModelProto, network: str, target: str, batch: int, verify: bool, sparsity: str = ""
) -> Row:
    """One row; an error that the model or the target causes becomes its text."""
    row = Row(network, target, batch, sparsity)
    figures = counts(model)
    row.macs, row.params = figures.macs, figures.parameters
    try:
        _measure(row, model, verify)
    except Exception as error:  # even a bug in one row should not lose the others
        kind = "" if isinstance(error, TilewrightError) else "internal error: "
        row.error = f"{kind}{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return row


def _measure(row: Row, model: ModelProto, verify: bool) -> None:
    inputs = sample(model)
    started = time.perf_counter()
    result = compile_model(
        model,
        CompileOptions(target=row.target, quantize="int8", calibration=inputs, strip=True),
    )
    row.compile_seconds = time.perf_counter() - started
    row.ops = {k: result.phase_ops[p] for k, p in LEVELS.items() if p in result.phase_ops}
    row.cpu_nodes = len(result.ctx.placement)
    assert result.artefact is not None
    executable = executable_of(result.artefact)
    started = time.perf_counter()
    simulated = executable.simulate_timing()
    row.simulate_seconds = time.perf_counter() - started
    row.cycles = simulated.cycles
    row.lower_bound_cycles = simulated.lower_bound_cycles
    row.ratio = row.cycles / max(1, row.lower_bound_cycles)
    row.utilization = simulated.utilization
    row.attribution = simulated.units
    row.dram_bytes = simulated.dram_bytes
    row.energy = simulated.energy
    row.seconds = simulated.seconds
    if row.seconds:
        row.fps = row.batch / row.seconds
        row.tops = 2e-12 * row.macs / row.seconds
    if verify:
        row.identical_to_cpu = _identical(executable, inputs)


def _identical(executable: Executable, inputs: Mapping[str, Array]) -> bool:
    """Whether the simulated NPU computes what the CPU end does, bit for bit."""
    on_cpu = executable.run(inputs)
    on_npu, _ = executable.simulate(inputs)
    return all(
        np.array_equal(on_cpu[n], on_npu[n], equal_nan=on_cpu[n].dtype.kind == "f") for n in on_cpu
    )


def figures_table(rows: Sequence[Row]) -> Table:
    """Cycles, bound, utilisation, traffic and times."""
    table = Table(title="int8, one inference of the batch; cycles of the NPU", title_justify="left")
    for column in ("network", "target"):
        table.add_column(column, no_wrap=True)
    for column in (
        "batch", "cycles", "bound", "ratio", "matrix", "DRAM MB", "mJ", "compile s", "simulate s",
        "ops graph/loop/npu",
    ):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    if verified := any(row.identical_to_cpu is not None for row in rows):
        table.add_column("= CPU")
    for row in rows:
        if row.error:
            continue
        cells = [
            row.label, Path(row.target).stem, f"{row.batch}", f"{row.cycles:,}",
            f"{row.lower_bound_cycles:,}", f"{row.ratio:.2f}", f"{row.utilization:.1%}",
            f"{row.dram_bytes / 1e6:.2f}", f"{sum(row.energy.values()) / 1e9:.3f}",
            f"{row.compile_seconds:.1f}",
            f"{row.simulate_seconds:.1f}", "/".join(map(str, row.ops.values())),
        ]  # fmt: skip
        if verified:
            cells.append({True: "yes", False: "DIFFERENT", None: ""}[row.identical_to_cpu])
        table.add_row(*cells)
    return table


def percentages(kinds: Mapping[str, int]) -> dict[str, float]:
    """Shares of the sum in per cent, to one decimal, rounded so that they add up to 100."""
    total = max(1, sum(kinds.values()))
    tenths = {kind: 1000 * cycles // total for kind, cycles in kinds.items()}
    by_remainder = sorted(kinds, key=lambda kind: (-(1000 * kinds[kind] % total), kind))
    for kind in by_remainder[: (1000 if any(kinds.values()) else 0) - sum(tenths.values())]:
        tenths[kind] += 1
    return {kind: share / 10 for kind, share in tenths.items()}


def attribution_table(rows: Sequence[Row]) -> Table:
    """Where the cycles of each unit go: percentages of the unit's total."""
    table = Table(title="where the cycles of each unit go", title_justify="left")
    for column in ("network", "target", "batch", "unit", "busy"):
        table.add_column(column, justify="right" if column == "busy" else "left", no_wrap=True)
    table.add_column("stalls")
    for row in rows:
        labels = [row.label, Path(row.target).stem, f"{row.batch}"]
        for unit, kinds in row.attribution.items():
            shares = percentages(kinds)
            stalls = ", ".join(
                f"{kind.replace('_', ' ')} {share:.1f}%"
                for kind, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
                if kind != "busy" and share
            )
            table.add_row(*labels, unit, f"{shares.get('busy', 0):.1f}%", stalls)
            labels = ["", "", ""]
        table.add_section()
    return table


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.npu.networks",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--network", default="", help=", ".join(names()))
    parser.add_argument("--target", default="", help="names or TOML files")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--sparsity", choices=["2:4"], help="pruned weights beside dense ones")
    parser.add_argument("--json", metavar="OUT.json", help="- for standard output")
    parser.add_argument("--verify", action="store_true")
    return parser.parse_args(argv)


def run(args: argparse.Namespace, console: Console) -> list[Row]:
    """Measure and print."""
    networks = [n for n in args.network.split(",") if n]
    targets = [t for t in args.target.split(",") if t]
    wanted = rows_for(networks, targets, args.batch)
    rows: list[Row] = []
    model, built = ModelProto(), ("", 0, "")
    for sparsity in ("", args.sparsity) if args.sparsity else ("",):
        for network, target, batch in wanted:
            console.print(f"{network} {sparsity} x{batch} on {Path(target).stem} ...", style="dim")
            if built != (network, batch, sparsity):
                model, built = build(network, batch), (network, batch, sparsity)
                if sparsity:
                    prune(model)
            rows.append(measure(model, network, target, batch, args.verify, sparsity))
    # a network as it is, then pruned
    order = {key: i for i, key in enumerate(wanted)}
    return sorted(rows, key=lambda r: order[r.network, r.target, r.batch])


def show(rows: Sequence[Row], console: Console) -> None:
    """Both tables, and what went wrong between them."""
    console.print(figures_table(rows))
    for row in rows:
        if row.error:
            what = f"{row.label} x{row.batch} on {row.target}"
            console.print(f"{what}: {row.error}", markup=False)
    console.print(attribution_table([row for row in rows if row.attribution]))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _arguments(argv)
    try:
        rows = run(args, Console(stderr=True, highlight=False))
        text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
        if args.json == "-":
            sys.stdout.write(text)
        else:
            show(rows, Console(width=None if sys.stdout.isatty() else 150, highlight=False))
            if args.json:
                write_atomically(Path(args.json), text.encode())
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    if any(row.identical_to_cpu is False for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()

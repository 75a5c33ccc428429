"""ZigZag's ResNet-18 on its tpu_like, layer by layer from DRAM: its mappings beside ours.

    python -m benchmarks.npu.zigzag [--zigzag-python PYTHON] [--json OUT.json]
        [--save DATA.json | --data DATA.json]
        [--workload W --accelerator A --mapping M] [--target TARGET.toml]

In ZigZag's latency model (`cost.py`): its best mapping and the best of our search, with the CPU
seconds of both.  On our simulator, for `tpu_like_target.toml`: its mapping as a program of ours,
and the schedule of our compiler.  docs/zigzag.md says what is compared and what is not.

ZigZag's mappings are those stored in `resnet18.json` (or `--data`), unless `--zigzag-python` names
a Python with ZigZag in it: then ZigZag searches here and now, and evaluates our mappings in its own
code as well; `--save` stores what it found.  Other workloads and accelerators, by the names that
ZigZag ships them under or as files, need it; for an accelerator without `--target`, mappings are
compared in ZigZag's model alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tilewright.dialects.errors import InputError, TilewrightError

from .compare import PARTS, Comparison, Row
from .live import Peer
from .machine import FOLDER, architecture_of, read_architecture
from .ours import read_target

STEM = ("/conv1/Conv", "/conv1/Conv, taps unrolled", {"D1": {"K": 32}, "D2": {"C": 3, "FX": 7}})
"""The layer whose three channels leave the array idle, and a spatial mapping that fills it."""


def totals(rows: Sequence[Row], extra: str) -> list[tuple[str, list[Row]]]:
    """Sets of layers to sum up: the network, and it without what `extra` is another mapping of."""
    network = [row for row in rows if row.name != extra]
    alike = [row for row in network if row.same_spatial]
    sums = [("network", network)]
    if alike and len(alike) < len(network):
        sums.append(("same spatial mapping", alike))
    return sums


def _counted(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """Rows of which each is the first of its kind, and how many there are."""
    kinds: dict[str, tuple[Row, int]] = {}
    for row in rows:
        key = repr((row.zigzag, row.found, row.compiled, row.replay))
        kinds[key] = (kinds[key][0], kinds[key][1] + 1) if key in kinds else (row, 1)
    return list(kinds.values())


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=190, highlight=False)


def print_rows(rows: Sequence[Row], zigzag_seconds: float, extra: str) -> None:
    """Tables of both models, sums, and what falls short."""
    console = _console()
    table = Table("in ZigZag's model", box=None)
    for name in ("layers", "ideal", *(f"{p}" for p in PARTS), "ZigZag"):
        table.add_column(name, justify="right")
    for name in (*PARTS[1:4], "ours", "ratio", "equal"):
        table.add_column(name, justify="right")
    for row, count in _counted(rows):
        table.add_row(
            row.name, str(count), *(f"{row.zigzag[p]:,.0f}" for p in ("ideal", *PARTS, "total")),
            *(f"{row.found[p]:,.0f}" for p in (*PARTS[1:4], "total")),
            f"{row.model_ratio:.3f}", "yes" if row.equal else "NO",
        )  # fmt: skip
    console.print(table)
    for name, some in totals(rows, extra):
        theirs, ours = (sum(getattr(r, k)["total"] for r in some) for k in ("zigzag", "found"))
        console.print(f"{name}: ZigZag {theirs:,.0f}, ours {ours:,.0f}, ratio {ours / theirs:.3f}")
    seconds = sum(row.search_seconds for row in rows if row.name != extra)
    console.print(
        f"search: ZigZag {zigzag_seconds:.1f} CPU s, ours {seconds:.2f} CPU s, "
        f"{zigzag_seconds / seconds:.0f} times faster"
    )
    checked = [row for row in rows if row.in_zigzag is not None]
    if checked:
        same = sum(bool(row.in_zigzag and row.in_zigzag["same"]) for row in checked)
        console.print(
            f"our mappings in ZigZag's own code: the same cycles for {same}/{len(checked)}"
        )
    if any(row.same_spatial or row.compiled or row.error for row in rows):
        console.print()
        print_simulated(console, rows, extra)


def print_simulated(console: Console, rows: Sequence[Row], extra: str) -> None:
    """The table of our simulator; the drain of the array is left out."""
    table = Table("on our simulator", box=None)
    for name in ("layers", *PARTS[:4], "ZigZag's", "prefetched", "searched", *PARTS[:4], "ours"):
        table.add_column(name, justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("to pref.", justify="right")
    for row, count in _counted(rows):
        cells: list[str] = []
        for run, names in (
            (row.replay, (*PARTS[:4], "cycles")), (row.prefetched, ("cycles",)),
            (row.searched, ("cycles",)), (row.compiled, (*PARTS[:4], "cycles")),
        ):  # fmt: skip
            cells += [f"{run[name]:,}" if run else "-" for name in names]
        ratios = (row.machine_ratio, row.prefetch_ratio)
        cells += ["-" if ratio is None else f"{ratio:.3f}" for ratio in ratios]
        table.add_row(row.name, str(count), *cells)
    console.print(table)
    for name, some in totals(rows, extra):
        kinds = ("replay", "prefetched", "compiled")
        runs = {kind: [part for r in some if (part := getattr(r, kind))] for kind in kinds}
        if all(len(found) == len(some) for found in runs.values()):
            theirs, fetched, ours = (sum(run["cycles"] for run in runs[kind]) for kind in kinds)
            console.print(
                f"{name}: ZigZag's mappings {theirs:,}, prefetched {fetched:,}, ours {ours:,}; "
                f"ratio {ours / theirs:.3f}, to prefetched {ours / fetched:.3f}"
            )
    for row, _ in _counted(rows):
        if row.error:
            console.print(f"not simulated: {row.error}", markup=False, soft_wrap=True)


def stored(data: Mapping[str, Any]) -> str:
    """What ZigZag found, as JSON with a layer a line."""
    head = json.dumps({k: v for k, v in data.items() if k != "layers"})
    layers = ",\n".join(json.dumps(layer) for layer in data["layers"])
    return f'{head[:-1]},\n"layers": [\n{layers}\n]}}\n'


def read_stored(path: str | None) -> dict[str, Any]:
    """What a live run has stored; InputError if it cannot be read."""
    try:
        return json.loads(Path(path or FOLDER / "resnet18.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read --data {path}: {error}") from None


def live(options: argparse.Namespace, peer: Peer) -> dict[str, Any]:
    """ZigZag's search, of the network and, for the default one, of its stem mapped otherwise."""
    data = peer.ask(
        {k: getattr(options, k) for k in ("workload", "accelerator", "mapping")}
    )  # fmt: skip
    if options.workload == "resnet18" and options.accelerator == "tpu_like":
        layer, name, spatial = STEM
        stem = peer.ask({"layer": layer, "as": name, "spatial": spatial})
        data["layers"] += stem["layers"]
    return data


def check_in_zigzag(rows: Sequence[Row], peer: Peer) -> None:
    """Have ZigZag's own code evaluate our mappings."""
    for row in rows:
        answer = peer.ask({"evaluate": {row.name: row.found_mapping}})[row.name]
        given = answer["as_given"]
        same = given is not None and abs(given["total"] - row.found["total"]) < 1e-6
        row.in_zigzag = {**answer, "same": same}


def main(argv: list[str] | None = None) -> None:
    """Measure and print; JSON with --json (- for standard output, without the tables)."""
    parser = argparse.ArgumentParser(description="ZigZag's mappings beside ours")
    parser.add_argument("--zigzag-python", metavar="PYTHON", help="a Python that has zigzag-dse")
    parser.add_argument("--workload", default="resnet18")
    parser.add_argument("--accelerator", default="tpu_like")
    parser.add_argument("--mapping", default="tpu_like")
    parser.add_argument("--target", help="the accelerator as a target of ours, a TOML file")
    parser.add_argument("--data", metavar="DATA.json", help="what --save has stored")
    parser.add_argument("--save", metavar="DATA.json", help="store what ZigZag found")
    parser.add_argument("--json", metavar="OUT.json")
    options = parser.parse_args(argv)
    default = (options.workload, options.accelerator, options.mapping) == (
        "resnet18", "tpu_like", "tpu_like",
    )  # fmt: skip
    try:
        if not (default or options.zigzag_python or options.data):
            raise InputError("only ResNet-18 on tpu_like is stored", hint="give --zigzag-python")
        peer = Peer(options.zigzag_python) if options.zigzag_python else None
        data = live(options, peer) if peer else read_stored(options.data)
        if options.save:
            Path(options.save).write_text(stored(data))
        machine = architecture_of(data["machine"])
        described = FOLDER / f"{options.accelerator}.toml"
        if described.exists() and machine != read_architecture(described):
            raise InputError(f"ZigZag's {machine.name} is not what {described.name} says")
        target = options.target or (FOLDER / "tpu_like_target.toml" if default else None)
        comparison = Comparison(machine, read_target(Path(target)) if target else None)
        rows = [comparison.row(layer) for layer in data["layers"]]
        if peer:
            with peer:
                check_in_zigzag(rows, peer)
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    result = {
        "zigzag": data["version"], "live": peer is not None, "zigzag_seconds": data["seconds"],
        "search_seconds": sum(r.search_seconds for r in rows if r.name != STEM[1]),
        "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
        return
    print_rows(rows, data["seconds"], STEM[1])
    if options.json:
        Path(options.json).write_text(text)


if __name__ == "__main__":
    main()

"""`tilewright demo`: the digit classifier from ONNX to NPU cycles and CPU time, in one table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ..backends.targets.load import load_target
from ..dialects.constants import Array
from ..dialects.errors import InputError
from .driver import compile_model
from .executable import Executable
from .files import write_atomically
from .options import CompileOptions
from .pipeline import ALL_PHASES
from .progress import phase_progress
from .report import joules, quantity, render_html

EXAMPLES = Path(__file__).parent / "examples"


def accuracy(outputs: Array, labels: Array) -> float:
    """Share of samples whose highest output is the label; outputs [N, 1, 10], labels [N]."""
    return float((outputs.reshape(len(labels), -1).argmax(1) == labels).mean())


def demo_command(folder: Path, target: str) -> None:
    """Compile, simulate and run; print the table.

    Leaves artefact, dumps, report and trace in `folder`.
    """
    from rich.console import Console
    from rich.table import Table

    machine = load_target(target)
    if machine is None:
        raise InputError(
            "the demo compiles for an NPU; cpu is measured beside it",
            hint="see `tilewright targets`",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder}: {error.strerror}") from None
    model = EXAMPLES / "digits.onnx"
    with np.load(EXAMPLES / "digits_heldout.npz") as held:
        images, labels = held["image"], held["label"]
    with phase_progress(len(ALL_PHASES)) as progress:
        floating = compile_model(str(model), CompileOptions(), progress=progress)
        quantised = compile_model(
            str(model),
            CompileOptions(
                target=target, quantize="int8", calibration=EXAMPLES / "digits_calibration.npz",
                dump="all", dump_dir=folder / "dumps", keep_ir=True,
            ),
            progress=progress,
        )  # fmt: skip
    assert floating.artefact is not None and quantised.artefact is not None
    fp32, int8 = Executable(floating.artefact), Executable(quantised.artefact)
    int8.save(folder / "digits.tw")
    expected = fp32.run({"image": images})["logits"]
    on_cpu = int8.run({"image": images})["logits"]
    on_npu, figures = int8.simulate({"image": images}, trace=True)
    _, traced = int8.simulate({"image": images[0]}, trace=True)
    same = np.array_equal(on_cpu, on_npu["logits"])
    times = {
        name: float(np.median(exe.benchmark({"image": images[0]}, repeats=200)))
        for name, exe in (("fp32", fp32), ("int8", int8))
    }
    import json

    write_atomically(folder / "trace.json", json.dumps(traced.trace_json()).encode())
    write_atomically(
        folder / "report.json", (json.dumps(figures.to_json(), indent=1) + "\n").encode()
    )
    write_atomically(folder / "report.html", render_html(int8, traced).encode())

    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    table = Table(
        title=f"digits: {len(labels)} held-out images, {machine.name}", title_justify="left"
    )
    table.add_column("")
    for column in ("fp32, CPU end", "int8, CPU end", f"int8, {machine.name} simulated"):
        table.add_column(column, justify="right")
    table.add_row(
        "accuracy", *(f"{accuracy(o, labels):.1%}" for o in (expected, on_cpu, on_npu["logits"]))
    )
    table.add_row(
        "time per image",
        f"{times['fp32'] * 1e6:.1f} us",
        f"{times['int8'] * 1e6:.1f} us",
        f"{figures.seconds * 1e6:.1f} us",
    )
    table.add_row("cycles", "", "", f"{figures.cycles:,}")
    table.add_row("lower bound", "", "", f"{figures.lower_bound_cycles:,}")
    table.add_row("utilisation", "", "", f"{figures.utilization:.1%}")
    table.add_row("DRAM traffic", "", "", quantity(figures.dram_bytes, "B"))
    table.add_row("energy", "", "", joules(figures))
    console.print(table)
    console.print(
        "int8 outputs of the CPU end and of the simulated NPU are "
        f"{'bit-identical' if same else 'DIFFERENT'}."
    )
    for what, path in (
        ("artefact", "digits.tw"), ("IR after every pass", "dumps/"), ("report", "report.html"),
        ("figures", "report.json"), ("timeline (open in ui.perfetto.dev)", "trace.json"),
    ):  # fmt: skip
        console.print(f"  {what}: {folder / path}", soft_wrap=True)
    if not same:
        sys.exit(1)

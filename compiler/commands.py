"""What the commands of the command line do, once their arguments are parsed."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..dialects.constants import Array
from ..dialects.errors import InputError, IRError
from .api import load
from .executable import Executable
from .files import write_atomically
from .options import Extent
from .tensors import TENSOR, made_up, read_npz

WriteJson = Callable[[str | None, Any], None]


def say(text: str = "") -> None:
    """Print a line to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(text + "\n")


def load_inputs(path: str | None, executable: Executable, seed: int = 0) -> dict[str, Array]:
    """Inputs from an .npz, or seeded random ones where none is given."""
    infos = executable.inputs
    if path is not None:
        arrays = read_npz(path)
        known = {i.name for i in infos}
        # Data files often hold labels beside the inputs: what the model does not name is left out.
        return {k: v for k, v in arrays.items() if k in known} if known & set(arrays) else arrays
    if odd := [i.describe() for i in infos if i.dtype == "object" or i.kind != TENSOR]:
        raise InputError(
            f"random inputs cannot be made for {', '.join(odd)}", hint="give --inputs IN.npz"
        )
    if infos:
        note("note: no --inputs given, using random ones")
    return made_up(infos, seed, bounds=executable.bounds)


def write_npz(path: str, values: Mapping[str, Any]) -> None:
    """Write arrays by name, through a temporary file; items of a sequence as NAME[0], NAME[1]..."""
    arrays: dict[str, Array] = {}
    for name, value in values.items():
        if isinstance(value, list):
            items = cast("list[Any]", value)
            arrays.update((f"{name}[{i}]", np.asarray(item)) for i, item in enumerate(items))
        elif value is not None:
            arrays[name] = value
    # Strings are stored as numpy's fixed-width text: archives hold no objects.
    plain = {n: a.astype(str) if a.dtype == object else a for n, a in arrays.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # numpy.savez has names it does not take
        for name, array in plain.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    write_atomically(Path(path), buffer.getvalue())


def describe_outputs(outputs: Mapping[str, Any]) -> None:
    """Print name, type, shape and a few values of each output."""
    for name, value in outputs.items():
        if isinstance(value, list):
            describe_outputs(
                {f"{name}[{i}]": item for i, item in enumerate(cast("list[Any]", value))}
            )
            continue
        if value is None:
            say(f"{name} = none")
            continue
        flat = value.reshape(-1)
        head = ", ".join(f"{v:.6g}" if value.dtype.kind == "f" else str(v) for v in flat[:5])
        say(
            f"{name} {'string' if value.dtype == object else value.dtype}"
            f"[{'x'.join(map(str, value.shape))}] = "
            f"{head}{', ...' if flat.size > 5 else ''}"
        )


def run_command(artefact: str, inputs: str | None, outputs: str | None, repeat: int) -> None:
    """`tilewright run`."""
    if repeat < 0:
        raise InputError(f"--repeat {repeat}: give the number of further runs")
    executable = load(artefact)
    given = load_inputs(inputs, executable)
    result = executable.run(given)
    describe_outputs(result)
    if outputs:
        write_npz(outputs, result)
        say(f"wrote {outputs}")
    if repeat:
        times = sorted(executable.benchmark(given, repeats=repeat))
        say(
            f"time: median {times[len(times) // 2] * 1e3:.3f} ms, "
            f"best {times[0] * 1e3:.3f} ms of {repeat} runs"
        )


def simulate_command(
    artefact: str, inputs: str | None, outputs: str | None, json: str | None, trace: str | None,
    report: str | None, check: bool, timing_only: bool, write_json: WriteJson,
) -> None:  # fmt: skip
    """`tilewright simulate`."""
    from .report import render_html, simulation_table

    executable = load(artefact)
    if executable.target == "cpu":
        raise InputError(
            f"{artefact} has no NPU program to simulate",
            hint="compile with --target NAME --quantize int8 --calibration FILE.npz; "
            "`tilewright run` runs it on the CPU",
        )
    result: dict[str, Array] = {}
    if timing_only:
        for option, given in (("--inputs", inputs), ("--outputs", outputs)):
            if given:
                raise InputError(f"{option}: --timing-only computes nothing")
        figures = executable.simulate_timing(check=check, trace=trace is not None)
    else:
        result, figures = executable.simulate(
            load_inputs(inputs, executable), check=check, trace=trace is not None
        )
    if json != "-":
        describe_outputs(result)
        say(simulation_table(figures))
    if outputs:
        write_npz(outputs, result)
    write_json(json, figures.to_json())
    if trace:
        write_json(trace, figures.trace_json())
    if report:
        write_atomically(Path(report), render_html(executable, figures).encode())
    if json != "-":
        for path in (outputs, json, trace, report):
            if path:
                say(f"wrote {path}")


def artefact_to_simulate(artefact: str | None, timing: str, scalesim: Mapping[str, Any]) -> str:
    """The artefact of a simulation on the NPU; InputError for options of the other timing."""
    if timing != "npu":
        raise InputError(f"unknown --timing {timing!r}", hint="choose from npu, scalesim")
    if given := [name for name, value in scalesim.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: only with --timing scalesim")
    if artefact is None:
        raise InputError(
            "nothing to simulate",
            hint="give an ARTEFACT, or --timing scalesim --topology FILE.csv --array 128x128",
        )
    return artefact


def scalesim_command(
    options: Mapping[str, Any],
    artefacts: Mapping[str, Any],
    json: str | None,
    write_json: WriteJson,
) -> None:
    """`tilewright simulate --timing scalesim`; `artefacts` are options it has no use for."""
    from .scalesim import print_report, report_of

    if given := [name for name, value in artefacts.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: not with --timing scalesim, which takes a topology")
    report = report_of(
        options["--topology"], options["--array"], options["--dataflow"] or "os",
        options["--bandwidth"], options["--sram"],
    )  # fmt: skip
    if json != "-":
        print_report(report)
    write_json(json, report.to_json())
    if json and json != "-":
        say(f"wrote {json}")


def check_command(
    model: str,
    target: str,
    shapes: Mapping[str, tuple[Extent, ...]],
    json: str | None,
    write_json: WriteJson,
) -> None:
    """`tilewright check`."""
    from .check import check_support, support_table

    support = check_support(model, target, shapes)
    if json != "-":
        say(support_table(support))
    write_json(json, support.to_json())
    if support.unsupported:
        sys.exit(2)


def compare_command(
    reference: str,
    artefact: str,
    inputs: str | None,
    json: str | None,
    rows: int,
    write_json: WriteJson,
) -> None:
    """`tilewright compare`."""
    from .compare import compare_artefacts, comparison_table

    executable = load(artefact)
    given = load_inputs(inputs, executable)
    comparison = compare_artefacts(reference, executable, given)
    if json != "-":
        say(comparison_table(comparison, rows))
    write_json(json, comparison.to_json())


def disassemble_command(path: str) -> None:
    """`tilewright disassemble`."""
    from ..backends.npu.disassembler import disassemble

    if not zipfile.is_zipfile(path):
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise IRError(f"cannot read {path}: {error.strerror}") from None
        sys.stdout.write(disassemble(data))
        return
    programs = load(path).npu_programs
    if not programs:
        raise InputError(f"{path} has no NPU program")
    for name, code, layers in programs:
        say(f"// {name}")
        sys.stdout.write(disassemble(code, layers))


def targets_command(json: str | None, write_json: WriteJson) -> None:
    """`tilewright targets`."""
    from dataclasses import asdict

    from ..backends.targets.load import list_targets, load_target

    machines = [m for m in (load_target(name) for name in list_targets()) if m is not None]
    write_json(json, {"cpu": {}} | {m.name: asdict(m) for m in machines})
    if json == "-":
        return
    say(
        f"{'name':<18} {'array':>10} {'MAC/cycle':>9} {'GHz':>5} {'int8 TOPS':>9} "
        f"{'scratchpad':>11} {'DRAM GB/s':>9}  description"
    )
    say(f"{'cpu':<18} {'':>10} {'':>9} {'':>5} {'':>9} {'':>11} {'':>9}  the host, through LLVM")
    for m in machines:
        array = f"{m.matrix.rows}x{m.matrix.columns}" + (
            f"x{m.matrix.pixels}" if m.matrix.pixels > 1 else ""
        )
        tops = 2 * m.peak_macs_per_cycle * m.clock_hz / 1e12
        bandwidth = m.dram.bytes_per_cycle * m.cores * m.clock_hz / 1e9
        say(
            f"{m.name:<18} {array:>10} {m.peak_macs_per_cycle:>9} {m.clock_hz / 1e9:>5.2f} "
            f"{tops:>9.2f} {m.scratchpad.bytes / 1024:>7.0f} KiB {bandwidth:>9.1f}  {m.description}"
        )

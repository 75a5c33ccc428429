"""The `tilewright` command line.

Commands only parse, call and print; heavy imports happen inside them, so that `--help` is quick.
Errors the user can cause are one message on standard error and exit code 2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_values import read_buckets, read_profiles, read_shapes

app = typer.Typer(
    rich_markup_mode=None,  # rich would take half of the start-up time
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Compile ONNX models for a simulated NPU and for the CPU.",
)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="ONNX model, or IR text with --compile-from")
]
Artefact = Annotated[str, typer.Argument(metavar="ARTEFACT", help="compiled .tw artefact")]
Inputs = Annotated[
    str | None,
    typer.Option(
        "--inputs", metavar="IN.npz", help="arrays named NAME or in:NAME (default: random)"
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME:1x3x224x224",
        help="extents of an input with symbolic dimensions: 4, bounds (1..8), or open (?)",
    ),
]
Profiles = Annotated[
    list[str] | None,
    typer.Option(
        "--profile",
        metavar="NAME:1x3x224x224,...",
        help="compile ahead for these extents of open dimensions (repeat for more)",
    ),
]
Buckets = Annotated[
    list[str] | None,
    typer.Option(
        "--bucket",
        metavar="DIM:1,4,16",
        help="pad this open dimension to the next of these extents (where that is proved safe)",
    ),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="write JSON here, - for standard output"),
]

EMIT = {
    "graph": "graph.mlir",
    "loop": "loop.mlir",
    "npu": "npu.mlir",
    "asm": "s",
    "llvm": "ll",
    "binary": "twb",
}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write_json(where: str | None, value: Any) -> None:
    if where is None:
        return
    import json

    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if where == "-":
        sys.stdout.write(text)
    else:
        from .files import write_atomically

        write_atomically(Path(where), text.encode())


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        _say(f"tilewright {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Compile ONNX models for a simulated NPU and for the CPU."""


@app.command()
def compile(
    model: Model,
    target: Annotated[
        str, typer.Option("--target", metavar="NAME|FILE.toml", help="see `tilewright targets`")
    ] = "cpu",
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="OUT", help="artefact to write (default: MODEL.tw)"),
    ] = None,
    quantize: Annotated[str, typer.Option(help="none or int8")] = "none",
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DIR|NPZ", help="typical inputs, or `random` for timing studies"),
    ] = None,
    calibration_method: Annotated[str, typer.Option(help="minmax or percentile")] = "minmax",
    percentile: Annotated[float, typer.Option(help="for --calibration-method percentile")] = 99.99,
    shape: Shapes = None,
    profile: Profiles = None,
    bucket: Buckets = None,
    emit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"also write {', '.join(EMIT)} beside the output (repeat, or separate by commas)",
        ),
    ] = None,
    compile_from: Annotated[
        str, typer.Option(metavar="PHASE", help="MODEL is IR text as it stands after this phase")
    ] = "import",
    compile_to: Annotated[
        str, typer.Option(metavar="PHASE", help="stop after this phase and write its IR to OUT")
    ] = "cpu",
    constants: Annotated[
        str | None, typer.Option(metavar="C.npz", help="constants of the IR text")
    ] = None,
    dump_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="where --dump writes (default: OUT.dumps)")
    ] = None,
    dump: Annotated[
        str | None, typer.Option(metavar="all|changed|PASS", help="write the IR after passes")
    ] = None,
    verify: Annotated[
        str,
        typer.Option(
            help="none, structural, or semantic (same results before and after every pass)"
        ),
    ] = "structural",
    time_passes: Annotated[
        bool, typer.Option("--time-passes", help="print the time and operation count of each pass")
    ] = False,
    tilings: Annotated[
        bool, typer.Option("--tilings", help="print how each layer is tiled, and how good that is")
    ] = False,
    keep_ir: Annotated[
        bool, typer.Option("--keep-ir", help="store the IR after each phase in the artefact")
    ] = False,
    strip: Annotated[
        bool, typer.Option("--strip", help="leave out what only `compare` needs")
    ] = False,
) -> None:
    """Compile an ONNX model to a .tw artefact."""
    from .commands_compile import compile_command

    compile_command(
        model, output, read_shapes(shape), emit or [], dump_dir, time_passes, tilings,
        target=target, profiles=read_profiles(profile), buckets=read_buckets(bucket),
        quantize=quantize, calibration=calibration, calibration_method=calibration_method,
        percentile=percentile, compile_from=compile_from, compile_to=compile_to,
        constants=constants, dump=dump, verify=verify, keep_ir=keep_ir, strip=strip,
    )  # fmt: skip


@app.command()
def run(
    artefact: Artefact,
    inputs: Inputs = None,
    outputs: Annotated[
        str | None, typer.Option("--outputs", metavar="OUT.npz", help="write outputs here")
    ] = None,
    repeat: Annotated[int, typer.Option(help="time this many further runs")] = 0,
) -> None:
    """Run an artefact on the CPU end."""
    from . import commands

    commands.run_command(artefact, inputs, outputs, repeat)


@app.command()
def simulate(
    artefact: Annotated[
        str | None, typer.Argument(metavar="ARTEFACT", help="compiled .tw artefact")
    ] = None,
    inputs: Inputs = None,
    outputs: Annotated[
        str | None, typer.Option("--outputs", metavar="OUT.npz", help="write outputs here")
    ] = None,
    json: Json = None,
    trace: Annotated[
        str | None, typer.Option(metavar="TRACE.json", help="write a Perfetto trace")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="REPORT.html", help="write an HTML report")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="check races, bounds and uninitialised reads")
    ] = True,
    timing_only: Annotated[
        bool, typer.Option("--timing-only", help="cycles without inputs; nothing is computed")
    ] = False,
    timing: Annotated[
        str, typer.Option(metavar="npu|scalesim", help="npu, or a topology on SCALE-Sim's array")
    ] = "npu",
    topology: Annotated[
        str | None, typer.Option(metavar="TOPOLOGY.csv", help="layers, for --timing scalesim")
    ] = None,
    array: Annotated[
        str | None, typer.Option(metavar="RxC", help="rows x columns, for --timing scalesim")
    ] = None,
    dataflow: Annotated[
        str | None, typer.Option(metavar="ws|os|is", help="for --timing scalesim (default: os)")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(metavar="WORDS", help="DRAM words a cycle: schedule layers too")
    ] = None,
    sram: Annotated[
        str | None, typer.Option(metavar="IFMAP,FILTER,OFMAP", help="KiB, with --bandwidth")
    ] = None,
) -> None:
    """Simulate an artefact's NPU programs: outputs, cycles, utilisation, traffic, energy.

    With --timing scalesim: a topology file on SCALE-Sim's systolic array instead, without artefact.
    """
    from . import commands

    scalesim = {
        "--topology": topology, "--array": array, "--dataflow": dataflow,
        "--bandwidth": bandwidth, "--sram": sram,
    }  # fmt: skip
    if timing == "scalesim":
        artefacts = {
            "ARTEFACT": artefact, "--inputs": inputs, "--outputs": outputs, "--trace": trace,
            "--report": report, "--timing-only": timing_only or None,
        }  # fmt: skip
        commands.scalesim_command(scalesim, artefacts, json, _write_json)
        return
    artefact = commands.artefact_to_simulate(artefact, timing, scalesim)
    commands.simulate_command(
        artefact, inputs, outputs, json, trace, report, check, timing_only, _write_json
    )


@app.command()
def check(
    model: Model,
    target: Annotated[str, typer.Option("--target", metavar="NAME|FILE.toml")] = "cpu",
    shape: Shapes = None,
    json: Json = None,
) -> None:
    """List every node that cannot be compiled, or will not run on the NPU, and why."""
    from . import commands

    commands.check_command(model, target, read_shapes(shape), json, _write_json)


@app.command()
def compare(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|ARTEFACT", help="ONNX model (run by onnxruntime) or artefact"
        ),
    ],
    artefact: Artefact,
    inputs: Inputs = None,
    json: Json = None,
    rows: Annotated[int, typer.Option(help="tensors to print, worst first")] = 15,
) -> None:
    """Compare every intermediate tensor: max error, cosine, SQNR."""
    from . import commands

    commands.compare_command(reference, artefact, inputs, json, rows, _write_json)


@app.command()
def disassemble(artefact: Annotated[str, typer.Argument(metavar="ARTEFACT|PROGRAM.twb")]) -> None:
    """Print the NPU programs of an artefact (or one encoded program) as assembly text."""
    from . import commands

    commands.disassemble_command(artefact)


@app.command()
def targets(json: Json = None) -> None:
    """List the machines that can be compiled for."""
    from . import commands

    commands.targets_command(json, _write_json)


@app.command()
def demo(
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="where results go")
    ] = "tilewright-demo",
    target: Annotated[str, typer.Option("--target", metavar="NAME|FILE.toml")] = "gemmini-16x16",
) -> None:
    """Compile, simulate and run the digit classifier that comes with tilewright."""
    from .demo import demo_command

    demo_command(Path(output), target)


def main(argv: list[str] | None = None) -> None:
    """Entry point: exit code 0, or 2 with one message for anything wrong with the input."""
    from ..dialects.errors import TilewrightError

    try:
        app(args=argv, prog_name="tilewright")
    except TilewrightError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        from .instruments import InternalError

        if not isinstance(error, InternalError):
            raise
        sys.stderr.write(f"internal error (a bug in tilewright): {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()

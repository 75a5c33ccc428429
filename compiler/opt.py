"""`tilewright-opt`: run any pipeline on any IR file, in the manner of mlir-opt.

tilewright-opt in.mlir -p "canonicalize,cse" [--target NAME] [--constants C.npz] [-o out.mlir]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO


def build_parser() -> argparse.ArgumentParser:
    """The command line of tilewright-opt."""
    parser = argparse.ArgumentParser(prog="tilewright-opt", description="Run passes on IR text.")
    parser.add_argument("input", nargs="?", default="-", help="IR file, - for standard input")
    parser.add_argument("-p", "--passes", default="", help='pipeline text, e.g. "canonicalize,cse"')
    parser.add_argument("-o", "--output", help="output file (default: standard output)")
    parser.add_argument("--target", help="target name or TOML file, for passes that need a machine")
    parser.add_argument("--constants", help="constants saved beside the IR (.npz)")
    parser.add_argument("--calibration", help="calibration data (.npz), for passes that quantise")
    parser.add_argument(
        "--verify", choices=("none", "structural", "semantic"), default="structural"
    )
    parser.add_argument(
        "--split-input-file", action="store_true", help="process chunks split by // -----"
    )
    parser.add_argument(
        "--print-debuginfo", action="store_true", help="print locations (ONNX nodes)"
    )
    parser.add_argument("--time-passes", action="store_true", help="print the time of each pass")
    parser.add_argument("--list-passes", action="store_true", help="list all passes and exit")
    return parser


def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO) -> None:
    """Run the tool in this process; TilewrightError on bad input."""
    args = build_parser().parse_args(argv)
    from ..dialects.errors import IRError
    from ..passes.base import CompilerContext
    from ..passes.registry import PASS_NAMES, find_pass
    from .files import write_atomically
    from .instruments import Instruments
    from .ir_text import load_constants, parse_module, print_module
    from .pipeline import PhasePass, parse_pipeline

    if args.list_passes:
        for name in PASS_NAMES:
            stdout.write(f"{name:24} {find_pass(name).summary()}\n")
        return
    try:
        text = stdin.read() if args.input == "-" else Path(args.input).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IRError(f"cannot read {args.input}: {error}") from None
    passes = parse_pipeline(args.passes) if args.passes else []
    outputs: list[str] = []
    for chunk in text.split("// -----") if args.split_input_file else [text]:
        ctx = CompilerContext()
        if args.target:
            from ..backends.targets.load import load_target

            ctx.machine = load_target(args.target)
        if args.constants:
            load_constants(Path(args.constants), ctx.constants)
        if args.calibration:
            from .tensors import read_npz

            ctx.calibration = read_npz(args.calibration)
        module = parse_module(chunk, ctx, args.input)
        instruments = Instruments(verify=args.verify, time_passes=args.time_passes)
        instruments.run(ctx, module, [PhasePass("opt", p) for p in passes])
        outputs.append(print_module(module, locations=args.print_debuginfo))
        if args.time_passes:
            sys.stderr.write(instruments.timing_table() + "\n")
    result = "// -----\n".join(outputs)
    if args.output:
        write_atomically(Path(args.output), result.encode())
    else:
        stdout.write(result)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 2 on bad input."""
    from ..dialects.errors import TilewrightError

    try:
        run(sys.argv[1:] if argv is None else argv, sys.stdin, sys.stdout)
    except TilewrightError as error:
        sys.stderr.write(f"tilewright-opt: error: {error}\n")
        return 2
    except BrokenPipeError:
        return 0
    except Exception as error:
        from .instruments import InternalError

        if not isinstance(error, InternalError):
            raise
        sys.stderr.write(f"tilewright-opt: internal error (a bug in tilewright): {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

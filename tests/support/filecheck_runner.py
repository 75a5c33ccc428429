"""Runs the `// RUN: tilewright-opt ... | filecheck %s` files inside pytest's process.

One such test costs about ten milliseconds in process, half a second as a subprocess.
"""

from __future__ import annotations

import io
import shlex
from pathlib import Path

from filecheck.finput import FInput
from filecheck.matcher import Matcher
from filecheck.options import parse_argv_options
from filecheck.parser import Parser

from tilewright.compiler import opt
from tilewright.dialects.errors import TilewrightError


def run_lines(path: Path) -> list[str]:
    return [
        line.split("RUN:", 1)[1].strip()
        for line in path.read_text().splitlines()
        if line.lstrip().startswith("// RUN:")
    ]


def run_filecheck(path: Path) -> None:
    """Run every RUN line of `path`; AssertionError with the output when a check fails."""
    commands = run_lines(path)
    assert commands, f"{path} has no RUN line"
    for command in commands:
        left, _, right = command.partition("|")
        argv = shlex.split(left.replace("%s", shlex.quote(str(path))))
        assert argv[0] == "tilewright-opt", f"unknown tool {argv[0]}"
        out = io.StringIO()
        try:
            opt.run(argv[1:], io.StringIO(), out)
        except TilewrightError as error:
            out.write(f"error: {error}\n")
        text = out.getvalue()
        options = parse_argv_options(
            shlex.split(right.strip().replace("%s", shlex.quote(str(path))))
        )
        matcher = Matcher(options, FInput("<output>", text), Parser.from_opts(options))
        assert matcher.run() == 0, (
            f"FileCheck failed for {path}\n--- output of {' '.join(argv)}\n{text}"
        )

"""The Python interface: `tilewright.compile`, `tilewright.load`, `Executable`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..dialects.errors import ArtefactError, TilewrightError
from .artefact import PROGRAM, Artefact, load_artefact
from .driver import compile_model
from .executable import Executable
from .options import CompileOptions

__all__ = ["CompileOptions", "Executable", "TilewrightError", "compile", "load"]


def compile(model: Any, target: str = "cpu", **options: Any) -> Executable:
    """Compile an ONNX model (path, bytes or ModelProto) for `target`.

    `options` are the fields of `CompileOptions`: quantize="int8", calibration=..., shapes=...
    Raises a TilewrightError that names the ONNX node for anything that cannot be compiled.
    """
    result = compile_model(model, CompileOptions(target=target, **options))
    if result.artefact is None:
        raise ArtefactError(
            f"compilation stopped after phase {result.options.compile_to!r}: nothing to run"
        )
    return executable_of(result.artefact)


def load(path: str | Path) -> Executable:
    """Load a `.tw` artefact; ArtefactError if it is damaged or does not fit this version."""
    return executable_of(load_artefact(path))


def executable_of(artefact: Artefact) -> Executable:
    """What runs `artefact`: one module, or a program of several parts."""
    if artefact.manifest.get("kind") != PROGRAM:
        return Executable(artefact)
    from .program.executable import ProgramExecutable

    return ProgramExecutable(artefact)

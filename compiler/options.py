"""Options of one compilation: the same for Python and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dialects.errors import InputError, IRError
from ..passes.registry import find_pass
from .pipeline import ALL_PHASES

QUANTIZE = ("none", "int8")
METHODS = ("minmax", "percentile")
DUMPS = ("all", "changed")
"""What `dump` may be beside the name of a pass."""

Extent = int | tuple[int, int] | None
"""Fixed, bounded, or open."""


@dataclass(frozen=True)
class CompileOptions:
    """What to compile for, and how.

    target: name or TOML file; "cpu" for the CPU end alone.  quantize: "none" or "int8" (needs
    calibration data unless the model already holds QuantizeLinear nodes).  calibration: an .npz, a
    folder of them, a mapping of arrays, or "random" (ranges from seeded noise: for timing studies
    only).  shapes: extents by input name; one may be (least, greatest) or None, which leaves it
    open.  profiles: extents that a program with open dimensions is compiled for ahead.  buckets:
    extents by the name of an open dimension, to the next of which runs are padded.
    compile_from / compile_to: phases to start after and stop after.  keep_ir: store the IR of each
    phase in the artefact.  dump: "all", "changed" or the name of a pass, after which the IR is
    written to dump_dir.  strip: leave out what only `compare` needs.
    """

    target: str = "cpu"
    quantize: str = "none"
    calibration: str | Path | Mapping[str, Any] | None = None
    calibration_method: str = "minmax"
    percentile: float = 99.99
    shapes: Mapping[str, Sequence[Extent]] = field(default_factory=dict[str, Sequence[Extent]])
    profiles: Sequence[Mapping[str, Sequence[int]]] = ()
    buckets: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    compile_from: str = "import"
    compile_to: str = "cpu"
    constants: str | Path | None = None
    verify: str = "structural"
    dump: str | None = None
    dump_dir: str | Path | None = None
    keep_ir: bool = False
    strip: bool = False
    reproducer_dir: str | Path | None = None

    def __post_init__(self) -> None:
        """IRError for values that are not among the choices."""
        for what, value, choices in (
            ("quantize", self.quantize, QUANTIZE),
            ("calibration method", self.calibration_method, METHODS),
            ("phase", self.compile_from, ALL_PHASES),
            ("phase", self.compile_to, ALL_PHASES),
            ("verify", self.verify, ("none", "structural", "semantic")),
        ):
            if value not in choices:
                raise IRError(f"unknown {what} {value!r}", hint=f"choose from {', '.join(choices)}")
        if self.dump not in (None, *DUMPS):
            find_pass(self.dump)
        if not 50.0 < self.percentile <= 100.0:
            raise IRError(f"percentile {self.percentile} is outside (50, 100]")

    def fixed_shapes(self) -> dict[str, list[int]]:
        """Extents by input name; InputError where one is left open."""
        fixed: dict[str, list[int]] = {}
        for name, given in self.shapes.items():
            fixed[name] = [e for e in given if isinstance(e, int)]
            if len(fixed[name]) < len(given):
                raise InputError(
                    f"--shape {name}: all extents must be numbers here",
                    hint="open dimensions are for whole compilations of the model",
                )
        return fixed

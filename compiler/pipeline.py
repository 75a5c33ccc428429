"""The compilation pipeline as data: named phases, each a list of passes in pipeline text.

The same text drives the command line (`--compile-from`, `--compile-to`), the Python interface and
`tilewright-opt`.  Phases run in the order of `PHASES`; `quantize` runs only when quantising, `npu`
only when the target has an NPU.  Import and encoding are not passes and stand at the two ends:

    import -> graph -> quantize -> partition -> loop -> npu -> encode | cpu
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xdsl.utils.arg_spec import parse_pipeline as parse_specs
from xdsl.utils.exceptions import ArgSpecParseError

from ..dialects.errors import IRError
from ..passes.base import Pass
from ..passes.registry import find_pass

PHASES: dict[str, str] = {
    # Stored weights of an already quantised model stay as they are: quantize-integer reads them.
    "graph": (
        "canonicalize,constant-fold{fold-dequantize=false},canonicalize,fold-batch-norm,"
        "fuse-activations,canonicalize,cse,dce"
    ),
    "quantize": "quantize-insert,quantize-push,quantize-integer,canonicalize,cse,dce",
    "partition": (
        "assign-device,convert-layout,sink-transposes,canonicalize,constant-fold,cse,dce,fuse-regions"
    ),
    "loop": (
        "lower-to-loop,fit-npu,cluster-devices,bufferize,fold-copies,split-outputs,cascade,"
        "allocate-arena"
    ),
    "npu": (
        "find-sparsity,outline-npu,pack-pixels,distribute,promote-buffers,tile-npu,"
        "narrow-broadcasts,hoist-copies,pack-constants,unroll-tiles,double-buffer,share-loads,"
        "lower-to-npu,schedule-commands,prefetch-loads,allocate-scratchpad,preload-weights,"
        "insert-sync"
    ),
}

ALL_PHASES = ("import", *PHASES, "encode", "cpu")
"""Every phase a command line may name, in order."""


@dataclass(frozen=True)
class PhasePass:
    """A pass and the phase it runs in."""

    phase: str
    transform: Pass


def parse_pipeline(text: str) -> list[Pass]:
    """The passes of pipeline text such as `canonicalize,constant-fold{max-elements=100}`.

    Raises IRError for text that cannot be parsed, unknown passes and unknown or ill-typed options.
    """
    try:
        specs = list(parse_specs(text))
    except ArgSpecParseError as error:
        raise IRError(f"cannot parse pipeline {text!r}: {error}") from None
    passes: list[Pass] = []
    for spec in specs:
        found = find_pass(spec.name)
        try:
            passes.append(found.from_spec(spec))
        except (ValueError, TypeError) as error:
            raise IRError(f"pass {spec.name!r}: {error}") from None
    return passes


def phase_passes(phase: str, overrides: dict[str, dict[str, Any]] | None = None) -> list[PhasePass]:
    """The passes of `phase`; `overrides` gives option values by pass name."""
    out: list[PhasePass] = []
    for item in parse_pipeline(PHASES[phase]):
        options = (overrides or {}).get(item.name)
        out.append(PhasePass(phase, type(item)(**options) if options else item))
    return out

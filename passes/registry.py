"""All passes by pipeline name, imported only when used."""

from __future__ import annotations

from importlib import import_module

from ..dialects.errors import IRError
from .base import Pass

_MODULES: dict[str, tuple[str, ...]] = {
    "graph": (
        "canonicalize",
        "constant-fold",
        "cse",
        "dce",
        "fold-batch-norm",
        "fuse-activations",
        "convert-layout",
        "sink-transposes",
        "fuse-regions",
        "quantize-insert",
        "quantize-push",
        "quantize-integer",
        "assign-device",
    ),
    "loop": (
        "lower-to-loop",
        "fit-npu",
        "cluster-devices",
        "bufferize",
        "fold-copies",
        "split-outputs",
        "cascade",
        "allocate-arena",
        "find-sparsity",
        "outline-npu",
        "tile-npu",
        "hoist-copies",
        "double-buffer",
        "promote-buffers",
        "unroll-tiles",
        "pack-constants",
        "pack-pixels",
        "distribute",
        "share-loads",
        "narrow-broadcasts",
    ),
    "npu": (
        "lower-to-npu",
        "schedule-commands",
        "prefetch-loads",
        "allocate-scratchpad",
        "preload-weights",
        "insert-sync",
    ),
}
"""Pass names by level; the module of pass `a-b` of level `graph` is `passes/graph/a_b.py`."""

PASS_NAMES: tuple[str, ...] = tuple(name for names in _MODULES.values() for name in names)


def find_pass(name: str) -> type[Pass]:
    """The class of pass `name`; IRError if there is none."""
    for level, names in _MODULES.items():
        if name in names:
            module = import_module(f".{level}.{name.replace('-', '_')}", __package__)
            return module.PASS
    import difflib

    close = difflib.get_close_matches(name, PASS_NAMES) or [p for p in PASS_NAMES if name in p]
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else None
    raise IRError(f"unknown pass {name!r}", hint=hint or f"passes are {', '.join(PASS_NAMES)}")

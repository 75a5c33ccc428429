"""What one compilation has produced, and the artefact made of it: manifest, programs, constants."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.dialects.func import FuncOp

from ..backends.targets.machine import Machine
from ..dialects.graph import ConstantOp, ConstantRefAttr
from ..dialects.locations import onnx_nodes
from ..dialects.loop import NestOp
from ..dialects.types import numpy_dtype, shaped, strings
from ..passes.base import CompilerContext, main_function
from ..passes.loop.packing import pack_constants
from ..passes.loop.segments import Segment, segments
from ..passes.loop.tiling.bounds import HALO, contraction, own_sizes, statistics
from ..passes.loop.tiling.shape import layer_shape
from .artefact import Artefact
from .instruments import Instruments
from .ir_text import print_module
from .options import CompileOptions
from .staged import argument_offsets
from .tensors import TensorInfo


@dataclass
class Compilation:
    """Everything one compilation produced.

    `phase_ops` and `phase_seconds` have an entry per phase run; `texts` the IR after the phases
    that were asked for; `assembly` the disassembly of each NPU program.
    """

    ctx: CompilerContext
    module: ModuleOp
    options: CompileOptions
    instruments: Instruments
    phase_ops: dict[str, int] = field(default_factory=dict[str, int])
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    texts: dict[str, str] = field(default_factory=dict[str, str])
    llvm: str | None = None
    programs: dict[str, Any] = field(default_factory=dict[str, Any])
    artefact: Artefact | None = None


def assemble(
    run: Compilation, debug: ModuleOp | None, name: str, digest: str, stored: frozenset[str]
) -> Artefact:
    """The artefact of a compilation that ran to the end; `debug` is its graph for `compare`.

    `stored` are keys of constants that need not be in it.
    """
    ctx, func = run.ctx, main_function(run.module)
    inputs, outputs = _arena_infos(func)
    files: dict[str, bytes] = {
        "constants.bin": pack_constants(run.module, ctx.constants),
        "cpu/kernels.ll": (run.llvm or "").encode(),
    }
    steps: list[dict[str, Any]] = []
    for segment in segments(func):
        key = f"npu_segment_{segment.index}"
        if segment.kind == "npu" and key in run.programs and ctx.machine is not None:
            encoded = run.programs[key]
            files[f"npu/segment_{segment.index}.twb"] = encoded.code
            steps.append(
                {
                    "kind": "npu",
                    "program": f"npu/segment_{segment.index}.twb",
                    "layers": [list(n) for n in encoded.layers],
                    "work": _layer_work(segment, encoded.layers, ctx.machine),
                }
            )
        else:
            steps.append({"kind": "cpu", "entry": f"tw_segment_{segment.index}"})
    if debug is not None:
        files |= _debug_files(debug, ctx, stored)
    for phase, text in run.texts.items():
        if run.options.keep_ir:
            files[f"ir/{phase}.mlir"] = text.encode()
    manifest: dict[str, Any] = {
        "model": {"name": name, "sha256": digest},
        "target": _target_entry(run),
        "quantize": run.options.quantize,
        "inputs": [vars(i) | {"shape": list(i.shape)} for i in inputs],
        "outputs": [vars(i) | {"shape": list(i.shape)} for i in outputs],
        "arena_bytes": _integer(func, "arena_bytes"),
        "arena_lower_bound": _integer(func, "arena_lower_bound"),
        "steps": steps,
        "placement": dict(sorted(ctx.placement.items())),
        "tilings": list(ctx.tilings),
        "notes": list(ctx.notes),
        "ops": dict(run.phase_ops),
    }
    return Artefact(manifest, files)


def _layer_work(
    segment: Segment, layers: Sequence[tuple[str, ...]], machine: Machine
) -> list[dict[str, Any]]:
    """What each layer of an NPU segment has to compute: the fields of `LayerWork`."""
    contractions = {names: list[list[int]]() for names in layers}
    elements = dict.fromkeys(layers, 0)
    shapes = {names: list[dict[str, Any]]() for names in layers}
    for op in segment.ops:
        if not isinstance(op, NestOp) or (names := onnx_nodes(op)) not in elements:
            continue
        if not all(own_sizes(op)):  # a stripe that computes again all of what others have computed
            continue
        if (shape := contraction(op, machine)) is not None:
            contractions[names].append(list(shape))
        elements[names] += statistics(op, machine).vector_elements
        extents = layer_shape(op, machine)
        if HALO in op.attributes and (whole := _same_rows(shapes[names], extents)) is not None:
            whole["m"] += extents["m"]  # another stripe
        else:
            shapes[names].append(extents)
    return [
        {
            "contractions": contractions[names],
            "vector_elements": elements[names],
            "shapes": shapes[names],
        }
        for names in layers
    ]


def _same_rows(shapes: Sequence[dict[str, Any]], shape: dict[str, Any]) -> dict[str, Any] | None:
    """The shape that `shape` is equal to but for the number of rows."""
    return next((s for s in shapes if {**s, "m": shape["m"]} == shape), None)


def _target_entry(run: Compilation) -> dict[str, Any]:
    machine = run.ctx.machine
    return (
        {"name": "cpu"} if machine is None else {"name": machine.name, "machine": asdict(machine)}
    )


def _integer(func: FuncOp, name: str) -> int:
    attr = func.attributes.get(name)
    return attr.value.data if isinstance(attr, IntegerAttr) else 0


def _arena_infos(func: FuncOp) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Inputs and outputs of an allocated `@main` with their arena offsets."""
    offsets = argument_offsets(func)
    names = [*strings(func.attributes.get("input_names"))]
    names += strings(func.attributes.get("output_names"))
    infos = [
        TensorInfo(
            names[i] if i < len(names) else f"arg_{i}",
            type.get_shape(),
            numpy_dtype(type.element_type).name,
            offsets[i],
        )
        for i, type in enumerate(map(shaped, func.function_type.inputs))
    ]
    count = _integer(func, "num_inputs")
    return infos[:count], infos[count:]


def _debug_files(debug: ModuleOp, ctx: CompilerContext, stored: frozenset[str]) -> dict[str, bytes]:
    """The graph that `compare` evaluates; the constants it refers to, but for those `stored`."""
    keys = sorted(
        {
            op.value.key.data
            for op in debug.walk()
            if isinstance(op, ConstantOp) and isinstance(op.value, ConstantRefAttr)
        }
        - stored
    )
    buffer = io.BytesIO()
    np.savez(buffer, **{key: ctx.constants[key] for key in keys})  # pyright: ignore[reportArgumentType]
    return {
        "debug/graph.mlir": print_module(debug, locations=True).encode(),
        "debug/constants.npz": buffer.getvalue(),
    }

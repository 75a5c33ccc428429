"""`import_model` and `check_model`: a whole ONNX model to a module with `@main`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import onnx
from xdsl.dialects.builtin import ArrayAttr, FunctionType, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue

from ...dialects.errors import (
    EmptyTensorError,
    ModelError,
    TilewrightError,
    Unsupported,
    UnsupportedError,
)
from ...dialects.graph import MapOp
from ...dialects.locations import location
from ...dialects.types import shape_of, string
from ...passes.base import CompilerContext
from .functions import Functions
from .graph import Importer
from .inputs import declared_dimensions, input_types
from .load import load, opsets
from .node import Constant
from .scope import Scope, Unknown, arguments
from .tensors import UnsupportedType

Source = str | Path | bytes | onnx.ModelProto
Shapes = Mapping[str, Sequence[int]]


def import_model(source: Source, ctx: CompilerContext, shapes: Shapes | None = None) -> ModuleOp:
    """The graph-level module of a model.

    `shapes` gives the shapes of inputs by name where the model leaves them open.  Raises
    ModelError for a model that is wrong, and UnsupportedError, which lists all nodes that cannot
    be compiled.
    """
    module, rows = _import(source, ctx, shapes or {})
    if rows or module is None:
        raise UnsupportedError(rows)
    return module


def check_model(
    source: Source, ctx: CompilerContext, shapes: Shapes | None = None
) -> list[Unsupported]:
    """All nodes that cannot be compiled, in order; ModelError if the model is wrong."""
    return _import(source, ctx, shapes or {})[1]


def open_dimensions(source: Source) -> dict[str, list[int | None] | None]:
    """Declared extents of the model's tensor inputs by name: None for what it leaves open."""
    graph = load(source).model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name not in weights and i.type.HasField("tensor_type")]
    declared = declared_dimensions(inputs)
    return {i.name: declared.get(i.name) for i in inputs}


def _import(
    source: Source, ctx: CompilerContext, shapes: Shapes
) -> tuple[ModuleOp | None, list[Unsupported]]:
    before = len(ctx.notes)
    try:
        with np.errstate(all="ignore"):
            return _whole(source, ctx, shapes)
    except ModelError as error:
        opened = [note for note in ctx.notes[before:] if note.startswith("input ")]
        if error.hint or not opened:
            raise
        raise type(error)(
            error.message, node=error.node, op=error.op, hint="; ".join(opened)
        ) from error


def _whole(
    source: Source, ctx: CompilerContext, shapes: Shapes
) -> tuple[ModuleOp | None, list[Unsupported]]:
    loaded = load(source)
    model = loaded.model
    if not model.HasField("graph"):
        raise ModelError("the model has no graph")
    versions = opsets(model)
    graph = model.graph
    outputs = [o.name for o in graph.output]
    if not outputs:
        raise ModelError("the model has no outputs")
    if len(set(outputs)) != len(outputs):
        raise ModelError(f"the outputs {outputs} have repeated names")
    importer = Importer(ctx, loaded.folder, Functions(model))
    scope = Scope(versions)
    dense = zip_longest(graph.initializer, loaded.weights)
    sparse = ((s.values, None) for s in graph.sparse_initializer)
    for tensor, raw in (*dense, *sparse):
        if tensor.name in scope.values:
            raise ModelError(f"initializer {tensor.name!r} is defined twice")
        scope.values[tensor.name] = _initializer(importer, tensor, raw)
    if graph.sparse_initializer:
        importer.rows.append(
            Unsupported(
                "",
                "sparse_initializer",
                versions[""],
                "the compiler has no sparse tensors",
                "store the weights densely",
            )
        )
    types = input_types([i for i in graph.input if i.name not in scope.values], shapes, importer)
    block = arguments(list(types.values()), list(types))
    scope.values.update(zip(types, block.args, strict=True))
    importer.run(graph.node, outputs, scope)
    results = results_of(importer, scope, outputs)
    if importer.rows:
        return None, importer.rows
    return build_module(importer, block, list(types), outputs, results), []


def _initializer(
    importer: Importer, tensor: onnx.TensorProto, raw: memoryview | None
) -> Constant | Unknown:
    try:
        return Constant(importer.array(tensor, raw), tensor.name)
    except UnsupportedType as refusal:
        importer.rows.append(Unsupported(tensor.name, "initializer", 1, str(refusal)))
        return Unknown()
    except TilewrightError as error:
        raise ModelError(
            error.message, node=tensor.name, op="initializer", hint=error.hint
        ) from None


def results_of(importer: Importer, scope: Scope, outputs: Sequence[str]) -> list[SSAValue]:
    """The returned values: distinct, no arguments, so that each has memory of its own."""
    results: list[SSAValue] = []
    seen: set[SSAValue] = set()
    for name in outputs:
        found = scope.find(name)
        if found is None:
            raise ModelError(f"output {name!r} is not defined by any node")
        if isinstance(found, Unknown):
            continue
        value = importer.materialise(found, name) if isinstance(found, Constant) else found
        if 0 in shape_of(value):
            raise EmptyTensorError(
                f"output {name!r} of shape {list(shape_of(value))} has no elements"
            )
        if value in seen or isinstance(value, BlockArgument) or isinstance(found, Constant):
            value = importer.emit(MapOp("identity", [value]), name)
            value.owner.attributes["tensor"] = string(name)  # pyright: ignore
        seen.add(value)
        results.append(value)
    return results


def build_module(
    importer: Importer,
    block: Block,
    inputs: Sequence[str],
    outputs: Sequence[str],
    results: Sequence[SSAValue],
) -> ModuleOp:
    """The module around what has been imported, without what nobody uses."""
    ops: list[Operation] = []
    used = set(results)
    for op in reversed(importer.constants + importer.ops):
        if used.isdisjoint(op.results):
            op.erase()
        else:
            used.update(op.operands)
            ops.append(op)
    end = ReturnOp(*results)
    end.location = location([])
    block.add_ops([*reversed(ops), end])
    function = FuncOp(
        "main",
        FunctionType.from_lists([a.type for a in block.args], [r.type for r in results]),
        Region(block),
    )
    function.attributes["input_names"] = ArrayAttr([string(n) for n in inputs])
    function.attributes["output_names"] = ArrayAttr([string(n) for n in outputs])
    return ModuleOp([function])

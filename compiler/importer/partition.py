"""Importing a part of a model: nodes, with the types of what they read.

A model that does not compile as a whole is split (`compiler/program/`).  A `Trial` of a part says
which of its nodes stand in the way, and why: refused by their rule, in need of the contents of an
input that only run time knows, or wrong for these shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto
from xdsl.dialects.builtin import ModuleOp

from ...dialects.constants import Array
from ...dialects.errors import ModelError, Unsupported
from ...dialects.types import element_type, tensor
from ...passes.base import CompilerContext
from .functions import Functions
from .graph import Importer
from .model import build_module, results_of
from .node import Constant
from .scope import Scope, arguments

TensorType = tuple[np.dtype[Any], tuple[int, ...]]
"""Element type and shape."""


@dataclass(frozen=True)
class Partition:
    """Nodes in order; the types of their inputs, the tensors that are known, what is wanted."""

    nodes: Sequence[NodeProto]
    inputs: Mapping[str, TensorType]
    constants: Mapping[str, Array]
    outputs: Sequence[str]
    opsets: Mapping[str, int]
    functions: Functions
    folder: Path | None = None


@dataclass
class Trial:
    """What became of a partition; positions are those in `Partition.nodes`.

    `module` is None unless all of it could be imported.  `refused`: nodes that cannot be compiled,
    `rows` says why.  `needs`: nodes that ask for the contents of these inputs.  `error`: what is
    wrong, at node `wrong` (-1: not at one node).
    """

    module: ModuleOp | None = None
    refused: set[int] = field(default_factory=set[int])
    needs: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    rows: list[Unsupported] = field(default_factory=list[Unsupported])
    error: ModelError | None = None
    wrong: int = -1


def import_partition(partition: Partition, ctx: CompilerContext) -> Trial:
    """Try to import `partition`.  Element types must be those of the graph dialect."""
    importer = Importer(ctx, partition.folder, partition.functions)
    scope = Scope(partition.opsets)
    names = list(partition.inputs)
    types = [tensor(shape, element_type(dtype)) for dtype, shape in partition.inputs.values()]
    block = arguments(types, names)
    scope.values.update(zip(names, block.args, strict=True))
    scope.values.update((n, Constant(a, n)) for n, a in partition.constants.items())
    trial = Trial(rows=importer.rows)
    try:
        with np.errstate(all="ignore"):
            importer.run(partition.nodes, partition.outputs, scope)
            importer.top = -1
            results = results_of(importer, scope, partition.outputs)
    except ModelError as error:
        trial.error, trial.wrong = error, importer.top
        return trial
    trial.refused = importer.refused
    trial.needs = {top: {names[i] for i in found} for top, found in importer.needs.items()}
    if not importer.rows:
        trial.module = build_module(importer, block, names, partition.outputs, results)
    return trial

"""Common subexpression elimination: of operations that compute the same, the first remains.

One walk, one table from what an operation computes (class, operands, properties, result types,
device) to the operation that does; operands are renamed as they are met, so a thousand equal
operands of one operation cost one rewrite of it.  The survivor carries all their ONNX nodes.
Constants are equal when their keys are, so equal weights meet here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.traits import Pure

from ...dialects.graph import ConstantOp
from ...dialects.locations import location, onnx_nodes
from ..base import CompilerContext, Pass, main_function


def identity(op: Operation) -> Hashable:
    """Equal for operations that compute the same."""
    return (
        type(op),
        tuple(op.operands),
        tuple(sorted(op.properties.items())),
        tuple(r.type for r in op.results),
        op.attributes.get("device"),
    )


@dataclass(frozen=True)
class CsePass(Pass):
    """Merge operations that compute the same value."""

    name = "cse"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """One walk over `@main`."""
        first: dict[Hashable, Operation] = {}
        renamed: dict[SSAValue, SSAValue] = {}
        merged: dict[Operation, list[Operation]] = {}
        for op in main_function(module).body.block.ops:
            if any(o in renamed for o in op.operands):
                op.operands = [renamed.get(o, o) for o in op.operands]
            if op.regions or not op.has_trait(Pure):
                continue
            survivor = first.setdefault(identity(op), op)
            if survivor is not op:
                merged.setdefault(survivor, []).append(op)
                renamed.update(zip(op.results, survivor.results, strict=True))
        for survivor, duplicates in merged.items():
            if not isinstance(survivor, ConstantOp):
                names = (n for op in (survivor, *duplicates) for n in onnx_nodes(op))
                survivor.location = location(names)
            for op in duplicates:
                if (name := op.attributes.get("tensor")) is not None:
                    survivor.attributes.setdefault("tensor", name)
                op.detach()
                op.erase()


PASS = CsePass

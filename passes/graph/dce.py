"""Dead code elimination: operations whose results nobody uses are erased, in one reverse walk."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.traits import Pure

from ..base import CompilerContext, Pass, main_function


@dataclass(frozen=True)
class DcePass(Pass):
    """Erase operations whose results are unused."""

    name = "dce"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Uses follow definitions in the block, so one walk from the end finds everything."""
        for op in reversed(list(main_function(module).body.block.ops)):
            unused = all(r.first_use is None for r in op.results)
            if op.results and unused and op.has_trait(Pure):
                op.detach()
                op.erase()


PASS = DcePass

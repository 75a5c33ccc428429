"""Bring the graph to a canonical form: algebraic identities, composed data movement, folded pads.

    %a = graph.map "relu" %x                       %b = graph.map "clip" %x {max = 6.0, min = 0.0}
    %b = graph.map "clip" %a {max = 6.0}     ->
    %c = graph.reshape %b  (same shape)            (%c is %b)

The rules are in `rules/`: `elementwise`, `movement`, `slicing`, `padding`.  Each is exact, or says how far it
is not.  Constants go to the right of commutative functions, which later patterns rely on.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from ..base import CompilerContext, Pass, main_function
from .rules import elementwise, movement, padding, slicing
from .rules.driver import apply_rules, merge

RULES = merge(elementwise.RULES, movement.RULES, slicing.RULES, padding.RULES)
"""Everything this pass does."""


@dataclass(frozen=True)
class CanonicalizePass(Pass):
    """Apply algebraic identities, compose and cancel data movement, erase what is unused."""

    name = "canonicalize"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite `@main` to a fixed point."""
        apply_rules(main_function(module).body.block, RULES, ctx.constants)


PASS = CanonicalizePass

"""Control flow that is decided at import."""

from __future__ import annotations

import math
from typing import Any

from xdsl.ir import SSAValue

from ....dialects.errors import EmptyTensorError, ModelError
from ..node import Constant, NeedsValue, Node, rule
from ..scope import UNKNOWN, Scope, Unknown


@rule("If")
def if_(node: Node) -> list[Any]:
    """The branch that is taken, if that is known; else both, and a selection.

    Operations have no side effects, so computing both branches is sound; their results must have
    the same types.  Where one contradicts the shapes of this import (exporters write one for each
    rate or rank), the condition must be known: a program is specialised to what decides it, or
    leaves the node to the host.
    """
    condition = node.array(0)
    if math.prod(node.shape(0)) != 1:
        raise node.error(f"the condition must be one boolean, not of shape {list(node.shape(0))}")
    if condition is not None:
        return _branch(node, "then_branch" if condition.reshape(-1)[0] else "else_branch")
    found = [_possible(node, which) for which in ("then_branch", "else_branch")]
    possible = [results for results in found if not isinstance(results, ModelError)]
    if len(possible) < 2:
        which, error = next(
            (w, e)
            for w, e in zip(("then", "else"), found, strict=True)
            if isinstance(e, ModelError)
        )
        if not possible:
            raise error
        raise NeedsValue(
            f"its {which} branch cannot be compiled, so which is taken must be known: "
            f"{error.render()}",
            "replace the input that decides by a constant",
            node.x(0),
        )
    taken, other = possible
    if any(isinstance(v, Unknown) for v in (*taken, *other)):
        return [UNKNOWN] * len(taken)
    condition = node.reshape(node.x(0), ())
    out: list[SSAValue] = []
    for a, b in zip(taken, other, strict=True):
        a, b = node.operand(a), node.operand(b)
        if a.type != b.type:
            raise node.unsupported(
                f"which branch is taken depends on the data, and they yield {a.type} and {b.type}",
                "split the model, or replace the input that decides by a constant",
            )
        out.append(node.map("select", condition, a, b))
    return out


def _possible(node: Node, which: str) -> list[Any] | ModelError:
    """The results of a branch, or why it cannot run."""
    importer = node.importer
    ops, rows, notes = len(importer.ops), len(importer.rows), len(importer.ctx.notes)
    try:
        return _branch(node, which)
    except EmptyTensorError:
        raise
    except ModelError as error:
        for op in reversed(importer.ops[ops:]):
            op.erase()
        del importer.ops[ops:], importer.rows[rows:], importer.ctx.notes[notes:]
        return error


def _branch(node: Node, which: str) -> list[Any]:
    """Import one branch in place of the node."""
    branch, outer = node.subgraph(which), node.scope
    inner = Scope(
        outer.opsets,
        outer=outer,
        prefix=f"{node.name}/",
        label=outer.label,
        references=outer.references,
        depth=outer.depth + 1,
    )
    for tensor in branch.initializer:
        inner.values[tensor.name] = Constant(node.importer.array(tensor), tensor.name)
    outputs = [output.name for output in branch.output]
    if len(outputs) != len(node.outputs):
        raise node.error(
            f"attribute {which!r} yields {len(outputs)} values, not {len(node.outputs)}"
        )
    node.importer.run(branch.node, outputs, inner)
    return [node.importer.result(inner, name, node) for name in outputs]

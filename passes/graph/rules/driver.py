"""Apply tables of local rewrite rules to a fixed point, in linear time.

A rule looks at one operation and proves, then proposes, a replacement; it never changes the IR:

    def double_negation(op: MapOp, ctx: Rewriter) -> Replacement:
        inner = producer(op.args[0], "neg") if op.fn.data == "neg" else None
        return inner.args[0] if inner else None

Rules are dispatched on the operation's class.  A replacement puts the new operations and the users
of the replaced value back on the worklist, so only what can have changed is looked at again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.traits import Pure

from ....dialects.constants import Array, ConstantStore
from ....dialects.graph import ConstantOp, MapOp, constant_array
from ....dialects.locations import location, onnx_nodes
from ...rewriting import replace

Replacement = SSAValue | Sequence[Operation] | None
"""An existing value, new operations (the last one's results replace the old), or no change."""

Rule = Callable[[Any, "Rewriter"], Replacement]
Rules = Mapping[type[Operation], Sequence[Rule]]

VISITS_PER_OP = 64
"""A bound on the work, should two rules ever undo each other."""


@dataclass(frozen=True)
class Rewriter:
    """What rules may ask for: constants in, constants out."""

    constants: ConstantStore

    def array(self, value: SSAValue) -> Array | None:
        """Contents of a constant value, else None."""
        return constant_array(value, self.constants)

    def constant(self, array: Array, encoding: Attribute | None = None) -> ConstantOp:
        """A new constant operation."""
        return ConstantOp.from_array(np.asarray(array), self.constants, encoding=encoding)

    def uniform(self, value: SSAValue) -> float | int | bool | None:
        """The one number a constant consists of, else None."""
        array = self.array(value)
        if array is None or array.size == 0:
            return None
        first = array.reshape(-1)[0]
        if array.size > 1 and not (array == first).all():
            return None
        return float(first) if array.dtype.kind in "fV" else first.item()


def producer(value: SSAValue, *fns: str) -> MapOp | None:
    """The `graph.map` of one of `fns` that defines `value`, else None."""
    owner = value.owner
    return owner if isinstance(owner, MapOp) and owner.fn.data in fns else None


def merge(*tables: Rules) -> dict[type[Operation], tuple[Rule, ...]]:
    """One table of all rules, in order."""
    out: dict[type[Operation], tuple[Rule, ...]] = {}
    for table in tables:
        for cls, rules in table.items():
            out[cls] = (*out.get(cls, ()), *rules)
    return out


class _Worklist:
    def __init__(self, ops: Iterable[Operation]):
        self._queue = deque(ops)
        self._waiting = set(self._queue)

    def __bool__(self) -> bool:
        return bool(self._queue)

    def push(self, op: Operation) -> None:
        if op not in self._waiting:
            self._waiting.add(op)
            self._queue.append(op)

    def pop(self) -> Operation:
        op = self._queue.popleft()
        self._waiting.discard(op)
        return op


def apply_rules(block: Block, rules: Rules, constants: ConstantStore) -> int:
    """Rewrite `block` until no rule applies; returns the number of rewrites."""
    ctx = Rewriter(constants)
    ops = list(block.ops)
    work, budget, rewrites = _Worklist(ops), VISITS_PER_OP * len(ops) + 1000, 0
    while work and budget:
        op = work.pop()
        if op.parent is not block:
            continue
        budget -= 1
        if op.results and all(r.first_use is None for r in op.results) and op.has_trait(Pure):
            _erase(op, work)
            continue
        for rule in rules.get(type(op), ()):
            found = rule(op, ctx)
            if found is not None:
                _commit(op, found, work)
                rewrites += 1
                break
    return rewrites


def _commit(op: Operation, found: SSAValue | Sequence[Operation], work: _Worklist) -> None:
    operands = list(op.operands)
    users = [use.operation for result in op.results for use in result.uses]
    if isinstance(found, SSAValue):
        replace(op, [], [found])
    else:
        replace(op, found)
        for added in found:
            work.push(added)
    for user in users:
        work.push(user)
    dead = _erase_dead(operands, work)
    if dead and not isinstance(found, SSAValue):
        last = found[-1]
        last.location = location([*dead, *onnx_nodes(last)])


def _erase_dead(operands: Sequence[SSAValue], work: _Worklist) -> list[str]:
    """Erase what only the replaced operation used; the ONNX nodes of that, in program order."""
    names: list[str] = []
    todo = list(operands)
    while todo:
        value = todo.pop()
        owner = value.owner
        if not isinstance(owner, Operation) or owner.parent is None:
            continue
        if owner.has_trait(Pure) and all(r.first_use is None for r in owner.results):
            if not isinstance(owner, ConstantOp):
                names = [*onnx_nodes(owner), *names]
            todo += owner.operands
            owner.detach()
            owner.erase()
        else:
            _revisit([value], work)
    return names


def _erase(op: Operation, work: _Worklist) -> None:
    operands = list(op.operands)
    op.detach()
    op.erase()
    _revisit(operands, work)


def _revisit(operands: Sequence[SSAValue], work: _Worklist) -> None:
    """Queue what defines `operands`, now perhaps dead, and who now has one of them to itself."""
    for operand in operands:
        if isinstance(operand.owner, Operation):
            work.push(operand.owner)
            if (use := operand.get_unique_use()) is not None:
                work.push(use.operation)

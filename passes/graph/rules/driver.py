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
from typing import Any, TypeAlias

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

Names: TypeAlias = "str | tuple[Names, ...]"
"""ONNX node names, nested as operations absorbed one another."""

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
    """Operations to look at, each waiting at most once, and the ONNX nodes that others absorb.

    `absorbed` holds for an operation the nodes of what was erased in its favour, as nested tuples:
    flattened once at the end, so that a chain of thousands fused into one stays linear.
    """

    def __init__(self, ops: Iterable[Operation]):
        self._queue = deque(ops)
        self._waiting = set(self._queue)
        self.absorbed: dict[Operation, Names] = {}

    def __bool__(self) -> bool:
        return bool(self._queue)

    def push(self, op: Operation) -> None:
        """Add `op` unless it waits already."""
        if op not in self._waiting:
            self._waiting.add(op)
            self._queue.append(op)

    def pop(self) -> Operation:
        """The operation that waits longest."""
        op = self._queue.popleft()
        self._waiting.discard(op)
        return op

    def revisit(self, operands: Sequence[SSAValue]) -> None:
        """Queue what defines `operands`, now perhaps dead, and who now has one to itself."""
        for operand in operands:
            if isinstance(operand.owner, Operation):
                self.push(operand.owner)
                if (use := operand.get_unique_use()) is not None:
                    self.push(use.operation)

    def name_survivors(self) -> None:
        """Give operations the nodes they have absorbed."""
        for op, names in self.absorbed.items():
            if op.parent is not None:
                op.location = location([*_flat(names), *onnx_nodes(op)])


def _flat(names: Names) -> list[str]:
    out: list[str] = []
    todo: list[Names] = [names]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
        else:
            todo += item
    return out[::-1]


def _is_dead(op: Operation) -> bool:
    return bool(op.results) and all(r.first_use is None for r in op.results) and op.has_trait(Pure)


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
        if _is_dead(op):
            _erase(op, work)
            continue
        for rule in rules.get(type(op), ()):
            found = rule(op, ctx)
            if found is not None:
                _commit(op, found, work)
                rewrites += 1
                break
    work.name_survivors()
    return rewrites


def _commit(op: Operation, found: SSAValue | Sequence[Operation], work: _Worklist) -> None:
    operands = list(op.operands)
    users = [use.operation for result in op.results for use in result.uses]
    own = work.absorbed.pop(op, ())
    if isinstance(found, SSAValue):
        replace(op, [], [found])
        _erase_dead(operands, work)
    else:
        replace(op, found)
        for added in found:
            work.push(added)
        if names := (*_erase_dead(operands, work), *own):
            work.absorbed[found[-1]] = names
    for user in users:
        work.push(user)


def _erase_dead(operands: Sequence[SSAValue], work: _Worklist) -> tuple[Names, ...]:
    """Erase what only the replaced operation used; the ONNX nodes of that, in program order."""
    names: list[Names] = []
    todo = list(operands)
    while todo:
        value = todo.pop()
        owner = value.owner
        if not isinstance(owner, Operation) or owner.parent is None:
            continue
        if not _is_dead(owner):
            work.revisit([value])
            continue
        if not isinstance(owner, ConstantOp):
            names += onnx_nodes(owner)[::-1]
            if (absorbed := work.absorbed.pop(owner, None)) is not None:
                names.append(absorbed)
        todo += owner.operands
        owner.detach()
        owner.erase()
    return tuple(names[::-1])


def _erase(op: Operation, work: _Worklist) -> None:
    operands = list(op.operands)
    op.detach()
    op.erase()
    work.revisit(operands)

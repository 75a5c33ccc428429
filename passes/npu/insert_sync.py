"""insert-sync: order the commands of different queues by tokens.

Runs after allocate-scratchpad: reuse of addresses between layers is a hazard like any other.
`hazards.py` says which (child, queue) must finish before which; here that becomes tokens:

    npu.loop 9 {                                  %c = npu.token 2
      %b = npu.alloc {slots = 2} ...              npu.loop 9 iter(%f = %c) {
      npu.load(%x at .., %b at ..)          ->      %b = npu.alloc {slots = 2} ...
      npu.matmul(%b at .., ..)                      %l = npu.load(..) wait(%f)
      npu.yield                                     %m = npu.matmul(..) wait(%l)
    }                                               npu.yield %m }

A loop takes part in its block's order through `npu.sync` before it (waits) and behind it (signals).
A carried edge becomes a token that starts with as many credits as the buffer has slots, handed down
through all enclosing loops, or only the innermost for what lives outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...dialects.errors import IRError
from ...dialects.locations import describe, inherit
from ...dialects.npu.commands import Command, SyncOp
from ...dialects.npu.isa import Queue
from ...dialects.npu.structure import TOKEN, LoopOp, ProgramOp, TokenOp, YieldOp
from ..base import CompilerContext, Pass
from .hazards import BlockPlan, plan_program
from .order import Edge


@dataclass(frozen=True)
class InsertSyncPass(Pass):
    """Insert the tokens that order commands of different queues (after allocate-scratchpad)."""

    name = "insert-sync"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """IRError if a program has tokens already."""
        for program in module.ops:
            if isinstance(program, ProgramOp):
                synchronize(program)


PASS = InsertSyncPass


def synchronize(program: ProgramOp) -> None:
    """Add tokens to one program; IRError if it has any."""
    for op in program.walk():
        if isinstance(op, TokenOp | SyncOp) or (isinstance(op, Command) and op.waits):
            raise IRError(f"{describe(op)}: insert-sync needs a program without tokens")
    _Writer().block(plan_program(program), [])


@dataclass(eq=False)
class _Carried:
    """A token a loop is to carry: initial value, the same token one loop out, what is yielded."""

    init: SSAValue
    outer: _Carried | None
    result: SSAValue | None = None


class _Writer:
    """Turns plans into operations, outer blocks first; loops are rebuilt on the way out."""

    def __init__(self) -> None:
        self.carried: dict[LoopOp, list[_Carried]] = {}

    def block(self, plan: BlockPlan, loops: list[LoopOp]) -> None:
        """Write the tokens of a block inside `loops` and of the loops in it."""
        waits: dict[tuple[int, Queue], list[SSAValue]] = {}
        after: dict[tuple[int, Queue, bool], SSAValue] = {}

        def token_of(child: int, queue: Queue, cross: bool) -> SSAValue:
            op = plan.children[child]
            if isinstance(op, Command) and not cross:
                return op.token
            if (child, queue, cross) not in after:
                sync = inherit(SyncOp(queue, all_cores=cross), op)
                assert isinstance(sync, SyncOp) and op.parent is not None
                op.parent.insert_op_after(sync, op)
                after[child, queue, cross] = sync.token
            return after[child, queue, cross]

        for edge in plan.edges:
            source = token_of(edge.source, edge.producer, edge.cross)
            if edge.distance:
                source = self.carry(edge, source, loops)
            waits.setdefault((edge.target, edge.consumer), []).append(source)
        for (child, queue), values in waits.items():
            op = plan.children[child]
            if isinstance(op, Command):
                op.wait_for(values)
            else:
                sync = inherit(SyncOp(queue, values), op)
                assert op.parent is not None
                op.parent.insert_op_before(sync, op)
        for index, inner in plan.loops.items():
            op = plan.children[index]
            assert isinstance(op, LoopOp)
            self.block(inner, [*loops, op])
            if op in self.carried:
                _rebuild(op, self.carried.pop(op))

    def carry(self, edge: Edge, token: SSAValue, loops: list[LoopOp]) -> SSAValue:
        """Carry `token` round the loops; returns what the consumer waits for."""
        chain = loops if edge.through else loops[-1:]
        start = TokenOp(edge.distance)
        start.result.name_hint = "credits"
        assert chain[0].parent is not None
        chain[0].parent.insert_op_before(start, chain[0])
        value: SSAValue = start.result
        entry: _Carried | None = None
        for loop in chain:
            entry = _Carried(value, entry)
            self.carried.setdefault(loop, []).append(entry)
            block = loop.body.block
            value = block.insert_arg(TOKEN, len(block.args))
            value.name_hint = "free"
        assert entry is not None
        entry.result = token
        return value


def _rebuild(old: LoopOp, carried: list[_Carried]) -> None:
    """Replace `old`, whose body has the arguments already, by a loop that carries the tokens."""
    last = old.body.block.last_op
    assert isinstance(last, YieldOp) and old.parent is not None
    results = [c.result for c in carried]
    old.body.block.insert_op_before(YieldOp([r for r in results if r is not None]), last)
    last.detach()
    last.erase()
    new = LoopOp(old.count.value.data, [c.init for c in carried], old.detach_region(old.body))
    new.attributes |= old.attributes
    inherit(new, old)
    old.parent.insert_op_before(new, old)
    for entry, result in zip(carried, new.results, strict=True):
        if entry.outer is not None:
            entry.outer.result = result
    old.detach()
    old.erase()

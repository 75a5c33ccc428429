"""From tokens to counting semaphores.

Every (token, waiting command) pair is a channel with one producer and one consumer in the same
block, so that each iteration signals and waits once and a channel ends with its initial count:

    %t = npu.load ... ; npu.matmul ... wait(%t)          producer load, consumer matmul, 0 credits
    npu.loop 9 iter(%f = %free) {                        %free = npu.token 2
      npu.load ... wait(%f) ; %m = npu.matmul ...        producer matmul, consumer load, 2 credits
      npu.yield %m }

A carried token may be passed down through nested loops (init is the outer loop's token, the outer
loop yields the inner loop's result).  Waiting for a loop's result means waiting for a `sync` put
behind the loop.  Tokens between commands of one queue need no channel: queues are in order.

A semaphore serves one pair of queues and one number of credits for ever, so signals and waits pair
up first in, first out; it is reused by a channel that begins in a later top-level operation, or
whose one signal and one wait both come later (loads ahead of their use, one after the other).

A token of a command with `all_cores` is n channels, one from each of n cores, on n consecutive
semaphores, because a core that runs ahead must not be taken for one that lags:

    %t = npu.load ... all_cores ; npu.matmul ... wait(%t)      signal s4*  ..  wait s4 s5 s6 s7
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from xdsl.ir import BlockArgument, Operation, OpResult, SSAValue

from ...dialects.errors import CapacityError, IRError
from ...dialects.locations import describe
from ...dialects.npu.commands import Command, SyncOp
from ...dialects.npu.isa import NUM_SEMAPHORES, Queue
from ...dialects.npu.operands import cores_of
from ...dialects.npu.structure import LoopOp, TokenOp, YieldOp
from .program import Operand


@dataclass(eq=False)
class Draft:
    """An instruction in the making; `body` is a loop's."""

    mnemonic: str
    queue: Queue
    op: Operation
    top: int
    operands: tuple[Operand, ...] = ()
    params: dict[str, int] = field(default_factory=dict[str, int])
    waits: list[Channel] = field(default_factory=list["Channel"])
    signals: list[Channel] = field(default_factory=list["Channel"])
    body: list[Draft] | None = None


@dataclass(eq=False)
class Channel:
    """What a semaphore does between two instructions; `*_top` index the top-level operations.

    `cores`: 0 within a core; else that many cores signal, each its own, `semaphore` the first.
    """

    queues: tuple[Queue, Queue]
    credits: int
    first_top: int
    last_top: int
    cores: int = 0
    semaphore: int = -1

    @property
    def semaphores(self) -> range:
        """All its semaphores: what the waiting command waits for."""
        return range(self.semaphore, self.semaphore + max(self.cores, 1))


def _credits(value: SSAValue, waiter: Operation) -> int:
    """Credits a carried token starts with, through the loops that pass it down."""
    while isinstance(value, BlockArgument):
        loop = value.block.parent_op()
        assert isinstance(loop, LoopOp)
        value = loop.init[value.index]
    if not isinstance(value.owner, TokenOp):
        raise IRError(
            f"{describe(waiter)}: the carried token it waits for does not start from npu.token"
        )
    return value.owner.credits.value.data


def _final(value: SSAValue) -> Operation | None:
    """The command whose token `value` is, or that a loop yields for `value`, if there is one."""
    while isinstance(value, BlockArgument | OpResult):
        loop = value.block.parent_op() if isinstance(value, BlockArgument) else value.op
        if not isinstance(loop, LoopOp):
            break
        last = loop.body.block.last_op
        assert isinstance(last, YieldOp)
        if last.args[value.index] is value:
            return None
        value = last.args[value.index]
        if isinstance(value, BlockArgument):
            return None
    return value.owner if isinstance(value.owner, Command | SyncOp) else None


def _signalling_cores(producer: Operation) -> int:
    """How many cores must have run `producer` for its token to be complete; 0: its own alone."""
    assert isinstance(producer, Command | SyncOp)
    if producer.all_cores is None:
        return 0
    level = cores_of(producer)
    if level is None:
        raise IRError(f"{describe(producer)}: all_cores outside npu.cores")
    return level.count.value.data


def connect(
    waiter: Operation, drafts: dict[Operation, Draft], sync_after: Callable[[LoopOp, Queue], Draft]
) -> None:
    """Make the channels of what `waiter` waits for.

    `sync_after(loop, queue)` gives the sync draft behind a loop.  IRError for tokens that cross
    loops in another way than by being carried.
    """
    assert isinstance(waiter, Command | SyncOp)
    target = drafts[waiter]
    for value in dict.fromkeys(waiter.waits):
        owner, credits = value.owner, 0
        if isinstance(owner, TokenOp):
            if owner.credits.value.data == 0:
                raise IRError(
                    f"{describe(waiter)}: waits for a token without credits: it would wait for ever"
                )
            continue
        producer = _final(value)
        if isinstance(value, BlockArgument):
            if producer is None:
                raise IRError(
                    f"{describe(waiter)}: waits for a carried token that no command produces"
                )
            scope, source, credits = producer.parent, drafts[producer], _credits(value, waiter)
        elif isinstance(owner, LoopOp):
            if producer is None:
                continue
            scope, source = owner.parent, sync_after(owner, drafts[producer].queue)
        else:
            assert producer is not None
            scope, source = producer.parent, drafts[producer]
        if scope is not waiter.parent:
            raise IRError(
                f"{describe(waiter)}: waits for a token of another loop that its own does not carry"
            )
        cores = _signalling_cores(producer)
        if source.queue is not target.queue or cores:
            top = sorted((source.top, target.top))
            channel = Channel((source.queue, target.queue), credits, top[0], top[1], cores)
            source.signals.append(channel)
            target.waits.append(channel)


def _follows(channel: Channel, before: Channel) -> bool:
    """Whether a channel can use the semaphore of one before it: waits come in the order of signals.

    Behind its end anyway; and where both are single, between top-level operations, if the later
    signal is also waited for later.
    """
    if before.last_top < channel.first_top:
        return True
    single = before.first_top < before.last_top and channel.first_top < channel.last_top
    in_order = before.first_top < channel.first_top and before.last_top < channel.last_top
    return single and in_order and not channel.credits


def assign(channels: Iterable[Channel], program: Operation) -> tuple[int, ...]:
    """Number the semaphores; returns their initial counts.  CapacityError if there are too few."""
    counts: list[int] = []
    pools: dict[tuple[tuple[Queue, Queue], int, int], list[Channel]] = {}
    for channel in sorted(channels, key=lambda c: (c.first_top, c.last_top)):
        pool = pools.setdefault((channel.queues, channel.credits, channel.cores), [])
        before = max(
            (c for c in pool if _follows(channel, c)), key=lambda c: c.last_top, default=None
        )
        if before is None:
            channel.semaphore = len(counts)
            counts += [channel.credits] * max(channel.cores, 1)
        else:
            channel.semaphore = before.semaphore
            pool.remove(before)
        pool.append(channel)
    if len(counts) > NUM_SEMAPHORES:
        raise CapacityError(
            f"{describe(program)}: needs {len(counts)} semaphores, the machine has {NUM_SEMAPHORES}"
        )
    return tuple(counts)


def merge_syncs(block: list[Draft]) -> list[Draft]:
    """Fold syncs into their neighbours in the same queue.

    One that only waits goes into the next instruction, one that only signals into the previous.
    """
    last: dict[Queue, Draft] = {}
    waiting: dict[Queue, Draft] = {}
    for draft in block:
        if draft.body is not None:
            draft.body = merge_syncs(draft.body)
            for queue in _queues(draft.body):  # the queue runs commands of the loop in between
                last.pop(queue, None)
                waiting.pop(queue, None)
            continue
        if (sync := waiting.pop(draft.queue, None)) is not None:
            for channel in sync.waits:
                channel.last_top = max(channel.last_top, draft.top)
            draft.waits[:0] = sync.waits
            sync.waits = []
        if draft.mnemonic == "sync" and not draft.signals:
            waiting[draft.queue] = draft
        elif draft.mnemonic == "sync" and not draft.waits and draft.queue in last:
            target = last[draft.queue]
            for channel in draft.signals:
                channel.first_top = min(channel.first_top, target.top)
            target.signals += draft.signals
            draft.signals = []
        else:
            last[draft.queue] = draft
    return [d for d in block if d.mnemonic != "sync" or d.waits or d.signals]


def _queues(block: list[Draft]) -> set[Queue]:
    """Queues that run something in the block."""
    return {q for d in block for q in (_queues(d.body) if d.body is not None else (d.queue,))}

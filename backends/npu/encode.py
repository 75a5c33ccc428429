"""From an allocated, synchronised `npu.program` to machine code.

    npu.loop 14 iter(%f = %free) {                     loop count=14
      %l = npu.load(...) wait(%f) {...}         ->       load ... wait s0 signal s1
      %m = npu.matmul(...) wait(%l) {...}                matmul ... wait s1 signal s0
      npu.yield %m }                                   end

One instruction per command, loop ends included; tokens become semaphores (`semaphores.py`).
"""

from __future__ import annotations

from dataclasses import replace

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation

from ...dialects.errors import CapacityError, IRError
from ...dialects.locations import describe, onnx_nodes
from ...dialects.loop.structure import space_of
from ...dialects.npu.commands import Command, SyncOp
from ...dialects.npu.isa import MAX_LOOP_DEPTH, MAX_SIGNALS, MAX_WAITS, QUEUES, Queue
from ...dialects.npu.operands import buffer_of, descriptor
from ...dialects.npu.shapes import misfit
from ...dialects.npu.structure import CoresOp, LoopOp, ProgramOp
from .binary import decode, pack_words
from .program import EncodedProgram, Instruction, Operand
from .semaphores import Channel, Draft, assign, connect, merge_syncs
from .words import instruction_words

__all__ = ["decode", "encode", "encode_module"]


def encode(program: ProgramOp) -> EncodedProgram:
    """Machine code of `program`.

    Errors name the ONNX node: IRError for missing addresses and misplaced tokens, CapacityError for
    what no instruction or semaphore table can hold.
    """
    body, channels = _draft(program)
    body = merge_syncs(body)
    semaphores = assign(channels, program)
    flat = _Flattener()
    flat.block(body)
    flat.emit(Instruction("halt"), program)
    layers = tuple(flat.layers) or ((),)
    code = pack_words(semaphores, flat.words, len(layers))
    stats = {
        "bytes": len(code),
        "instructions": flat.count,
        "semaphores": len(semaphores),
        "layers": len(layers),
    }
    return EncodedProgram(code, layers, stats)


def encode_module(module: ModuleOp) -> dict[str, EncodedProgram]:
    """Machine code of every program of `module`, by symbol name."""
    return {op.sym_name.data: encode(op) for op in module.ops if isinstance(op, ProgramOp)}


def _operands(command: Command) -> tuple[Operand, ...]:
    operands: list[Operand] = []
    for value, access in zip(command.buffers, command.accesses.data, strict=True):
        buffer = buffer_of(value)
        if buffer.address is None:
            raise IRError(
                f"{describe(command)}: a buffer has no address",
                hint="run allocate-scratchpad before encoding",
            )
        operands.append(
            Operand(space_of(value), descriptor(value, access, buffer.address.value.data))
        )
    return tuple(operands)


def _draft(program: ProgramOp) -> tuple[list[Draft], list[Channel]]:
    """Instructions as a tree, and the channels between them."""
    drafts: dict[Operation, Draft] = {}
    syncs: dict[tuple[Operation, Queue], Draft] = {}
    waiters: list[Operation] = []

    def command(op: Command, top: int) -> Draft:
        operands, params = _operands(op), op.param_values
        if problem := misfit(op.instruction.mnemonic, [o.access.shape for o in operands], params):
            raise CapacityError(f"{describe(op)}: {problem}")
        return Draft(op.instruction.mnemonic, op.queue, op, top, operands, params)

    def sync(op: Operation, queue: Queue, top: int) -> Draft:
        return Draft("sync", queue, op, top, params={"queue": QUEUES.index(queue)})

    def block(ops: Block, top: int, depth: int) -> list[Draft]:
        out: list[Draft] = []
        for index, op in enumerate(ops.ops):
            here = index if ops is outermost else top
            if isinstance(op, LoopOp | CoresOp):
                inside, mnemonic, params = depth + 1, "loop", {"count": op.count.value.data}
                if isinstance(op, CoresOp):
                    inside, mnemonic, params["inner"] = len(op.grid), "cores", op.inner.value.data
                if inside > MAX_LOOP_DEPTH:
                    raise CapacityError(f"{describe(op)}: loops more than {MAX_LOOP_DEPTH} deep")
                draft = Draft(mnemonic, Queue.CONTROL, op, here, params=params)
                draft.body = block(op.body.block, here, inside)
            elif isinstance(op, Command):
                draft = command(op, here)
            elif isinstance(op, SyncOp):
                draft = sync(op, op.queue, here)
            else:
                continue
            out.append(draft)
            drafts[op] = draft
            if isinstance(op, Command | SyncOp) and op.waits:
                waiters.append(op)
        return out

    level = next((op for op in program.body.block.ops if isinstance(op, CoresOp)), None)
    outermost = program.body.block if level is None else level.body.block
    body = block(program.body.block, 0, 0)

    def sync_after(loop: LoopOp, queue: Queue) -> Draft:
        if (loop, queue) not in syncs:
            syncs[loop, queue] = sync(loop, queue, drafts[loop].top)
        return syncs[loop, queue]

    for waiter in waiters:
        connect(waiter, drafts, sync_after)
    body = _place(body, syncs)
    return body, [channel for d in (*drafts.values(), *syncs.values()) for channel in d.signals]


def _place(block: list[Draft], syncs: dict[tuple[Operation, Queue], Draft]) -> list[Draft]:
    """The block with syncs put behind the loops whose results are waited for."""
    if not syncs:
        return block
    out: list[Draft] = []
    for draft in block:
        out.append(draft)
        if draft.body is not None:
            draft.body = _place(draft.body, syncs)
            out += [syncs[draft.op, queue] for queue in QUEUES if (draft.op, queue) in syncs]
    return out


class _Flattener:
    """Drafts to instructions in program order, numbering layers."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.count = 0
        self.layers: dict[tuple[str, ...], int] = {}
        self.layer = 0

    def block(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            if nodes := _nodes(draft):
                self.layer = self.layers.setdefault(nodes, len(self.layers))
            waits = [s for c in draft.waits for s in c.semaphores]
            while len(waits) > MAX_WAITS:
                self.sync(draft, waits[:MAX_WAITS], [])
                del waits[:MAX_WAITS]
            first, rest = draft.signals[:MAX_SIGNALS], draft.signals[MAX_SIGNALS:]
            instruction = Instruction(
                draft.mnemonic, draft.operands, draft.params, tuple(waits), *_signals(first)
            )
            self.emit(instruction, draft.op)
            for i in range(0, len(rest), MAX_SIGNALS):
                self.sync(draft, [], rest[i : i + MAX_SIGNALS])
            if draft.body is not None:
                self.block(draft.body)
                self.emit(Instruction("end"), draft.op)

    def sync(self, draft: Draft, waits: list[int], signals: list[Channel]) -> None:
        queue = {"queue": QUEUES.index(draft.queue)}
        self.emit(Instruction("sync", (), queue, tuple(waits), *_signals(signals)), draft.op)

    def emit(self, instruction: Instruction, op: Operation) -> None:
        try:
            self.words += instruction_words(replace(instruction, layer=self.layer))
        except ValueError as error:
            raise CapacityError(
                f"{describe(op)}: {instruction.mnemonic} cannot be encoded: {error}"
            ) from None
        self.count += 1


def _signals(channels: list[Channel]) -> tuple[tuple[int, ...], int, int]:
    """Signals, layer (set later) and the mask of those that go to all cores."""
    mask = sum(1 << i for i, c in enumerate(channels) if c.cores)
    return tuple(c.semaphore for c in channels), 0, mask


def _nodes(draft: Draft) -> tuple[str, ...]:
    """ONNX nodes of a draft; of its first command with any for loops without."""
    if nodes := onnx_nodes(draft.op):
        return nodes
    return next((nodes for d in draft.body or () if (nodes := _nodes(d))), ())

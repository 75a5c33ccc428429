"""A machine without time: any interleaving that in-order queues and semaphores allow.

`run_in_order` runs a decoded program in program order; `run_interleaved` lets `random` choose among
the queues whose head may start.  Both on the same memories, so any difference is a missing wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from tilewright.backends.npu.program import DecodedProgram, Instruction
from tilewright.dialects.npu import BY_MNEMONIC, Queue
from tilewright.dialects.npu.descriptors import overwrites
from tilewright.dialects.npu.operands import element_bytes
from tilewright.dialects.semantics.instructions import DramView, execute, view_of


@dataclass
class Memories:
    arena: np.ndarray
    const: np.ndarray
    spm: np.ndarray
    acc: np.ndarray

    @classmethod
    def random(cls, seed: int, arena: int, const: int, spm: int, acc: int) -> Memories:
        rng = np.random.default_rng(seed)
        return cls(*(rng.integers(0, 256, n, np.uint8) for n in (arena, const, spm, acc)))

    def copy(self) -> Memories:
        return Memories(self.arena.copy(), self.const.copy(), self.spm.copy(), self.acc.copy())

    def same(self, other: Memories) -> bool:
        return all(np.array_equal(self.space(s), other.space(s)) for s in ("dram", "spm", "acc"))

    def space(self, name: str) -> np.ndarray:
        return {"dram": self.arena, "const": self.const, "spm": self.spm, "acc": self.acc}[name]


Dynamic = tuple[Instruction, tuple[int, ...], tuple[int, ...]]


def unroll(program: DecodedProgram) -> list[Dynamic]:
    """Every execution of an instruction, in program order, with loop iterations and counts."""
    out: list[Dynamic] = []
    code = program.instructions

    def block(position: int, iterations: tuple[int, ...], trips: tuple[int, ...]) -> int:
        while code[position].mnemonic not in ("end", "halt"):
            instruction = code[position]
            if instruction.mnemonic == "loop":
                count = instruction.params["count"]
                end = position
                for i in range(count):
                    end = block(position + 1, (*iterations, i), (*trips, count))
                position = end + 1
            else:
                out.append((instruction, iterations, trips))
                position += 1
        return position

    block(0, (), ())
    return out


def step(item: Dynamic, memories: Memories) -> None:
    instruction, iterations, trips = item
    if instruction.mnemonic == "sync":
        return
    spec = BY_MNEMONIC[instruction.mnemonic]
    views = [
        view_of(
            memories.space(o.space),
            o.access,
            iterations,
            trips,
            element_bytes(row, instruction.params),
            str(instruction),
        )
        for row, o in zip(spec.operands, instruction.operands, strict=True)
    ]
    first = overwrites(instruction.params.get("overwrite", 0), iterations)
    execute(instruction.mnemonic, views, instruction.params, overwrite=first)


def run_in_order(program: DecodedProgram, memories: Memories) -> None:
    for item in unroll(program):
        step(item, memories)


def run_interleaved(program: DecodedProgram, memories: Memories, random: Random) -> list[int]:
    """Run in a random allowed order; returns the final semaphore counts."""
    queues: dict[Queue, list[Dynamic]] = {}
    for item in reversed(unroll(program)):
        queues.setdefault(item[0].queue, []).append(item)
    counts = list(program.semaphores)
    order = sorted(queues)
    random.shuffle(order)
    while any(queues.values()):
        if random.random() < 0.1:
            random.shuffle(order)
        for queue in order:
            if queues[queue] and all(counts[s] >= 1 for s in queues[queue][-1][0].waits):
                break
        else:
            raise AssertionError("deadlock")
        item = queues[queue].pop()
        for s in item[0].waits:
            counts[s] -= 1
        step(item, memories)
        for s in item[0].signals:
            counts[s] += 1
    return counts


def touched(item: Dynamic, memories: Memories) -> list[tuple[str, bool, set[int]]]:
    """(space, write, byte addresses) of each operand."""
    instruction, iterations, trips = item
    out: list[tuple[str, bool, set[int]]] = []
    if instruction.mnemonic == "sync":
        return out
    for row, o in zip(
        BY_MNEMONIC[instruction.mnemonic].operands, instruction.operands, strict=True
    ):
        memory = memories.space(o.space)
        element = element_bytes(row, instruction.params)
        view = view_of(memory, o.access, iterations, trips, element, "")
        view = view.inside if isinstance(view, DramView) else view
        base = memory.__array_interface__["data"][0]
        start = view.__array_interface__["data"][0] - base
        offsets = [0]
        for size, stride in zip(view.shape, view.strides, strict=True):
            offsets = [o + i * stride for o in offsets for i in range(size)]
        addresses = {start + a + e for a in offsets for e in range(element)}
        out += [(o.space, d == "w", addresses) for d in row.direction]
    return out


def races(program: DecodedProgram, memories: Memories) -> list[str]:
    """Conflicting accesses that queues and semaphores leave unordered (exact, by vector clocks)."""
    clocks: dict[Queue, dict[Queue, int]] = {}
    signalled: dict[int, list[dict[Queue, int]]] = {}
    taken: dict[int, int] = {}
    last: dict[tuple[str, int], list[tuple[Queue, int, bool]]] = {}
    found: list[str] = []
    for item in unroll(program):
        instruction = item[0]
        queue = instruction.queue
        clock = clocks.setdefault(queue, {})
        for s in instruction.waits:
            number = taken.get(s, 0)
            taken[s] = number + 1
            if number >= program.semaphores[s]:
                for q, time in signalled[s][number - program.semaphores[s]].items():
                    clock[q] = max(clock.get(q, 0), time)
        clock[queue] = clock.get(queue, 0) + 1
        for space, write, addresses in touched(item, memories):
            for address in addresses:
                history = last.setdefault((space, address), [])
                for q, time, wrote in history:
                    if q is not queue and (write or wrote) and clock.get(q, 0) < time:
                        found.append(f"{instruction.mnemonic} races with {q} at {space} {address}")
                history[:] = [h for h in history if h[0] is not queue or h[2] is not write]
                history.append((queue, clock[queue], write))
        for s in instruction.signals:
            signalled.setdefault(s, []).append(dict(clock))
    return found

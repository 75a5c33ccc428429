"""Addresses for the buffers of a layer that keep queues out of each other's banks.

    bank 0: %x slot 0   bank 1: %x slot 1   bank 2: %y slot 0, %b   bank 3: %y slot 1

Two queues that work with the same bank at the same time share its ports.  The expected cost of an
address: for every pair of uses by different queues, the cycles they overlap (each works a share of
the layer's time) times how far they oversubscribe a bank together; for operands of one command,
its own cycles.  A buffer's two slots count as used by different queues at the same time.  Overlap
with the layer before costs the cycles in which the next loads could have run ahead.

Buffers are placed one by one, biggest first, each slot at the cheapest of a few addresses: against
a neighbour, or a bank's border.  Ties go to the lowest.  It may fail where packing would not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from ...backends.targets.machine import Machine, Memory
from ...dialects.npu.isa import Queue
from ...dialects.npu.structure import AllocOp
from .traffic import Traffic, Use

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

MAX_ADDRESSES = 24
"""Addresses of one slot of which all pairs are compared."""
MAX_BANKS = 64
"""Banks whose borders are tried; with more, conflicts are rare anyway."""


@dataclass(eq=False)
class Buffer:
    """A buffer to place: bytes per slot, slots, first and last top-level operation using it, layer.

    `addresses`: one per slot, ascending and equally spaced; empty until placed.
    """

    alloc: AllocOp
    size: int
    slots: int
    first: int
    last: int
    layer: int
    addresses: list[int] = field(default_factory=list[int])

    @property
    def total(self) -> int:
        """Bytes of all slots."""
        return self.size * self.slots

    def meets(self, other: Buffer) -> bool:
        """Whether both are alive at the same time."""
        return other.first <= self.last and self.first <= other.last

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """Byte ranges of the slots."""
        return [(a, a + self.size) for a in self.addresses]


class Spreader:
    """Places the buffers of one memory of one machine."""

    def __init__(self, memory: Memory, machine: Machine, traffic: Traffic):
        self.memory, self.machine, self.traffic = memory, machine, traffic
        self.bank = memory.bytes // memory.banks
        self.edges = np.arange(memory.banks, dtype=np.int64) * self.bank
        self.parts: dict[tuple[int, ...], Floats] = {}  # of buffers placed, by size and addresses

    def place(
        self, group: Sequence[Buffer], fixed: Sequence[Buffer], avoid: Sequence[Buffer]
    ) -> bool:
        """Addresses for `group` beside `fixed`; False, and no addresses, if one finds no room."""
        busy: dict[Queue, float] = {}
        for buffer in group:
            for queue, use in self.uses(buffer).items():
                busy[queue] = busy.get(queue, 0.0) + use.cycles
        time = max([1.0, *busy.values()])
        placed = list(fixed)
        for buffer in group:
            if not self._place_one(buffer, placed, avoid, time):
                for b in group:
                    b.addresses = []
                return False
            placed.append(buffer)
        return True

    def uses(self, buffer: Buffer) -> dict[Queue, Use]:
        """What works with a buffer."""
        return self.traffic.uses.get(buffer.alloc, {})

    def _place_one(
        self, buffer: Buffer, placed: Sequence[Buffer], avoid: Sequence[Buffer], time: float
    ) -> bool:
        near = [p for p in placed if p.meets(buffer)]
        taken = [i for p in near for i in p.intervals]
        shunned = [i for p in avoid for i in p.intervals]
        at = self._candidates(buffer, taken, shunned)
        if not len(at):
            return False
        shares = self._shares(at, buffer.size)
        cost = self._conflicts(buffer, shares, near, time)
        for low, high in shunned:
            overlap = np.minimum(at + buffer.size, high) - np.maximum(at, low)
            cost += np.maximum(overlap, 0) / self.machine.dma_bytes_per_cycle * buffer.slots
        if buffer.slots == 1:
            buffer.addresses = [int(at[np.argmin(cost)])]
            return True
        if buffer.slots > 2:
            return False
        cheapest = np.sort(np.argsort(cost, kind="stable")[:MAX_ADDRESSES])
        for chosen in (cheapest, np.arange(len(at))):
            here, price = at[chosen], cost[chosen]
            both = (price[:, None] + price[None, :]) / 2
            both = both + self._between_slots(buffer, shares[chosen], time)
            both = np.where(here[None, :] >= here[:, None] + buffer.size, both, np.inf)
            first, second = divmod(int(np.argmin(both)), len(here))
            if np.isfinite(both[first, second]):
                buffer.addresses = [int(here[first]), int(here[second])]
                return True
        return False

    def _candidates(
        self, buffer: Buffer, taken: Sequence[tuple[int, int]], shunned: Sequence[tuple[int, int]]
    ) -> Integers:
        """Free addresses for one slot: next to neighbours and at borders of banks, ascending."""
        size, align = buffer.size, self.machine.alignment
        ends = [0, *(high for _, high in (*taken, *shunned))]
        starts = [self.memory.bytes // align * align, *(low for low, _ in (*taken, *shunned))]
        banks = self.edges if self.memory.banks <= MAX_BANKS else self.edges[:0]
        banks = -(-banks // align) * align
        one = np.concatenate([np.array(ends), banks])
        two = np.concatenate([np.array(starts), banks]) - size
        at = np.concatenate([one, two])
        if buffer.slots > 1:
            at = np.concatenate([at, one + size, two - size])
        at = np.unique(at)
        free = (at >= 0) & (at + size <= self.memory.bytes)
        for low, high in taken:
            free &= (at + size <= low) | (at >= high)
        return at[free]

    def _shares(self, at: Integers, size: int) -> Floats:
        """Per address and bank, the part of a slot that lies in the bank."""
        low = np.maximum(at[:, None], self.edges)
        high = np.minimum(at[:, None] + size, self.edges + self.bank)
        return np.maximum(high - low, 0) / size

    def _loss(self, demand: Floats) -> Floats:
        """Extra time of work that asks for `demand` accesses a cycle of each bank (last axis)."""
        worst: Floats = np.maximum.reduce(demand, axis=-1)
        return np.maximum(worst / self.memory.ports - 1, 0)

    def _conflicts(
        self, buffer: Buffer, shares: Floats, near: Sequence[Buffer], time: float
    ) -> Floats:
        """Expected cycles lost between a slot of `buffer` per address and all slots of `near`."""
        pairs, total = self.traffic.pairs, np.zeros(len(shares))
        for p, use in self.uses(buffer).items():
            demands: list[Floats] = []  # per other slot and bank
            cycles: list[float] = []
            for other in near:
                for q, use2 in self.uses(other).items():
                    both = use.cycles * use2.cycles / time
                    if p is q:
                        both = pairs.get((buffer.alloc, other.alloc), 0.0)
                        both += pairs.get((other.alloc, buffer.alloc), 0.0)
                    if both:
                        demands.append(self._parts(other) * use2.rate)
                        cycles += [both / len(other.addresses)] * len(other.addresses)
            if demands:
                demand = shares[:, None] * use.rate + np.concatenate(demands)[None]
                total += np.add.reduce(self._loss(demand) * np.array(cycles), axis=1)
        return total

    def _parts(self, buffer: Buffer) -> Floats:
        """Shares of banks of all slots of a buffer with addresses."""
        key = buffer.size, *buffer.addresses
        if key not in self.parts:
            self.parts[key] = self._shares(np.array(buffer.addresses), buffer.size)
        return self.parts[key]

    def _between_slots(self, buffer: Buffer, shares: Floats, time: float) -> Floats:
        """Expected cycles lost by queues that work with different slots, per pair of addresses."""
        total = np.zeros((len(shares), len(shares)))
        for (p, one), (q, two) in product(self.uses(buffer).items(), repeat=2):
            if p is not q:
                demand = shares[:, None] * one.rate + shares[None] * two.rate
                total += one.cycles * two.cycles / time / 2 * self._loss(demand)
        return total

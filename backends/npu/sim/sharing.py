"""Units at work, and how they share what they contend for: memory banks and DRAM bandwidth.

While the commands that work at the same time ask for more of a resource than it has, all its users
run at the same fraction of their speed:

    load wants 4 bytes a cycle, store 4, DRAM has 4     ->     both at rate 0.5, loss blamed on DRAM

A command's rate is the lowest that any of its resources allows.  Rates change only when a command
starts or ends.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...targets.machine import Machine
from .costs import Cost, bank_ports

BANK, DRAM = 0, 1


@dataclass(slots=True)
class Unit:
    """State of one queue and its unit.

    `commands` are issued, in order; the counts say how many are accepted, ended and completed.
    `pending` are accepted but not yet working, `active` works (-1: none), with `left` cycles of
    work at cycle `last`, done at `rate`; `version` tells its valid END event from older ones.
    `lost` are its cycles lost to banks and to DRAM, `blame` the one it loses to now.
    """

    commands: list[int] = field(default_factory=list[int])
    completions: list[int] = field(default_factory=list[int])
    pending: deque[int] = field(default_factory=deque[int])
    accepted: int = 0
    ended: int = 0
    completed: int = 0
    active: int = -1
    left: float = 0.0
    rate: float = 1.0
    last: int = 0
    version: int = 0
    lost: list[float] = field(default_factory=lambda: [0.0, 0.0])
    blame: int = BANK
    free: int = 0
    """Cycle its last command ended."""
    promised: int = 0
    """Cycle at which the last ended command completes."""
    blocked: int = -1
    """Semaphore that the head of its queue waits for."""
    planned: int = -1
    """Command whose start is an event to come."""
    sent: int = 0
    """DRAM requests so far."""
    window: deque[tuple[int, int, int, int]] = field(
        default_factory=deque[tuple[int, int, int, int]]
    )
    """Recent transfers: (requests before, requests, start, end)."""

    def advance(self, now: int) -> None:
        """Account for the work done and lost since the last change of rate."""
        elapsed = now - self.last
        self.left -= elapsed * self.rate
        self.lost[self.blame] += elapsed * (1 - self.rate)
        self.last = now


class Sharing:
    """Division of banks and bandwidth among active units."""

    def __init__(self, units: Sequence[Unit], costs: Sequence[Cost], machine: Machine):
        self.units, self.costs = units, costs
        self.ports = bank_ports(machine)
        self.bandwidth = machine.dram.bytes_per_cycle
        self.slowed = False

    def contends(self, unit: Unit) -> bool:
        """Whether `unit`, which starts, may oversubscribe a resource together with another."""
        cost = self.costs[unit.active]
        for other in self.units:
            if other is not unit and other.active >= 0:
                theirs = self.costs[other.active]
                both = cost.dram and theirs.dram and cost.dram + theirs.dram > self.bandwidth
                if cost.mask & theirs.mask or both:
                    return True
        return False

    def divide(self, now: int) -> list[tuple[int, int]]:
        """Set all rates anew; (cycle, unit index) of every end that moved."""
        active = [(u, unit) for u, unit in enumerate(self.units) if unit.active >= 0]
        demand: dict[int, float] = {}
        dram = 0.0
        for _, unit in active:
            cost = self.costs[unit.active]
            dram += cost.dram
            for bank, amount in cost.banks:
                demand[bank] = demand.get(bank, 0.0) + amount
        channel = min(1.0, self.bandwidth / dram) if dram else 1.0
        slow = {b: self.ports[b] / d for b, d in demand.items() if d > self.ports[b] * (1 + 1e-9)}
        self.slowed = False
        moved: list[tuple[int, int]] = []
        for u, unit in active:
            unit.advance(now)
            cost = self.costs[unit.active]
            by_bank = min((slow[b] for b, _ in cost.banks if b in slow), default=1.0)
            by_dram = channel if cost.dram else 1.0
            rate = min(by_bank, by_dram)
            rate = 1.0 if rate > 1 - 1e-9 else rate
            self.slowed |= rate < 1.0
            if rate != unit.rate:
                unit.rate = rate
                unit.version += 1
                moved.append((now + max(math.ceil(unit.left / rate - 1e-9), 0), u))
            unit.blame = BANK if by_bank <= by_dram else DRAM
        return moved

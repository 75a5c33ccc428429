"""Units at work, and how they share what they contend for: memory banks and DRAM bandwidth.

While the commands that work at the same time ask for more of a resource than it has, all its users
run at the same fraction of their speed:

    load wants 4 bytes a cycle, store 4, DRAM has 4     ->     both at rate 0.5, loss blamed on DRAM

Every core has banks of its own, and a network port that takes what the others send; a broadcast
takes part of the port and of the banks of all cores that it reaches.  A command's rate is the
lowest that any of its resources allows.  Rates change only when a command starts or ends.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...targets.machine import Machine
from .banks import bank_ports
from .commands import Commands
from .costs import Cost

BANK, DRAM, NETWORK = 0, 1, 2


@dataclass(slots=True)
class Unit:
    """State of one queue and its unit, in core `core`.

    `commands` are issued, in order; the counts say how many are accepted, ended and completed.
    `pending` are accepted but not yet working, `active` works (-1: none), with `left` cycles of
    work at cycle `last`, done at `rate`; `version` tells its valid END event from older ones.
    `lost` are its cycles lost to banks, DRAM and network, `blame` the one it loses to now.
    """

    core: int = 0
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
    lost: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
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

    followers: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    """Syncs accepted behind a command that is still to end."""

    def advance(self, now: int) -> None:
        """Account for the work done and lost since the last change of rate."""
        elapsed = now - self.last
        self.left -= elapsed * self.rate
        self.lost[self.blame] += elapsed * (1 - self.rate)
        self.last = now


class Sharing:
    """Division of banks, bandwidth and network ports among active units."""

    def __init__(self, units: Sequence[Unit], commands: Commands, machine: Machine):
        self.units, self.costs, self.cores = units, commands.cost, commands.cores
        self.others = commands.others
        self.ports = bank_ports(machine)
        self.bandwidth = commands.bandwidth
        self.network = machine.network.bytes_per_cycle
        self.slowed = False

    def contends(self, unit: Unit) -> bool:
        """Whether `unit`, which starts, may oversubscribe a resource together with others."""
        cost = self.costs[unit.active]
        dram, far = cost.dram, bool(cost.remote)
        for other in self.units:
            if other is not unit and other.active >= 0:
                theirs = self.costs[other.active]
                if far or theirs.remote or (other.core == unit.core and cost.mask & theirs.mask):
                    return True
                dram += theirs.dram
        return bool(cost.dram) and dram > self.bandwidth

    def divide(self, now: int) -> list[tuple[int, int]]:
        """Set all rates anew; (cycle, unit index) of every end that moved."""
        active = [(u, unit) for u, unit in enumerate(self.units) if unit.active >= 0]
        banks = len(self.ports)
        demand: dict[int, float] = {}
        arriving = [0.0] * self.cores
        dram = 0.0
        for _, unit in active:
            cost = self.costs[unit.active]
            dram += cost.dram
            first = unit.core * banks
            for bank, amount in cost.banks:
                demand[first + bank] = demand.get(first + bank, 0.0) + amount
            if cost.remote:
                for core in self.others[unit.active]:
                    arriving[core] += cost.network
                    for bank, amount in cost.remote:
                        bank += core * banks
                        demand[bank] = demand.get(bank, 0.0) + amount
        channel = min(1.0, self.bandwidth / dram) if dram else 1.0
        slow: dict[int, float] = {}
        for bank, wanted in demand.items():
            ports = self.ports[bank % banks]
            if wanted > ports * (1 + 1e-9):
                slow[bank] = ports / wanted
        self.slowed = False
        moved: list[tuple[int, int]] = []
        for u, unit in active:
            unit.advance(now)
            cost = self.costs[unit.active]
            by = [self._by_banks(unit, cost, slow), channel if cost.dram else 1.0, 1.0]
            if cost.network:
                most = max((arriving[core] for core in self.others[unit.active]), default=0.0)
                by[NETWORK] = min(1.0, self.network / most) if most else 1.0
            rate = min(by)
            unit.blame = by.index(rate)
            rate = 1.0 if rate > 1 - 1e-9 else rate
            self.slowed |= rate < 1.0
            if rate != unit.rate:
                unit.rate = rate
                unit.version += 1
                moved.append((now + max(math.ceil(unit.left / rate - 1e-9), 0), u))
        return moved

    def _by_banks(self, unit: Unit, cost: Cost, slow: dict[int, float]) -> float:
        """The least share that a bank gives `unit`."""
        if not slow:
            return 1.0
        banks = len(self.ports)
        first = unit.core * banks
        rate = min((slow[first + b] for b, _ in cost.banks if first + b in slow), default=1.0)
        for core in self.others[unit.active] if cost.remote else ():
            first = core * banks
            rate = min(rate, *(slow.get(first + b, 1.0) for b, _ in cost.remote))
        return rate

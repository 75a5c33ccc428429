"""Race detection: conflicting accesses that no chain of semaphores orders are errors.

Every command has a vector clock: for each queue, how many of its commands are certainly complete
when it starts.  Queues run in order; taking the k-th token of a semaphore (beyond its initial
count) implies that the queue that signals it has signalled k times (where several queues signal one
semaphore: k minus all that the others ever signal, which is sound).  Shadow memories hold, per byte
and queue, the last command that read and that wrote it, as in FastTrack (Flanagan and Freund, PLDI
2009).  Queues are those of all cores (4 * core + queue), and so are semaphores; each core has its
own shadow of on-chip memory, and a broadcast touches those it reaches.  Commands are visited as
accepted, which extends happens-before, so that each pair is looked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ....dialects.constants import Array
from ....dialects.errors import SimulationError
from ....dialects.npu.isa import QUEUES
from .commands import Commands
from .expand import Expansion, Site
from .footprint import Access, Span, shadow_view, used_bytes

Clock = tuple[int, ...]


def clocks(
    commands: Commands, order: Sequence[int], semaphores: Sequence[int]
) -> tuple[list[Clock], list[int]]:
    """Per command its vector clock at its start, and its own number (from 1) in its queue."""
    queues = commands.cores * len(QUEUES)
    totals: dict[int, list[int]] = {}
    for q, signals in zip(commands.unit, commands.signals, strict=True):
        for semaphore in signals:
            totals.setdefault(semaphore, [0] * queues)[q] += 1
    signalled: dict[tuple[int, int], list[list[int]]] = {}
    taken: dict[tuple[int, int], int] = {}
    present = [[0] * queues for _ in range(queues)]
    count = [0] * queues
    out: list[Clock] = [()] * len(commands)
    number = [0] * len(commands)
    all_of = {semaphore: sum(row) for semaphore, row in totals.items()}
    producers = {
        semaphore: [(p, total) for p, total in enumerate(row) if total]
        for semaphore, row in totals.items()
    }
    for c in order:
        q = commands.unit[c]
        clock = present[q]
        for semaphore in commands.waits[c]:
            k = taken.get((semaphore, q), 0) + 1
            taken[semaphore, q] = k
            credits = semaphores[semaphore % commands.semaphores]
            for p, total in producers.get(semaphore, ()):
                need = k - credits - (all_of[semaphore] - total)
                if need > 0:
                    theirs = signalled[semaphore, p][need - 1]
                    clock = [max(a, b) for a, b in zip(clock, theirs, strict=True)]
        present[q] = clock
        count[q] += 1
        number[c] = count[q]
        out[c] = tuple(clock)
        if commands.signals[c]:
            after = list(clock)
            after[q] = count[q]
            for semaphore in commands.signals[c]:
                signalled.setdefault((semaphore, q), []).append(after)
    return out, number


@dataclass
class _Shadow:
    """Last reader and writer of every byte, per queue; 0 where none."""

    size: int
    last: dict[tuple[str, int], Array] = field(default_factory=dict[tuple[str, int], Array])
    newest: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def mark(self, kind: str, queue: int, number: int, address: int, span: Span) -> None:
        memory = self.last.get((kind, queue))
        if memory is None:
            memory = self.last[kind, queue] = np.zeros(self.size, np.int32)
        self.newest[kind, queue] = number
        shadow_view(memory, address, span)[...] = number


def site_accesses(site: Site) -> list[tuple[Access, bool, bool]]:
    """Per operand its access, and whether it is read and written, races considered.

    A reduction's result counts as read and written whether or not it overwrites.
    """
    return [(Access(p), p.reads(), p.writes()) for p in site.places if p.space != "const"]


def check_races(
    expansion: Expansion, commands: Commands, order: Sequence[int], steps: Sequence[int],
    semaphores: Sequence[int],
) -> None:  # fmt: skip
    """Raise SimulationError naming two commands that touch the same bytes without order.

    `steps[c]` is command c's execution number within its site, `semaphores` the initial counts.
    """
    clock, number = clocks(commands, order, semaphores)
    used = used_bytes(expansion)
    dram = _Shadow(used["dram"])
    shadows = [
        {"dram": dram, "spm": _Shadow(used["spm"]), "acc": _Shadow(used["acc"])}
        for _ in range(commands.cores)
    ]
    table = [site_accesses(s) for s in expansion.sites]
    for c in order:
        q, i, now, n = commands.unit[c], steps[c], clock[c], number[c]
        for access, reads, writes in table[expansion.site[c]]:
            span = access.span(i)
            if span is None:
                continue
            address, space = access.place.addresses[i], access.place.space
            others = commands.others[c] if writes else ()
            mine = [shadows[core] for core in (q // len(QUEUES), *others)]
            for shadow in (cores[space] for cores in mine):
                for (kind, p), newest in shadow.newest.items():
                    if p == q or newest <= now[p] or not (writes or kind == "write"):
                        continue
                    last = shadow_view(shadow.last[kind, p], address, span)
                    seen = int(last.max())
                    if seen <= now[p]:
                        continue
                    command_of = {
                        at: k for k, at in enumerate(zip(commands.unit, number, strict=True))
                    }
                    other = command_of[p, seen]
                    at = f"{space} from {address + span.low} on"
                    raise _race(expansion, steps, (c, _act(reads, writes)), (other, kind), at)
                if reads and not writes:  # an update counts as a write
                    shadow.mark("read", q, n, address, span)
                if writes:
                    shadow.mark("write", q, n, address, span)


def _race(
    expansion: Expansion, steps: Sequence[int], one: tuple[int, str], two: tuple[int, str], at: str
) -> SimulationError:
    """The error for two (command, what it does), named in program order; `at` says where."""
    (first, by), (second, and_by) = sorted((one, two))
    return SimulationError(
        f"race on bytes of {at}: nothing orders the {by} by"
        f" {expansion.where(expansion.site[first], steps[first])} and the {and_by} by"
        f" {expansion.where(expansion.site[second], steps[second])}",
        hint="a semaphore must order them",
    )


def _act(reads: bool, writes: bool) -> str:
    return "update" if reads and writes else "write" if writes else "read"

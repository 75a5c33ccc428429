"""Race detection: conflicting accesses that no chain of semaphores orders are errors.

Every command has a vector clock: for each queue, how many of its commands are certainly complete
when it starts.  Queues run in order; taking the k-th token of a semaphore (beyond its initial
count) implies that the queue that signals it has signalled k times (where several queues signal
one semaphore: k minus all that the others ever signal, which is sound).  Shadow memories hold, per
byte and queue, the last command that read and that wrote it, as in FastTrack (Flanagan and Freund,
PLDI 2009).  Commands are visited as accepted, which extends happens-before, so that each pair is
looked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ....dialects.constants import Array
from ....dialects.errors import SimulationError
from ....dialects.npu.isa import QUEUES
from .expand import Expansion, Site
from .footprint import Access, Span, shadow_view, used_bytes

Clock = tuple[int, ...]


def clocks(
    expansion: Expansion, order: Sequence[int], semaphores: Sequence[int]
) -> tuple[list[Clock], list[int]]:
    """Per command its vector clock at its start, and its own number (from 1) in its queue."""
    sites, site = expansion.sites, expansion.site
    totals: dict[int, list[int]] = {}
    for s in sites:
        for semaphore in s.instruction.signals:
            totals.setdefault(semaphore, [0] * len(QUEUES))[s.queue] += s.executions
    signalled: dict[tuple[int, int], list[list[int]]] = {}
    taken: dict[tuple[int, int], int] = {}
    present = [[0] * len(QUEUES) for _ in QUEUES]
    count = [0] * len(QUEUES)
    out: list[Clock] = [()] * len(site)
    number = [0] * len(site)
    for c in order:
        s = sites[site[c]]
        q = s.queue
        clock = present[q]
        for semaphore in s.instruction.waits:
            k = taken.get((semaphore, q), 0) + 1
            taken[semaphore, q] = k
            per_queue = totals.get(semaphore, [])
            for p, total in enumerate(per_queue):
                need = k - semaphores[semaphore] - (sum(per_queue) - total)
                if need > 0 and total:
                    theirs = signalled[semaphore, p][need - 1]
                    clock = [max(a, b) for a, b in zip(clock, theirs, strict=True)]
        present[q] = clock
        count[q] += 1
        number[c] = count[q]
        out[c] = tuple(clock)
        if s.instruction.signals:
            after = list(clock)
            after[q] = count[q]
            for semaphore in s.instruction.signals:
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
    expansion: Expansion, order: Sequence[int], steps: Sequence[int], semaphores: Sequence[int]
) -> None:
    """Raise SimulationError naming two commands that touch the same bytes without order.

    `steps[c]` is command c's execution number within its site.
    """
    clock, number = clocks(expansion, order, semaphores)
    shadows = {space: _Shadow(size) for space, size in used_bytes(expansion).items()}
    table = [site_accesses(s) for s in expansion.sites]
    for c in order:
        s = expansion.site[c]
        q, i, now, n = expansion.sites[s].queue, steps[c], clock[c], number[c]
        for access, reads, writes in table[s]:
            span = access.span(i)
            if span is None:
                continue
            address = access.place.addresses[i]
            shadow = shadows[access.place.space]
            for (kind, p), newest in shadow.newest.items():
                if p == q or newest <= now[p] or not (writes or kind == "write"):
                    continue
                seen = int(shadow_view(shadow.last[kind, p], address, span).max())
                if seen > now[p]:
                    other = _find(expansion, number, p, seen)
                    at = f"{access.place.space} from {address + span.low} on"
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


def _find(expansion: Expansion, number: Sequence[int], queue: int, wanted: int) -> int:
    for c, s in enumerate(expansion.site):
        if number[c] == wanted and expansion.sites[s].queue == queue:
            return c
    raise AssertionError("a shadow holds an unknown command")

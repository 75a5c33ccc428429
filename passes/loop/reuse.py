"""Addresses of resident tensors anew, so that memory is reused late.

    %ln    = ... [6 MB, +150 kB)     read by query, key, value         query key value scores
    %score = ... [6 MB, +470 kB)     written by scores          ->     query key scores value

promote-buffers gives every tensor the highest address that is free, which is that of the one that
died last: the nest that makes the new tensor must wait for the last to read the old one, though it
may need nothing of it (schedule-commands orders such nests by what they need).  Where there is
room, some nests lie between the last to use a tensor and the first to use another one in its place,
as many as the schedule may turn round.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ...dialects.loop import NestOp
from .promotion import Candidate, Promotion
from .tiling.residents import Resident, place
from .tiling.units import unrolls

APART = (8, 4, 2, 1)
"""Nests between two tensors in one place, in order of preference."""

SHARE = 0.5
"""Most of the scratchpad for all of them: the rest is for tiles, and for weights loaded ahead."""

Chosen = Sequence[tuple[Candidate, int]]


def spread(promotion: Promotion, chosen: Chosen) -> Chosen:
    """The same tensors with other addresses, if there is room; tiles are no worse."""
    if not chosen or not unrolls(promotion.machine):
        return chosen
    used = promotion.capacity - min(address for _, address in chosen)
    for distance in APART:
        apart = _placed(promotion, chosen, distance)
        now = promotion.capacity - min(address for _, address in apart)
        if now <= max(used, SHARE * promotion.capacity) and _no_worse(promotion, chosen, apart):
            return apart
    return chosen


def _placed(promotion: Promotion, chosen: Chosen, distance: int) -> Chosen:
    """Addresses with which memory is free again only `distance` nests after its last use."""
    nests = [i for i, op in enumerate(promotion.ops) if isinstance(op, NestOp)]
    alive: dict[int, list[Resident]] = {}
    found: dict[int, int] = {}
    for group in _groups(chosen):
        first, last = min(c.first for c in group), max(c.last for c in group)
        later = bisect_left(nests, last) + distance
        last = nests[later] if later < len(nests) else len(promotion.ops)
        size = promotion.size(group[0])
        near = {r for i in range(first, last + 1) for r in alive.get(i, ())}
        address = place(list(near), size, first, last, promotion.capacity)
        for i in range(first, last + 1):
            alive.setdefault(i, []).append(Resident(address, size, first, last))
        found |= {id(c): address for c in group}
    return [(c, found[id(c)]) for c, _ in chosen]


def _groups(chosen: Chosen) -> list[list[Candidate]]:
    """Tensors that take each other's place in one nest have one address."""
    groups: dict[int, list[list[Candidate]]] = {}  # by address
    order: dict[int, int] = {}  # of the last tensor of each, by identity
    for number, (c, address) in enumerate(chosen):
        same = groups.setdefault(address, [])
        joined = [g for g in same if any(d.first <= c.last and c.first <= d.last for d in g)]
        group = [d for g in joined for d in g] + [c]
        groups[address] = [g for g in same if g not in joined] + [group]
        order[id(group[-1])] = number
    found = [group for same in groups.values() for group in same]
    return sorted(found, key=lambda group: order[id(group[-1])])


def _no_worse(promotion: Promotion, chosen: Chosen, apart: Chosen) -> bool:
    """Whether every nest that has less room than before takes no longer by the model."""
    before, after = _alive(promotion, chosen), _alive(promotion, apart)
    for nest, old, new in zip(promotion.ops, before, after, strict=True):
        if isinstance(nest, NestOp) and _low(new) < _low(old):
            kept = promotion.kept.get(nest, frozenset())
            cycles = promotion.cost(nest, kept, new, nest in promotion.in_place)
            if cycles > promotion.cycles_of(nest):
                return False
    return True


def _alive(promotion: Promotion, chosen: Chosen) -> list[list[Resident]]:
    out: list[list[Resident]] = [[] for _ in promotion.ops]
    for c, address in chosen:
        resident = Resident(address, promotion.size(c), c.first, c.last)
        for i in range(c.first, c.last + 1):
            out[i].append(resident)
    return out


def _low(alive: Sequence[Resident]) -> float:
    return min((r.address for r in alive), default=float("inf"))

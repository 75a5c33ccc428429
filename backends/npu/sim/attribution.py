"""Where the cycles of each layer went: its share of the program's time, unit by unit.

Every moment belongs to one layer: the one whose completion next moves the end of everything so far.

    completions   conv1 at 100, conv2 at 110, conv1 at 180      (conv2 already runs beside conv1)
    moments       [0, 100) conv1, [100, 110) conv2, [110, 180) conv1

Within a layer's moments a unit is busy for it or for another layer (`other`), or stalls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....dialects.constants import Array
from ....dialects.npu.isa import QUEUES
from .costs import Cost
from .counters import STALLS, Gap
from .expand import Expansion
from .timing import Schedule

KINDS = ("busy", "other", *STALLS)
_KIND = {kind: i for i, kind in enumerate(KINDS)}
_SLOWED = ("busy", "bank", "dram", "network")


@dataclass(frozen=True)
class Moments:
    """The time of a program divided among layers: `owner[i]` has it up to cycle `end[i]`."""

    end: Array
    owner: Array

    def cycles(self, layers: int) -> list[int]:
        """Cycles of each layer; they sum to the program's."""
        lengths = np.diff(self.end, prepend=0)
        return np.bincount(self.owner, lengths, layers).astype(np.int64).tolist()


def moments(layer: Array, done: Array, cycles: int) -> Moments:
    """Who has which part of [0, cycles): `layer` and completion `done` of every command."""
    order = np.argsort(done, kind="stable")
    end, owner = done[order], layer[order]
    end[-1:] = cycles
    last = np.append(owner[1:] != owner[:-1], True)
    return Moments(end[last], owner[last])


def layer_units(
    expansion: Expansion, costs: Sequence[Cost], s: Schedule, idle: Sequence[Sequence[Gap]],
    layer: Array, owned: Moments, layers: int,
) -> list[dict[str, dict[str, int]]]:  # fmt: skip
    """Per layer {unit: {"busy": .., "other": .., kind of stall: ..}}, without zeros.

    The values of a unit sum to the layer's cycles x cores.  `idle` are the units' gaps.
    """
    unit = 4 * (np.arange(len(expansion.site)) // max(1, expansion.per_core))
    unit += np.asarray([x.queue for x in expansion.sites])[np.asarray(expansion.site)]
    spent = np.zeros((len(QUEUES), layers, len(KINDS)))
    start, end = np.asarray(s.start), np.asarray(s.end)
    own_bank = np.asarray([c.own_bank for c in costs])
    work = np.asarray([c.work for c in costs]) - own_bank
    slowed = np.stack(
        [work, own_bank + np.asarray(s.bank), np.asarray(s.dram), np.asarray(s.network)], axis=1
    ) / np.maximum(end - start, 1)[:, None]  # fmt: skip
    for u, gaps in enumerate(idle):
        mine = np.flatnonzero((unit == u) & (end > start))
        begin = np.concatenate([start[mine], np.asarray([g.start for g in gaps], np.int64)])
        what = np.concatenate([mine, -1 - np.asarray([_KIND[g.kind] for g in gaps], np.int64)])
        _spread(spent[u % 4], begin, what, layer, slowed, owned)
    return [
        {
            queue.value: {k: n for k, n in zip(KINDS, _whole(spent[q, i]), strict=True) if n}
            for q, queue in enumerate(QUEUES)
        }
        for i in range(layers)
    ]


def _spread(
    spent: Array, begin: Array, what: Array, layer: Array, slowed: Array, owned: Moments
) -> None:
    """Add the time of one unit; its pieces are commands, or gaps (-1 - kind) of `what`."""
    order = np.argsort(begin, kind="stable")
    begin, what = begin[order], what[order]
    cuts = np.unique(np.concatenate([[0], begin, owned.end]))
    length = np.diff(cuts).astype(np.float64)
    owner = owned.owner[np.searchsorted(owned.end, cuts[:-1], side="right")]
    piece = what[np.searchsorted(begin, cuts[:-1], side="right") - 1]
    gap = piece < 0
    command = np.maximum(piece, 0)
    own = ~gap & (layer[command] == owner)

    def add(where: Array, kind: Array | int, cycles: Array) -> None:
        at = owner[where] * len(KINDS) + kind
        spent[...] += np.bincount(at, cycles, spent.size).reshape(spent.shape)

    add(gap, -1 - piece[gap], length[gap])
    add(~gap & ~own, _KIND["other"], length[~gap & ~own])
    for column, kind in enumerate(_SLOWED):
        add(own, _KIND[kind], length[own] * slowed[command[own], column])


def _whole(values: Array) -> list[int]:
    """Rounded to whole cycles with the same sum (largest remainders first)."""
    down: list[int] = [math.floor(v + 1e-9) for v in values.tolist()]
    left = round(float(values.sum())) - sum(down)
    rest = np.argsort(down - values, kind="stable").tolist()
    for i in rest[:left]:
        down[i] += 1
    return down

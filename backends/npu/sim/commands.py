"""Dynamic commands as timing sees them: queue, cost, semaphores, and what they do to a kept tile.

The matrix unit keeps its stationary tile (weights, or accumulators in an output-stationary array):
a matmul with the same tile as the one before needs no preload, unless a load or a vector command
has written to the scratchpad bytes that the tile came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...targets.machine import Machine
from .costs import Cost, site_costs
from .expand import Expansion, Site


@dataclass
class Commands:
    """Dynamic commands in program order, as parallel lists: what timing needs to know of them.

    `control[c]`: cycles of the control processor before c is issued.  `tile[c]`: for a matmul a
    key of its stationary tile (equal: no preload), `touched[c]`: for a matmul the scratchpad bytes
    of that tile, for others the scratchpad bytes it writes (a write there ends the tile's reuse).
    """

    queue: list[int]
    control: list[int]
    cost: list[Cost]
    waits: list[tuple[int, ...]]
    signals: list[tuple[int, ...]]
    tile: list[object] = field(default_factory=list[object])
    touched: list[tuple[int, int] | None] = field(default_factory=list[tuple[int, int] | None])
    sync: list[bool] = field(default_factory=list[bool])
    tail: int = 0

    def __len__(self) -> int:
        return len(self.queue)


def commands_of(expansion: Expansion, machine: Machine) -> Commands:
    """What timing needs of every command."""
    sites = expansion.sites
    cost = [iter(site_costs(s, expansion, machine)) for s in sites]
    tile = [iter(_tiles(s, machine)) for s in sites]
    touched = [iter(_touched(s, machine)) for s in sites]
    order = expansion.site
    queue, waits = [s.queue for s in sites], [s.instruction.waits for s in sites]
    signals = [s.instruction.signals for s in sites]
    sync = [s.instruction.mnemonic == "sync" for s in sites]
    return Commands(
        queue=[queue[s] for s in order],
        control=expansion.control,
        cost=[next(cost[s]) for s in order],
        waits=[waits[s] for s in order],
        signals=[signals[s] for s in order],
        tile=[next(tile[s]) for s in order],
        touched=[next(touched[s]) for s in order],
        sync=[sync[s] for s in order],
        tail=expansion.tail,
    )


def _stationary(machine: Machine) -> int:
    """Index of the matmul operand that stays in the array: accumulators or weights."""
    return 2 if machine.matrix.dataflow == "output-stationary" else 1


def _tiles(site: Site, machine: Machine) -> list[object]:
    if site.instruction.mnemonic != "matmul":
        return [None] * site.executions
    place = site.places[_stationary(machine)]
    return [(address, place.dims) for address in place.addresses]


def _touched(site: Site, machine: Machine) -> list[tuple[int, int] | None]:
    if site.instruction.mnemonic == "matmul":
        place = site.places[1] if _stationary(machine) == 1 else None
    else:
        place = next((p for p in site.places if p.space == "spm" and p.writes()), None)
    if place is None:
        return [None] * site.executions
    return [(a + place.low, a + place.high) for a in place.addresses]


def executions(expansion: Expansion) -> list[int]:
    """Per command, which execution of its site it is."""
    seen = [0] * len(expansion.sites)
    out: list[int] = []
    for s in expansion.site:
        out.append(seen[s])
        seen[s] += 1
    return out

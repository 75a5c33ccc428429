"""What a simulation says of one layer, and the form of a cause, for `report_causes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any

from ..backends.targets.machine import Machine

FULL = 0.75
"""Share of the array, of lanes, or of bursts from which on they count as filled."""
UNITS = ("matrix", "vector", "load", "store")


@dataclass(frozen=True)
class Cause:
    """A cause: its name, the numbers behind it, the remedy.

    `change` are the extents the remedy changes ("batch": how many times as many samples),
    `predicted` the layer's cycles then (for as many samples as now), `kept` the share of its
    multiply-accumulates that are left (or their multiple).
    """

    name: str
    text: str
    remedy: str
    change: Mapping[str, int] = field(default_factory=dict[str, int])
    predicted: int | None = None
    kept: float = 1.0


@dataclass(frozen=True)
class Shape:
    """Extents of a layer's largest computation, as `LayerShape`."""

    kind: str
    batch: int
    m: int
    n: int
    k: int
    taps: int

    @property
    def channels(self) -> int:
        """Input channels."""
        return self.k // self.taps


@dataclass(frozen=True)
class Evidence:
    """What was counted of one layer.

    `occupied` are cycles of a core in which a unit is at work for the layer, within its exclusive
    `cycles`, slowed down or not; `stalls` the rest of the same time by kind.  `busy` and `work`
    are cycles over all cores and the layer's whole duration, by unit and by instruction.
    """

    name: str
    nodes: tuple[str, ...]
    cycles: int
    occupied: Mapping[str, float]
    stalls: Mapping[str, Mapping[str, float]]
    busy: Mapping[str, int]
    work: Mapping[str, int]
    shape: Shape | None
    row: Mapping[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Evidence:
        """From a layer's row of a simulation's JSON."""
        cycles = row["exclusive_cycles"]
        units: Mapping[str, Mapping[str, int]] = row.get("attribution", {})
        total = max((sum(kinds.values()) for kinds in units.values()), default=cycles)
        cores = max(1, round(total / max(1, cycles)))
        at_work = ("busy", "bank", "dram", "network")
        shapes = [Shape(**shape) for shape in row.get("shapes", ())]
        most = max(shapes, key=lambda s: (s.kind == "matmul", prod((s.batch, s.m, s.n, s.k))),
                   default=None)  # fmt: skip
        return cls(
            row["name"],
            tuple(row["nodes"]),
            cycles,
            {u: sum(units.get(u, {}).get(k, 0) for k in at_work) / cores for u in UNITS},
            {u: {k: n / cores for k, n in units.get(u, {}).items() if k != "busy"} for u in UNITS},
            row["busy"],
            row.get("work", {}),
            most,
            row,
        )

    def stall(self, unit: str, kind: str) -> float:
        """Share of the layer's cycles that `unit` spends with `kind`."""
        return self.stalls[unit].get(kind, 0) / self.cycles

    @property
    def sparse(self) -> bool:
        """Whether most of its products are of 2:4-compressed weights."""
        return self.work.get("smatmul", 0) > self.work.get("matmul", 0)

    @property
    def pacing(self) -> str:
        """The unit that is occupied longest."""
        return max(UNITS, key=lambda u: self.occupied[u])

    def more_samples(
        self, name: str, text: str, batch: int, machine: Machine, *, other: str = ""
    ) -> Cause:
        """The cause whose remedy is `batch` times as many samples at once, or `other`."""
        together = max(self.cycles, ceil(batch * self.row["macs"] / machine.peak_macs_per_cycle))
        each = ceil(together / batch)
        return Cause(
            name,
            text,
            f"{other}{batch} times as many samples at once (batch): about {each:,} cycles for as "
            f"many as take {self.cycles:,} now, {together:,} for all of them",
            {"batch": batch},
            each,
        )

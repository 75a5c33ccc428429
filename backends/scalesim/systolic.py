"""SCALE-Sim's systolic array, fold by fold.

A layer is a product of M x K by K x N.  One operand stays in an array of R x C multipliers, the
others stream through; what does not fit is cut into folds, which SCALE-Sim runs one after another:

| dataflow | stays          | over rows x columns | streams for     |
|----------|----------------|---------------------|-----------------|
| ws       | filters        | K x N               | T = M cycles    |
| os       | outputs (sums) | M x N               | T = K cycles    |
| is       | inputs         | K x M               | T = N cycles    |

Each fold has three phases, none of which overlaps with another fold:

    fill    R cycles in which the stationary operand moves in, a row a cycle (ws, is); none for os
    stream  T cycles in which a new wavefront enters the array
    drain   R + C - 2 cycles until the last wavefront has crossed the whole array

A fold that covers only part of the array takes as long as a whole one: wavefronts cross idle rows
and columns as well.  SCALE-Sim reports the number of a layer's last cycle, and its first is number
0, so a layer's first cycle is not counted; here it is missing from the layer's first phase.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...dialects.errors import InputError

if TYPE_CHECKING:
    from .topology import Layer

DATAFLOWS = ("ws", "os", "is")


@dataclass(frozen=True)
class Array:
    """`rows` x `columns` multipliers."""

    rows: int
    columns: int

    @property
    def multipliers(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Fold:
    """`count` equal folds, each covering `rows` x `columns` of the array; cycles of each phase."""

    count: int
    rows: int
    columns: int
    fill: int
    stream: int
    drain: int

    @property
    def cycles(self) -> int:
        """Of one fold."""
        return self.fill + self.stream + self.drain


def spatial(m: int, n: int, k: int, dataflow: str) -> tuple[int, int, int]:
    """(extent over rows, extent over columns, steps streamed) of a product; InputError if unknown.

    Steps are wavefronts: one a cycle.
    """
    if dataflow not in DATAFLOWS:
        raise InputError(
            f"unknown dataflow {dataflow!r}", hint=f"choose from {', '.join(DATAFLOWS)}"
        )
    return {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[dataflow]


def fold(rows: int, columns: int, steps: int, array: Array, dataflow: str, count: int = 1) -> Fold:
    """A fold that covers `rows` x `columns` of the array and streams for `steps` cycles."""
    fill = 0 if dataflow == "os" else array.rows
    return Fold(count, rows, columns, fill, steps, array.rows + array.columns - 2)


def sequence(m: int, n: int, k: int, array: Array, dataflow: str) -> Iterator[Fold]:
    """Every fold in SCALE-Sim's order: along the rows of the stationary operand, then columns."""
    down, across, steps = spatial(m, n, k, dataflow)
    for column in range(0, across, array.columns):
        for row in range(0, down, array.rows):
            rows, columns = min(array.rows, down - row), min(array.columns, across - column)
            yield fold(rows, columns, steps, array, dataflow)


def folds(m: int, n: int, k: int, array: Array, dataflow: str) -> tuple[Fold, ...]:
    """The same folds, equal ones together: at most four kinds, whole or cut off either way."""
    down, across, steps = spatial(m, n, k, dataflow)
    return tuple(
        fold(rows, columns, steps, array, dataflow, many * times)
        for columns, many in _parts(across, array.columns)
        for rows, times in _parts(down, array.rows)
    )


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """(length, how many) of the parts that an extent is cut into."""
    whole, rest = divmod(extent, size)
    return [part for part in ((size, whole), (rest, int(rest > 0))) if part[1]]


@dataclass(frozen=True)
class LayerTiming:
    """Cycles of a layer without stalls; `fill`, `stream` and `drain` add up to `cycles`.

    `utilization`: multiply-accumulates over those the array could have done in the time.
    `mapping_efficiency`: the covered part of the array, averaged over folds.
    """

    layer: Layer
    array: Array
    folds: int
    fill: int
    stream: int
    drain: int
    mapping_efficiency: float

    @property
    def cycles(self) -> int:
        """The number of the last cycle, counted from 0."""
        return self.fill + self.stream + self.drain

    @property
    def utilization(self) -> float:
        """Of the array's multipliers, between 0 and 1 (0 where SCALE-Sim divides by no cycles)."""
        peak = self.cycles * self.array.multipliers
        return min(1.0, self.layer.macs / peak) if peak else 0.0


def time_layer(layer: Layer, array: Array, dataflow: str) -> LayerTiming:
    """Run the folds of a layer, one after another; InputError for an unknown dataflow."""
    kinds = folds(layer.m, layer.n, layer.k, array, dataflow)
    fill, stream, drain = (
        sum(kind.count * getattr(kind, phase) for kind in kinds)
        for phase in ("fill", "stream", "drain")
    )
    uncounted = 1 if fill else 0
    count = sum(kind.count for kind in kinds)
    covered = sum(kind.count * kind.rows * kind.columns for kind in kinds)
    return LayerTiming(
        layer, array, count, fill - uncounted, stream - 1 + uncounted, drain,
        covered / (count * array.multipliers),
    )  # fmt: skip

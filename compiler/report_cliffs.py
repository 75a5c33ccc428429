"""Cliffs: layers that use the machine badly, why, and which change of shape helps.

    conv0 + relu0
      utilisation 49.0%, its lower bound 100.0%: costs 4,537 of 8,889 cycles
      array columns left over: 17 output channels take 2 passes of 16 columns, the last has 1
      remedy: 16 output channels: about 4,924 cycles instead of 8,889; or up to 32 ...

A layer is listed if it takes over twice its lower bound; if its utilisation is under half that of
the contractions before and after it; if its bytes take DRAM over twice as long as its arithmetic
the array; or if a last pass over the array that is less than half full takes a quarter of its time
or more.  Causes come from what the simulator counted while the layer held up the program
(`report_causes`).  Pure functions over plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from ..backends.targets.machine import Machine
from .report_array import left_over
from .report_causes import explain
from .report_evidence import Cause, Evidence, Shape

HALF = 0.5
"""Utilisation below this share of its reference's is a cliff."""
NEIGHBOURS = 2
"""Contractions on either side that a layer is compared with."""
SHOWN = 6
"""Cliffs that the text report has in full."""


@dataclass(frozen=True)
class Cliff:
    """One layer that uses the machine badly.

    `utilization` and `reference` are shares of peak (of a layer without multiply-accumulates: its
    lower bound over its cycles, and 1); `against` says whose the latter is.  `cost_cycles` is what
    the layer takes beyond what it would at the reference.  `change` are the extents that the remedy
    changes ("output_channels", "input_channels" ...; "batch": how many times as many samples),
    `predicted_cycles` what the layer would take then, for as many samples as now; empty and None
    where none is known.  `shape` is its largest computation's.
    """

    layer: str
    nodes: tuple[str, ...]
    cycles: int
    utilization: float
    reference: float
    against: str
    cost_cycles: int
    cause: str
    explanation: str
    remedy: str
    change: Mapping[str, int]
    predicted_cycles: int | None
    shape: Shape | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "nodes": list(self.nodes)}


def cliffs(rows: Sequence[Mapping[str, Any]], machine: Machine) -> list[Cliff]:
    """The cliffs among the layers of a simulation (its JSON rows), the most expensive first."""
    rows = [row for row in rows if row["exclusive_cycles"] > 0]
    used = [row["macs"] / (row["exclusive_cycles"] * machine.peak_macs_per_cycle) for row in rows]
    contractions = [i for i, row in enumerate(rows) if row["macs"]]
    found: list[Cliff] = []
    for i, row in enumerate(rows):
        evidence = Evidence.of(row)
        references: list[tuple[float, str]] = []
        share = row["lower_bound_cycles"] / row["exclusive_cycles"]
        achieved = used[i] if row["macs"] else share
        if share < HALF and achieved:
            references.append((min(1.0, achieved / max(share, 1e-9)), "its lower bound"))
        if row["macs"]:
            at = contractions.index(i)
            near = contractions[max(0, at - NEIGHBOURS) : at]
            near += contractions[at + 1 : at + 1 + NEIGHBOURS]
            typical = median(used[j] for j in near) if near else 0.0
            if achieved < HALF * typical:
                references.append((typical, "neighbouring layers"))
        if achieved < HALF and _starved(row, machine):
            references.append((1.0, "the array's peak"))
        if references:
            reference, against = max(references)
            found.append(_cliff(evidence, explain(evidence, machine), achieved, reference, against))
        elif (cause := left_over(evidence, machine)) is not None and cause.predicted is not None:
            better = achieved * cause.kept * evidence.cycles / cause.predicted
            found.append(_cliff(evidence, cause, achieved, better, "a shape that fits the array"))
    return sorted((c for c in found if c.cost_cycles > 0), key=lambda c: -c.cost_cycles)


def _starved(row: Mapping[str, Any], machine: Machine) -> bool:
    """Whether what must cross the DRAM interface takes over twice the time of the arithmetic."""
    moving = row["compulsory_bytes"] / (machine.dram.bytes_per_cycle * machine.cores)
    return 0 < row["macs"] / machine.peak_macs_per_cycle < HALF * moving


def _cliff(
    evidence: Evidence, cause: Cause, achieved: float, reference: float, against: str
) -> Cliff:
    cost = round(evidence.cycles * (1 - achieved / reference))
    return Cliff(
        evidence.name, evidence.nodes, evidence.cycles, achieved, reference, against, cost,
        cause.name, cause.text, cause.remedy, cause.change, cause.predicted, evidence.shape,
    )  # fmt: skip


def cliff_lines(found: Sequence[Cliff], total: int) -> list[str]:
    """Text of the cliffs of a program of `total` cycles; empty if there are none."""
    if not found:
        return []
    layers = "layer" if len(found) == 1 else "layers"
    lines = [f"cliffs: {len(found)} {layers} far below what the machine could do"]
    if len(alike := groups(found)) > SHOWN:
        lines += by_cause(found)
    for first, *others in alike[:SHOWN]:
        lines += [
            f"  {first.layer}" + (f" and {len(others)} like it" if others else ""),
            f"    {headline(first)}",
            f"    {first.cause}: {first.explanation}",
            f"    remedy: {first.remedy}",
        ]
    if rest := [cliff for group in alike[SHOWN:] for cliff in group]:
        cost = sum(cliff.cost_cycles for cliff in rest)
        lines.append(
            f"  and {len(rest)} more that cost {cost / max(1, total):.1%} of all cycles "
            "(--json or --report has all)"
        )
    return lines


def groups(found: Sequence[Cliff]) -> list[list[Cliff]]:
    """Cliffs of the same cause in layers of the same extents together, most expensive first."""
    alike: dict[tuple[Any, ...], list[Cliff]] = {}
    for cliff in found:
        alike.setdefault((cliff.cause, cliff.shape), []).append(cliff)
    return sorted(alike.values(), key=lambda group: -sum(c.cost_cycles for c in group))


def by_cause(found: Sequence[Cliff]) -> list[str]:
    """Causes in order of cost, where there are several."""
    causes: dict[str, list[int]] = {}
    for cliff in found:
        causes.setdefault(cliff.cause, []).append(cliff.cost_cycles)
    if len(causes) < 2:
        return []
    costs = sorted(causes.items(), key=lambda item: -sum(item[1]))
    return [f"  {sum(n):>11,} cycles: {cause} ({len(n)})" for cause, n in costs]


def headline(cliff: Cliff) -> str:
    """How bad it is, in a line."""
    return (
        f"utilisation {cliff.utilization:.1%}, {cliff.against} {cliff.reference:.1%}: "
        f"costs {cliff.cost_cycles:,} of {cliff.cycles:,} cycles"
    )

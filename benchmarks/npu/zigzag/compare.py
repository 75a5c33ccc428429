"""ZigZag's best mapping and ours of each layer, in ZigZag's model and on our simulator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import TilewrightError

from .cost import Latency, Problem, evaluate
from .machine import Architecture, Nest, layer_of, nest_of
from .ours import Run, run
from .replay import replay
from .search import search

PARTS = ("temporal", "stall", "onload", "offload", "drain")
"""What a latency consists of."""


@dataclass
class Row:
    """One layer.  Latencies are in cycles by part, see `cost.Latency` and `ours.Run`.

    `equal`: our cost model gives ZigZag's figures for ZigZag's mapping.  `same_spatial`: ZigZag's
    spatial mapping fills the array as ours does.  `replay`: ZigZag's mapping on our simulator,
    `prefetched` the same with what stays on chip loaded in pieces, `searched` our mapping;
    `compiled`: our compiler's schedule.  `in_zigzag`: figures of our mapping by ZigZag itself.
    """

    name: str
    zigzag: dict[str, float]
    zigzag_mapping: dict[str, Any]
    equal: bool
    found: dict[str, float]
    found_mapping: dict[str, Any]
    search_seconds: float
    evaluated: int
    same_spatial: bool
    replay: dict[str, int] | None = None
    prefetched: dict[str, int] | None = None
    searched: dict[str, int] | None = None
    compiled: dict[str, int] | None = None
    in_zigzag: dict[str, Any] | None = None
    error: str | None = None

    @property
    def model_ratio(self) -> float:
        """Our best mapping over ZigZag's, in ZigZag's model."""
        return self.found["total"] / self.zigzag["total"]

    @property
    def machine_ratio(self) -> float | None:
        """Our schedule over ZigZag's mapping, on our machine."""
        if self.compiled is None or self.replay is None:
            return None
        return self.compiled["cycles"] / self.replay["cycles"]

    @property
    def prefetch_ratio(self) -> float | None:
        """Our schedule over ZigZag's mapping with prefetching, on our machine."""
        if self.compiled is None or self.prefetched is None:
            return None
        return self.compiled["cycles"] / self.prefetched["cycles"]


def parts(latency: Latency) -> dict[str, float]:
    """A latency as plain values."""
    return {"ideal": latency.ideal, **{p: getattr(latency, p) for p in PARTS}} | {
        "total": latency.total
    }


def agrees(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """Are two latencies the same in every part, but for rounding of floating point?"""
    return all(math.isclose(ours[p], theirs[p], abs_tol=1e-6) for p in (*PARTS, "ideal", "total"))


def fills_alike(problem: Problem, target: Machine) -> bool:
    """Does ZigZag's spatial mapping take as many steps as our array, which packs taps as well?"""
    layer, unit = problem.layer, target.matrix
    reduction = math.prod(layer.dims.get(d, 1) for d in ("C", "FX", "FY"))
    positions = math.prod(layer.dims.get(d, 1) for d in ("B", "D", "OX", "OY", "G"))
    steps = math.ceil(reduction / unit.rows) * math.ceil(layer.dims.get("K", 1) / unit.columns)
    return steps * positions == math.prod(layer.temporal.values())


class Comparison:
    """Layers on one machine, described for ZigZag and, if `target` is given, as one of ours."""

    def __init__(self, machine: Architecture, target: Machine | None):
        self.machine, self.target = machine, target
        self._simulated: dict[str, tuple[dict[str, dict[str, int]], str | None]] = {}

    def row(self, data: Mapping[str, Any]) -> Row:
        """Search for a mapping of a layer that ZigZag has mapped; the search alone is timed."""
        layer, theirs = layer_of(data), nest_of(data["best"])
        started = time.process_time()
        problem = Problem(self.machine, layer)
        found = search(problem)
        seconds = time.process_time() - started
        figures: dict[str, float] = data["figures"]
        row = Row(
            layer.name, figures, theirs.to_json(),
            agrees(parts(evaluate(problem, theirs)), figures), parts(found.latency),
            found.nest.to_json(), seconds, found.evaluated,
            self.target is not None and fills_alike(problem, self.target),
        )  # fmt: skip
        if self.target is not None:
            key = repr((layer.dims, layer.windows, layer.spatial, theirs))
            if key not in self._simulated:
                self._simulated[key] = simulated(problem, theirs, found.nest, self.target)
            runs, row.error = self._simulated[key]
            for kind, figures_of_run in runs.items():
                setattr(row, kind, figures_of_run)
        return row


def simulated(
    problem: Problem, theirs: Nest, ours: Nest, target: Machine
) -> tuple[dict[str, dict[str, int]], str | None]:
    """A layer on our simulator: both mappings and our compiler's schedule, and what went wrong."""
    ways: dict[str, Callable[[], Run]] = {
        "compiled": lambda: run(problem.layer, target),
        "replay": lambda: replay(problem, theirs, target, prefetch=False),
        "prefetched": lambda: replay(problem, theirs, target, prefetch=True),
        "searched": lambda: replay(problem, ours, target, prefetch=False),
    }
    runs: dict[str, dict[str, int]] = {}
    reasons: list[str] = []
    for kind, way in ways.items():
        try:
            runs[kind] = asdict(way())
        except TilewrightError as error:
            reasons.append(f"{kind}: {error.message}")
    return runs, "; ".join(reasons) or None

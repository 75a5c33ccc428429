"""Figures of one execution, measured or estimated, and the figures that publications quote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import InputError

FIGURES = ("cycles", "seconds", "fps", "tops", "utilization", "share:<unit>.<kind>")


@dataclass(frozen=True)
class Estimate:
    """Cycles of one batch, useful multiply-accumulates in it, and where units spent the cycles."""

    cycles: int
    macs: int
    units: Mapping[str, Mapping[str, int]]


def check_figure(name: str) -> str:
    """`name`, if it is a figure; InputError otherwise."""
    if name in FIGURES[:-1]:
        return name
    kind = name.removeprefix("share:")
    if kind != name and len(kind.split(".")) == 2 and all(kind.split(".")):
        return name
    raise InputError(f"unknown figure {name!r}", hint=f"choose from {', '.join(FIGURES)}")


def figure(name: str, result: Estimate, machine: Machine, batch: int) -> float:
    """A figure of `result`; `batch` samples were run.

    InputError for a unit that it has not, and where nothing ran.
    """
    if not result.cycles:
        raise InputError("no part of the network runs on the NPU")
    if name.startswith("share:"):
        unit, kind = name.removeprefix("share:").split(".")
        kinds = result.units.get(unit)
        if kinds is None:
            raise InputError(
                f"no unit {unit!r} in this result", hint=f"it has {', '.join(result.units)}"
            )
        whole = max(result.cycles, sum(kinds.values()))  # of several cores: cycles of each
        return kinds.get(kind, 0) / whole
    seconds = result.cycles / machine.clock_hz
    return {
        "cycles": float(result.cycles),
        "seconds": seconds,
        "fps": batch / seconds,
        "tops": 2 * result.macs / seconds / 1e12,
        "utilization": result.macs / (result.cycles * machine.peak_macs_per_cycle),
    }[check_figure(name)]

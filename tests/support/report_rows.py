"""Rows of a simulation's layers, from counters made up here."""

from __future__ import annotations

from typing import Any

from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine


def target(name: str = "gemmini-16x16") -> Machine:
    machine = load_target(name)
    assert machine is not None
    return machine


MATMUL = {"kind": "matmul", "batch": 1, "m": 1000, "n": 64, "k": 64, "taps": 1}


def row(
    cycles: int = 1000, shape: dict[str, Any] | None = None, *, cores: int = 1, **units: Any
) -> dict[str, Any]:
    """A layer: `units` are kinds of cycles by unit (completed by `idle`), or other fields."""
    names = ("load", "store", "matrix", "vector")
    given = {u: dict(units.pop(u, {})) for u in names}
    shape = MATMUL if shape is None else shape
    for kinds in given.values():
        kinds["idle"] = cycles * cores - sum(kinds.values())
    macs = shape["batch"] * shape["m"] * shape["n"] * shape["k"]
    return {
        "name": "node", "nodes": ["node"], "exclusive_cycles": cycles, "lower_bound_cycles": 1,
        "commands": 10, "macs": macs, "matrix_macs": macs, "dram_bytes": 0, "weight_bytes": 0,
        "bus_bytes": 0, "compulsory_bytes": 0, "shapes": [shape], "attribution": given,
        "busy": {u: kinds.get("busy", 0) for u, kinds in given.items()}, "work": {}, **units,
    }  # fmt: skip

"""The worked examples of docs/timing.md are what the simulator does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tilewright.backends.npu.assembler import assemble
from tilewright.backends.npu.sim.counters import STALLS
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.load import load_target

DOCS = Path(__file__).parents[3] / "docs" / "timing.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCS.read_text(encoding="utf-8")


def check(example: str, target: str, consts: np.ndarray, cycles: int) -> None:
    """Code, table and counters of a section against a simulation."""
    code = example.split("```asm\n")[1].split("```")[0]
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", example, re.M)
    machine = load_target(target)
    assert machine is not None
    arena = np.zeros(1 << 14, np.uint8)
    result = simulate(assemble(code), machine, arena, consts, trace=True)
    assert result.trace is not None
    events = [e for e in result.trace["traceEvents"] if "issued" in e.get("args", {})]
    slices = [{**e["args"], "name": e["name"]} for e in events]
    fields = ("issued", "accepted", "start", "end", "completed")
    got = [(e["name"].split()[0], *(str(e[f]) for f in fields)) for e in slices]
    assert got == rows
    assert result.cycles == cycles
    stated = re.search(r"The matrix unit's (\d+) cycles: (.*)\.", example)
    assert stated is not None
    counters = {k: int(v) for k, v in (item.split() for item in stated[2].split(", "))}
    assert counters == {k: v for k, v in result.units["matrix"].items() if v}
    assert int(stated[1]) == result.cycles


def test_worked_example(text: str) -> None:
    consts = np.zeros(4096, np.uint8)
    consts[256 + 384 : 256 + 448].view(np.int32)[:] = 1  # shifts
    check(text.split("## A worked example")[1], "gemmini-16x16", consts, 300)


def test_sparse_weights(text: str) -> None:
    example = text.split("## Sparse weights")[1].split("\n## ")[0]
    check(example, "auto-200", np.zeros(20480, np.uint8), 919)


def test_every_counter_is_documented(text: str) -> None:
    for stall in STALLS:
        assert stall in text, stall

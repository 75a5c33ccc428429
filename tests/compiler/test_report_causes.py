"""Causes from counters made up here: one for each kind of evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.report_rows import MATMUL, row, target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.report_array import left_over
from tilewright.compiler.report_causes import explain
from tilewright.compiler.report_cliffs import cliffs
from tilewright.compiler.report_evidence import Cause, Evidence


def cause(machine: Machine | None = None, **given: Any) -> Cause:
    return explain(Evidence.of(row(**given)), machine or target())


def test_banks() -> None:
    found = cause(matrix={"busy": 500, "bank": 400}, shape={**MATMUL, "n": 20})
    assert found.name == "bank conflicts"
    assert "matrix spends 40%" in found.text
    assert found.change == {"output_channels": 32}
    assert cause(vector={"busy": 600, "bank": 300}).change == {}


def test_issue() -> None:
    found = cause(matrix={"busy": 300, "fetch": 600}, commands=1234)
    assert found.name == "bound by issue of commands"
    assert "1,234 commands for 60% of the time" in found.text


def test_another_layer() -> None:
    found = cause(matrix={"busy": 100}, load={"other": 800})
    assert found.name == "waits for another layer"
    assert "load works for others in 80%" in found.text


def test_latency() -> None:
    found = cause(matrix={"busy": 50, "wait_load": 500}, load={"busy": 50, "latency": 400})
    assert found.name == "latency-bound: too little work"
    assert "waiting for loads 50%, DRAM latency 40%" in found.text


def test_units_that_take_turns() -> None:
    found = cause(matrix={"busy": 450, "wait_vector": 450}, vector={"busy": 400})
    assert found.name == "units take turns"
    assert "matrix 45%, vector 40%" in found.text


def test_weights_that_load_longer_than_they_are_used() -> None:
    found = cause(matrix={"busy": 200, "preload": 700}, shape={**MATMUL, "m": 4})
    assert (found.name, found.change) == ("few positions", {"batch": 4})
    assert found.predicted == 250
    assert "4 times as many samples at once (batch): about 250 cycles" in found.remedy


def test_bytes() -> None:
    busy = {"busy": 900}
    found = cause(load=busy, dram_bytes=16000, weight_bytes=16000, bus_bytes=16000)
    assert found.name == "DRAM-bound: weights loaded again"
    assert "each of them 3.9 times" in found.text
    found = cause(load=busy, dram_bytes=9000, weight_bytes=100, bus_bytes=18000)
    assert found.name == "short DRAM bursts"
    found = cause(load=busy, dram_bytes=9000, bus_bytes=9000, compulsory_bytes=100)
    assert found.name == "DRAM-bound: tensors do not stay on chip"
    found = cause(load=busy, dram_bytes=9000, bus_bytes=9000, compulsory_bytes=9000)
    assert found.name == "DRAM-bound: activations"
    assert "(16 reads in flight)" in found.text


def test_vector_instructions() -> None:
    pool = {"kind": "vmax", "batch": 1, "m": 100, "n": 64, "k": 9, "taps": 9}
    found = cause(vector={"busy": 900}, work={"vmax": 800, "vclip": 100}, shape=pool)
    assert found.name == "vector-bound: maxima over windows"
    assert "smaller windows" in found.remedy
    uneven = cause(vector={"busy": 900}, work={"vmax": 800}, shape={**pool, "n": 65})
    assert "65 channels leave 1 for the last group" in uneven.text
    added = cause(vector={"busy": 900}, matrix={"busy": 300}, work={"vadd": 700, "vrequant": 200})
    assert added.name == "vector-bound: addition"
    assert added.change == {"input_channels": 192}


def test_sparse_weights() -> None:
    """Compressed weights have `rate` times the rows of the array, and 5/8 of the bytes."""
    machine = target("ethos-u85-1024")
    machine = replace(machine, matrix=replace(machine.matrix, rows=32))

    def of(k: int, instruction: str = "smatmul", **given: Any) -> Cause:
        return cause(machine, shape={**MATMUL, "k": k}, work={instruction: 900}, **given)

    pace: dict[str, Any] = {"matrix": {"busy": 900}, "macs": 1}
    assert of(40, "matmul", **pace).name == "array rows left over"
    few = of(40, **pace)
    assert (few.name, few.change) == ("few input channels", {"input_channels": 64})
    over = of(72, **pace)
    assert over.text == "72 input channels take 2 passes of 64 rows, the last has 8"
    issue = of(64, matrix={"busy": 300, "fetch": 600})
    assert "multiples of 64 x 16" in issue.remedy
    stored = 5 * 64 * 64 // 8
    again = of(64, load={"busy": 900}, dram_bytes=2 * stored, weight_bytes=2 * stored)
    assert again.text.partition(": ")[2].startswith("each of them 2 times")


def test_what_needs_no_words() -> None:
    machine = target()
    assert left_over(Evidence.of(row(20_000, matrix={"busy": 16_000})), machine) is None
    assert cliffs([], machine) == []
    assert cliffs([row(0)], machine) == []
    assert cliffs([row(20_000, matrix={"busy": 16_000})], machine) != []  # over twice its bound
    good = row(20_000, matrix={"busy": 16_000}, lower_bound_cycles=16_000)
    assert cliffs([good], machine) == []


def test_rows_without_evidence() -> None:
    """Artefacts that older versions made, and layers whose extents are unknown."""
    bare = {k: v for k, v in row(40_000).items() if k not in ("attribution", "shapes", "work")}
    (found,) = cliffs([bare], target())
    assert found.cause == "latency-bound: too little work"
    known = row(matrix={"busy": 900}), row(vector={"busy": 900}), row(load={"busy": 900})
    for one in known:
        assert explain(Evidence.of({**one, "shapes": []}), target()).text

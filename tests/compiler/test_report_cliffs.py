"""Cliffs of real networks: the cause is named, and the remedy helps when it is compiled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks.npu.networks import sample
from benchmarks.npu.zoo.builder import Builder
from onnx import ModelProto

from support.models import tilewright
from tilewright.compiler import api
from tilewright.compiler.report import render_html, simulation_table
from tilewright.compiler.report_cliffs import Cliff, by_cause, cliff_lines, groups
from tilewright.compiler.simulation import Simulation

TARGET = "gemmini-16x16"


def convolutions(
    channels: Sequence[int], kernel: int = 1, groups: Sequence[int] = ()
) -> ModelProto:
    """Square convolutions of 32 x 32 positions, one after the other, as `conv0`, `conv1` ..."""
    net = Builder("chain")
    x = net.input("x", (1, channels[0], 32, 32))
    for i, (a, b) in enumerate(pairwise(channels)):
        x = net.conv(x, a, b, kernel, name=f"conv{i}", groups=groups[i] if groups else 1)
        x = net.relu(x, name=f"relu{i}")
    return net.model(x)


def connected(inputs: int, outputs: int, batch: int) -> ModelProto:
    net = Builder("connected")
    return net.model(net.gemm(net.input("x", (batch, inputs)), inputs, outputs, name="fc"))


def compiled(model: ModelProto, target: str = TARGET) -> api.Executable:
    return api.compile(model, target, quantize="int8", calibration=sample(model))


def simulated(model: ModelProto, target: str = TARGET) -> Simulation:
    return compiled(model, target).simulate_timing()


def cycles_of(figures: Simulation, node: str) -> int:
    return next(row["exclusive_cycles"] for row in figures.layers if node in row["nodes"])


def cliff_of(figures: Simulation, node: str) -> Cliff:
    return next(cliff for cliff in figures.cliffs if node in cliff.nodes)


@pytest.mark.parametrize("kernel", [1, 3])
def test_one_channel_too_many(kernel: int) -> None:
    cliff = cliff_of(simulated(convolutions([64, 17, 17, 64], kernel)), "conv1")
    assert cliff.cause.startswith("array ") and cliff.cause.endswith("columns left over")
    assert "17 output channels take 2 passes of 16 columns, the last has 1" in cliff.explanation
    assert "up to 32" in cliff.remedy
    assert cliff.change["output_channels"] == 16
    assert cliff.cost_cycles > 0.4 * cliff.cycles
    inputs = cliff.change.get("input_channels", 17)
    better = cycles_of(
        simulated(convolutions([64, inputs, cliff.change["output_channels"], 64], kernel)), "conv1"
    )
    assert better < 0.7 * cliff.cycles
    assert cliff.predicted_cycles == pytest.approx(better, rel=0.35)
    assert f"about {cliff.predicted_cycles:,} cycles instead of {cliff.cycles:,}" in cliff.remedy


def test_left_over_rows() -> None:
    cliff = cliff_of(simulated(convolutions([64, 17, 64])), "conv1")
    assert cliff.cause == "array rows left over"
    assert cliff.change == {"input_channels": 16}
    better = cycles_of(simulated(convolutions([64, 16, 64])), "conv1")
    assert better < 0.8 * cliff.cycles
    assert cliff.predicted_cycles == pytest.approx(better, rel=0.35)


def test_balanced_networks_have_none() -> None:
    for kernel in (1, 3):
        figures = simulated(convolutions([64, 64, 64, 64], kernel))
        assert figures.cliffs == []
        assert "cliffs" not in simulation_table(figures)


def test_weights_that_are_used_once() -> None:
    cliff = cliff_of(simulated(connected(1024, 1024, 1)), "fc")
    assert cliff.cause == "DRAM-bound: weights"
    assert "used once (a matrix by a vector)" in cliff.explanation
    batch = cliff.change["batch"]
    assert batch > 8
    together = cycles_of(simulated(connected(1024, 1024, batch)), "fc")
    assert together / batch < cliff.cycles / 8
    assert cliff.predicted_cycles == pytest.approx(together / batch, rel=0.5)
    assert cliff.predicted_cycles is not None
    assert cliff.predicted_cycles < cliff.cycles
    told = f"about {cliff.predicted_cycles:,} cycles for as many as take {cliff.cycles:,} now"
    assert told in cliff.remedy


def test_depthwise() -> None:
    wide = cliff_of(simulated(convolutions([32] * 4, 3, [1, 32, 1])), "conv1")
    assert wide.cause == "depthwise on the vector unit"
    assert "16 lanes do 16 multiply-accumulates a cycle, the array 256" in wide.explanation
    assert not wide.change
    uneven = cliff_of(simulated(convolutions([33] * 4, 3, [1, 33, 1])), "conv1")
    assert uneven.change == {"channels": 32}
    assert uneven.predicted_cycles == pytest.approx(wide.cycles, rel=0.35)


def test_depthwise_on_few_lanes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "backends" / "targets" / f"{TARGET}.toml").read_text()
    few = tmp_path / "few-lanes.toml"
    few.write_text(text.replace("lanes = 16", "lanes = 8"))
    cliff = cliff_of(simulated(convolutions([16] * 4, 3, [1, 16, 1]), str(few)), "conv1")
    assert cliff.change == {"group": 1}
    dense = cycles_of(simulated(convolutions([16] * 4, 3), str(few)), "conv1")
    assert dense < 0.7 * cliff.cycles
    assert cliff.predicted_cycles == pytest.approx(dense, rel=0.35)


def test_few_input_channels_leave_the_pace_to_requantisation() -> None:
    cliff = cliff_of(simulated(convolutions([3, 64, 64])), "conv0")
    assert cliff.cause == "vector-bound: requantisation"
    assert cliff.against == "neighbouring layers"
    assert cliff.change == {"input_channels": 16}
    wider = cycles_of(simulated(convolutions([16, 64, 64])), "conv0")
    assert wider < 1.3 * cliff.cycles


def test_reports_name_the_node(tmp_path: Path) -> None:
    executable = compiled(convolutions([64, 17, 17, 64]))
    figures = executable.simulate_timing()
    text = simulation_table(figures)
    assert "conv1 + relu1" in text.partition("cliffs: ")[2]
    page = render_html(executable, figures)
    assert "<h2>Cliffs</h2>" in page
    assert "17 output channels take 2 passes of 16 columns" in page
    executable.save(tmp_path / "m.tw")
    code, out, err = tilewright("simulate", tmp_path / "m.tw", "--timing-only", "--json", "-")
    assert code == 0, err
    cliffs = json.loads(out)["cliffs"]
    assert [c["cost_cycles"] for c in cliffs] == sorted(
        (c["cost_cycles"] for c in cliffs), reverse=True
    )
    (middle,) = [c for c in cliffs if "conv1" in c["nodes"]]
    assert middle["change"] == {"input_channels": 16, "output_channels": 16}
    assert 0 < middle["utilization"] < middle["reference"] <= 1.1
    assert middle["shape"]["n"] == 17


def test_layers_alike_are_told_once() -> None:
    found = simulated(convolutions([64, 17, 17, 17, 64])).cliffs
    together = next(g for g in groups(found) if len(g) > 1)
    assert {c.nodes[0] for c in together} == {"conv1", "conv2"}
    lines = cliff_lines(found, 100_000)
    assert any(line.endswith(" and 1 like it") for line in lines)
    assert len(by_cause(found)) == len({c.cause for c in found})
    assert cliff_lines([], 1) == []

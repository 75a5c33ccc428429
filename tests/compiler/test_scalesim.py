"""`tilewright simulate --timing scalesim`, and our schedule beside SCALE-Sim's timing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tilewright.backends.scalesim import Array, Layer, parse_topology
from tilewright.compiler.cli import main
from tilewright.compiler.scalesim_schedule import (
    Memories,
    layer_model,
    machine_for,
    schedule_layer,
)

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"  # noqa: E501

PAGE = Path(__file__).parents[2] / "docs" / "scalesim.md"


@pytest.fixture
def topology(tmp_path: Path) -> str:
    path = tmp_path / "two.csv"
    path.write_text("Layer, M, N, K,\nfirst, 40, 24, 17,\n[second], 16, 16, 16,\n")
    return str(path)


def run(*args: Any) -> int:
    try:
        main(["simulate", *map(str, args)])
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def test_json(topology: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("--timing", "scalesim", "--topology", topology, "--array", "16x8", "--dataflow",
               "WS", "--json", "-")  # fmt: skip
    out = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (out["topology"], out["array"], out["dataflow"]) == ("two", [16, 8], "ws")
    first, second = out["layers"]
    assert first["cycles"] == 2 * 3 * (32 + 8 + 40 - 2) - 1
    assert (first["name"], first["m"], first["n"], first["k"]) == ("first", 40, 24, 17)
    assert first["folds"] == 6 and first["fill"] + first["stream"] + first["drain"] == 467
    assert first["utilization"] == pytest.approx(40 * 24 * 17 / (467 * 128))
    assert second["cycles"] == 2 * (32 + 8 + 16 - 2) - 1
    assert out["total_cycles"] == first["cycles"] + second["cycles"]


def test_the_page_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    topology = next(b for b in blocks if b.startswith("Layer name"))
    command, _, output = next(b for b in blocks if b.startswith("$ ")).partition("\n")
    (tmp_path / "small.csv").write_text(topology)
    monkeypatch.chdir(tmp_path)
    assert run(*command.split()[3:]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == output.splitlines()


def test_table(topology: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.json"
    assert run("--timing", "scalesim", "--topology", topology, "--array", "16x8", "--json",
               target) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert "two on 16x8, os" in text and "[second]" in text and "total " in text
    assert json.loads(target.read_text())["dataflow"] == "os"


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "nothing to simulate"),
        (["a.tw", "--timing", "scalesim", "--topology", "{t}", "--array", "8x8"], "ARTEFACT: not"),
        (["--timing", "scalesim", "--array", "8x8"], "needs --topology"),
        (["--timing", "scalesim", "--topology", "{t}"], "needs --array"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8by8"], "cannot read --array"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8x8", "--dataflow", "rs"],
         "unknown dataflow 'rs'"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8x8", "--sram", "1,1,1"],
         "--bandwidth and --sram go together"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8x8", "--bandwidth", "1"],
         "--bandwidth and --sram go together"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8x8", "--bandwidth", "-1",
          "--sram", "1,1,1"], "--bandwidth -1"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8x8", "--bandwidth", "1",
          "--sram", "1,1"], "cannot read --sram"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "256x256", "--bandwidth", "1",
          "--sram", "1,1,1"], "too small"),
        (["--timing", "scalesim", "--topology", "{t}", "--array", "8x8", "--trace", "t.json"],
         "--trace: not with --timing scalesim"),
        (["--timing", "real", "--topology", "{t}"], "unknown --timing 'real'"),
        (["a.tw", "--topology", "{t}"], "--topology: only with --timing scalesim"),
    ],
)  # fmt: skip
def test_one_message(
    args: list[str], message: str, topology: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(a.replace("{t}", topology) for a in args)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("error: ") == 1 and message in error


@pytest.mark.parametrize(
    "text", ["c, 9, 8, 3, 2, 5, 7, 1,", "c, 10, 9, 3, 3, 4, 6, 2,", "c, 7, 7, 1, 1, 3, 2, 3, 2,"]
)
def test_layer_models_are_the_layers(text: str) -> None:
    """Output extents as SCALE-Sim counts them, and the layer's multiply-accumulates."""
    (layer,) = parse_topology(CONV + text)
    model = layer_model(layer)
    onnx.checker.check_model(model, full_check=True)
    assert layer.convolution is not None
    conv = layer.convolution
    x = np.ones((1, conv.height, conv.width, conv.channels), np.int8)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})  # pyright: ignore[reportUnknownVariableType]
    assert np.shape(y) == (1, *conv.output, layer.n)


def test_a_layer_that_is_too_large_to_compile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be timed, but its arrays cannot be made."""
    path = tmp_path / "large.csv"
    path.write_text(f"Layer, M, N, K,\nhuge, {2**31}, {2**31}, {2**31},\n")
    args = ["--timing", "scalesim", "--topology", path, "--array", "8x8"]
    assert run(*args, "--json", "-") == 0
    (layer,) = json.loads(capsys.readouterr().out)["layers"]
    assert layer["cycles"] == 2**56 * (8 + 8 + 2**31 - 2) - 1
    assert run(*args, "--bandwidth", "4", "--sram", "8,8,8") == 2
    assert "layer 'huge'" in capsys.readouterr().err


@pytest.mark.parametrize("bandwidth", [0.5, 3, 100_000])
def test_any_bandwidth_makes_a_machine(bandwidth: float) -> None:
    machine = machine_for(Array(12, 14), "ws", Memories(36, 36, 36, bandwidth))
    assert machine.dram.bytes_per_cycle == bandwidth
    assert machine.dma_bytes_per_cycle >= bandwidth <= machine.dram.burst_bytes


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_our_schedule(dataflow: str) -> None:
    """It moves every word at least once, takes no less than the transfers, and is repeatable."""
    array, memories = Array(16, 16), Memories(16, 16, 16, 8.0)
    machine = machine_for(array, dataflow, memories)
    (conv,) = parse_topology(CONV + "c, 18, 18, 3, 3, 16, 32, 1,")
    for layer in (conv, Layer("g", 96, 64, 80)):
        scheduled = schedule_layer(layer, array, dataflow, memories, machine)
        assert scheduled.cycles >= scheduled.transfer_cycles == -(-sum(layer.words) // 8)
        assert scheduled.cycles >= layer.macs / array.multipliers
        assert scheduled.dram_bytes >= sum(layer.words)
        assert scheduled.bound == max(scheduled.timing.cycles, scheduled.transfer_cycles)
        for kinds in scheduled.units.values():
            assert sum(kinds.values()) == scheduled.cycles


def test_bandwidth_on_the_command_line(topology: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--timing", "scalesim", "--topology", topology, "--array", "8x8", "--bandwidth", "4",
            "--sram", "8,8,8"]  # fmt: skip
    assert run(*args, "--json", "-") == 0
    out = json.loads(capsys.readouterr().out)
    assert out["sram_kb"] == [8, 8, 8] and out["bandwidth"] == 4.0
    for row in out["layers"]:
        assert row["bound_cycles"] == max(row["cycles"], row["transfer_cycles"])
        assert row["ratio"] == row["scheduled_cycles"] / row["bound_cycles"]
    assert out["total_scheduled_cycles"] == sum(r["scheduled_cycles"] for r in out["layers"])
    assert run(*args) == 0
    assert "times the bound" in capsys.readouterr().out

"""`python -m benchmarks.npu.validate`: rows and errors, figures, models of publications."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.npu import validate, zoo
from benchmarks.npu.validate_execution import (
    Policy,
    Workload,
    execute,
    machine_of,
    override,
    part_of,
    simulated,
)  # fmt: skip
from benchmarks.npu.validate_gemmini import estimate as gemmini_library
from benchmarks.npu.validate_layers import Layer, layers_of
from benchmarks.npu.validate_nvdla import dram_bytes, mac_cycles
from benchmarks.npu.validate_nvdla import estimate as nvdla_primer
from benchmarks.npu.validate_results import Estimate, check_figure, figure
from benchmarks.npu.validate_rows import Row, policy_of, read
from benchmarks.npu.validate_tpu import estimate as tpu_fifo

from tilewright.backends.targets.machine import Machine
from tilewright.compiler.pipeline import parse_pipeline
from tilewright.dialects.errors import InputError, TilewrightError, UnsupportedError

ROW = """[[row]]
network = "tiny"
target = "gemmini-16x16"
batch = 1
figure = "cycles"
published = 1000
unit = "cycles"
"""
RESULT = Estimate(2000, 64_000, {"matrix": {"busy": 500, "wait_load": 1500}})


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.toml"
    path.write_text(text)
    return path


# --- rows ---


def test_anchors_are_read_and_each_has_its_policy() -> None:
    rows, policies = read([validate.ANCHORS])
    names = {(r.network, r.target, r.figure) for r in rows}
    assert ("resnet18_v1", "vta-pynq", "cycles") in names
    assert ("resnet50", "nvdla-128", "fps") in names
    assert ("tpu_mlp0", "tpu-v1", "share:matrix.wait_load") in names
    assert all(row.source for row in rows)
    assert all(policy_of(row, policies).name != "default" for row in rows)
    assert all(policy.source and policy.notes for policy in policies)
    for policy in policies:
        parse_pipeline(policy.passes or "")


def test_overrides_and_ranges_are_flattened(tmp_path: Path) -> None:
    text = (
        ROW + "[row.machine]\ndram.read_latency = 50\n[row.range]\ndram.read_latency = [10, 90]\n"
    )
    (row,), _ = read([written(tmp_path, text)])
    assert row.machine == {"dram.read_latency": 50}
    assert row.range == {"dram.read_latency": (10, 90)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('network = "tiny"', 'network = "resnet51"', "row 1: unknown network 'resnet51'"),
        ('network = "tiny"', 'network = "gone.onnx"', "cannot read network 'gone.onnx'"),
        ('target = "gemmini-16x16"', 'target = "gemini"', "unknown target 'gemini'"),
        ('target = "gemmini-16x16"', 'target = "cpu"', "has no NPU"),
        ('figure = "cycles"', 'figure = "watts"', "unknown figure 'watts'"),
        ('figure = "cycles"', 'figure = "share:matrix"', "unknown figure 'share:matrix'"),
        ("batch = 1", "batch = 0", "batch must be at least 1"),
        ("batch = 1", "batch = true", "batch = True is no int"),
        ("batch = 1\n", "", "'batch' is missing"),
        ("unit =", "units =", "did you mean 'unit'?"),
        ("unit =", 'policy = "mine"\nunit =', "unknown policy 'mine'"),
        ("published = 1000", 'published = "many"', "published = 'many' is no float"),
        ("[[row]]", "[[rows]]", "unknown table 'rows'"),
        ("[[row]]", "[row]", "write [[row]]"),
        ("[[row]]", "[[row", "is not TOML"),
        ("unit =", "machine.dram.speed = 3\nunit =", "no parameter 'dram.speed'"),
        ("unit =", "range.dram.read_latency = 3\nunit =", "is not [low, high]"),
    ],
)
def test_a_wrong_file_is_one_message_and_exit_code_2(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, ROW.replace(old, new, 1))
    assert validate.main(["--anchors", str(path), "--network", "tiny"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_a_missing_file_and_an_empty_selection_are_messages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert validate.main(["--anchors", "gone.toml"]) == 2
    assert "cannot read gone.toml" in capsys.readouterr().err
    assert validate.main(["--network", "tiny"]) == 2
    assert "no row for network tiny" in capsys.readouterr().err


def test_an_unknown_method_is_an_error(tmp_path: Path) -> None:
    text = ROW + '[[policy]]\nname = "p"\nmethod = "guess"\n'
    with pytest.raises(InputError, match="unknown method 'guess'"):
        read([written(tmp_path, text)])


# --- figures ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cycles", 2000.0), ("seconds", 2e-6), ("fps", 2e6), ("tops", 0.064),
        ("utilization", 0.125), ("share:matrix.busy", 0.25), ("share:matrix.preload", 0.0),
    ],
)  # fmt: skip
def test_figures(name: str, value: float) -> None:
    machine = replace(machine_of("gemmini-16x16"), clock_hz=1e9)
    assert figure(check_figure(name), RESULT, machine, 4) == pytest.approx(value)


def test_a_share_of_an_unknown_unit_names_the_units() -> None:
    with pytest.raises(InputError, match="no unit 'cache'"):
        figure("share:cache.busy", RESULT, machine_of("gemmini-16x16"), 1)


def fake(workload: Workload, machine: Machine, policy: Policy) -> Estimate:
    if workload.batch == 3:
        raise UnsupportedError([])
    return replace(RESULT, cycles=10 * machine.dram.read_latency + 1000)


def validator() -> validate.Validator:
    return validate.Validator((), run=fake, own=fake)


def test_an_outcome_has_error_tolerance_and_ranges() -> None:
    row = Row(
        "tiny", "gemmini-16x16", 1, "cycles", 2100.0,
        machine={"dram.read_latency": 100}, range={"dram.read_latency": (50, 200)},
    )  # fmt: skip
    out = validator().outcome(row)
    assert out.ours == 2000
    assert out.error == pytest.approx(-100 / 2100)
    assert out.within
    assert out.assumptions == "dram.read_latency = 100"
    (moved,) = out.ranges
    assert (moved.ours_low, moved.ours_high) == (1500, 3000)


def test_zero_published_compares_by_difference() -> None:
    row = Row("tiny", "gemmini-16x16", 1, "share:matrix.busy", 0.0)
    out = validator().outcome(row)
    assert out.error == out.ours == 0.25
    assert not out.within


def test_a_row_that_fails_is_a_row_with_its_reason() -> None:
    out = validator().outcome(Row("tiny", "gemmini-16x16", 3, "cycles", 1.0))
    assert out.ours is out.error is None
    assert out.failure is not None
    assert validate.cells(out)[6] == "failed"


def test_the_page_keeps_what_is_around_its_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{validate.BEGIN}\nold\n{validate.END}\nafter\n")
    validate.write_page([validator().outcome(Row("tiny", "gemmini-16x16", 1, "cycles", 1.0))], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| tiny | gemmini-16x16 | 1 | cycles |" in text


def test_the_page_shows_every_anchor() -> None:
    rows, _ = read([validate.ANCHORS])
    table = validate.PAGE.read_text().split(validate.BEGIN)[1].split(validate.END)[0]
    for row in rows:
        start = f"| {row.network} | {row.target} | {row.batch} | {row.figure} |"
        assert start in table, "run python -m benchmarks.npu.validate --page"


# --- machines and parts ---


def test_override_replaces_one_parameter_and_checks_it() -> None:
    machine = machine_of("tpu-v1")
    other = override(machine, {"dram.read_latency": 7, "clock_hz": 1e9})
    assert (other.dram.read_latency, other.clock_hz) == (7, 1e9)
    assert replace(other, dram=machine.dram, clock_hz=machine.clock_hz) == machine
    with pytest.raises(TilewrightError, match="rows"):
        override(machine, {"matrix.rows": 0})


def test_a_part_begins_behind_and_ends_in_front_of_operators() -> None:
    policy = Policy(after="MaxPool", before="GlobalAveragePool")
    whole = layers_of(zoo.build("resnet18_v1", 1, weights=False))
    part = layers_of(part_of(zoo.build("resnet18_v1", 1, weights=False), policy))
    assert {layer.name for layer in whole} - {layer.name for layer in part} == {
        "conv1", "maxpool", "pool", "fc",
    }  # fmt: skip
    assert sum(layer.macs for layer in part) == 1_814_073_344 - 118_013_952 - 512_000


def test_layers_have_the_work_of_the_network() -> None:
    for name in ("resnet50", "mobilenet_v1", "tpu_cnn0", "tpu_lstm1"):
        model = zoo.build(name, 2, weights=False)
        assert sum(layer.macs for layer in layers_of(model)) == zoo.counts(model).macs


# --- models of publications ---

CONV = Layer("c", "conv", 1, 14, 14, 64, 14, 14, 64, (3, 3))


def test_nvdla_counts_atoms_and_passes() -> None:
    machine = machine_of("nvdla-64")  # 8 x 8, 128 KiB: 32 KiB of weights in use
    assert mac_cycles(CONV, machine) == 14 * 14 * 9 * 8 * 8
    # a filter group is 9 * 64 * 8 = 4,608 bytes: seven of eight fit, so the input is read twice
    assert dram_bytes(CONV, machine, 0.25) == 2 * 12_544 + 36_864 + 12_544
    slow = override(machine, {"dram.bytes_per_cycle": 0.1})
    assert nvdla_primer([CONV], slow).cycles == pytest.approx(74_496 / 0.1, rel=1e-6)
    assert nvdla_primer([CONV], override(machine, {"dram.bytes_per_cycle": 1e3})).cycles == 112_896


def test_nvdla_first_layer_packs_taps() -> None:
    first = Layer("c", "conv", 1, 8, 8, 3, 8, 8, 16, (3, 3))
    assert mac_cycles(first, machine_of("nvdla-large")) == 64  # 27 of 64 rows, 16 of 32 columns


@pytest.mark.parametrize("layer", [CONV, Layer("m", "conv", 1, 1, 100, 512, 1, 100, 96)])
def test_gemmini_library_is_at_least_the_work_and_grows_with_latency(layer: Layer) -> None:
    machine = machine_of("gemmini-16x16")
    cycles = [
        gemmini_library([layer], override(machine, {"dram.read_latency": n})).cycles
        for n in (1, 100, 200)
    ]
    assert layer.macs / 256 < cycles[0] <= cycles[1] < cycles[2]


def test_tpu_fifo_is_bound_by_weights_or_rows_and_accounts_for_all_cycles() -> None:
    machine = machine_of("tpu-v1")
    tile = 65_536 / machine.dram.bytes_per_cycle
    few = tpu_fifo([Layer("m", "conv", 1, 1, 8, 2048, 1, 8, 2048)], machine)
    assert few.cycles == pytest.approx(64 * tile, rel=0.03)
    many = tpu_fifo([Layer("m", "conv", 1, 1, 2048, 2048, 1, 2048, 2048)], machine)
    assert many.cycles == pytest.approx(64 * 2048, rel=0.06)
    for result in (few, many):
        assert sum(result.units["matrix"].values()) == pytest.approx(result.cycles, abs=3)
    assert many.units["matrix"]["busy"] == 64 * 2048


def test_sixteen_bit_activations_take_twice_the_rows() -> None:
    machine, policy = machine_of("tpu-v1"), Policy(method="tpu-fifo")
    narrow = execute(Workload("tpu_mlp0", 64), machine, policy)
    wide = execute(Workload("tpu_mlp0", 64, 16), machine, policy)
    assert wide.units["matrix"]["busy"] == 2 * narrow.units["matrix"]["busy"]
    assert wide.macs == narrow.macs


def test_the_host_adds_its_time() -> None:
    machine, policy = machine_of("tpu-v1"), Policy(method="tpu-fifo")
    alone = execute(Workload("tpu_mlp0", 200), machine, policy)
    with_host = execute(
        Workload("tpu_mlp0", 200), machine, replace(policy, host_bytes_per_cycle=20)
    )
    moved = 200 * 2024 / 20
    assert moved < with_host.cycles - alone.cycles <= 2 * moved


# --- end to end ---


def test_one_row_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ROW.replace("unit", 'policy = "default"\nunit')
    out = tmp_path / "out.json"
    arguments = ["--anchors", str(written(tmp_path, text)), "--network", "tiny"]
    assert validate.main([*arguments, "--json", str(out)]) == 0
    assert "tiny" in capsys.readouterr().out
    (row,) = json.loads(out.read_text())["rows"]
    assert row["method"] == "simulate"
    assert row["ours"] > 0
    assert row["error"] == row["ours"] / 1000 - 1
    assert row["failure"] is None


def test_one_compute_unit_counts_overlap_twice() -> None:
    machine, workload = machine_of("vta-pynq"), Workload("tiny", 1)
    apart = simulated(workload, machine, Policy())
    together = simulated(workload, machine, Policy(one_unit=True))
    least = apart.units["matrix"]["busy"] + apart.units["vector"]["busy"]
    assert max(apart.cycles, least) <= together.cycles <= apart.cycles + least

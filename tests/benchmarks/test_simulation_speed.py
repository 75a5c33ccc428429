"""The benchmark of the simulator: its hand-written product is right, and free of races."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from benchmarks.npu import simulation_speed

from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import InputError


def target(cores: int) -> Machine:
    """Gemmini, several times."""
    machine = load_target("gemmini-16x16")
    assert machine is not None
    return replace(machine, cores=cores)


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_products_are_right_on_any_number_of_cores(cores: int) -> None:
    row = simulation_speed.time_gemm(target(4), 64, cores)
    assert (row.work, row.cores) == ("gemm 64", cores)
    assert row.commands == 16 // cores * (4 * 3 + 4) * cores + 2 * cores


def test_cores_divide_the_time() -> None:
    one, four = (simulation_speed.time_gemm(target(4), 128, n).cycles for n in (1, 4))
    assert one / 4 < four < one / 3


def test_sizes_that_do_not_divide() -> None:
    with pytest.raises(InputError, match="not a multiple of the array"):
        simulation_speed.time_gemm(target(4), 48, 4)


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(simulation_speed, "SIZES", (32,))
    simulation_speed.main(
        ["--target", "gemmini-16x16", "--cores", "1", "--network", "", "--json", "-"]
    )
    (row,) = json.loads(capsys.readouterr().out)
    assert row["work"] == "gemm 32"
    assert row["cycles_per_second"] > 0


def test_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        simulation_speed.main(["--target", "nowhere"])
    assert caught.value.code == 2
    assert "unknown target" in capsys.readouterr().err

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.models import inputs_for, small_cnn, tilewright
from tilewright.compiler import api
from tilewright.dialects.errors import InputError


@pytest.fixture(scope="module")
def executable() -> api.Executable:
    model = small_cnn()
    return api.compile(model, "gemmini-16x16", quantize="int8", calibration=inputs_for(model))


def test_timing_is_that_of_a_full_simulation(executable: api.Executable) -> None:
    _, full = executable.simulate(inputs_for(small_cnn()))
    timing = executable.simulate_timing()
    assert timing.host == ()
    assert full.host
    for key in ("cycles", "lower_bound_cycles", "macs", "dram_bytes", "units", "layers"):
        assert timing.to_json()[key] == full.to_json()[key], key


def test_constants_and_arena_are_left_alone(executable: api.Executable) -> None:
    before = executable.consts.copy()
    executable.simulate_timing(check=True)
    np.testing.assert_array_equal(executable.consts, before)


def test_command(executable: api.Executable, tmp_path: Path) -> None:
    executable.save(tmp_path / "m.tw")
    code, out, err = tilewright("simulate", tmp_path / "m.tw", "--timing-only", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["cycles"] == executable.simulate_timing().cycles
    code, out, _ = tilewright(
        "simulate", tmp_path / "m.tw", "--timing-only", "--trace", tmp_path / "t.json"
    )
    assert code == 0
    assert out.startswith("target gemmini-16x16: ")
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


@pytest.mark.parametrize("option", ["--inputs", "--outputs"])
def test_values_are_refused(executable: api.Executable, tmp_path: Path, option: str) -> None:
    executable.save(tmp_path / "m.tw")
    code, _, err = tilewright(
        "simulate", tmp_path / "m.tw", "--timing-only", option, tmp_path / "x.npz"
    )
    assert code == 2
    assert f"{option}: --timing-only computes nothing" in err


def test_a_program_of_several_parts_is_refused() -> None:
    model = small_cnn()
    program = api.compile(
        model, "gemmini-16x16", quantize="int8", calibration=inputs_for(model),
        shapes={"x": (None, 3, 12, 12)},
    )  # fmt: skip
    with pytest.raises(InputError, match="depends on the inputs"):
        program.simulate_timing()

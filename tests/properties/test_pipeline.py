"""Random models through the whole pipeline: both ends, the graph and onnxruntime agree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilewright
from support.models import inputs_for
from support.random_graphs import onnx_models, run_onnx
from support.random_machines import machines
from support.random_networks import networks
from support.whole import (
    TARGETS,
    assert_ends_agree,
    assert_near,
    assert_same_bits,
    compile_int8,
    target_file,
)
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.executable import Executable

MODELS = onnx_models() | networks(5)
LARGE = onnx_models(20) | networks(14)


def examples(count: int) -> Callable[[Any], Any]:
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count, suppress_health_check=checks)


def check_fp32(model: onnx.ModelProto) -> None:
    inputs = inputs_for(model)
    results = tilewright.compile(model).run(inputs)
    for (name, value), expected in zip(
        results.items(), run_onnx(model, list(inputs.values())), strict=True
    ):
        assert_near(value, expected, 1e-4, name)


def check_int8(model: onnx.ModelProto, target: str | Path, **options: Any) -> None:
    inputs = inputs_for(model)
    assert_ends_agree(compile_int8(model, target, inputs, **options), inputs)


@examples(25)
@given(MODELS)
def test_the_cpu_end_equals_onnxruntime(model: onnx.ModelProto) -> None:
    check_fp32(model)


@pytest.mark.parametrize("target", TARGETS)
@examples(20)
@given(model=MODELS)
def test_int8_ends_agree(model: onnx.ModelProto, target: str) -> None:
    check_int8(model, target)


@examples(25)
@given(model=MODELS, machine=machines())
def test_int8_ends_agree_on_any_machine(
    tmp_path: Path, model: onnx.ModelProto, machine: Machine
) -> None:
    check_int8(model, target_file(machine, tmp_path))


@examples(6)
@given(model=MODELS, target=st.sampled_from(TARGETS))
def test_every_pass_keeps_the_meaning(model: onnx.ModelProto, target: str) -> None:
    check_int8(model, target, verify="semantic")


@examples(6)
@given(model=MODELS, target=st.sampled_from(TARGETS))
def test_artefacts_are_the_same_each_time_and_after_a_round_trip(
    tmp_path: Path, model: onnx.ModelProto, target: str
) -> None:
    inputs = inputs_for(model)
    first = compile_int8(model, target, inputs)
    first.save(tmp_path / "a.tw")
    data = (tmp_path / "a.tw").read_bytes()
    assert data == compile_int8(model, target, inputs).artefact.to_bytes()
    loaded: Executable = tilewright.load(tmp_path / "a.tw")
    assert loaded.artefact.to_bytes() == data
    assert_same_bits(loaded.run(inputs), first.run(inputs))
    assert_same_bits(loaded.simulate(inputs)[0], first.run(inputs))


SAVE_ALL = """
import sys, pathlib, onnx
from support.models import inputs_for
from support.whole import compile_int8
folder, out, target = sys.argv[1:]
for path in sorted(pathlib.Path(folder).glob("*.onnx")):
    model = onnx.load(path)
    compile_int8(model, target, inputs_for(model)).save(pathlib.Path(out) / (path.stem + ".tw"))
"""


def save_all(folder: Path, out: Path, target: str, seed: str) -> dict[str, bytes]:
    """Artefacts of all models of a folder, compiled by another process."""
    out.mkdir()
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", SAVE_ALL, str(folder), str(out), target]
    subprocess.run(command, check=True, env=environment)
    return {p.name: p.read_bytes() for p in sorted(out.iterdir())}


def test_artefacts_do_not_depend_on_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()

    @examples(4)
    @given(model=MODELS)
    def draw(model: onnx.ModelProto) -> None:
        onnx.save(model, folder / f"{len(list(folder.iterdir()))}.onnx")

    draw()
    one = save_all(folder, tmp_path / "one", "auto-200", "1")
    two = save_all(folder, tmp_path / "two", "auto-200", "2")
    assert len(one) >= 4
    assert one == two


# --- the same at length: HYPOTHESIS_PROFILE=exhaustive draws new examples every time ---


@pytest.mark.slow
@examples(150)
@given(LARGE)
def test_many_models_equal_onnxruntime(model: onnx.ModelProto) -> None:
    check_fp32(model)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@examples(60)
@given(model=LARGE)
def test_many_models_agree(model: onnx.ModelProto, target: str) -> None:
    check_int8(model, target)


@pytest.mark.slow
@examples(200)
@given(model=LARGE, machine=machines())
def test_many_models_agree_on_any_machine(
    tmp_path: Path, model: onnx.ModelProto, machine: Machine
) -> None:
    check_int8(model, target_file(machine, tmp_path))


@pytest.mark.slow
@examples(60)
@given(model=LARGE, machine=machines())
def test_every_pass_keeps_the_meaning_of_many_models(
    tmp_path: Path, model: onnx.ModelProto, machine: Machine
) -> None:
    check_int8(model, target_file(machine, tmp_path), verify="semantic")

"""ZigZag's latency model, our search and replay, against its stored figures and brute force."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from benchmarks.npu.zigzag import __main__ as command
from benchmarks.npu.zigzag import replay as replaying
from benchmarks.npu.zigzag.compare import agrees, parts
from benchmarks.npu.zigzag.cost import Problem, covered, evaluate
from benchmarks.npu.zigzag.machine import (
    FOLDER,
    Layer,
    Nest,
    Window,
    architecture_of,
    layer_of,
    nest_of,
    read_architecture,
)
from benchmarks.npu.zigzag.ours import Run, layer_model, padding, read_target, run
from benchmarks.npu.zigzag.replay import replay
from benchmarks.npu.zigzag.search import fits, moved_loop, primes, search
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.dialects.errors import CapacityError, InputError

STORED = json.loads((FOLDER / "resnet18.json").read_text())
CASES = json.loads((Path(__file__).parent / "zigzag_mappings.json").read_text())
MACHINE = read_architecture(FOLDER / "tpu_like.toml")


def stored_layer(ending: str) -> dict[str, Any]:
    return next(layer for layer in STORED["layers"] if layer["name"].endswith(ending))


def problem_of(ending: str) -> Problem:
    return Problem(MACHINE, layer_of(stored_layer(ending)))


def small_layer(**changes: int) -> Layer:
    dims = {"B": 1, "K": 40, "G": 1, "OX": 8, "OY": 8, "C": 48, "FX": 3, "FY": 3} | changes
    window = {"IX": Window(1, "OX", 1, "FX", 8), "IY": Window(1, "OY", 1, "FY", 8)}
    operands = {"O": "B G K OY OX", "W": "G K C FY FX", "I": "B G C IY IX"}
    return Layer(
        "small", dims, {op: tuple(d.split()) for op, d in operands.items()}, window,
        {"O": 16, "W": 8, "I": 8, "final": 8}, {"D1": {"K": 32}, "D2": {"C": 32}},
    )  # fmt: skip


def test_machine_is_the_one_zigzag_read() -> None:
    assert architecture_of(STORED["machine"]) == MACHINE


@pytest.mark.parametrize("layer", STORED["layers"], ids=lambda layer: layer["name"])
def test_figures_of_zigzags_best_mappings(layer: dict[str, Any]) -> None:
    latency = evaluate(Problem(MACHINE, layer_of(layer)), nest_of(layer["best"]))
    assert agrees(parts(latency), layer["figures"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['what']}{case['layer']['name']}")
def test_figures_of_arbitrary_mappings(case: dict[str, Any]) -> None:
    """On other machines and layers too, with mappings that nobody would choose."""
    problem = Problem(architecture_of(case["machine"]), layer_of(case["layer"]))
    for nest, figures in case["cases"]:
        assert agrees(parts(evaluate(problem, nest_of(nest))), figures)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 12)), min_size=1, max_size=4))
def test_covered_cycles_counted_one_by_one(steps: list[tuple[int, int]]) -> None:
    windows, period = list[tuple[int, int]](), 1
    for factor, length in steps:
        period *= factor
        windows.append((period, min(length, period)))
    total = 2 * period
    expected = sum(any(t % p < length for p, length in windows) for t in range(total))
    assert covered(windows, total) == expected


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_window_counts_distinct_indices(stride: int, outputs: int, taps: int) -> None:
    window = Window(stride, "OX", 1, "FX", 1000)
    indices = {stride * x + t for x in range(outputs) for t in range(taps)}
    assert window.size(outputs, taps) == len(indices)
    assert Window(stride, "OX", 1, "FX", 3).size(outputs, taps) == min(3, len(indices))


@given(st.integers(1, 5000))
def test_primes_multiply_to_the_number(number: int) -> None:
    factors = primes(number)
    assert math.prod(factors) == number
    assert all(all(f % d for d in range(2, f)) for f in factors)


@given(st.data())
def test_moving_a_loop_keeps_all_steps(data: st.DataObject) -> None:
    loops = tuple(
        data.draw(st.lists(st.tuples(st.sampled_from("CKX"), st.integers(2, 12)), min_size=1))
    )
    cut = data.draw(st.integers(0, len(loops)))
    at = data.draw(st.integers(0, len(loops) - 1))
    factor = data.draw(st.sampled_from([loops[at][1], *primes(loops[at][1])]))
    to = data.draw(st.integers(0, len(loops)))
    moved = moved_loop(Nest(loops, {"W": (cut,)}), at, factor, to)
    for dim in "CKX":
        before = math.prod(n for d, n in loops if d == dim)
        assert math.prod(n for d, n in moved.loops if d == dim) == before
    assert 0 <= moved.cuts["W"][0] <= len(moved.loops)


@pytest.mark.parametrize(
    "layer", ["/fc/Gemm", "/layer3/layer3.0/conv1/Conv", "/layer4/layer4.0/conv1/Conv"]
)
def test_search_finds_a_mapping_that_fits_and_is_no_slower(layer: str) -> None:
    problem = problem_of(layer)
    found = search(problem)
    assert fits(problem, found.nest)
    assert found.latency == evaluate(problem, found.nest)
    assert found.latency.total <= 1.02 * stored_layer(layer)["figures"]["total"]
    assert search(problem) == found


def test_nothing_fits_a_machine_without_room() -> None:
    data = json.loads(json.dumps(STORED["machine"]))
    data["memories"][2]["bits"] = 8
    with pytest.raises(CapacityError, match="nothing fits"):
        search(Problem(architecture_of(data), small_layer()))


def check_parts(result: Run) -> None:
    named = (result.temporal, result.stall, result.onload, result.offload, result.drain)
    assert sum(named) == result.cycles
    assert min(named) >= 0


def test_small_layer_on_our_simulator() -> None:
    """Our compiler's schedule and the replay of a found mapping, on the same machine."""
    layer, target = small_layer(), read_target(FOLDER / "tpu_like_target.toml")
    problem = Problem(MACHINE, layer)
    nest = search(problem).nest
    bytes_moved = 8 * 8 * 48 + 40 * 48 * 9 + 8 * 8 * 40
    runs = [
        run(layer, target),
        replay(problem, nest, target, prefetch=False),
        replay(problem, nest, target, prefetch=True),
    ]
    for result in runs:
        check_parts(result)
        assert result.cycles >= bytes_moved / 8
        assert result.dram_bytes >= bytes_moved
    assert runs[1].temporal >= layer.macs / 1024


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_replay_moves_at_least_every_byte_once(data: st.DataObject) -> None:
    """Any order and cuts that fit run without deadlock, and do all the work."""
    layer, target = small_layer(), read_target(FOLDER / "tpu_like_target.toml")
    problem = Problem(MACHINE, layer)
    loops = tuple(data.draw(st.permutations(list(layer.temporal.items()))))
    cuts = {op: data.draw(st.integers(0, len(loops))) for op in "WI"}
    outputs = sorted(data.draw(st.integers(0, len(loops))) for _ in range(2))
    nest = Nest(loops, {"O": tuple(outputs), "W": (cuts["W"],), "I": (cuts["I"],)})
    prefetch = data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replaying, "LIMIT", 1000)
        try:
            result = replay(problem, nest, target, prefetch=prefetch)
        except CapacityError:
            return
    check_parts(result)
    assert result.temporal >= layer.macs / 1024
    assert result.dram_bytes >= 8 * 8 * 48 + 40 * 48 * 9 + 8 * 8 * 40


def test_layer_models_have_the_layers_padding() -> None:
    assert padding(small_layer(), "OX") == (1, 1)
    model = layer_model(small_layer())
    assert [len(node.input) for node in model.graph.node] == [1, 8, 1]
    with pytest.raises(InputError, match="batch of 2"):
        layer_model(small_layer(B=2))


def test_command_on_two_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data.json", tmp_path / "rows.json"
    names = ("/fc/Gemm", "/layer4/layer4.0/downsample/downsample.0/Conv")
    layers = [stored_layer(name) for name in names]
    data.write_text(command.stored({**STORED, "layers": layers}))
    command.main(["--data", str(data), "--json", str(out)])
    printed = capsys.readouterr().out
    assert "in ZigZag's model" in printed
    assert "on our simulator" in printed
    result = json.loads(out.read_text())
    assert [row["name"] for row in result["rows"]] == list(names)
    for row in result["rows"]:
        assert row["equal"]
        assert row["same_spatial"]
        assert row["error"] is None
        for kind in ("replay", "prefetched", "searched", "compiled"):
            check_parts(Run(**row[kind]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workload", "alexnet"], "only ResNet-18 on tpu_like is stored"),
        (["--zigzag-python", "no-such-python"], "cannot run no-such-python"),
        (["--data", "no-such-file"], "cannot read --data"),
    ],
)
def test_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err

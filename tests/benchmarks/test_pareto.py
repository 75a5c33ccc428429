from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.npu import pareto
from benchmarks.npu.pareto import Point, marked
from hypothesis import given
from hypothesis import strategies as st


def test_tiny_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sizes = "4,65536,262144"
    argv = f"--network tiny --target gemmini-16x16 --capacity {sizes}".split()
    pareto.main([*argv, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["network"], found["target"], found["batch"]) == ("tiny", "gemmini-16x16", 1)
    impossible, *points = found["points"]
    assert "too small for a single matmul" in impossible["error"]
    assert [p["capacity"] for p in points] == [65536, 262144]
    for p in points:
        assert p["cycles"] > 0
        assert p["dram_bytes"] > 0
        assert p["arena_bytes"] > 0
    assert points[0]["front"]
    pareto.main([*argv, "--json", str(tmp_path / "p.json")])
    out = capsys.readouterr().out
    assert "65,536" in out
    assert "4 bytes: " in out
    assert json.loads((tmp_path / "p.json").read_text()) == found


def test_capacities() -> None:
    own = pareto.capacities("gemmini-16x16", "")
    assert own[4] == 262144
    assert own == sorted(own)
    assert pareto.capacities("gemmini-16x16", "9,3,9") == [3, 9]
    changed = "gemmini-16x16:scratchpad.bytes=131072"
    assert pareto.capacities(changed, "")[4] == 131072


points = st.builds(Point, st.integers(1, 5), st.integers(1, 5), cpu_nodes=st.integers(0, 1))


@given(st.lists(points, max_size=8))
def test_front(given: list[Point]) -> None:
    found = marked(given)
    front = [p for p in found if p.front]
    assert bool(front) == bool(given)
    assert len({p.cpu_nodes for p in front}) <= 1
    by_size = sorted({(p.capacity, p.cycles) for p in front})
    assert [c for _, c in by_size] == sorted({c for _, c in by_size}, reverse=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--network tiny --target cpu", "no NPU"),
        ("--network teeny --target tpu-v1", "unknown network"),
        ("--network tiny --target tpu-v1 --capacity many", "give bytes"),
        ("--network tiny --target tpu-v1 --capacity 0", "below 1"),
    ],
)
def test_errors(argv: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        pareto.main(argv.split())
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err

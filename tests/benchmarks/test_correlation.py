from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.npu import correlation
from benchmarks.npu.correlation import LayerRow, Tried, kendall, pearson, ranks, spearman
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tilewright.passes.loop import tile_npu

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


@given(pairs)
def test_statistics_are_scipys(drawn: list[tuple[int, int]]) -> None:
    x, y = ([float(p[i]) for p in drawn] for i in (0, 1))
    assert ranks(x) == (stats.rankdata(x) - 1).tolist()
    constant = len(set(x)) == 1 or len(set(y)) == 1
    references: dict[Any, Any] = {
        pearson: stats.pearsonr, spearman: stats.spearmanr, kendall: stats.kendalltau
    }  # fmt: skip
    for ours, theirs in references.items():
        expected = 1.0 if constant else float(theirs(x, y).statistic)
        assert ours(x, y) == pytest.approx(expected, abs=1e-9)


def test_tiny_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, original = tmp_path / "c.json", tile_npu.tiling_of
    argv = f"--network tiny --target gemmini-16x16 --candidates 3 --json {out}"
    correlation.main(argv.split())
    assert "Spearman" in capsys.readouterr().out
    assert tile_npu.tiling_of is original
    found = json.loads(out.read_text())
    (summary,) = found["summaries"]
    assert summary["layers"] == len(found["layers"]) > 2
    assert -1 <= summary["spearman"] <= 1
    assert any(row["tried"] for row in found["layers"])
    for row in found["layers"]:
        assert row["cycles"] > 0
        assert row["estimate"] > 0
        assert row["error"] == pytest.approx(row["estimate"] / row["cycles"] - 1)
        for first in row["tried"][:1]:
            assert (first["estimate"], first["cycles"]) == (row["estimate"], row["cycles"])
        estimates = [t["estimate"] for t in row["tried"]]
        assert estimates == sorted(estimates)
        assert len({tuple(t["tile"]) for t in row["tried"]}) == len(row["tried"])


def row(*tried: tuple[float, int]) -> LayerRow:
    tilings = tuple(Tried((i,), e, c) for i, (e, c) in enumerate(tried))
    return LayerRow("n", "t", "a", "Conv", ((1,),), 1, *tried[0], tilings)


def test_order_and_regret() -> None:
    good = row((10, 100), (20, 200), (30, 300))
    assert (good.tau, good.regret) == (1.0, 0.0)
    bad = row((10, 300), (20, 200), (30, 100))
    assert bad.tau == -1.0
    assert bad.regret == pytest.approx(2.0)
    assert row((10, 1000), (20, 1001), (30, 1002)).tau is None  # all take alike
    assert row((10, 100), (20, 300)).tau is None
    summary = correlation.summarise([good, bad], {})
    assert summary.kendall == 0.0
    assert summary.worst_regret == pytest.approx(2.0)
    assert summary.mean_error == pytest.approx(float(np.mean([0.9, 1 - 10 / 300])))


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, message in (("--network teeny", "unknown network"), ("--target cpu", "no NPU")):
        with pytest.raises(SystemExit) as stopped:
            correlation.main(argv.split())
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

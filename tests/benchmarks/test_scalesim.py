"""SCALE-Sim's topologies on its machines, on a small topology of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.npu import scalesim


def test_small_topology_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "small.csv", tmp_path / "rows.json"
    path.write_text("Layer, M, N, K,\na, 64, 40, 33,\nb, 100, 16, 64,\n")
    scalesim.main(["--topologies", str(path), "--configs", "scale,eyeriss", "--json", str(out)])
    assert "small" in capsys.readouterr().out
    rows = json.loads(out.read_text())
    assert [(row["topology"], row["config"]) for row in rows] == [
        ("small", "scale"), ("small", "eyeriss"),
    ]  # fmt: skip
    for row in rows:
        assert not row["failures"]
        assert row["cycles"] == sum(layer["cycles"] for layer in row["layers"])
        for layer in row["layers"]:
            assert layer["bound_cycles"] == max(layer["cycles"], layer["transfer_cycles"])
            assert layer["scheduled_cycles"] >= layer["transfer_cycles"]


@pytest.mark.parametrize(
    "args, message",
    [
        (["--configs", "tpu"], "unknown configuration tpu"),
        (["--topologies", "no.csv"], "cannot read topology"),
    ],
)
def test_unknown_names(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        scalesim.main(args)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err

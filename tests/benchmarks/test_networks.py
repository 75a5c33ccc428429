from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.npu import networks
from benchmarks.npu.zoo import names

from tilewright.backends.targets.load import load_target
from tilewright.dialects.errors import InputError

TARGETS = Path(__file__).parents[2] / "backends" / "targets"


def test_tiny_network_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.json"
    toml = str(TARGETS / "tpu-v1.toml")
    networks.main(
        f"--network tiny --target gemmini-16x16,{toml} --batch 2 --verify --json {out}".split()
    )
    printed = capsys.readouterr().out
    assert "gemmini-16x16" in printed
    assert "tpu-v1" in printed
    rows = json.loads(out.read_text())
    assert [(r["network"], r["target"], r["batch"]) for r in rows] == [
        ("tiny", "gemmini-16x16", 2), ("tiny", toml, 2),
    ]  # fmt: skip
    for row in rows:
        assert row["error"] is None
        assert row["identical_to_cpu"] is True
        assert row["cycles"] >= row["lower_bound_cycles"] > 0
        assert row["ratio"] == row["cycles"] / row["lower_bound_cycles"]
        for kinds in row["attribution"].values():
            assert sum(kinds.values()) == row["cycles"]
        assert row["fps"] == pytest.approx(2 / row["seconds"])
        assert row["tops"] == pytest.approx(2e-12 * row["macs"] / row["seconds"])
        assert row["params"] == 2970
        assert list(row["ops"]) == ["graph", "loop", "npu"]
        assert all(row["ops"].values())


def test_pruned_beside_dense(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    argv = "--network tiny --target ethos-u85-1024,gemmini-16x16 --sparsity 2:4 --verify --json"
    networks.main([*argv.split(), str(out)])
    rows = json.loads(out.read_text())
    assert [(r["target"], r["sparsity"]) for r in rows] == [
        ("ethos-u85-1024", ""), ("ethos-u85-1024", "2:4"), ("gemmini-16x16", ""),
        ("gemmini-16x16", "2:4"),
    ]  # fmt: skip
    assert all(row["identical_to_cpu"] for row in rows)
    assert all(sum(row["energy"].values()) > 0 for row in rows)
    dense, pruned, _, _ = rows
    assert pruned["dram_bytes"] < dense["dram_bytes"]


def test_defaults() -> None:
    assert networks.rows_for([], [], None) == list(networks.ROWS)
    for network, target, _ in networks.ROWS:
        assert network in names()
        assert load_target(target) is not None
    assert networks.rows_for(["mobilenet_v2"], [], None) == [
        ("mobilenet_v2", "ethos-u65-512", 1), ("mobilenet_v2", "ethos-u85-1024", 1),
    ]  # fmt: skip
    assert networks.rows_for([], ["tpu-v1"], 4) == [("resnet50", "tpu-v1", 4)]
    assert networks.rows_for(["tpu_mlp0"], ["tpu-v1"], None) == [("tpu_mlp0", "tpu-v1", 200)]
    with pytest.raises(InputError, match="--batch 0"):
        networks.rows_for([], [], 0)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--network", "resnet51"], "unknown network 'resnet51'"),
        (["--target", "tpu-v9"], "tpu-v9"),
        (["--target", "cpu"], "no NPU"),
        (["--target", "missing.toml"], "missing.toml"),
    ],
)
def test_unknown_names_are_one_message(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        networks.main(argv)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err


def test_what_fails_becomes_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("cannot do that", hint="do something else")

    monkeypatch.setattr(networks, "compile_model", refuse)
    networks.main(["--network", "tiny", "--target", "tpu-v1", "--json", "-"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["error"] == "InputError: cannot do that"
    assert row["cycles"] == 0


def test_percentages_add_up() -> None:
    shares = networks.percentages({"busy": 1, "idle": 1, "drain": 1})
    assert shares == {"busy": 33.4, "idle": 33.3, "drain": 33.3}
    assert networks.percentages({"busy": 0}) == {"busy": 0}

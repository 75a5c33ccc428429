"""The benchmark of compile time against model size: its chains, its rows and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from benchmarks.chain import chain, growth, main


def test_chains_repeat_their_operators_and_keep_their_scale() -> None:
    model = chain(7)
    onnx.checker.check_model(model)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Conv", "Relu", "Add", "Sigmoid", "Conv", "Relu", "Add"]
    assert list(model.graph.node[2].input) == ["t1", "t0"]
    for tensor in model.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)[:, :, 0, 0]
        np.testing.assert_allclose(weights @ weights.T, np.eye(4), atol=1e-6)


def test_growth_is_told_from_the_first_row() -> None:
    rows = [
        {"target": "t", "nodes": n, "seconds": s, "us_per_node": 1e6 * s / n, "phases": phases}
        for n, s, phases in ((10, 1.0, {"npu": 1, "cpu": 1}), (20, 3.0, {"npu": 2, "cpu": 1}))
    ]
    assert growth(rows) == (
        "t: 1, 2 times the nodes take 1.00, 3.00 times the seconds; "
        "phase npu: 50.0, 100.0 ms a node"
    )


def test_an_npu_takes_convolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.json"
    main(["--target", "cpu,tpu-v1", "--nodes", "2,4", "--json", str(out)])
    printed = capsys.readouterr().out
    assert "cpu: 1, 2 times the nodes" in printed
    assert "ms a node" in printed
    rows = json.loads(out.read_text())
    assert [(r["target"], r["nodes"]) for r in rows] == [
        ("cpu", 2), ("cpu", 4), ("tpu-v1", 2), ("tpu-v1", 4),
    ]  # fmt: skip
    assert all("npu" in r["phases"] for r in rows[2:])
    assert all(r["seconds"] > 0 for r in rows)

"""Targets with single figures changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.overrides import split_overrides
from tilewright.dialects.errors import TargetError

BASE = "gemmini-16x16"


def test_figures_of_any_table() -> None:
    base = load_target(BASE)
    assert base is not None
    changes = 'scratchpad.bytes=131072,cores=2, matrix.dataflow="output-stationary"'
    assert load_target(f"{BASE}:{changes}") == replace(
        base,
        name=f"{BASE}:{changes}",
        cores=2,
        scratchpad=replace(base.scratchpad, bytes=131072),
        matrix=replace(base.matrix, dataflow="output-stationary"),
    )
    assert load_target(f"{BASE}:vector.reduction=tree").vector.reduction == "tree"  # pyright: ignore[reportOptionalMemberAccess]
    deep = load_target(f"{BASE}:control.queue_depths.load=3")
    assert deep is not None
    assert deep.control.queue_depths == {**base.control.queue_depths, "load": 3}


def test_files_too(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "backends" / "targets" / f"{BASE}.toml"
    (tmp_path / "mine.toml").write_text(shipped.read_text())
    changed = load_target(f"{tmp_path / 'mine.toml'}:vector.lanes=8")
    assert changed is not None
    assert changed.vector.lanes == 8


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("scratchpad.byte=3", r"\[scratchpad\] unknown key 'byte'; did you mean 'bytes'"),
        ("scratchpads.bytes=3", "unknown key 'scratchpads'; did you mean 'scratchpad'"),
        ("cores.x=1", "'cores' is no table"),
        ("cores=", "cannot read 'cores='"),
        ("cores=2,=3", "cannot read '=3'"),
        ("cores=2,lanes", "cannot read 'lanes'"),
        ("cores=two", "'cores' must be an integer, not 'two'"),
        ("cores='two", 'cannot read "cores=\'two"'),
        ("vector.reduction=trees", "'trees' is not lanes or tree; did you mean 'tree'"),
        ("cores=2.5", "'cores' must be an integer"),
        ("scratchpad.bytes=100", "too small for a single matmul"),
    ],
)
def test_errors(target: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load_target(f"{BASE}:{target}")


def test_names_without_figures() -> None:
    assert split_overrides("C:/boards/a.toml") == ("C:/boards/a.toml", "")
    with pytest.raises(TargetError, match="cpu has no figures"):
        load_target("cpu:cores=2")
    with pytest.raises(TargetError, match="unknown target 'gemmini'"):
        load_target("gemmini:cores=2")

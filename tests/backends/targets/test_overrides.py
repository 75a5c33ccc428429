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
    for name in ("mine.toml", "a:b.toml", "a:lanes=b.toml"):
        (tmp_path / name).write_text(shipped.read_text())
        assert load_target(tmp_path / name) == load_target(BASE)
    for name in ("mine.toml", "a:b.toml"):
        changed = load_target(f"{tmp_path / name}:vector.lanes=8")
        assert changed is not None
        assert changed.vector.lanes == 8


def test_commas_within_values() -> None:
    base = load_target(BASE)
    assert base is not None
    queues, text = "{load = 3, store = 2}", "'slow, with, commas'"
    changed = load_target(f"{BASE}:control.queue_depths={queues},description={text},cores=2")
    assert changed is not None
    assert changed.control.queue_depths == {**base.control.queue_depths, "load": 3, "store": 2}
    assert (changed.description, changed.cores) == ("slow, with, commas", 2)


def test_strings_of_a_word_need_no_quotes() -> None:
    changes = "matrix.dataflow=output-stationary,sparsity.pattern=none"
    changed = load_target(f"auto-200:{changes}")
    assert changed is not None
    assert changed.matrix.dataflow == "output-stationary"
    assert not changed.sparse
    pattern = load_target(f"{BASE}:sparsity.pattern=2:4")
    assert pattern is not None
    assert pattern.sparse


def test_sparsity_says_how_to_switch_it_off() -> None:
    with pytest.raises(TargetError, match="weights do not stay") as error:
        load_target("auto-200:matrix.dataflow=output-stationary")
    assert "sparsity.pattern=none" in (error.value.hint or "")


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
        ("cores=2 3", "cannot read 'cores=2 3'"),
        ("cores=[2", r"cannot read 'cores=\[2'"),
        ("cores=" + 5000 * "9", "must be an integer"),
        ("cores=" + 9000 * "[", "cannot read"),
        ("cores=2\nlanes=3", "cannot read"),
        ("cores=2,cores=3", "'cores' is changed twice"),
        ("dram={bytes_per_cycle=8},dram.burst_bytes=32", "'dram.burst_bytes' is changed twice"),
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

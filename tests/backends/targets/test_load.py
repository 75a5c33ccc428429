"""Targets are read strictly: every mistake is a TargetError that names the key."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from tilewright.backends.targets.load import (
    list_targets,
    load_target,
    machine_from_dict,
    parse_target,
)
from tilewright.dialects.errors import TargetError

GOOD = """
name = "mine"
description = "a test machine"
source = "none"
clock_hz = 1e9
[matrix]
rows = 8
columns = 8
[vector]
lanes = 8
[scratchpad]
bytes = 4096
banks = 4
[accumulator]
bytes = 1024
width = 32
[dram]
bytes_per_cycle = 4
"""


@pytest.mark.parametrize("name", list_targets())
def test_shipped_targets_load_and_name_themselves(name: str) -> None:
    machine = load_target(name)
    assert machine is not None
    assert machine.name == name
    assert machine_from_dict(dataclasses.asdict(machine)) == machine


@pytest.mark.parametrize(
    ("name", "tops"),
    [
        ("tpu-v1", 91.75),
        ("tesla-fsd", 36.86),
        ("auto-200", 200.5),
        ("j5-like", 131.0),
        ("ethos-u65-512", 1.02),
    ],
)
def test_peak_rates_are_the_published_ones(name: str, tops: float) -> None:
    """Twice the MACs a cycle times the clock, in tera-operations a second."""
    machine = load_target(name)
    assert machine is not None
    assert 2 * machine.peak_macs_per_cycle * machine.clock_hz / 1e12 == pytest.approx(
        tops, rel=0.01
    )


def test_every_shipped_value_says_where_it_comes_from() -> None:
    """Each value has a comment, or stands in a table or file marked as assumed or synthetic."""
    import tilewright.backends.targets as package

    folder = Path(package.__path__[0])
    for file in folder.glob("*.toml"):
        text = file.read_text()
        assert re.search(r"assumed", text), file.name


def test_cpu_is_no_machine() -> None:
    assert load_target("cpu") is None


def test_defaults_and_integers_for_numbers() -> None:
    machine = parse_target(GOOD)
    assert machine.dram.bytes_per_cycle == 4.0
    assert machine.matrix.dataflow == "weight-stationary"
    assert machine.control.queue_depths["load"] == 8


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    machine = load_target(path)
    assert machine is not None
    assert machine.name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 8", "row = 8", r"\[matrix\] unknown key 'row'; did you mean 'rows'"),
        ("rows = 8", "", r"\[matrix\] missing key 'rows'"),
        ("rows = 8", "rows = 8.5", "'rows' must be an integer"),
        ("rows = 8", "rows = true", "'rows' must be an integer"),
        ("rows = 8", "rows = 0", "'rows' must be positive"),
        ("rows = 8", "rows = -8", "'rows' must be positive"),
        (
            "rows = 8",
            'rows = 8\ndataflow = "weight-stationery"',
            "did you mean 'weight-stationary'",
        ),
        ("rows = 8", "rows = 8\ndouble_buffered_weights = 1", "must be true or false"),
        ("rows = 8", "rows = 100000\npixels = 100000", "exceed"),
        ("[dram]", "[sparsity]\npattern = '1:4'\n[dram]", "pattern '1:4' is not none or 2:4"),
        ("[dram]", "[sparsity]\npattern = '2:4'\nrate = 4\n[dram]", "rate must be 1 or 2"),
        (
            "rows = 8\ncolumns = 8",
            "rows = 6\ncolumns = 8\n[sparsity]\npattern = '2:4'\nrate = 2",
            "a multiple of 8, not 12",
        ),
        (
            "columns = 8",
            "columns = 8\ndataflow = 'output-stationary'\n[sparsity]\npattern = '2:4'",
            "do not stay in an array that is output-stationary",
        ),
        ("rows = 8", "rows = 8\nwindow_channels = 999", "exceed rows . columns"),
        ("clock_hz = 1e9", "clock_hz = nan", "'clock_hz' must be positive"),
        ("clock_hz = 1e9", "clock_hz = 1e99", "absurdly large"),
        ("clock_hz = 1e9", 'clock_hz = "fast"', "'clock_hz' must be a number"),
        ("clock_hz = 1e9", "clock_hz = 1e9\nalignment = 48", "alignment must be a power of two"),
        ("[dram]\nbytes_per_cycle = 4", "", "missing table 'dram'"),
        ('description = "a test machine"\nsource = "none"', "", "key 'description', key 'source'"),
        ("[dram]\nbytes_per_cycle = 4", "[drams]\nbytes_per_cycle = 4", "did you mean 'dram'"),
        ("bytes = 1024", "bytes = 16", "less than one row block"),
        ("bytes = 4096", "bytes = 256", "too small for a single matmul"),
        ("bytes = 4096", "bytes = 4097", "4096 would, or 4100"),
        ("bytes = 4096", "bytes = 99999999999", "32-bit address"),
        ("lanes = 8", "lanes = 8\nstartup = -1", "'startup' must be at least 0"),
        ('name = "mine"', 'name = ""', "'name' must be a non-empty string"),
        ('name = "mine"', 'name = "cpu"', "cannot be named 'cpu'"),
        ("[vector]", "[vector", "not valid TOML"),
        (
            "[dram]",
            "[control]\nqueue_depths = {loads = 2}\n[dram]",
            "unknown queue 'loads'; did you mean 'load'",
        ),
        ("[dram]", "[control]\nqueue_depths = {load = 0}\n[dram]", "'load' must be positive"),
        ("[dram]", "[control]\nqueue_depths = 4\n[dram]", "must be a table"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(TargetError, match=message):
        parse_target(GOOD.replace(old, new, 1))


def test_a_table_where_a_value_belongs() -> None:
    with pytest.raises(TargetError, match=r"'matrix' must be a table"):
        parse_target('matrix = 3\nname = "x"\ndescription = "d"\nsource = "s"\nclock_hz = 1')


@pytest.mark.parametrize("name", ["gemini-16x16", "no/such.toml", "nowhere.toml", "", "."])
def test_unknown_targets(name: str) -> None:
    with pytest.raises(TargetError):
        load_target(name)


def test_unknown_target_suggests() -> None:
    with pytest.raises(TargetError, match="did you mean 'gemmini-16x16'"):
        load_target("gemini-16x16")

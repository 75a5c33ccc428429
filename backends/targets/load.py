"""Reads targets: TOML files whose tables are the dataclasses of `machine.py`, checked strictly.

    name = "my-npu"
    clock_hz = 1e9
    ...
    [matrix]
    rows = 16
    columns = 16

`load_target("gemmini-16x16")` finds a shipped target, `load_target("boards/my.toml")` a file, and
`load_target("cpu")` is None: no NPU.  The dataclass fields are the schema: an unknown key, a wrong
type, a missing value or an impossible machine is a `TargetError` that names the file, the table
and the key, so that a new parameter needs no change here.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, cast, get_type_hints

from ...dialects.errors import TargetError
from .machine import DATAFLOWS, QUEUE_NAMES, REDUCTIONS, SPARSITIES, Machine
from .overrides import override, split_overrides

CPU = "cpu"
MAX_MEMORY = 1 << 32
"""Largest on-chip memory in bytes: addresses of the instruction set are 32 bits wide."""

_MAY_BE_ZERO = frozenset(
    {"latency", "read_latency", "write_latency", "startup", "issue_cycles", "vector"}
    | {"spm_byte", "acc_byte", "dram_byte", "network_byte", "idle_cycle"}
    | {"accumulate_latency", "config_cycles", "interleave", "window_channels"}
)
_MAY_BE_ZERO_IN = frozenset(
    {("energy", "mac"), ("vector", "add"), ("vector", "multiply"), ("network", "bytes_per_cycle")}
    | {("sparsity", "decode_bytes_per_cycle")}
)


def list_targets() -> list[str]:
    """Names of the shipped targets, sorted; "cpu" is not among them."""
    folder = resources.files(__package__ or __name__)
    return sorted(
        e.name.removesuffix(".toml") for e in folder.iterdir() if e.name.endswith(".toml")
    )


def load_target(name_or_path: str | Path) -> Machine | None:
    """The machine of a shipped target's name or of a TOML file; None for "cpu".

    Either may be followed by changes of single figures (`overrides`).  Raises TargetError if there
    is no such target, or if its description is inconsistent.
    """
    name, changes = split_overrides(str(name_or_path))
    if name == CPU and not changes:
        return None
    if changes:
        if (machine := load_target(name)) is None:
            raise TargetError(f"{name} has no figures that {changes!r} could change")
        known = {**asdict(machine), "name": f"{machine.name}:{changes}"}
        return machine_from_dict(override(known, changes, name), f"{name}:{changes}")
    path = Path(name)
    if path.suffix == ".toml" or path.name != name:
        try:
            return parse_target(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise TargetError(f"cannot read target {name!r}: {reason}") from error
    return _shipped(name)


@lru_cache
def _shipped(name: str) -> Machine:
    known = [CPU, *list_targets()]
    if name not in known:
        hint = f"targets are {', '.join(known)}, or the path of a .toml file"
        raise TargetError(f"unknown target {name!r}{_did_you_mean(name, known)}", hint=hint)
    file = resources.files(__package__ or __name__) / f"{name}.toml"
    return parse_target(file.read_text(encoding="utf-8"), f"{name}.toml")


def parse_target(text: str, where: str = "target") -> Machine:
    """The machine that TOML `text` describes; `where` names it in errors. Raises TargetError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{where}: not valid TOML: {error}") from error
    except (RecursionError, ValueError) as error:  # ValueError: integers of thousands of digits
        raise TargetError(f"{where}: not usable TOML: {error}") from None
    return machine_from_dict(table, where)


def machine_from_dict(table: Mapping[str, Any], where: str = "target") -> Machine:
    """The machine that nested tables describe (TOML, or the manifest of an artefact).

    Raises TargetError as for TOML text.
    """
    machine: Machine = _build(Machine, table, where, "")
    _check(machine, where)
    return machine


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _build(cls: type[Any], table: Mapping[str, Any], where: str, section: str) -> Any:
    """An instance of dataclass `cls` from a TOML table, every value checked."""
    at = f"{where}: [{section}] " if section else f"{where}: "
    schema = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    for key in table:
        if key not in schema:
            raise TargetError(f"{at}unknown key {key!r}{_did_you_mean(key, schema)}")
    values = {
        key: _value(hints[key], table[key], at, key, where, field)
        for key, field in schema.items()
        if key in table
    }
    missing = [
        f"{'table' if is_dataclass(hints[key]) else 'key'} {key!r}"
        for key, field in schema.items()
        if key not in table and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise TargetError(f"{at}missing {', '.join(missing)}")
    return cls(**values)


def _value(kind: Any, value: Any, at: str, key: str, where: str, field: Field[Any]) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise TargetError(f"{at}{key!r} must be a table, [{key}]")
        return _build(kind, value, where, key)  # pyright: ignore[reportUnknownArgumentType]
    if kind == dict[str, int]:
        return _queue_depths(field, value, at, key)
    if kind is str:
        if not isinstance(value, str) or not value.strip():
            raise TargetError(f"{at}{key!r} must be a non-empty string, not {value!r}")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise TargetError(f"{at}{key!r} must be true or false, not {value!r}")
        return value
    return _number(int if kind is int else float, value, at, key)


def _number(kind: type[int] | type[float], value: Any, at: str, key: str) -> int | float:
    wanted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        a = "an integer" if kind is int else "a number"
        raise TargetError(f"{at}{key!r} must be {a}, not {value!r}")
    zero = key in _MAY_BE_ZERO or any(
        at.endswith(f"[{table}] ") and key == name for table, name in _MAY_BE_ZERO_IN
    )
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise TargetError(
            f"{at}{key!r} must be {'at least 0' if zero else 'positive'}, not {value!r}"
        )
    if value > 1e15:
        raise TargetError(f"{at}{key!r} is absurdly large: {value!r}")
    return kind(value)


def _queue_depths(field: Field[Any], value: Any, at: str, key: str) -> dict[str, int]:
    if not isinstance(value, dict):
        raise TargetError(f"{at}{key!r} must be a table of queue names and depths")
    given = cast(dict[str, Any], value)
    depths: dict[str, int] = field.default_factory() if callable(field.default_factory) else {}
    for queue, depth in given.items():
        if queue not in QUEUE_NAMES:
            known = _did_you_mean(queue, QUEUE_NAMES)
            raise TargetError(f"{at}{key}: unknown queue {queue!r}{known}")
        depths[queue] = int(_number(int, depth, f"{at}{key}: ", queue))
    return depths


def _check(machine: Machine, where: str) -> None:
    """Raise TargetError where values that are fine alone make an impossible machine."""
    m, spm, acc = machine.matrix, machine.scratchpad, machine.accumulator

    def need(ok: bool, message: str, hint: str | None = None) -> None:
        if not ok:
            raise TargetError(f"{where}: {message}", hint=hint)

    need(machine.name != CPU, "a target cannot be named 'cpu'")
    known = ", ".join(DATAFLOWS)
    near = _did_you_mean(m.dataflow, DATAFLOWS)
    need(m.dataflow in DATAFLOWS, f"[matrix] dataflow {m.dataflow!r} is none of {known}{near}")
    need(m.macs_per_cycle <= 1 << 26, "[matrix] rows * columns * pixels exceed 2^26")
    windows = m.window_channels <= m.rows * m.columns
    need(windows, "[matrix] window_channels exceed rows * columns: it has no more multipliers")
    way = machine.vector.reduction
    known, near = " or ".join(REDUCTIONS), _did_you_mean(way, REDUCTIONS)
    need(way in REDUCTIONS, f"[vector] reduction {way!r} is not {known}{near}")
    s = machine.sparsity
    near = _did_you_mean(s.pattern, SPARSITIES)
    need(s.pattern in SPARSITIES, f"[sparsity] pattern {s.pattern!r} is not none or 2:4{near}")
    need(s.rate in (1, 2), f"[sparsity] rate must be 1 or 2, not {s.rate}: half of 2:4 is zero")
    if machine.sparse:
        stay = m.dataflow in ("weight-stationary", "dot-product")
        need(
            stay,
            f"[sparsity] weights do not stay in an array that is {m.dataflow}",
            hint='pattern = "none" (`NAME:sparsity.pattern=none`) switches sparsity off',
        )
        rows = m.rows * s.rate
        need(rows % 8 == 0, f"[sparsity] rows x rate must be a multiple of 8, not {rows}")
    for name, memory in (("scratchpad", spm), ("accumulator", acc)):
        need(memory.bytes <= MAX_MEMORY, f"[{name}] bytes exceed the 32-bit address space")
        over, banks = memory.bytes % memory.banks, memory.banks
        need(
            not over,
            f"[{name}] bytes must divide evenly into its {banks} banks:"
            f" {memory.bytes - over} would, or {memory.bytes - over + banks}",
        )
    a = machine.alignment
    need(a & (a - 1) == 0, f"alignment must be a power of two, not {a}")
    need(a <= 4096, f"alignment {a} exceeds 4096 bytes")
    block = 4 * m.columns * m.pixels
    need(
        acc.bytes >= block,
        f"[accumulator] {acc.bytes} bytes hold less than one row block of the array"
        f" ({m.pixels} x {m.columns} 32-bit accumulators are {block} bytes)",
    )
    parts = (m.rows * m.columns, m.rows * m.pixels, m.columns * m.pixels, *(4 * m.columns,) * 3)
    least = sum(-(-part // a) * a for part in parts)
    need(
        spm.bytes >= least,
        f"[scratchpad] {spm.bytes} bytes are too small for a single matmul: one tile of weights,"
        f" inputs, outputs and requantisation parameters takes {least} bytes",
    )
    for name, memory in (("scratchpad", spm), ("accumulator", acc)):
        narrow = memory.bytes // memory.banks < memory.width
        need(not narrow, f"[{name}] a bank is smaller than an access of {memory.width} bytes")
    need(machine.cores <= 1024, "more than 1024 cores")

"""Rows of published figures and policies of publications, read from TOML and checked strictly.

    [[row]]
    network = "resnet18_v1"      # of the zoo, or a .onnx file
    target = "vta-pynq"          # or a .toml file
    batch = 1
    figure = "cycles"            # cycles | seconds | fps | tops | utilization | share:<unit>.<kind>
    published = 7729601
    unit = "cycles"
    source = "..."
    assumptions = "..."
    # optional: policy (a name; else that of the target), activation_bits (8 or 16), simulate (also
    # run what the published method models; else only the method)
    [row.machine]                # optional: values of parameters that the publication leaves open
    dram.read_latency = 16
    [row.range]                  # optional: how far they may lie
    dram.read_latency = [1, 40]

    [[policy]]                   # the fields of `validate_execution.Policy`
    name = "..."
    targets = ["vta-pynq"]

Shares and utilisation are fractions of 1.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from tilewright.dialects.errors import InputError, TilewrightError

from . import zoo
from .validate_execution import METHODS, Policy, machine_of, override
from .validate_results import check_figure


@dataclass(frozen=True)
class Row:
    """One published figure; `machine` and `range` by "table.key"."""

    network: str
    target: str
    batch: int
    figure: str
    published: float
    unit: str = ""
    source: str = ""
    assumptions: str = ""
    policy: str = ""
    activation_bits: int = 8
    simulate: bool = True
    machine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    range: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


_TYPES: dict[str, tuple[type, ...]] = {
    "batch": (int,), "published": (int, float), "activation_bits": (int,), "simulate": (bool,),
    "machine": (dict,), "range": (dict,), "ranges": (dict,), "targets": (list,),
    "one_unit": (bool,), "host_bytes_per_cycle": (int, float), "host_average_cycles": (int, float),
    "weight_share": (int, float),
}  # fmt: skip
"""Of keys that are not text."""


def read(paths: Iterable[str | Path]) -> tuple[list[Row], list[Policy]]:
    """Rows and policies of TOML files, in order; InputError naming file, row and key."""
    rows: list[Row] = []
    policies: list[Policy] = []
    for path in paths:
        for entry, where in _entries(path, "row"):
            rows.append(_checked(_row(entry, where), where))
        for entry, where in _entries(path, "policy"):
            policies.append(_policy(entry, where))
    for row in rows:
        policy_of(row, policies)
    return rows, policies


def policy_of(row: Row, policies: Sequence[Policy]) -> Policy:
    """The policy that a row names, else the one of its target, else the default."""
    if row.policy in ("", "default"):
        mine = (p for p in policies if row.target in p.targets and not row.policy)
        return next(mine, Policy())
    for policy in policies:
        if policy.name == row.policy:
            return policy
    raise InputError(
        f"row {row.network} on {row.target}: unknown policy {row.policy!r}",
        hint=f"choose from default, {', '.join(p.name for p in policies)}",
    )


def _entries(path: str | Path, table: str) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"cannot read {path}: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    if stray := sorted(set(content) - {"row", "policy"}):
        raise InputError(f"{path}: unknown table {stray[0]!r}", hint="[[row]] and [[policy]]")
    entries = content.get(table, [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):  # pyright: ignore[reportUnknownVariableType]
        raise InputError(f"{path}: write [[{table}]], a table for each")
    for index, entry in enumerate(entries, 1):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        yield entry, f"{path}, {table} {index}"


def _values(entry: Mapping[str, Any], kind: type, where: str) -> dict[str, Any]:
    """`entry` with the keys and types of a dataclass."""
    known = {f.name: f for f in fields(kind)}
    for key, value in entry.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            raise InputError(
                f"{where}: unknown key {key!r}",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
        types = _TYPES.get(key, (str,))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InputError(f"{where}: {key} = {value!r} is no {types[-1].__name__}")
    for key, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and key not in entry:
            raise InputError(f"{where}: {key!r} is missing")
    return dict(entry)


def _row(entry: Mapping[str, Any], where: str) -> Row:
    values = _values(entry, Row, where)
    values["machine"] = dict(_flat(values.get("machine", {})))
    values["range"] = _ranges(values.get("range", {}), where)
    values["published"] = float(values["published"])
    return Row(**values)


def _policy(entry: Mapping[str, Any], where: str) -> Policy:
    values = _values(entry, Policy, where)
    if values.get("method", "simulate") not in METHODS:
        raise InputError(
            f"{where}: unknown method {values['method']!r}",
            hint=f"choose from {', '.join(METHODS)}",
        )
    values["machine"] = dict(_flat(values.get("machine", {})))
    values["ranges"] = _ranges(values.get("ranges", {}), where)
    values["targets"] = tuple(map(str, cast(list[Any], values.get("targets", []))))
    return Policy(**values)


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield prefix + key, value


def _ranges(tables: Mapping[str, Any], where: str) -> dict[str, tuple[float, float]]:
    out: dict[str, tuple[float, float]] = {}
    for key, value in _flat(tables):
        ends = cast(list[Any], value) if isinstance(value, list) else []
        if [type(end) in (int, float) for end in ends] != [True, True]:
            raise InputError(f"{where}: range of {key} is not [low, high]")
        out[key] = (ends[0], ends[1])
    return out


def _checked(row: Row, where: str) -> Row:
    """`row`, if what it names exists."""
    try:
        check_figure(row.figure)
        if not row.network.endswith(".onnx"):
            zoo.default_batch(row.network)
        elif not Path(row.network).is_file():
            raise InputError(f"cannot read network {row.network!r}: no such file")
        machine = machine_of(row.target)
        override(machine, {**row.machine, **{key: low for key, (low, _) in row.range.items()}})
        if row.batch < 1 or row.activation_bits not in (8, 16):
            raise InputError("batch must be at least 1, activation_bits 8 or 16")
    except TilewrightError as error:
        raise InputError(f"{where}: {error}") from None
    return row

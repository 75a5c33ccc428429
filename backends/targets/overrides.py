"""A target with some of its figures changed: `gemmini-16x16:scratchpad.bytes=131072,cores=2`.

What follows the colon are keys of the TOML file, with dots between table and key, and TOML values;
strings of one word need no quotes (`matrix.dataflow=output-stationary`).
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

from ...dialects.errors import TargetError

_CHANGES = re.compile(r":(?=[^:/\\=]*=)")
"""The colon before the first KEY=VALUE, and not one within a path."""
_WORD = re.compile(r"[\w.:+-]+")


def split_overrides(target: str) -> tuple[str, str]:
    """(name or path, overrides) of a target; overrides are empty where there are none."""
    if os.path.isfile(target):  # Path.is_file raises for names that are too long
        return target, ""
    name, *changes = _CHANGES.split(target, maxsplit=1)
    return (name, changes[0]) if changes else (target, "")


def override(table: dict[str, Any], changes: str, where: str) -> dict[str, Any]:
    """`table` with `changes`, which is checked by whoever builds a machine from it.

    Raises TargetError, naming `where`, for what is no list of KEY=VALUE or no table's key, and for
    keys that are changed twice.
    """
    seen: list[str] = []
    for key, value in _parse(changes, where):
        table = _with(table, tuple(key.split(".")), value, f"{where}: {key!r}")
        if any(f"{key}.".startswith(f"{k}.") or f"{k}.".startswith(f"{key}.") for k in seen):
            raise TargetError(f"{where}: {key!r} is changed twice")
        seen.append(key)
    return table


def _parse(changes: str, where: str) -> list[tuple[str, Any]]:
    """(key, value) of every change.  Commas within a value do not end it."""
    found: list[tuple[str, Any]] = []
    pieces = changes.split(",")
    while pieces:
        key, equals, value = (part.strip() for part in pieces[0].partition("="))
        for end in range(1, len(pieces) + 1):
            try:
                known = tomllib.loads("value = " + ",".join([value, *pieces[1:end]]))
            except (ValueError, RecursionError):  # ValueError: also integers of thousands of digits
                known = {"value": value} if end == 1 and _WORD.fullmatch(value) else {}
            if known:
                break
        else:
            end, known = 1, {}
        if not equals or not key.rpartition(".")[2] or list(known) != ["value"]:
            raise TargetError(
                f"{where}: cannot read {pieces[0].strip()!r}",
                hint="changes are TABLE.KEY=VALUE, with commas between them",
            )
        found.append((key, known["value"]))
        pieces = pieces[end:]
    return found


def _with(table: dict[str, Any], path: tuple[str, ...], value: Any, where: str) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {**table, head: value}
    inner = table.get(head, {})
    if not isinstance(inner, dict):
        raise TargetError(f"{where}: {head!r} is no table")
    return {**table, head: _with(inner, tuple(rest), value, where)}  # pyright: ignore[reportUnknownArgumentType]

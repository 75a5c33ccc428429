"""A target with some of its figures changed: `gemmini-16x16:scratchpad.bytes=131072,cores=2`.

What follows the colon are keys of the TOML file, with dots between table and key, and TOML values;
words need no quotes: `auto-200:vector.reduction=lanes`.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from ...dialects.errors import TargetError

_WORD = re.compile(r"[\w:-]+")


def split_overrides(target: str) -> tuple[str, str]:
    """(name or path, overrides) of a target; overrides are empty where there are none."""
    name, colon, changes = target.partition(":")
    return (name, changes) if colon and "=" in changes else (target, "")


def override(table: dict[str, Any], changes: str, where: str) -> dict[str, Any]:
    """`table` with `changes`, which is checked by whoever builds a machine from it.

    Raises TargetError, naming `where`, for what is no list of KEY=VALUE or no table's key.
    """
    for change in changes.split(","):
        key, equals, value = change.partition("=")
        *path, last = key.strip().split(".")
        parsed: Any = value.strip()
        try:
            parsed = tomllib.loads(f"value = {parsed}")["value"]
        except tomllib.TOMLDecodeError:
            equals = equals if _WORD.fullmatch(parsed) else ""
        if not equals or not last:
            raise TargetError(
                f"{where}: cannot read {change.strip()!r}",
                hint="changes are TABLE.KEY=VALUE, with commas between them",
            )
        table = _with(table, (*path, last), parsed, f"{where}: {key.strip()!r}")
    return table


def _with(table: dict[str, Any], path: tuple[str, ...], value: Any, where: str) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {**table, head: value}
    inner = table.get(head, {})
    if not isinstance(inner, dict):
        raise TargetError(f"{where}: {head!r} is no table")
    return {**table, head: _with(inner, tuple(rest), value, where)}  # pyright: ignore[reportUnknownArgumentType]

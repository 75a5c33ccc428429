"""Values of the command line's options that are more than a word: extents, profiles, buckets."""

from __future__ import annotations

from typing import Any


def read_shapes(values: list[str] | None, option: str = "--shape") -> dict[str, tuple[Any, ...]]:
    """Extents by input name: `4`, `1..8` (bounds), or `?` (open)."""
    from ..dialects.errors import InputError

    out: dict[str, tuple[Any, ...]] = {}
    for value in values or []:
        name, separator, dims = value.rpartition(":")
        try:
            extents = tuple(map(_extent, dims.split("x"))) if dims else ()
        except ValueError:
            separator = ""
            extents = ()
        if not separator or not name:
            raise InputError(
                f"cannot read {option} {value!r}",
                hint="write it as NAME:1x3x224x224; an extent may be bounds (1..8) or open (?)",
            )
        if name in out:
            raise InputError(f"{option} names {name!r} twice")
        out[name] = extents
    return out


def _extent(text: str) -> int | tuple[int, int] | None:
    """One extent of a shape; ValueError if it is none."""
    if text == "?":
        return None
    least, bounded, greatest = text.partition("..")
    low = int(least)
    if low < 0 or (bounded and int(greatest) < low):
        raise ValueError(text)
    return (low, int(greatest)) if bounded else low


def read_profiles(values: list[str] | None) -> list[dict[str, tuple[Any, ...]]]:
    """Each --profile: extents of inputs, separated by commas."""
    from ..dialects.errors import InputError

    profiles = [read_shapes(value.split(","), "--profile") for value in values or []]
    for profile in profiles:
        for name, extents in profile.items():
            if not all(isinstance(e, int) for e in extents):
                raise InputError(f"--profile {name}: extents are numbers, not bounds")
    return profiles


def read_buckets(values: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Extents by dimension."""
    from ..dialects.errors import InputError

    out: dict[str, tuple[int, ...]] = {}
    for value in values or []:
        name, _, sizes = value.rpartition(":")
        try:
            out[name] = tuple(int(s) for s in sizes.split(","))
        except ValueError:
            out[name] = (0,)
        if not name or min(out[name]) < 1:
            raise InputError(f"cannot read --bucket {value!r}", hint="write it as batch:1,4,16")
    return out

"""ONNX node names carried by operations as MLIR locations.

An operation made from one node has `loc("node")`; a fused operation has `loc(fused["a", "b"])`.
Locations are not part of an operation's identity, so CSE is not hindered by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from xdsl.dialects.builtin import (
    ArrayAttr,
    FusedLoc,
    LocationAttr,
    NameLoc,
    NoneAttr,
    StringAttr,
    UnknownLoc,
)
from xdsl.ir import Attribute, Operation


@lru_cache(maxsize=65536)
def _names(loc: Attribute) -> tuple[str, ...]:
    if isinstance(loc, NameLoc):
        return (loc.desc.data,)
    if isinstance(loc, FusedLoc):
        return tuple(dict.fromkeys(n for part in loc.locations for n in _names(part)))  # pyright: ignore
    return ()


def onnx_nodes(op: Operation) -> tuple[str, ...]:
    """Names of the ONNX nodes `op` came from, in program order, without repetition."""
    return _names(op.location)


def location(names: Iterable[str]) -> LocationAttr:
    """The location that carries `names`; unknown when there are none."""
    return _location(tuple(dict.fromkeys(names)))


@lru_cache(maxsize=65536)
def _location(unique: tuple[str, ...]) -> LocationAttr:
    if not unique:
        return UnknownLoc()
    locs = [NameLoc(StringAttr(n), NoneAttr()) for n in unique]
    return locs[0] if len(locs) == 1 else FusedLoc(ArrayAttr(tuple(locs)), NoneAttr())


def inherit(new: Operation, *sources: Operation) -> Operation:
    """Give `new` the nodes of `sources` (and keep those it has); returns `new`."""
    new.location = location(n for op in (new, *sources) for n in onnx_nodes(op))
    return new


def describe(op: Operation) -> str:
    """`'node' (op.name)` for error messages."""
    nodes = onnx_nodes(op)
    return f"{' + '.join(repr(n) for n in nodes) if nodes else '<unnamed>'} ({op.name})"

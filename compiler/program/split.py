r"""Splitting nodes into regions that are compiled and nodes that run on the host.

Nodes get levels: a compiled node is of the highest level of the regions it reads from, and one
level later than the host nodes it reads from; a host node runs right after the region of its
level.  All compiled nodes of one level are one region:

    conv -> relu -> NonMaxSuppression -> Gather -> ...
    \--- region 0 ---/     host         \- region 1 -/
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

from onnx import NodeProto

from ..importer.order import used_by


@dataclass(frozen=True)
class Part:
    """Consecutive nodes in execution order: to be compiled together, or one host node.

    `reads` are the names it takes from outside (constants among them), `outputs` what later parts
    or the graph's outputs take from it.
    """

    nodes: tuple[NodeProto, ...]
    reads: tuple[str, ...]
    outputs: tuple[str, ...]
    on_host: bool


def split(
    nodes: Sequence[NodeProto], hosts: Set[int], outputs: Collection[str], given: Collection[str]
) -> list[Part]:
    """Parts of `nodes` (in order), those at positions `hosts` on the host.

    `given` are the tensors defined outside; other names that bodies read are their own.
    """
    defined = {name for node in nodes for name in node.output}.union(given)
    level: dict[str, int] = {}  # when a tensor is there, for a compiled reader
    host_level: dict[str, int] = {}  # ... for a host reader
    regions: dict[int, list[int]] = {}
    singles: dict[int, list[int]] = {}
    reads = [tuple(n for n in dict.fromkeys(used_by(node)) if n in defined) for node in nodes]
    for index, node in enumerate(nodes):
        known = host_level if index in hosts else level
        at = max((known.get(name, 0) for name in reads[index]), default=0)
        (singles if index in hosts else regions).setdefault(at, []).append(index)
        for name in filter(None, node.output):
            host_level[name] = at
            level[name] = at + (index in hosts)
    groups: list[tuple[list[int], bool]] = []
    for at in sorted(regions.keys() | singles.keys()):
        if at in regions:
            groups.append((regions[at], False))
        groups += [([index], True) for index in singles.get(at, ())]
    readers: dict[str, int] = {}  # how many groups read a tensor
    for group, _ in groups:
        for name in {name for index in group for name in reads[index]}:
            readers[name] = readers.get(name, 0) + 1
    wanted = set(outputs)
    parts: list[Part] = []
    for group, on_host in groups:
        made = dict.fromkeys(n for index in group for n in nodes[index].output if n)
        taken = dict.fromkeys(n for index in group for n in reads[index] if n not in made)
        inside = {n for index in group for n in reads[index]}
        kept = tuple(n for n in made if on_host or n in wanted or readers.get(n, 0) > (n in inside))
        if kept or on_host:
            parts.append(Part(tuple(nodes[i] for i in group), tuple(taken), kept, on_host))
    return parts

"""Which commands have to configure their unit anew: those unlike the one before on their queue.

    load  8 rows of 64   (stride 128)     configures
    load  8 rows of 64   (stride 128)     the same, at another address
    load  4 rows of 64   (stride 128)     configures

A configuration is everything in an instruction but addresses; `sync` needs none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....dialects.constants import Array
from ....dialects.npu.descriptors import Strided
from ..program import Instruction


def configures(sites: Sequence[tuple[Instruction, int]], site: Array) -> Array:
    """Per command whether it configures; `site[c]` is an (instruction, queue) of `sites`."""
    keys: dict[object, int] = {}
    key = np.asarray([keys.setdefault(_configuration(i), len(keys)) for i, _ in sites], np.int64)
    queue = np.asarray([-1 if i.mnemonic == "sync" else q for i, q in sites], np.int64)
    out = np.zeros(len(site), bool)
    for q in set(queue.tolist()) - {-1}:
        mine = np.flatnonzero(queue[site] == q)
        out[mine] = np.diff(key[site[mine]], prepend=-1) != 0
    return out


def _configuration(instruction: Instruction) -> object:
    shapes = [
        a.dims if isinstance(a, Strided) else (a.extents, a.strides, a.steps, a.box)
        for a in (o.access for o in instruction.operands)
    ]
    return instruction.mnemonic, tuple(shapes), tuple(instruction.params.items())

"""What a nest computes, in the terms of who designs a layer: its extents, for reports.

A 3x3 convolution of 32 x 32 positions from 16 to 17 channels is a matmul of m = 1024, n = 17,
k = 144 with 9 taps.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ....backends.targets.machine import Machine
from ....dialects.loop import NestOp
from .bounds import own_sizes
from .classify import choose_unit, innermost_dim, reduction_of, roles


def layer_shape(nest: NestOp, machine: Machine) -> dict[str, Any]:
    """The fields of `LayerShape`; CapacityError for what the machine cannot run."""
    reduction = choose_unit(nest, reduction_of(nest), machine)
    domain, maps = own_sizes(nest), nest.linear_maps
    if reduction.kind == "matmul":
        part = roles(nest, reduction)
        batch, m, n, k = (
            prod(domain[d] for d in dims) for dims in (part.batch, part.m, part.n, part.k)
        )
        last = maps[reduction.a].coeffs[-1:]
        channels = prod(domain[d] for d in part.k if any(row[d] for row in last))
        taps = k // channels
    else:
        inner, points = innermost_dim(maps[-1], domain), prod(domain[d] for d in nest.parallel)
        n = 1 if inner is None else domain[inner]
        batch, m, k = 1, points // n, prod(domain[d] for d in nest.reduced)
        taps = k
    return {"kind": reduction.kind, "batch": batch, "m": m, "n": n, "k": k, "taps": taps}

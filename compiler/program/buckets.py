"""Buckets: runs at any extent of a dimension, compiled for a few.

`--bucket batch:1,4,16` pads the batch of each run to the next bucket, by repeating its last slice,
and drops what that adds from the outputs. Only where it is proved safe (`independence.py`); an
extent beyond the greatest bucket is compiled for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...dialects.errors import ArtefactError, InputError
from ..tensors import TensorInfo, made_up
from .independence import carried_axes, same_but_for_extents
from .region import Region, Step

PROBES = (11, 13, 2, 3)
"""Extents that the proof looks at: unlike those a model has by itself, and less than them."""


@dataclass(frozen=True)
class Bucket:
    """Bucketing of dimension `name`: extents in order, and its axis by input and output."""

    name: str
    sizes: tuple[int, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]

    def padded(self, bound: Mapping[str, Any]) -> tuple[dict[str, Any], int, int]:
        """The inputs padded, the extent that was asked for, and that of the bucket."""
        first, axis = next(iter(self.inputs.items()))
        extent = bound[first].shape[axis]
        size = next((s for s in self.sizes if s >= extent), extent)
        if size == extent or not extent:
            return dict(bound), extent, extent
        values = dict(bound)
        for name, at in self.inputs.items():
            width = [(0, size - extent) if a == at else (0, 0) for a in range(values[name].ndim)]
            values[name] = np.pad(values[name], width, mode="edge")
        return values, extent, size

    def cropped(self, outputs: Mapping[str, Any], extent: int) -> dict[str, Any]:
        """The outputs without what padding has added."""
        return {
            name: value[(slice(None),) * self.outputs[name] + (slice(extent),)]
            for name, value in outputs.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            "name": self.name, "sizes": list(self.sizes), "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
        }  # fmt: skip


def read_buckets(entries: Any) -> list[Bucket]:
    """Buckets from a manifest; ArtefactError if they are damaged."""
    try:
        return [
            Bucket(
                str(e["name"]),
                tuple(int(s) for s in e["sizes"]),
                {str(n): int(a) for n, a in e["inputs"].items()},
                {str(n): int(a) for n, a in e["outputs"].items()},
            )
            for e in entries
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"the program's buckets are damaged: {error}") from None


def prove(
    name: str,
    sizes: Sequence[int],
    steps: Sequence[Step],
    infos: Sequence[TensorInfo],
    outputs: Sequence[str],
    guesses: Sequence[int],
) -> Bucket:
    """The bucketing of dimension `name`; InputError if padding it is not proved safe."""
    axes = {i.name: i.dims.index(name) for i in infos if i.dims is not None and name in i.dims}
    if not axes:
        known = sorted({d for i in infos for d in i.dims or () if isinstance(d, str)})
        raise InputError(
            f"--bucket: no input has a dimension {name!r}",
            hint=f"the open dimensions are {', '.join(known) or 'without names'}",
        )
    if len(steps) != 1 or not isinstance(region := steps[0], Region):
        raise InputError(f"{name!r} cannot be padded to buckets: the model is split at host nodes")
    for guess in guesses:
        modules = [_probe(region, infos, axes, extent, guess) for extent in PROBES]
        if None in modules:
            continue
        known = [module for module in modules if module is not None]
        starts = {region.inputs.index(n): axis for n, axis in axes.items() if n in region.inputs}
        found = [carried_axes(module, starts, name) for module in known]
        if any(axes_ != found[0] for axes_ in found) or not all(
            same_but_for_extents(known[0], module, (PROBES[0], extent))
            for module, extent in zip(known[1:], PROBES[1:], strict=True)
        ):
            raise InputError(f"{name!r} cannot be padded to buckets: the model computes with it")
        carried = dict(zip(region.outputs, found[0], strict=True))
        if missing := [n for n in outputs if n not in carried]:
            raise InputError(f"{name!r} cannot be padded: output {missing[0]!r} does not have it")
        return Bucket(name, tuple(sorted(sizes)), axes, {n: carried[n] for n in outputs})
    raise InputError(
        f"{name!r} cannot be padded to buckets: the model does not compile for its extents "
        f"{', '.join(map(str, PROBES))}"
    )


def _probe(
    region: Region,
    infos: Sequence[TensorInfo],
    axes: Mapping[str, int],
    extent: int,
    guess: int,
) -> ModuleOp | None:
    """The region imported with the dimension at `extent`, if that works."""
    plain = made_up(infos, extent=guess)
    values = {
        name: np.repeat(np.take(value, [0], axes[name]), extent, axes[name])
        if name in axes
        else value
        for name, value in plain.items()
    }
    return region.imported({name: values[name] for name in region.inputs})

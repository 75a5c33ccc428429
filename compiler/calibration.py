"""Calibration data: reading it, and what it says about dimensions a model leaves open.

An .npz, a folder of them, or a mapping of arrays named like the model's inputs.  Each array is one
sample, or several: stacked along a new first axis, or along the batch axis of a model whose batch
is 1 or symbolic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..dialects.constants import Array
from ..dialects.errors import InputError
from .tensors import TensorInfo, as_array, by_name, check_input, read_npz, samples

Arrays = dict[str, Array]


def read_calibration(source: str | Path | Mapping[str, Any]) -> list[Arrays]:
    """The arrays of each file (or of the mapping), by input name; InputError if unreadable."""
    if isinstance(source, Mapping):
        return [{str(k).removeprefix("in:"): as_array(v) for k, v in source.items()}]
    if not Path(source).is_dir():
        return [read_npz(source)]
    paths = sorted(Path(source).glob("*.npz"))
    if not paths:
        raise InputError(
            f"no .npz files in {source}",
            hint="calibration data: an .npz per sample, arrays named like the model's inputs",
        )
    return [read_npz(path) for path in paths]


def shapes_from(
    parts: Sequence[Arrays], declared: Mapping[str, Sequence[int | None]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs with open dimensions (None), taken from the first sample.

    An array of one more dimension than the input holds samples along a new first axis; one of the
    same rank whose open first dimension is not 1 holds them along the batch.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, dims in declared.items():
        array = next((part[name] for part in parts if name in part), None)
        if array is None or None not in dims:
            continue
        shape = array.shape[1:] if array.ndim == len(dims) + 1 else array.shape
        if len(shape) != len(dims):
            continue
        if len(dims) > 1 and dims[0] is None and array.ndim == len(dims):
            shape = (1, *shape[1:])
        if all(d is None or d == n for d, n in zip(dims, shape, strict=True)):
            found[name] = shape
    return found


def stack_samples(parts: Sequence[Arrays], infos: Sequence[TensorInfo]) -> Arrays:
    """All samples by input name, checked against the model and stacked along a new first axis."""
    rows: dict[str, list[Array]] = {i.name: [] for i in infos}
    for part in parts:
        bound = by_name({k: v for k, v in part.items() if k in rows}, infos)
        batched = {i.name: _along_batch(bound[i.name], i) for i in infos}
        for sample in samples(batched, infos) or [batched]:
            for info in infos:
                rows[info.name].append(check_input(info, sample[info.name]))
    return {name: np.stack(values) for name, values in rows.items()}


def _along_batch(array: Array, info: TensorInfo) -> Array:
    """Samples along a batch axis of extent 1, moved to a new first axis."""
    batched = array.ndim == len(info.shape) and info.shape[:1] == (1,) and array.shape != info.shape
    return array[:, None] if batched and array.shape[1:] == info.shape[1:] else array

"""Checking inputs of a program: open dimensions, their bounds, strings, sequences, optionals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from ...dialects.constants import Array
from ...dialects.errors import InputError
from ..tensors import OPTIONAL, SEQUENCE, TENSOR, Bounds, Dimension, TensorInfo, convert


def check_value(
    info: TensorInfo, value: Any, symbols: dict[str, int], bounds: Bounds | None = None
) -> Any:
    """`value` as the input expects it.

    `symbols` collects extents of named dimensions, which must agree.  InputError on anything that
    does not fit.
    """
    if info.kind == OPTIONAL and _is_none(value):
        return None
    if info.kind == SEQUENCE or isinstance(value, list | tuple):
        if not isinstance(value, list | tuple | np.ndarray):
            raise InputError(f"input {info.name!r} is a sequence: give a list of arrays")
        return [np.asarray(item) for item in cast("Sequence[Any]", value)]
    array: Array = np.asarray(value)
    if info.dims is not None:
        _check_dims(info, array, symbols, bounds or [None] * len(info.dims))
    return convert(info, array)


def _is_none(value: Any) -> bool:
    """Whether an optional is empty: None, or an array of it (as numpy makes of None)."""
    if isinstance(value, np.ndarray):
        array = cast(Array, value)
        return array.dtype.kind == "O" and array.shape == () and array.item() is None
    return value is None


def _check_dims(info: TensorInfo, array: Array, symbols: dict[str, int], bounds: Bounds) -> None:
    dims = info.dims or ()
    if array.ndim != len(dims):
        raise InputError(
            f"input {info.name!r} has shape {list(array.shape)}, the model takes {info.describe()}"
        )
    for axis, (extent, dim, bound) in enumerate(zip(array.shape, dims, bounds, strict=True)):
        where = f"input {info.name!r} has shape {list(array.shape)}: dimension {axis}"
        if _fixed(dim):
            if extent != dim:
                raise InputError(f"{where} must be {dim}")
        elif isinstance(dim, str) and symbols.setdefault(dim, extent) != extent:
            raise InputError(f"{where} ({dim!r}) is {extent}, but {symbols[dim]} elsewhere")
        if bound is not None and not bound[0] <= extent <= bound[1]:
            raise InputError(
                f"{where} is outside {bound[0]}..{bound[1]}",
                hint="the bounds were given with --shape when the model was compiled",
            )


def _fits(value: Any, info: TensorInfo, skip: int = 0) -> bool:
    """Whether the extents of an array, without its first `skip`, are those of the input."""
    dims = info.shape if info.dims is None and info.kind == TENSOR else info.dims
    if not isinstance(value, np.ndarray) or dims is None:
        return False
    shape = cast(Array, value).shape[skip:]
    return len(shape) == len(dims) and all(
        not _fixed(d) or d == n for d, n in zip(dims, shape, strict=True)
    )


def _fixed(dim: Dimension) -> bool:
    return isinstance(dim, int) and dim >= 0


def open_samples(
    bound: Mapping[str, Any], infos: Sequence[TensorInfo]
) -> list[dict[str, Any]] | None:
    """Split inputs stacked along a new first axis into samples; None if they are one sample."""
    if not infos or all(_fits(bound[i.name], i) for i in infos):
        return None
    counts: set[int] = set()
    for info in infos:
        value = bound[info.name]
        if not isinstance(value, np.ndarray) or not value.ndim or not _fits(value[:1], info, 1):
            return None
        counts.add(cast(Array, value).shape[0])
    if len(counts) != 1:
        raise InputError(
            "inputs are stacked along a new first axis but hold different numbers of samples: "
            f"{sorted(counts)}"
        )
    return [{i.name: bound[i.name][k] for i in infos} for k in range(counts.pop())]

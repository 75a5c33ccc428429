"""Tensors at the border: reading inputs from npz files and arrays, checking them with a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..dialects.constants import Array
from ..dialects.errors import InputError

Bounds = Sequence[Sequence[int] | None]
"""Least and greatest extent of each dimension, None where it is fixed or unbounded."""

MOST_MADE_UP = 1 << 29
"""Most elements of an input that is made up."""

Dimension = int | str
"""A static extent, or an open one: its name, -1 if it has none."""

TENSOR, UNRANKED, SEQUENCE, OPTIONAL = "tensor", "any rank", "sequence", "optional"
"""Kinds of inputs and outputs."""


@dataclass(frozen=True)
class TensorInfo:
    """A model input or output: ONNX name, static shape, numpy dtype name, arena offset in bytes.

    Where a program leaves dimensions open, `dims` holds them and `shape` has 1 in their place.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int = 0
    dims: tuple[Dimension, ...] | None = None
    kind: str = TENSOR

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * numpy_type(self.dtype).itemsize

    def describe(self) -> str:
        """`name float32[1x3x224x224]`, open dimensions by name."""
        dims = self.dims if self.dims is not None else self.shape
        text = "x".join("?" if d == -1 else str(d) for d in dims)
        dtype = "string" if self.dtype == "object" else self.dtype
        return f"{self.name} {dtype}[{text}]" + ("" if self.kind == TENSOR else f" ({self.kind})")


def numpy_type(name: str) -> np.dtype[Any]:
    """The numpy dtype of a dtype name, those of ml_dtypes (bfloat16, float8...) included."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def read_npz(path: str | Path, prefix: str = "in:") -> dict[str, Array]:
    """Arrays of an .npz by name, `prefix` removed; entries of other prefixes are left out."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [n for n in arrays.files if n.startswith(prefix)]
            if names:
                return {n.removeprefix(prefix): arrays[n] for n in names}
            return {n: arrays[n] for n in arrays.files if not n.startswith("out:")}
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError, EOFError, KeyError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else "it is no archive of plain arrays"
        )
        raise InputError(
            f"cannot read arrays from {path}: {reason or error}",
            hint="give an .npz made with numpy.savez",
        ) from None
    except Exception as error:  # zipfile and zlib raise their own kinds for damaged archives
        raise InputError(f"{path} is damaged: {error}") from None


def as_array(value: Any) -> Array:
    """A numpy array of `value`: an array, anything with `__dlpack__`, or nested sequences."""
    if isinstance(value, np.ndarray):
        return cast(Array, value)
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def made_up(
    infos: Sequence[TensorInfo],
    seed: int = 0,
    profile: Mapping[str, Sequence[int]] | None = None,
    extent: int = 1,
    bounds: Mapping[str, Bounds] | None = None,
) -> dict[str, Array]:
    """Seeded noise for each input, zeros and ones where it takes integers.

    Open dimensions have the extents of `profile`, else 1 for a first (batch) dimension and
    `extent`, or what is nearest to it within `bounds`.  InputError if that is too large to make.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for info in infos:
        dims = info.shape if info.dims is None else info.dims
        within = (bounds or {}).get(info.name) or [None] * len(dims)
        shape = (profile or {}).get(info.name) or [
            d
            if isinstance(d, int) and d >= 0
            else _nearest(1 if axis == 0 and len(dims) > 1 else extent, bound)
            for axis, (d, bound) in enumerate(zip(dims, within, strict=True))
        ]
        if prod(shape) > MOST_MADE_UP:
            raise InputError(
                f"input {info.name!r}: shape {list(shape)} is too large for made-up data"
            )
        dtype = numpy_type(info.dtype)
        values = rng.integers(0, 2, shape) if dtype.kind in "iub" else rng.standard_normal(shape)
        found[info.name] = np.asarray(values).astype(dtype)
    return found


def _nearest(extent: int, bound: Sequence[int] | None) -> int:
    return extent if bound is None else min(max(extent, bound[0]), bound[1])


def _value(value: Any) -> Any:
    """An array, unless it is a sequence of arrays or an empty optional."""
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        if any(isinstance(item, np.ndarray) for item in items):
            return items
    return value if value is None else as_array(cast(Any, value))


def by_name(given: Any, infos: Sequence[TensorInfo]) -> dict[str, Array]:
    """Bind inputs given as a mapping, a sequence in model order, or one array, to their names."""
    names = [i.name for i in infos]
    if isinstance(given, Mapping):
        items = cast("Mapping[Any, Any]", given).items()
        bound = {str(k).removeprefix("in:"): _value(v) for k, v in items}
    elif isinstance(given, list | tuple):
        values = cast("Sequence[Any]", given)
        if len(values) > len(names):
            raise InputError(
                f"{len(values)} inputs given, the model has {len(names)}: {', '.join(names)}"
            )
        bound = {n: _value(v) for n, v in zip(names, values, strict=False)}
    else:
        bound = {names[0]: as_array(given)} if names else {}
    missing = [i.describe() for i in infos if i.name not in bound]
    if missing:
        raise InputError(
            f"missing input: {', '.join(missing)}", hint=f"given: {', '.join(bound) or 'nothing'}"
        )
    if unknown := [n for n in bound if n not in names]:
        raise InputError(
            f"unknown input: {', '.join(unknown)}",
            hint=f"the model's inputs are {', '.join(i.describe() for i in infos)}",
        )
    return bound


def check_input(info: TensorInfo, value: Array) -> Array:
    """`value` as the input expects it; InputError on another shape or a dtype that loses values."""
    if value.shape != info.shape:
        raise InputError(
            f"input {info.name!r} has shape {list(value.shape)}, "
            f"the model takes {list(info.shape)}",
            hint="compile for another shape with "
            f"--shape {info.name}:{'x'.join(map(str, value.shape))}"
            if value.ndim == len(info.shape)
            else None,
        )
    return convert(info, value)


def convert(info: TensorInfo, value: Array) -> Array:
    """`value` as the input's element type; InputError if that would lose values."""
    dtype = numpy_type(info.dtype)
    if dtype.kind == "O":
        return _strings(info, value)
    if value.dtype == dtype:
        return value
    if not np.can_cast(value.dtype, dtype, "same_kind") and not (
        value.dtype.kind in "iub" and dtype.kind == "f"
    ):
        raise InputError(
            f"input {info.name!r} has type {value.dtype}, the model takes {info.dtype}"
        )
    converted = value.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, value):
        raise InputError(
            f"input {info.name!r}: values of type {value.dtype} do not fit {info.dtype}"
        )
    return converted


def _strings(info: TensorInfo, value: Array) -> Array:
    """Text as an array of `str`; InputError if it is anything else."""
    if value.dtype.kind == "U" or not value.size:
        return value.astype(object)
    texts: Array = value.astype(object)
    items: list[Any] = list(texts.flat)
    if not all(isinstance(item, str | bytes) for item in items):
        raise InputError(f"input {info.name!r} has type {value.dtype}, the model takes strings")
    try:
        decoded = [item.decode() if isinstance(item, bytes) else item for item in items]
    except UnicodeDecodeError:
        raise InputError(f"input {info.name!r}: the strings are not UTF-8") from None
    out = np.empty(texts.shape, object)
    out.reshape(-1)[:] = decoded
    return out


def samples(
    bound: Mapping[str, Array], infos: Sequence[TensorInfo]
) -> list[dict[str, Array]] | None:
    """Split inputs stacked along a new first axis into samples; None if they are one sample."""
    if all(bound[i.name].shape == i.shape for i in infos) or not infos:
        return None
    stacked = [
        i
        for i in infos
        if bound[i.name].ndim == len(i.shape) + 1 and bound[i.name].shape[1:] == i.shape
    ]
    if len(stacked) != len(infos):
        return None
    counts = {bound[i.name].shape[0] for i in infos}
    if len(counts) != 1:
        raise InputError(
            "inputs are stacked along a new first axis but hold different numbers of samples: "
            f"{sorted(counts)}"
        )
    return [{i.name: bound[i.name][k] for i in infos} for k in range(counts.pop())]

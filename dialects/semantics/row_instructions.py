"""The meaning of the vector instructions for softmax and normalisation of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import fixed_point
from ..constants import Array

Views = Sequence[Any]
Params = Mapping[str, int]


def _taps(params: Params) -> tuple[int, ...]:
    first = params["p_rank"]
    return tuple(range(first, first + params["t_rank"]))


def _power(a: Array, top: Array, table: Array) -> Array:
    return table.reshape(-1)[(top.astype(np.int16) - a) & 255]


def _vsquare(views: Views, params: Params, overwrite: bool) -> None:
    a, acc = views
    wide = a.astype(np.int32) - np.int32(params["a_zp"])
    total = (wide * wide).sum(axis=_taps(params), dtype=np.int32)
    acc[...] = total if overwrite else acc + total


def _vsumexp(views: Views, params: Params, overwrite: bool) -> None:
    a, top, table, acc = views
    taps = _taps(params)
    powers = _power(a, np.expand_dims(top, taps), table)
    total = powers.sum(axis=taps, dtype=np.int32)
    acc[...] = total if overwrite else acc + total


def _vwide(views: Views, params: Params, overwrite: bool) -> None:
    views[1][...] = views[0]


def _vrecip(views: Views, params: Params, overwrite: bool) -> None:
    acc, destination = views
    destination[...] = fixed_point.reciprocal(acc, params["bits"]).astype(np.int32)


def _vrsqrt(views: Views, params: Params, overwrite: bool) -> None:
    acc, total, destination = views
    names = ("count", "epsilon", "bits", "extra")
    values = (params[n] for n in names)
    destination[...] = fixed_point.inverse_deviation(acc, total, *values).astype(np.int32)


def _vexp(views: Views, params: Params, overwrite: bool) -> None:
    a, top, multiplier, table, destination = views
    names = ("shift", "zp", "lo", "hi")
    values = (params[n] for n in names)
    destination[...] = fixed_point.requantize(_power(a, top, table), multiplier, *values)


def _vnorm(views: Views, params: Params, overwrite: bool) -> None:
    *sources, destination = views
    names = ("x_zp", "count", "bits", "shift", "zp", "lo", "hi")
    values = (params[n] for n in names)
    destination[...] = fixed_point.normalize(*sources, *values)


ROWS: dict[str, Callable[[Views, Params, bool], None]] = {
    "vsquare": _vsquare, "vsumexp": _vsumexp, "vwide": _vwide, "vrecip": _vrecip,
    "vrsqrt": _vrsqrt, "vexp": _vexp, "vnorm": _vnorm,
}  # fmt: skip
"""By mnemonic: (operand views, parameters, overwrite) -> writes the destination."""

"""Calibration: ranges of activations over sample inputs, in constant memory.

The graph is run by its reference semantics, one sample after the other, and each value of interest
is folded into a small running statistic as it passes; no activation is kept.

* `minmax` keeps the extremes.
* `percentile` keeps a histogram of 4096 bins over [-2^k, 2^k).  When a sample does not fit, k
  grows and neighbouring bins merge ("range doubling"), so the result does not depend on the order
  of the samples.  The range cuts off (100 - p) / 2 percent of the elements at either end.

Values that are not finite are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.errors import InputError
from ...dialects.semantics.graph import evaluate
from ...dialects.types import element_of, numpy_dtype, shape_of
from ..base import main_function

BINS = 4096
LEAST = -110
"""Least exponent of a histogram's range."""

Range = tuple[float, float]


class Statistic(Protocol):
    """A running statistic of one value."""

    def update(self, array: Array) -> None:
        """Fold in one more array of the value."""
        ...


class Observer(Statistic, Protocol):
    """A running range of one value."""

    def range(self) -> Range | None:
        """(lo, hi) of the values seen; None before any finite value."""
        ...


def _finite(array: Array) -> Array:
    flat = np.asarray(array, np.float32).reshape(-1)
    with np.errstate(over="ignore"):
        whole = np.isfinite(flat.sum())
    return flat if whole else flat[np.isfinite(flat)]


class MinMaxObserver:
    """The extremes of all finite values."""

    def __init__(self) -> None:
        self.lo, self.hi = math.inf, -math.inf

    def update(self, array: Array) -> None:
        """Widen the range to `array`."""
        if (flat := _finite(array)).size:
            self.lo, self.hi = min(self.lo, float(flat.min())), max(self.hi, float(flat.max()))

    def range(self) -> Range | None:
        """The extremes."""
        return (self.lo, self.hi) if self.lo <= self.hi else None


class PercentileObserver:
    """A streaming histogram; the range leaves out the rarest values at either end."""

    def __init__(self, percentile: float) -> None:
        self.tail = (100.0 - percentile) / 200.0
        self.extremes = MinMaxObserver()
        self.exponent: int | None = None
        self.counts = np.zeros(BINS, np.int64)

    def _grow(self, largest: float) -> None:
        """Make the histogram cover [-largest, largest]."""
        needed = max(math.frexp(largest)[1] if largest else LEAST, LEAST)  # largest < 2^needed
        if self.exponent is None:
            self.exponent = needed
        while self.exponent < needed:
            if not self.counts.any():
                self.exponent = needed
                break
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = merged
            self.exponent += 1

    def update(self, array: Array) -> None:
        """Count the values of `array`."""
        flat = _finite(array)
        if not flat.size:
            return
        self.extremes.update(flat)
        self._grow(max(abs(self.extremes.lo), abs(self.extremes.hi)))
        assert self.exponent is not None
        scaled = flat * np.float32(math.ldexp(BINS // 2, -self.exponent))
        bins = np.floor(scaled, out=scaled).astype(np.int32) + BINS // 2
        self.counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def range(self) -> Range | None:
        """Where the cumulative histogram crosses the tail mass, interpolated within its bin."""
        extremes = self.extremes.range()
        if extremes is None or self.exponent is None:
            return extremes
        cumulative = np.concatenate([[0], np.cumsum(self.counts)]) / self.counts.sum()
        edges = np.ldexp(np.linspace(-1.0, 1.0, BINS + 1), self.exponent)
        rising = np.concatenate([[False], np.diff(cumulative) > 0])
        rising[:-1] |= np.diff(cumulative) > 0  # keep both edges of every filled bin
        lo, hi = np.interp([self.tail, 1 - self.tail], cumulative[rising], edges[rising])
        return float(np.clip(lo, *extremes)), float(np.clip(hi, *extremes))


def observer_factory(method: str, percentile: float) -> Callable[[], Observer]:
    """Makes fresh observers of `method` ("minmax" or "percentile"); InputError if unknown."""
    if method == "minmax":
        return MinMaxObserver
    if method == "percentile":
        if not 50.0 < percentile <= 100.0:
            raise InputError(f"calibration percentile {percentile} is not in (50, 100]")
        return lambda: PercentileObserver(percentile)
    raise InputError(f"unknown calibration method {method!r}", hint="use minmax or percentile")


def input_names(func: FuncOp) -> list[str]:
    """The model's input names, in order; `arg0`, `arg1` ... where the function has none."""
    names = func.attributes.get("input_names")
    if isinstance(names, ArrayAttr):
        return [n.data for n in cast("ArrayAttr[StringAttr]", names)]
    return [f"arg{i}" for i in range(len(func.body.block.args))]


def samples(func: FuncOp, calibration: Mapping[str, Array]) -> Iterator[list[Array]]:
    """Inputs of `func`, one sample after the other.

    Each calibration array stacks samples along a new first axis, or is one sample of the input's
    own shape.  InputError if inputs are missing, unknown, misshapen or differ in sample count.
    """
    names, stacks = input_names(func), list[Array]()
    if unknown := sorted(set(calibration) - set(names)):
        raise InputError(
            f"calibration data has no model input {unknown[0]!r}",
            hint=f"the inputs are {', '.join(names)}",
        )
    for name, arg in zip(names, func.body.block.args, strict=True):
        if name not in calibration:
            raise InputError(f"calibration data lacks input {name!r}")
        array, shape = np.asarray(calibration[name]), shape_of(arg)
        array = array[np.newaxis] if array.shape == shape else array
        if array.shape[1:] != shape or not array.shape[0]:
            raise InputError(
                f"calibration data for {name!r} has shape {list(array.shape)}",
                hint=f"give samples x {list(shape)}: the samples stacked along a new first axis",
            )
        stacks.append(array.astype(numpy_dtype(element_of(arg)), copy=False))
    counts = {len(s) for s in stacks}
    if len(counts) > 1:
        raise InputError(f"calibration inputs have different numbers of samples: {sorted(counts)}")
    for i in range(counts.pop() if counts else 0):
        yield [s[i] for s in stacks]


def calibrate(
    module: ModuleOp, store: ConstantStore, calibration: Mapping[str, Array],
    wanted: Collection[SSAValue], make: Callable[[], Observer],
    others: Mapping[SSAValue, Statistic] | None = None,
) -> dict[SSAValue, Range]:  # fmt: skip
    """Ranges of the `wanted` values of `@main`; a value never seen as finite has range (0, 0).

    `others` are fed with the values they stand for, on the way.
    """
    func = main_function(module)
    observers = {value: make() for value in wanted}

    def observe(op: Operation, value: SSAValue, array: Any) -> None:
        if (observer := observers.get(value)) is not None:
            observer.update(array)
        if others and (statistic := others.get(value)) is not None:
            statistic.update(array)

    arguments: Sequence[SSAValue] = func.body.block.args
    for sample in samples(func, calibration):
        for argument, array in zip(arguments, sample, strict=True):
            if argument in observers:
                observers[argument].update(array)
        evaluate(module, sample, store, observe=observe)
    return {value: observer.range() or (0.0, 0.0) for value, observer in observers.items()}

"""Array-bound layers of the report: which rows and columns are left over, and what would fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, prod

from ..backends.targets.machine import Machine, MatrixUnit
from .report_evidence import FULL, Cause, Evidence, Shape

GAIN = 0.9
"""Cycles per multiply-accumulate of a shape worth suggesting, against the present one's."""


@dataclass(frozen=True)
class _Axis:
    """What lies along one side of the array: `extent` of `what` (m, n or k), `size` at a time."""

    side: str
    letter: str
    what: str
    extent: int
    size: int

    @property
    def terms(self) -> bool:
        """Whether it is a reduction: taps times input channels."""
        return self.letter == "k"

    @property
    def named(self) -> str:
        """The extent that a change of shape changes."""
        return {"m": "positions", "n": "output_channels", "k": "input_channels"}[self.letter]

    @property
    def passes(self) -> int:
        return -(-self.extent // self.size)

    @property
    def fill(self) -> float:
        return self.extent / (self.passes * self.size)

    @property
    def rest(self) -> int:
        """What is left for the last pass (0: it is full)."""
        return self.extent % self.size


def _axes(s: Shape, unit: MatrixUnit) -> tuple[_Axis, _Axis]:
    """(rows, columns) of the array and what the dataflow puts there."""
    outputs = _Axis("columns", "n", "output channels", s.n, unit.columns)
    terms = "input channels" if s.taps == 1 else f"terms ({s.taps} taps x {s.channels} channels)"
    if unit.dataflow == "output-stationary":
        return _Axis("rows", "m", "positions", s.m, unit.rows * unit.pixels), outputs
    if unit.dataflow == "input-stationary":
        outputs = _Axis("columns", "m", "positions", s.m, unit.columns)
    return _Axis("rows", "k", terms, s.k, unit.rows), outputs


def left_over(e: Evidence, machine: Machine) -> Cause | None:
    """The cause if a last pass that is less than half full takes a quarter of the array's time."""
    s = e.shape
    if s is None or s.kind != "matmul" or not e.busy["matrix"] or e.pacing != "matrix":
        return None
    if e.row["macs"] > FULL * e.busy["matrix"] * machine.matrix.macs_per_cycle:
        return None  # packed otherwise: the array is full
    unit = machine.unit(e.sparse)
    bad = [a for a in _axes(s, unit) if a.rest and 2 * a.rest < a.size and 1 < a.passes <= 4]
    cause = _fitted(e, s, unit, bad) if bad else None
    if cause is None or cause.predicted is None:
        return None
    return cause if cause.predicted < GAIN * cause.kept * e.cycles else None


def _fitted(e: Evidence, s: Shape, unit: MatrixUnit, axes: list[_Axis]) -> Cause:
    """Left-over rows or columns, and the nearest shape without them."""
    parts = "; ".join(
        f"{a.extent} {a.what} take {a.passes} passes of {a.size} {a.side}, the last has {a.rest}"
        for a in axes
    )
    name = f"array {' and '.join(a.side for a in axes)} left over"
    less, more = dict[str, int](), dict[str, int]()
    fewer = wider = s
    for axis in axes:
        each = axis.extent // (s.channels if axis.terms else axis.extent)
        whole, room = (axis.extent - axis.rest) // each, axis.passes * axis.size // each
        if whole * each >= FULL * axis.extent:
            less[axis.named], fewer = whole, _resized(fewer, axis, whole * each)
        more[axis.named], wider = room, _resized(wider, axis, room * each)
    most = f"up to {_listed(more)}, which take no more passes"
    if not less:
        return Cause(name, parts, most, more, e.cycles, _macs(wider) / _macs(s))
    predicted = _predict(e, s, fewer, unit)
    fits = f"{_listed(less)}: about {predicted:,} cycles instead of {e.cycles:,}"
    return Cause(name, parts, f"{fits}; or {most}", less, predicted, _macs(fewer) / _macs(s))


def _listed(extents: Mapping[str, int]) -> str:
    return " and ".join(f"{n} {what.replace('_', ' ')}" for what, n in extents.items())


def _macs(s: Shape) -> int:
    return s.m * s.n * s.k


def _resized(s: Shape, axis: _Axis, extent: int) -> Shape:
    return replace(s, **{axis.letter: extent})


def _passes(s: Shape, unit: MatrixUnit) -> int:
    return prod(axis.passes for axis in _axes(s, unit))


def _predict(e: Evidence, s: Shape, new: Shape, unit: MatrixUnit) -> int:
    """Cycles of the layer with another shape: passes over the array, the rest in proportion."""
    streams = {"output-stationary": (s.k, new.k), "input-stationary": (s.n, new.n)}
    before, after = streams.get(unit.dataflow, (s.m, new.m))
    matrix = e.occupied["matrix"] * _passes(new, unit) * after / (_passes(s, unit) * before)
    others = max(
        e.occupied["load"] * new.k / s.k,
        e.occupied["store"] * new.n / s.n,
        e.occupied["vector"] * (new.n * new.m) / (s.n * s.m),
    )
    return ceil(max(e.cycles - e.occupied["matrix"] + matrix, others))


def array(e: Evidence, machine: Machine) -> Cause:
    """The cause of a layer whose pace the array sets."""
    s, unit, cores = e.shape, machine.unit(e.sparse), machine.cores
    macs, busy = e.row["macs"], max(1, e.busy["matrix"])
    if s is None or s.kind != "matmul":
        return _windows(e, s, machine)
    if cores > 1 and macs and e.row["matrix_macs"] >= FULL * cores * macs:
        return Cause(
            "not divided among the cores",
            f"each of the {cores} cores computes all of the {s.m} positions x {s.n} channels",
            f"extents of which one divides by {cores}, in whole passes of {unit.rows} x "
            f"{unit.columns}",
        )
    if (cause := left_over(e, machine)) is not None:
        return cause
    rows, columns = _axes(s, unit)
    worst = min((rows, columns), key=lambda a: a.fill)
    if worst.fill < FULL:
        together = min(s.batch, columns.size // s.n)
        if s.batch > 1 and worst is columns and columns.letter == "n" and together > 1:
            return _grouped(e, s, unit, together)
        if worst.passes > 1:
            return _fitted(e, s, unit, [worst])
        room = worst.size // (s.taps if worst.terms else 1)
        what = worst.named.replace("_", " ")
        kept = room * (s.taps if worst.terms else 1) / worst.extent
        return Cause(
            f"few {what}",
            f"{worst.extent} {worst.what} occupy {worst.fill:.0%} of {worst.size} {worst.side}",
            f"up to {room} {what} take no more passes: cycles stay about {e.cycles:,} for "
            f"{kept:.2g}x the work",
            {worst.named: room},
            e.cycles,
            kept,
        )
    useful = macs / (busy * machine.matrix.macs_per_cycle)  # skipped zeros do not count
    whole = e.row["matrix_macs"] < macs / GAIN
    if unit.dataflow == "weight-stationary" and whole and useful < GAIN * rows.fill * columns.fill:
        load = min(s.k, unit.rows) / unit.preload_rows
        batch = max(2, ceil(load * unit.pixels / s.m))
        return e.more_samples(
            "few positions",
            f"the array's multipliers work in {useful:.0%} of {busy:,} busy cycles: a tile of "
            f"weights, which takes {load:.0f} cycles to load, is used for fewer positions "
            f"({s.m:,}, divided among cores and tiles)",
            batch,
            machine,
            other="more positions, or ",
        )
    return Cause(
        "partial tiles",
        f"{useful:.0%} of the array's multipliers do useful work in "
        f"{busy:,} busy cycles; with tiles rounded up it does "
        f"{e.row['matrix_macs'] / max(1, macs):.2f}x the layer's multiply-accumulates",
        f"positions and channels with many divisors, in multiples of {unit.columns}",
    )


def _grouped(e: Evidence, s: Shape, unit: MatrixUnit, together: int) -> Cause:
    """Groups of a convolution, or heads: each takes the array by itself."""
    groups = -(-s.batch // together)
    wide = replace(s, batch=groups, n=s.n * together, k=s.k * together)
    matrix = e.occupied["matrix"] * groups * _passes(wide, unit)
    predicted = ceil(e.cycles - e.occupied["matrix"] + matrix / (s.batch * _passes(s, unit)))
    return Cause(
        "many small products",
        f"{s.batch} groups or heads of {s.m} x {s.k} by {s.k} x {s.n} use {s.n} of "
        f"{unit.columns} columns each",
        f"{groups} instead of {s.batch} groups of as many channels in all: about {predicted:,} "
        f"cycles instead of {e.cycles:,} for {together} times the work",
        {"groups": groups},
        predicted,
        together,
    )


def _windows(e: Evidence, s: Shape | None, machine: Machine) -> Cause:
    unit = machine.matrix
    n = s.n if s else 0
    rest = n % max(1, unit.window_channels)
    text = (
        f"a window takes {unit.window_channels} channels x {unit.pixels} positions a cycle, "
        f"of {unit.macs_per_cycle} multipliers"
    )
    if rest and n > rest:
        return Cause(
            "depthwise on the array",
            f"{text}; {n} channels leave {rest} for the last group",
            f"{n - rest} channels: about {_scaled(e, n, rest, unit.window_channels):,} cycles "
            f"instead of {e.cycles:,}",
            {"channels": n - rest},
            _scaled(e, n, rest, unit.window_channels),
            (n - rest) / n,
        )
    return Cause(
        "depthwise on the array", text, "fewer taps or positions: cycles fall in proportion"
    )


def _scaled(e: Evidence, n: int, rest: int, size: int) -> int:
    """Cycles without the last, partial group of channels."""
    return ceil(e.cycles * ((n - rest) // size) / -(-n // size))

"""Affine access maps as plain data: every map of the loop dialect is linear in its dimensions.

`AffineMapAttr` is the printed form; passes and emitters work on `Linear`: one row of coefficients
and one constant for each tensor axis, so that axis_r = const_r + sum_d coeff[r][d] * d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from xdsl.dialects.builtin import AffineMapAttr
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineExpr, AffineMap

from ..errors import IRError


@dataclass(frozen=True)
class Linear:
    """A linear map: `coeffs[r][d]` and `consts[r]` for tensor axis r and domain dimension d."""

    coeffs: tuple[tuple[int, ...], ...]
    consts: tuple[int, ...]
    num_dims: int

    @staticmethod
    def of(
        rows: Sequence[dict[int, int]], num_dims: int, consts: Sequence[int] | None = None
    ) -> Linear:
        """Build from sparse rows {dimension: coefficient}."""
        return Linear(
            tuple(tuple(row.get(d, 0) for d in range(num_dims)) for row in rows),
            tuple(consts) if consts is not None else (0,) * len(rows),
            num_dims,
        )

    @staticmethod
    def select(dims: Sequence[int | None], num_dims: int) -> Linear:
        """Axis r reads domain dimension dims[r]; None is a constant 0 (broadcast)."""
        return Linear.of([{} if d is None else {d: 1} for d in dims], num_dims)

    @property
    def rank(self) -> int:
        """Number of tensor axes."""
        return len(self.coeffs)

    def __call__(self, point: Sequence[int]) -> tuple[int, ...]:
        """The tensor index accessed at a point of the domain."""
        return tuple(
            c + sum(a * p for a, p in zip(row, point, strict=True))
            for row, c in zip(self.coeffs, self.consts, strict=True)
        )

    def bounds(self, domain: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Inclusive (lowest, highest) index of each axis over the domain (non-empty)."""
        out: list[tuple[int, int]] = []
        for row, c in zip(self.coeffs, self.consts, strict=True):
            spans = [a * (n - 1) for a, n in zip(row, domain, strict=True)]
            out.append((c + sum(s for s in spans if s < 0), c + sum(s for s in spans if s > 0)))
        return tuple(out)

    def flat(self, strides: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """Per-dimension strides and offset in a memory whose axes have `strides`."""
        return (
            tuple(
                sum(row[d] * s for row, s in zip(self.coeffs, strides, strict=True))
                for d in range(self.num_dims)
            ),
            sum(c * s for c, s in zip(self.consts, strides, strict=True)),
        )

    @property
    def attr(self) -> AffineMapAttr:
        """The printed form."""
        return _to_attr(self)

    @staticmethod
    def from_attr(attr: AffineMapAttr) -> Linear:
        """Read the printed form; IRError if it is not linear."""
        return _from_map(attr.data)


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous row-major array."""
    out: list[int] = []
    step = 1
    for extent in reversed(shape):
        out.append(step)
        step *= extent
    return tuple(reversed(out))


@lru_cache(maxsize=65536)
def _to_attr(linear: Linear) -> AffineMapAttr:
    results: list[AffineExpr] = []
    for row, const in zip(linear.coeffs, linear.consts, strict=True):
        expr: AffineExpr | None = None
        for d, a in enumerate(row):
            if a:
                term = AffineDimExpr(d) if a == 1 else AffineDimExpr(d) * a
                expr = term if expr is None else expr + term
        if expr is None:
            expr = AffineConstantExpr(const)
        elif const:
            expr = expr + const
        results.append(expr)
    return AffineMapAttr(AffineMap(linear.num_dims, 0, tuple(results)))


@lru_cache(maxsize=65536)
def _from_map(map: AffineMap) -> Linear:
    n = map.num_dims
    origin = [0] * n
    consts = map.eval(origin, [])
    columns = [map.eval([int(i == d) for i in range(n)], []) for d in range(n)]
    coeffs = tuple(tuple(columns[d][r] - consts[r] for d in range(n)) for r in range(len(consts)))
    linear = Linear(coeffs, tuple(consts), n)
    for probe in ([7] * n, [(3 * d + 2) % 11 + 1 for d in range(n)]):
        if map.eval(probe, []) != linear(probe):
            raise IRError(f"{map} is not linear in its dimensions")
    return linear

"""A systolic array stepped cycle by cycle, with values in its registers: slow, and obviously right.

Every multiplier has registers for what it passes on; all of them change at once each cycle.  The
array knows nothing of formulas: it runs until the last wavefront has left its last corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class Observed:
    """Cycles seen in each phase, and the product."""

    fill: int
    stream: int
    drain: int
    product: Matrix

    @property
    def cycles(self) -> int:
        return self.fill + self.stream + self.drain


def padded(block: Matrix, shape: tuple[int, int]) -> Matrix:
    out = np.zeros(shape, np.int64)
    out[: block.shape[0], : block.shape[1]] = block
    return out


def stationary_operand(weights: Matrix, stream: Matrix, rows: int, columns: int) -> Observed:
    """`stream` [T, r] times `weights` [r, c], which stay in a `rows` x `columns` array.

    Weights move down a row a cycle until they are in place.  Row i of the array gets element i of
    wavefront t one cycle after row i - 1; operands move right, sums move down and leave below.
    """
    steps = stream.shape[0]
    held = np.zeros((rows, columns), np.int64)
    fill = 0
    for row in reversed(padded(weights, (rows, columns))):
        held = np.vstack([row[None], held[:-1]])
        fill += 1
    operands = padded(stream, (steps, rows))
    right = np.zeros((rows, columns), np.int64)
    wave = np.full((rows, columns), -1)  # which wavefront a multiplier works on
    sums = np.zeros((rows, columns), np.int64)
    product = np.zeros((steps, columns), np.int64)
    streaming = draining = 0
    for cycle in range(10**6):
        entering, numbers = np.zeros(rows, np.int64), np.full(rows, -1)
        for i in range(rows):
            if 0 <= cycle - i < steps:
                entering[i], numbers[i] = operands[cycle - i, i], cycle - i
        right = np.hstack([entering[:, None], right[:, :-1]])
        wave = np.hstack([numbers[:, None], wave[:, :-1]])
        above = np.vstack([np.zeros((1, columns), np.int64), sums[:-1]])
        sums = above + np.where(wave >= 0, right * held, 0)
        for j in range(columns):
            if wave[-1, j] >= 0:
                product[wave[-1, j], j] = sums[-1, j]
        streaming, draining = (streaming + 1, draining) if cycle < steps else (
            streaming, draining + 1)  # fmt: skip
        if wave[-1, -1] == steps - 1:
            return Observed(fill, streaming, draining, product[:, : weights.shape[1]])
    raise AssertionError("the array does not finish")


def stationary_sums(left: Matrix, right: Matrix, rows: int, columns: int) -> Observed:
    """`left` [r, T] times `right` [T, c]; sums stay, and leave in the cycle they are complete."""
    steps = left.shape[1]
    a, b = padded(left, (rows, steps)), padded(right, (steps, columns))
    across, down = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    wave = np.full((rows, columns), -1)
    sums = np.zeros((rows, columns), np.int64)
    streaming = draining = 0
    for cycle in range(10**6):
        west, north, numbers = (
            np.zeros(rows, np.int64), np.zeros(columns, np.int64), np.full(rows, -1),
        )  # fmt: skip
        for i in range(rows):
            if 0 <= cycle - i < steps:
                west[i], numbers[i] = a[i, cycle - i], cycle - i
        for j in range(columns):
            if 0 <= cycle - j < steps:
                north[j] = b[cycle - j, j]
        across = np.hstack([west[:, None], across[:, :-1]])
        down = np.vstack([north[None], down[:-1]])
        wave = np.hstack([numbers[:, None], wave[:, :-1]])
        sums += np.where(wave >= 0, across * down, 0)
        streaming, draining = (streaming + 1, draining) if cycle < steps else (
            streaming, draining + 1)  # fmt: skip
        if wave[-1, -1] == steps - 1:
            return Observed(0, streaming, draining, sums[: left.shape[0], : right.shape[1]])
    raise AssertionError("the array does not finish")


def multiply(a: Matrix, b: Matrix, rows: int, columns: int, dataflow: str) -> list[Observed]:
    """All folds of `a` [M, K] times `b` [K, N], one after another; products are of single folds."""
    if dataflow == "os":
        return [
            stationary_sums(a[i : i + rows], b[:, j : j + columns], rows, columns)
            for j in range(0, b.shape[1], columns)
            for i in range(0, a.shape[0], rows)
        ]
    weights, stream = (b, a) if dataflow == "ws" else (a.T, b.T)
    return [
        stationary_operand(
            weights[i : i + rows, j : j + columns], stream[:, i : i + rows], rows, columns
        )
        for j in range(0, weights.shape[1], columns)
        for i in range(0, weights.shape[0], rows)
    ]


def assembled(
    folds: list[Observed], a: Matrix, b: Matrix, rows: int, columns: int, dataflow: str
) -> Matrix:
    """The product that the folds add up to."""
    m, n = a.shape[0], b.shape[1]
    out = np.zeros((n, m) if dataflow == "is" else (m, n), np.int64)
    queue = iter(folds)
    for j in range(0, out.shape[1], columns):
        for i in range(0, m if dataflow == "os" else a.shape[1], rows):
            block = next(queue).product
            at = slice(i, i + rows) if dataflow == "os" else slice(None)
            out[at, j : j + columns] += block
    return out.T if dataflow == "is" else out

"""Einsum, by transposing to batched matrix products; and determinants.

Ellipses are written out in labels of their own; a label twice in one term takes the diagonal.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.graph import MatMulOp, ReduceOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .elementwise import same_type


@rule("Einsum")
def einsum(node: Node) -> Value:
    """Each term sums its private labels away; two terms are transposed to a batched product."""
    args = node.all_x()
    same_type(node, *args)
    terms, right = _terms(node, [len(shape_of(a)) for a in args])
    if len(set(right)) != len(right) or not set(right) <= set("".join(terms)):
        raise node.error(f"the result {right!r} does not follow from {','.join(terms)}")
    extents: dict[str, int] = {}
    for term, arg in zip(terms, args, strict=True):
        for label, extent in zip(term, shape_of(arg), strict=True):
            extents[label] = max(extents.get(label, 1), extent)
    for i, term in enumerate(terms):
        shape = [extents[label] for label in term]
        if shape != list(shape_of(args[i])):  # extents of 1 in an ellipsis
            if any(d not in (1, e) for d, e in zip(shape_of(args[i]), shape, strict=True)):
                raise node.error(f"a term {term!r} of shape {list(shape_of(args[i]))} is {shape}")
            args[i] = node.broadcast(args[i], shape)
        args[i], terms[i] = _diagonal(node, args[i], term)
    labels, value = terms[0], args[0]
    for i, (other, arg) in enumerate(zip(terms[1:], args[1:], strict=True), 2):
        rest = set(right).union(*terms[i:])
        value, labels = _contract(
            node,
            _summed(node, value, labels, rest | set(other)),
            _summed(node, arg, other, rest | set(labels)),
            rest,
        )
    value, labels = _summed(node, value, labels, set(right))
    return node.transpose(value, [labels.index(label) for label in right])


Labelled = tuple[SSAValue, str]


def _summed(node: Node, x: SSAValue, labels: str, wanted: set[str]) -> Labelled:
    """`x` summed over the labels that nobody wants."""
    axes = [i for i, label in enumerate(labels) if label not in wanted]
    if axes:
        x = node.emit(ReduceOp(x, "sum", axes, 0))
    return x, "".join(label for label in labels if label in wanted)


def _contract(node: Node, a: Labelled, b: Labelled, kept: set[str]) -> Labelled:
    """One batched matrix product: labels are batch, rows, columns, or summed."""
    batch = [x for x in a[1] if x in b[1] and x in kept]
    inner = [x for x in a[1] if x in b[1] and x not in kept]
    rows, columns = [x for x in a[1] if x not in b[1]], [x for x in b[1] if x not in a[1]]
    sizes = dict(zip(a[1], shape_of(a[0]), strict=True))
    for label, size in zip(b[1], shape_of(b[0]), strict=True):
        if sizes.setdefault(label, size) != size:
            raise node.error(f"label {label!r} is {sizes[label]} and {size}")

    def extent(labels: Sequence[str]) -> int:
        return int(np.prod([sizes[label] for label in labels], dtype=np.int64))

    def arranged(x: Labelled, first: Sequence[str], second: Sequence[str]) -> SSAValue:
        moved = node.transpose(x[0], [x[1].index(label) for label in (*batch, *first, *second)])
        return node.reshape(
            moved, (*[sizes[label] for label in batch], extent(first), extent(second))
        )

    result = node.emit(MatMulOp(arranged(a, rows, inner), arranged(b, inner, columns)))
    labels = [*batch, *rows, *columns]
    return node.reshape(result, [sizes[label] for label in labels]), "".join(labels)


def _terms(node: Node, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Labels of the operands and of the result, ellipses written out."""
    equation = node.text("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    free = [c for c in string.ascii_letters if c not in equation]
    widths = [
        rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=False) if "..." in term
    ]
    width = max(widths, default=0)
    if min(widths, default=0) < 0 or width > len(free) or len(terms) != len(ranks):
        raise node.error(f"equation {equation!r} does not fit operands of ranks {list(ranks)}")
    dots = "".join(free[:width])
    for i, rank in enumerate(ranks):
        missing = rank - len(terms[i]) + 3
        terms[i] = terms[i].replace("...", dots[width - missing :] if missing else "")
        if len(terms[i]) != rank or (not terms[i].isalpha() and rank):
            raise node.error(f"equation {equation!r} does not fit operands of ranks {list(ranks)}")
    if not arrow:
        joined = "".join(terms)
        single = sorted(x for x in set(joined) if joined.count(x) == 1 and x not in dots)
        right = dots + "".join(single)
    return terms, right.replace("...", dots)


def _diagonal(node: Node, x: SSAValue, labels: str) -> Labelled:
    """`x` with each label once: [.., n, n] as [.., n * n], of which every n + 1st is taken."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            rest = [i for i in range(len(labels)) if i not in (first, second)]
            shape = shape_of(x)
            n = shape[first]
            flat = node.reshape(
                node.transpose(x, [*rest, first, second]), (*[shape[i] for i in rest], n * n)
            )
            k = len(rest)
            x = node.slice(flat, [0] * (k + 1), [*shape_of(flat)[:k], n], [1] * k + [n + 1])
            labels = "".join(labels[i] for i in rest) + label
    return x, labels


@rule("Det")
def det(node: Node) -> Value:
    """Determinants of small matrices, by expansion along the first row."""
    x, shape = node.x(), node.shape()
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise node.error(f"the input of shape {list(shape)} is not square matrices")
    n, rank = shape[-1], len(shape)
    if not 1 <= n <= 4:
        raise node.unsupported(f"determinants of {n} x {n} matrices", "at most 4 x 4 are expanded")

    def element(row: int, column: int) -> SSAValue:
        starts, sizes = [0] * (rank - 2) + [row, column], [*shape[:-2], 1, 1]
        return node.reshape(node.slice(x, starts, sizes), shape[:-2])

    def minor(row: int, columns: Sequence[int]) -> SSAValue:
        if len(columns) == 1:
            return element(row, columns[0])
        total: SSAValue | None = None
        for i, column in enumerate(columns):
            others = [c for c in columns if c != column]
            term = node.map("mul", element(row, column), minor(row + 1, others))
            total = term if total is None else node.map("sub" if i % 2 else "add", total, term)
        assert total is not None
        return total

    return minor(0, range(n))

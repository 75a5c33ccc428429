"""One step of an RNN, GRU or LSTM: weights known or computed, activations, states.

A step gets the products with its inputs, and adds the products with the state before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import MapOp, MatMulOp
from ..node import Node

ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "relu": ("relu", {}),
    "softsign": ("softsign", {}),
    "softplus": ("softplus", {}),
    "affine": ("affine", {"alpha": 1.0, "beta": 0.0}),
    "leakyrelu": ("leaky_relu", {"alpha": 0.01}),
    "thresholdedrelu": ("thresholded_relu", {"alpha": 1.0}),
    "scaledtanh": ("scaled_tanh", {"alpha": 1.0, "beta": 1.0}),
    "hardsigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "elu": ("elu", {"alpha": 1.0}),
}
"""Function and default parameters of each activation."""

Weight = Array | SSAValue
"""A weight that is known, or computed."""


def rows_of(node: Node, x: Weight, begin: int, size: int) -> Weight:
    """`size` rows of `x` from `begin`."""
    if isinstance(x, SSAValue):
        return node.slice_axis(x, 0, begin, size)
    return x[begin : begin + size]


def operand(node: Node, x: Weight) -> SSAValue:
    """`x` as an SSA value."""
    return x if isinstance(x, SSAValue) else node.constant(np.ascontiguousarray(x))


def transposed(node: Node, x: Weight) -> SSAValue:
    """The matrix `x` transposed."""
    return node.transpose(x, (1, 0)) if isinstance(x, SSAValue) else operand(node, x.T)


@dataclass(frozen=True)
class Activation:
    """A function with its parameters."""

    fn: str
    parameters: dict[str, float]

    def apply(self, node: Node, x: SSAValue) -> SSAValue:
        """The function of `x`."""
        if self.fn not in ("affine", "scaled_tanh"):
            return node.emit(MapOp(self.fn, [x], dict(self.parameters)))
        alpha, beta = (node.scalar(self.parameters[k], x) for k in ("alpha", "beta"))
        if self.fn == "affine":
            return node.map("add", node.map("mul", x, alpha), beta)
        return node.map("mul", node.map("tanh", node.map("mul", x, beta)), alpha)


@dataclass(frozen=True)
class Cell:
    """One direction: weights as operands of products, and the activations f, g, h.

    `r` are the recurrent weights transposed (of a GRU: those of the gates, then of the new state),
    `inner` the bias inside a GRU's new state, `peepholes` those of i, o, f.
    """

    node: Node
    hidden: int
    w: SSAValue
    bias: SSAValue
    r: Sequence[SSAValue]
    inner: SSAValue | None
    peepholes: Sequence[SSAValue]
    fns: Sequence[Activation]

    def activation(self, which: int, x: SSAValue) -> SSAValue:
        """f, g or h (0, 1, 2) of `x`, clipped if the node says so."""
        if self.node.has_attr("clip"):
            limit = self.node.real("clip")
            x = self.node.map("clip", x, min=-limit, max=limit)
        return self.fns[which].apply(self.node, x)

    def gate(self, x: SSAValue, i: int) -> SSAValue:
        """Part `i` of [batch, gates * hidden]."""
        return self.node.slice_axis(x, 1, i * self.hidden, self.hidden)

    def recurrent(self, x: SSAValue, which: int = 0, bias: SSAValue | None = None) -> SSAValue:
        """X r[which] + bias."""
        return self.node.emit(MatMulOp(x, self.r[which], bias))


State = tuple[SSAValue, SSAValue | None]


def _rnn(cell: Cell, x: SSAValue, state: State) -> State:
    """H = f(x + h R^T)."""
    return cell.activation(0, cell.node.map("add", x, cell.recurrent(state[0]))), None


def _gru(cell: Cell, x: SSAValue, state: State) -> State:
    """z, r = f(...); n = g(...); h = (1 - z) n + z h."""
    node, h = cell.node, state[0]
    past = cell.recurrent(h)
    z, r = (
        cell.activation(0, node.map("add", cell.gate(x, i), cell.gate(past, i))) for i in range(2)
    )
    if node.integer("linear_before_reset", 0):
        inner = node.map("mul", r, cell.recurrent(h, 1, cell.inner))
    else:
        inner = cell.recurrent(node.map("mul", r, h), 1, cell.inner)
    n = cell.activation(1, node.map("add", cell.gate(x, 2), inner))
    rest = node.map("sub", node.scalar(1, z), z)
    return node.map("add", node.map("mul", rest, n), node.map("mul", z, h)), None


def _lstm(cell: Cell, x: SSAValue, state: State) -> State:
    """i, o, f = f(...); c = f c + i g(...); h = o h(c)."""
    node, (h, c) = cell.node, state
    assert c is not None
    gates = node.map("add", x, cell.recurrent(h))

    def peeked(i: int, memory: SSAValue) -> SSAValue:
        gate = cell.gate(gates, i)
        if not cell.peepholes:
            return gate
        return node.map("add", gate, node.map("mul", cell.peepholes[i], memory))

    enter = cell.activation(0, peeked(0, c))
    if node.integer("input_forget", 0):
        keep = node.map("sub", node.scalar(1, enter), enter)
    else:
        keep = cell.activation(0, peeked(2, c))
    new = cell.activation(1, cell.gate(gates, 3))
    c = node.map("add", node.map("mul", keep, c), node.map("mul", enter, new))
    out = cell.activation(0, peeked(1, c))
    return node.map("mul", out, cell.fns[2].apply(node, c)), c


STEPS: dict[str, Callable[[Cell, SSAValue, State], State]] = {
    "RNN": _rnn,
    "GRU": _gru,
    "LSTM": _lstm,
}
"""The step of each operator."""

"""RNN, GRU and LSTM, unrolled over time.

The products with the inputs are one matrix product for all steps; each step then adds the product
with the previous state:

    gates[t] = (x W^T + b)[t] + h[t-1] R^T
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import MatMulOp
from ....dialects.types import shape_of
from ..limits import STEP_LIMIT
from ..node import Node, Value, rule

_ACTIVATIONS = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softsign": "softsign",
    "softplus": "softplus",
    "hardsigmoid": "hard_sigmoid",
}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Cell:
    """One direction: weights, initial states, and the activations f, g, h."""

    node: Node
    hidden: int
    w: Array
    r: Array
    b: Array
    peepholes: Array | None
    fns: Sequence[str]

    def activation(self, which: int, x: SSAValue) -> SSAValue:
        """f, g or h (0, 1, 2) of `x`, clipped if the node says so."""
        if self.node.has_attr("clip"):
            limit = self.node.real("clip")
            x = self.node.map("clip", x, min=-limit, max=limit)
        return self.node.map(self.fns[which], x)

    def gate(self, x: SSAValue, i: int) -> SSAValue:
        """Part `i` of [batch, gates * hidden]."""
        return self.node.slice_axis(x, 1, i * self.hidden, self.hidden)

    def product(self, x: SSAValue, w: Array, bias: Array | None = None) -> SSAValue:
        """X w^T + bias."""
        b = None if bias is None else self.node.constant(bias)
        return self.node.emit(MatMulOp(x, self.node.constant(np.ascontiguousarray(w.T)), b))


State = tuple[SSAValue, SSAValue | None]


def _rnn(cell: Cell, x: SSAValue, state: State) -> State:
    """H = f(x + h R^T)."""
    return cell.activation(0, cell.node.map("add", x, cell.product(state[0], cell.r))), None


def _gru(cell: Cell, x: SSAValue, state: State) -> State:
    """z, r = f(...); n = g(...); h = (1 - z) n + z h."""
    node, h, hidden = cell.node, state[0], cell.hidden
    recurrent = cell.b[3 * hidden :]
    past = cell.product(h, cell.r[: 2 * hidden])
    z, r = (
        cell.activation(0, node.map("add", cell.gate(x, i), cell.gate(past, i))) for i in range(2)
    )
    if node.integer("linear_before_reset", 0):
        inner = node.map("mul", r, cell.product(h, cell.r[2 * hidden :], recurrent[2 * hidden :]))
    else:
        inner = cell.product(node.map("mul", r, h), cell.r[2 * hidden :], recurrent[2 * hidden :])
    n = cell.activation(1, node.map("add", cell.gate(x, 2), inner))
    rest = node.map("sub", node.scalar(1, z), z)
    return node.map("add", node.map("mul", rest, n), node.map("mul", z, h)), None


def _lstm(cell: Cell, x: SSAValue, state: State) -> State:
    """i, o, f = f(...); c = f c + i g(...); h = o h(c)."""
    node, (h, c) = cell.node, state
    assert c is not None
    gates = node.map("add", x, cell.product(h, cell.r))

    def peeked(i: int, memory: SSAValue) -> SSAValue:
        gate = cell.gate(gates, i)
        if cell.peepholes is None:
            return gate
        weights = node.constant(cell.peepholes[i * cell.hidden : (i + 1) * cell.hidden])
        return node.map("add", gate, node.map("mul", weights, memory))

    enter = cell.activation(0, peeked(0, c))
    if node.integer("input_forget", 0):
        keep = node.map("sub", node.scalar(1, enter), enter)
    else:
        keep = cell.activation(0, peeked(2, c))
    new = cell.activation(1, cell.gate(gates, 3))
    c = node.map("add", node.map("mul", keep, c), node.map("mul", enter, new))
    out = cell.activation(0, peeked(1, c))
    return node.map("mul", out, node.map(cell.fns[2], c)), c


_STEPS: dict[str, Callable[[Cell, SSAValue, State], State]] = {
    "RNN": _rnn,
    "GRU": _gru,
    "LSTM": _lstm,
}


@rule("RNN", "GRU", "LSTM")
def recurrent(node: Node) -> list[Value | None]:
    """All steps in one or both directions: all states, the last one, and the last memory."""
    batch_first = node.integer("layout", 0)
    if len(node.shape()) != 3:
        raise node.error(f"the input must have rank 3, not shape {list(node.shape())}")
    x = node.transpose(node.x(), (1, 0, 2)) if batch_first else node.x()
    steps, batch, _ = shape_of(x)
    if steps > STEP_LIMIT:
        raise node.unsupported(
            f"{steps} steps, at most {STEP_LIMIT} are unrolled", "feed the sequence in parts"
        )
    if node.has(4) and not np.all(node.static(4, "the sequence lengths") == steps):
        raise node.unsupported(
            "sequences of different lengths in a batch", "pad them, and mask the result"
        )
    direction = node.text("direction", "forward")
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(
        direction
    )
    if backwards is None:
        raise node.error(f"unknown direction {direction!r}")
    every: list[SSAValue] = []
    last: list[State] = []
    for i, reverse in enumerate(backwards):
        cell = _cell(node, i, len(backwards))
        states = _direction(node, cell, x, _initial(node, cell, i, batch), reverse)
        row = (1, 1, batch, cell.hidden)
        outputs = [node.reshape(h, row) for h, _ in (reversed(states) if reverse else states)]
        every.append(node.concat(outputs, 0))
        last.append(states[-1])
    shape = (1, batch, shape_of(every[0])[3])
    y, h = node.concat(every, 1), node.concat([node.reshape(h, shape) for h, _ in last], 0)
    c = (
        node.concat([node.reshape(c, shape) for _, c in last if c is not None], 0)
        if node.op == "LSTM"
        else None
    )
    if batch_first:
        y, h = node.transpose(y, (2, 0, 1, 3)), node.transpose(h, (1, 0, 2))
        c = None if c is None else node.transpose(c, (1, 0, 2))
    return [y, h] if c is None else [y, h, c]


def _cell(node: Node, i: int, directions: int) -> Cell:
    gates = _GATES[node.op]
    w, r = node.static(1, "its weights"), node.static(2, "its recurrent weights")
    if r.ndim != 3 or r.shape[0] != directions or r.shape[1] != gates * r.shape[2]:
        raise node.error(
            f"recurrent weights of shape {list(r.shape)} do not fit {directions} directions"
        )
    hidden = r.shape[2]
    b = (
        node.static(3, "its bias")
        if node.has(3)
        else np.zeros((directions, 2 * gates * hidden), w.dtype)
    )
    peepholes = node.static(7, "its peepholes") if node.op == "LSTM" and node.has(7) else None
    expected = [
        (directions, gates * hidden, node.shape()[2]),
        (directions, 2 * gates * hidden),
        (directions, 3 * hidden),
    ]
    for array, shape in zip((w, b, peepholes), expected, strict=True):
        if array is not None and array.shape != shape:
            raise node.error(
                f"weights of shape {list(array.shape)} should have shape {list(shape)}"
            )
    names = (
        [n.decode() for n in node.attributes["activations"].strings]
        if node.has_attr("activations")
        else _DEFAULTS[node.op] * directions
    )
    names = names[i * len(_DEFAULTS[node.op]) :][: len(_DEFAULTS[node.op])]
    unknown = [n for n in names if n.lower() not in _ACTIVATIONS]
    if (
        unknown
        or len(names) < len(_DEFAULTS[node.op])
        or any(node.has_attr(a) for a in ("activation_alpha", "activation_beta"))
    ):
        raise node.unsupported(
            f"activations {names} with parameters", f"use {', '.join(sorted(_ACTIVATIONS))}"
        )
    return Cell(
        node,
        hidden,
        w[i],
        r[i],
        b[i],
        None if peepholes is None else peepholes[i],
        [_ACTIVATIONS[n.lower()] for n in names],
    )


def _initial(node: Node, cell: Cell, i: int, batch: int) -> State:
    def state(index: int) -> SSAValue:
        shape = (batch, cell.hidden)
        if not node.has(index):
            node.bounded(batch * cell.hidden)
            return node.constant(np.zeros(shape, cell.w.dtype))
        axis = 1 if node.integer("layout", 0) else 0
        return node.reshape(node.slice_axis(node.x(index), axis, i, 1), shape)

    return state(5), state(6) if node.op == "LSTM" else None


def _direction(node: Node, cell: Cell, x: SSAValue, state: State, reverse: bool) -> list[State]:
    """The states after each step, in the order they are computed."""
    steps, batch, width = shape_of(x)
    count = len(cell.b) // 2
    bias = cell.b[:count].copy()
    if node.op == "GRU":  # the recurrent bias of the new state is added inside
        bias[: 2 * cell.hidden] += cell.b[count : count + 2 * cell.hidden]
    else:
        bias += cell.b[count:]
    inputs = cell.product(node.reshape(x, (steps * batch, width)), cell.w, bias)
    out: list[State] = []
    for t in reversed(range(steps)) if reverse else range(steps):
        state = _STEPS[node.op](cell, node.slice_axis(inputs, 0, t * batch, batch), state)
        out.append(state)
    return out

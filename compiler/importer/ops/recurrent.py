"""RNN, GRU and LSTM, unrolled over time.

The products with the inputs are one matrix product for all steps; each step then adds the product
with the previous state:

    gates[t] = (x W^T + b)[t] + h[t-1] R^T

A sequence that is shorter than the others keeps its state, and yields zero, after its end.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.graph import MatMulOp
from ....dialects.types import shape_of
from ..limits import STEP_LIMIT
from ..node import Node, Value, rule
from .recurrent_cells import (
    ACTIVATIONS,
    STEPS,
    Activation,
    Cell,
    State,
    Weight,
    operand,
    rows_of,
    transposed,
)

_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


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
    lengths = None
    if node.has(4):
        known = node.array(4)
        if node.shape(4) != (batch,):
            raise node.error(f"lengths of shape {list(node.shape(4))} do not fit {batch} sequences")
        if known is None or not np.all(known == steps):
            lengths = node.reshape(node.x(4), (batch, 1))
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
        outputs, end = _direction(cell, x, _initial(node, cell, i, batch), lengths, reverse=reverse)
        row = (1, 1, batch, cell.hidden)
        every.append(node.concat([node.reshape(h, row) for h in outputs], 0))
        last.append(end)
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
    gates, shape = _GATES[node.op], node.shape(2)
    if len(shape) != 3 or shape[0] != directions or shape[1] != gates * shape[2]:
        raise node.error(
            f"recurrent weights of shape {list(shape)} do not fit {directions} directions"
        )
    hidden = shape[2]
    expected = {
        1: (directions, gates * hidden, node.shape()[2]),
        2: shape,
        3: (directions, 2 * gates * hidden),
        7: (directions, 3 * hidden),
    }

    def weight(index: int) -> Weight:
        """Input `index`, of this direction."""
        if node.shape(index) != expected[index]:
            raise node.error(
                f"weights of shape {list(node.shape(index))} should have shape "
                f"{list(expected[index])}"
            )
        array = node.array(index)
        if array is not None:
            return array[i]
        one = node.slice_axis(node.x(index), 0, i, 1)
        return node.reshape(one, expected[index][1:])

    w, r = weight(1), weight(2)
    count, dtype = gates * hidden, node.dtype(1)
    b = weight(3) if node.has(3) else np.zeros(2 * count, dtype)
    bias, inner = _biases(node, b, count, hidden)
    peepholes = weight(7) if node.op == "LSTM" and node.has(7) else None
    split = [2 * hidden, hidden] if node.op == "GRU" else [count]
    begins = [0, 2 * hidden]
    return Cell(
        node,
        hidden,
        transposed(node, w),
        bias,
        [
            transposed(node, rows_of(node, r, begin, n))
            for begin, n in zip(begins, split, strict=False)
        ],
        inner,
        []
        if peepholes is None
        else [operand(node, rows_of(node, peepholes, k * hidden, hidden)) for k in range(3)],
        _activations(node, i, directions),
    )


def _biases(node: Node, b: Weight, count: int, hidden: int) -> tuple[SSAValue, SSAValue | None]:
    """Bias of the products with the inputs, and what a GRU adds inside its new state."""
    first, second = rows_of(node, b, 0, count), rows_of(node, b, count, count)
    inner = None
    if node.op == "GRU":
        inner = operand(node, rows_of(node, second, 2 * hidden, hidden))
        second = rows_of(node, second, 0, 2 * hidden)
        none = np.zeros(hidden, node.dtype(1))
        if isinstance(second, SSAValue):
            second = node.concat([second, node.constant(none)], 0)
        else:
            second = np.concatenate([second, none])
    if isinstance(first, SSAValue) or isinstance(second, SSAValue):
        return node.map("add", operand(node, first), operand(node, second)), inner
    return node.constant(first + second), inner


def _activations(node: Node, i: int, directions: int) -> list[Activation]:
    """The functions of direction `i`; parameters go to the functions that take them, in order."""
    wanted = len(_DEFAULTS[node.op])
    names = (
        [n.decode() for n in node.attributes["activations"].strings]
        if node.has_attr("activations")
        else _DEFAULTS[node.op] * directions
    )
    unknown = [n for n in names if n.lower() not in ACTIVATIONS]
    if unknown or len(names) < wanted * directions:
        raise node.error(f"activations {names} do not fit: known are {', '.join(ACTIVATIONS)}")
    given = {k: node.reals(f"activation_{k}", []) for k in ("alpha", "beta")}
    out: list[Activation] = []
    for name in names:
        fn, parameters = ACTIVATIONS[name.lower()]
        taken = {k: given[k].pop(0) if given[k] else v for k, v in parameters.items()}
        out.append(Activation(fn, taken))
    return out[i * wanted :][:wanted]


def _initial(node: Node, cell: Cell, i: int, batch: int) -> State:
    def state(index: int) -> SSAValue:
        shape = (batch, cell.hidden)
        if not node.has(index):
            node.bounded(batch * cell.hidden)
            return node.constant(np.zeros(shape, node.dtype(1)))
        axis = 1 if node.integer("layout", 0) else 0
        return node.reshape(node.slice_axis(node.x(index), axis, i, 1), shape)

    return state(5), state(6) if node.op == "LSTM" else None


def _direction(
    cell: Cell, x: SSAValue, state: State, lengths: SSAValue | None, *, reverse: bool
) -> tuple[list[SSAValue], State]:
    """The outputs by time, and the last state."""
    node, (steps, batch, width) = cell.node, shape_of(x)
    inputs = node.emit(MatMulOp(node.reshape(x, (steps * batch, width)), cell.w, cell.bias))
    out: dict[int, SSAValue] = {}
    for t in reversed(range(steps)) if reverse else range(steps):
        new = STEPS[node.op](cell, node.slice_axis(inputs, 0, t * batch, batch), state)
        out[t] = new[0]
        if lengths is not None:
            going = node.map("less", node.scalar(t, lengths), lengths)
            out[t] = node.map("select", going, new[0], node.scalar(0, new[0]))
            h, c = node.map("select", going, new[0], state[0]), new[1]
            if c is not None and state[1] is not None:
                c = node.map("select", going, c, state[1])
            new = h, c
        state = new
    return [out[t] for t in range(steps)], state

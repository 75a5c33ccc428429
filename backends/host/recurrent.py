"""RNN, GRU and LSTM: one matrix product over all steps for the inputs, one per step for the state.

Sequences shorter than the longest keep their last state and give zeros after their end; the
backward direction starts at each sequence's own end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .casting import widened
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]
Activation = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    # exp of large magnitudes overflows to infinity, whose reciprocal is the right 0
    return 1 / (1 + np.exp(-x))


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    """An activation; parameters are taken in order by the functions that have them."""
    match name.lower():
        case "relu":
            return lambda x: np.maximum(x, 0)
        case "tanh":
            return np.tanh
        case "sigmoid":
            return _sigmoid
        case "softsign":
            return lambda x: x / (1 + np.abs(x))
        case "softplus":
            return lambda x: np.logaddexp(0, x)
        case "affine":
            a, b = next(alphas, 1.0), next(betas, 0.0)
            return lambda x: a * x + b
        case "leakyrelu":
            a = next(alphas, 0.01)
            return lambda x: np.where(x < 0, a * x, x)
        case "thresholdedrelu":
            a = next(alphas, 1.0)
            return lambda x: np.where(x > a, x, 0)
        case "scaledtanh":
            a, b = next(alphas, 1.0), next(betas, 1.0)
            return lambda x: a * np.tanh(b * x)
        case "hardsigmoid":
            a, b = next(alphas, 0.2), next(betas, 0.5)
            return lambda x: np.clip(a * x + b, 0, 1)
        case "elu":
            a = next(alphas, 1.0)
            return lambda x: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x)
        case _:
            raise HostError(f"there is no activation {name!r}")


class _Cell:
    """The parts that the three operators share, for one direction."""

    def __init__(self, call: Call, direction: int, functions: list[Activation], gates: int):
        self.w = widened(call.tensor(1))[direction]
        self.r = widened(call.tensor(2))[direction]
        self.hidden = self.r.shape[-1]
        bias = call.optional(3)
        zeros = np.zeros(2 * gates * self.hidden, self.w.dtype)
        both = zeros if bias is None else widened(bias)[direction]
        self.wb, self.rb = np.split(both, 2)
        self.functions = functions
        self.clip = call.attr("clip")
        self.op = call.op
        self.after = bool(call.attr("linear_before_reset", 0))
        self.coupled = bool(call.attr("input_forget", 0))
        peephole = call.optional(7) if call.op == "LSTM" else None
        if peephole is not None:
            peephole = widened(peephole)[direction]
        self.peephole = None if peephole is None else np.split(peephole, 3)

    def clipped(self, x: Array) -> Array:
        """Gate inputs within the bounds of the attribute `clip`."""
        return x if self.clip is None else np.clip(x, -self.clip, self.clip)

    def step(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """The next state from `x`, the product of the step's input with all input weights."""
        if self.op == "RNN":
            return self.functions[0](self.clipped(x + h @ self.r.T + self.rb)), c
        return self._gru(x, h, c) if self.op == "GRU" else self._lstm(x, h, c)

    def _gru(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        f, g = self.functions
        n = self.hidden
        gates = x[:, : 2 * n] + h @ self.r[: 2 * n].T + self.rb[: 2 * n]
        z, r = np.split(f(self.clipped(gates)), 2, axis=1)
        if self.after:
            new = x[:, 2 * n :] + r * (h @ self.r[2 * n :].T + self.rb[2 * n :])
        else:
            new = x[:, 2 * n :] + (r * h) @ self.r[2 * n :].T + self.rb[2 * n :]
        return (1 - z) * g(self.clipped(new)) + z * h, c

    def _lstm(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        f, g, last = self.functions
        i, o, forget, new = np.split(x + h @ self.r.T + self.rb, 4, axis=1)
        if self.peephole is not None:
            i, forget = i + self.peephole[0] * c, forget + self.peephole[2] * c
        i = f(self.clipped(i))
        forget = 1 - i if self.coupled else f(self.clipped(forget))
        state = forget * c + i * g(self.clipped(new))
        if self.peephole is not None:
            o = o + self.peephole[1] * state
        return f(self.clipped(o)) * last(state), state


def _run(cell: _Cell, x: Array, lengths: Array, h: Array, c: Array, back: bool) -> list[Array]:
    """All steps of one direction: outputs `[steps, batch, hidden]` and both last states."""
    steps, batch = x.shape[:2]
    source: Array = np.zeros(0)
    if back:
        place = np.arange(steps, dtype=np.int64)[:, None]
        source = np.where(place < lengths, lengths - 1 - place, place)
        x = x[source, np.arange(batch)]
    projected = x @ cell.w.T + cell.wb
    y = np.zeros((steps, batch, cell.hidden), projected.dtype)
    for step in range(steps):
        new_h, new_c = cell.step(projected[step], h, c)
        live = (step < lengths)[:, None]
        h, c = np.where(live, new_h, h), np.where(live, new_c, c)
        y[step] = np.where(live, new_h, 0)
    if back:
        y = y[source, np.arange(batch)]
        y[np.arange(steps)[:, None] >= lengths] = 0
    return [y, h, c]


_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@operator("RNN", "GRU", "LSTM")
def recurrent(call: Call) -> list[Value]:
    """Y, the last state of Y, and for LSTM the last cell state."""
    original = call.tensor(0)
    x, layout = widened(original), int(call.attr("layout", 0))
    if layout:
        x = np.swapaxes(x, 0, 1)
    steps, batch = x.shape[:2]
    hidden = call.tensor(2).shape[-1]
    # The schemas of opset 1 misspell the default.
    direction = call.attr("direction", "forward").replace("foward", "forward")
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    if direction not in backward:
        raise HostError(f"there is no direction {direction!r}")
    directions = backward[direction]
    per = len(_DEFAULTS[call.op])
    # The schema's default for RNN names a function for each of two directions.
    names = (call.attr("activations") or _DEFAULTS[call.op] * 2)[: per * len(directions)]
    if len(names) != per * len(directions) or call.tensor(1).shape[0] != len(directions):
        raise HostError(f"{len(names)} activations and weights for {call.tensor(1).shape[0]} ways")
    alphas = iter(call.attr("activation_alpha") or [])
    betas = iter(call.attr("activation_beta") or [])
    functions = [_activation(name, alphas, betas) for name in names]
    given = call.optional(4)
    lengths = np.full(batch, steps) if given is None else given.astype(np.int64)
    if (lengths < 0).any() or (lengths > steps).any():
        raise HostError(f"sequence lengths {lengths.tolist()} for {steps} steps")

    def initial(index: int) -> Array:
        state = call.optional(index)
        if state is None:
            return np.zeros((len(directions), batch, hidden), x.dtype)
        return widened(np.swapaxes(state, 0, 1) if layout else state)

    h, c = initial(5), initial(6 if call.op == "LSTM" else 99)
    ways: list[list[Array]] = []
    for i, back in enumerate(directions):
        cell = _Cell(call, i, functions[i * per : (i + 1) * per], _GATES[call.op])
        ways.append(_run(cell, x, lengths, h[i], c[i], back))
    y = np.stack([way[0] for way in ways], axis=1)
    states = [np.stack([way[i] for way in ways]) for i in (1, 2)]
    if layout:
        y = np.transpose(y, (2, 0, 1, 3))
        states = [np.swapaxes(state, 0, 1) for state in states]
    outputs = [y, *states] if call.op == "LSTM" else [y, states[0]]
    return [np.ascontiguousarray(value.astype(original.dtype)) for value in outputs]

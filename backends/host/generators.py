"""Random numbers, reproducibly.

The generator is numpy's `RandomState` (MT19937), whose streams numpy promises never to change.  It
is seeded with the node's attribute `seed`; without one, with the CRC-32 of the node's name (of its
first output if it has none).  A node thus draws the same numbers in every run, and nodes differ.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from .casting import cast, dtype_of, element_of, widened
from .limits import checked_shape
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def generator(call: Call) -> Any:
    """The `RandomState` of a node."""
    seed = call.attr("seed")
    if seed is None or seed != seed:
        name = call.node.name or next(iter(call.node.output), "")
        return np.random.RandomState(zlib.crc32(name.encode()))
    return np.random.RandomState(int(seed) & 0xFFFFFFFF)


def _draw(call: Call, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[Value]:
    state = generator(call)
    if call.op.startswith("RandomNormal"):
        values = state.standard_normal(shape) * call.attr("scale", 1.0) + call.attr("mean", 0.0)
    else:
        low, high = call.attr("low", 0.0), call.attr("high", 1.0)
        values = state.random_sample(shape) * (high - low) + low
    return [np.asarray(values).astype(dtype)]


@operator("RandomNormal", "RandomUniform")
def random_of_shape(call: Call) -> list[Value]:
    """Independent draws in a given shape."""
    dtype = dtype_of(int(call.attr("dtype", 1)))
    return _draw(call, checked_shape(call.required("shape")), dtype)


@operator("RandomNormalLike", "RandomUniformLike")
def random_like(call: Call) -> list[Value]:
    """Independent draws in the shape, and without `dtype` in the type, of the input."""
    x, element = call.tensor(0), call.attr("dtype")
    return _draw(call, x.shape, x.dtype if element is None else dtype_of(int(element)))


@operator("Bernoulli")
def bernoulli(call: Call) -> list[Value]:
    """1 with the probability that the input gives."""
    p, element = widened(call.tensor(0)), call.attr("dtype")
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise HostError("a probability is not between 0 and 1")
    draws = generator(call).random_sample(p.shape) < p
    target = element_of(call.tensor(0).dtype) if element is None else int(element)
    return [cast(np.asarray(draws), target)]


@operator("Multinomial")
def multinomial(call: Call) -> list[Value]:
    """Class indices drawn with the probabilities `softmax(input)`, row by row."""
    logits = call.tensor(0).astype(np.float64)
    count = int(call.attr("sample_size", 1))
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise HostError(f"the input must be rows of classes, but has shape {list(logits.shape)}")
    checked_shape((len(logits), count, logits.shape[1]))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    edges = np.cumsum(weights, axis=1)
    edges = edges / edges[:, -1:]
    draws = generator(call).random_sample((len(logits), count))
    picked = (draws[:, :, None] >= edges[:, None, :]).sum(-1)
    return [np.asarray(picked).astype(dtype_of(int(call.attr("dtype", 6))))]


@operator("Dropout")
def dropout(call: Call) -> list[Value]:
    """The input, unless training: then a random part is zero and the rest scaled up.

    Before opset 12 there is no training; `is_test` of opset 1 and 6 asks for it by being 0.
    """
    x = call.tensor(0)
    if call.opset >= 12:
        ratio = float(call.scalar(1)) if call.value(1) is not None else 0.5
        training = bool(call.scalar(2)) if call.value(2) is not None else False
    else:
        ratio = float(call.attr("ratio", 0.5))
        training = call.opset < 7 and not call.attr("is_test", 0)
    mask_type = bool if call.opset >= 10 else x.dtype
    if not training or ratio == 0:
        return [x, np.ones(x.shape, mask_type)]
    if not 0 <= ratio < 1:
        raise HostError(f"the ratio {ratio} is not in [0, 1)")
    mask = generator(call).uniform(0, 1.0, x.shape) >= ratio
    scaled = widened(x) * mask * (1.0 / (1.0 - ratio))
    return [scaled.astype(x.dtype), mask.astype(mask_type)]

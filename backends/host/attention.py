"""FlexAttention: attention whose scores and probabilities pass through bodies of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto

from .casting import dtype_of, widened
from .limits import checked_shape
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _modified(call: Call, name: str, values: Array) -> Array:
    """What the body in the attribute `name` makes of `values`, if there is one."""
    body: GraphProto | None = call.attr(name)
    if body is None:
        return values
    if len(body.input) != 1 or len(body.output) != 1:
        raise HostError(f"the body {name!r} must have one input and one output")
    (result,) = call.run_graph(body, {body.input[0].name: values})
    return np.asarray(result, values.dtype)


@operator("FlexAttention", domain="ai.onnx.preview")
def flex_attention(call: Call) -> list[Value]:
    """`prob_mod(softmax(score_mod(Q K^T scale))) V`; key heads are shared by groups of queries."""
    q, k, v = call.tensor(0), call.tensor(1), call.tensor(2)
    if q.ndim != 4 or k.ndim != 4 or v.ndim != 4:
        raise HostError("queries, keys and values must have four axes")
    if k.shape[1] != v.shape[1] or q.shape[1] % k.shape[1]:
        raise HostError(f"{q.shape[1]} query heads, {k.shape[1]} key and {v.shape[1]} value heads")
    checked_shape((*q.shape[:3], k.shape[2]))
    repeat = q.shape[1] // k.shape[1]
    keys, values = np.repeat(k, repeat, axis=1), np.repeat(v, repeat, axis=1)
    scale = call.attr("scale")
    scale = 1.0 / np.sqrt(q.shape[3]) if scale is None else scale
    root = np.array(np.sqrt(np.float32(scale)), q.dtype)
    precision = call.attr("softmax_precision")
    work = widened(q).dtype if precision is None else dtype_of(int(precision))
    scores = np.matmul(q * root, np.swapaxes(keys * root, -1, -2)).astype(work)
    scores = _modified(call, "score_mod", scores)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities = _modified(call, "prob_mod", e / e.sum(-1, keepdims=True))
    return [np.matmul(probabilities, values.astype(work)).astype(v.dtype)]

"""Control flow: If, Loop, Scan and SequenceMap; bodies run through `Call.run_graph`."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto

from .limits import BYTE_LIMIT, STEP_LIMIT
from .registry import Call, HostError, Value, operator


def _truth(value: Value) -> bool:
    array = np.asarray(value)
    if array.size != 1:
        raise HostError(f"a condition must hold one element, but has shape {array.shape}")
    return bool(array.reshape(()))


def _bind(body: GraphProto, values: list[Value]) -> dict[str, Value]:
    if len(body.input) != len(values):
        raise HostError(f"the body takes {len(body.input)} inputs, but gets {len(values)}")
    return {formal.name: value for formal, value in zip(body.input, values, strict=True)}


@operator("If")
def if_(call: Call) -> list[Value]:
    """Only the branch taken is run."""
    branch = "then_branch" if _truth(call.tensor(0)) else "else_branch"
    return call.run_graph(call.required(branch), {})


def _element_type(body: GraphProto, index: int) -> np.dtype[Any]:
    import onnx

    return onnx.helper.tensor_dtype_to_np_dtype(
        body.output[index].type.tensor_type.elem_type or onnx.TensorProto.FLOAT
    )


def _stack(body: GraphProto, index: int, rows: list[Any], axis: int = 0) -> Value:
    """Scan outputs, one slice per iteration; of no iterations, an empty tensor."""
    if not rows:
        dims = body.output[index].type.tensor_type.shape.dim
        return np.empty((0, *(max(d.dim_value, 0) for d in dims)), _element_type(body, index))
    if len({np.shape(row) for row in rows}) > 1:
        raise HostError(f"scan output {body.output[index].name!r} changes shape between iterations")
    return np.stack(rows, axis)


@operator("Loop")
def loop(call: Call) -> list[Value]:
    """`for i in range(M) while cond`: carried values of any kind, then scan outputs.

    Carried values may change shape between iterations.
    """
    body: GraphProto = call.required("body")
    trips = call.scalar(0) if call.value(0) is not None else None
    condition = _truth(call.value(1)) if call.value(1) is not None else True
    carried = list(call.inputs[2:])
    scans: list[list[Any]] = [[] for _ in body.output[1 + len(carried) :]]
    step = kept = 0
    while condition and (trips is None or step < trips):
        if step >= STEP_LIMIT:
            raise HostError(f"the loop runs for more than {STEP_LIMIT} iterations")
        arguments = [np.array(step, np.int64), np.array(condition), *carried]
        results = call.run_graph(body, _bind(body, arguments))
        condition = _truth(results[0])
        carried = results[1 : 1 + len(carried)]
        for rows, value in zip(scans, results[1 + len(carried) :], strict=True):
            rows.append(value)
            kept += getattr(value, "nbytes", 0)
        if kept > BYTE_LIMIT:
            raise HostError(f"the loop collects more than {BYTE_LIMIT} bytes")
        step += 1
    first = 1 + len(carried)
    return [*carried, *(_stack(body, first + i, rows) for i, rows in enumerate(scans))]


@operator("Scan")
def scan(call: Call) -> list[Value]:
    """State variables, then inputs sliced along their scan axes.

    In opset 8 all inputs have a batch axis in front of which everything is done per batch, and an
    optional first input gives the length of each sequence.
    """
    body: GraphProto = call.required("body")
    count = int(call.required("num_scan_inputs"))
    if call.opset < 9:
        return _scan_8(call, body, count)
    states, inputs = list(call.inputs[:-count]), [np.asarray(v) for v in call.inputs[-count:]]
    outputs = len(body.output) - len(states)
    return _scan(
        call,
        body,
        states,
        inputs,
        call.attr("scan_input_axes") or [0] * count,
        call.attr("scan_input_directions") or [0] * count,
        call.attr("scan_output_axes") or [0] * outputs,
        call.attr("scan_output_directions") or [0] * outputs,
    )


def _scan(
    call: Call,
    body: GraphProto,
    states: list[Value],
    inputs: list[Any],
    axes: list[int],
    directions: list[int],
    out_axes: list[int],
    out_directions: list[int],
) -> list[Value]:
    rows = [np.moveaxis(v, axis, 0) for v, axis in zip(inputs, axes, strict=True)]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise HostError(f"scan inputs differ in length: {sorted(lengths)}")
    rows = [row[::-1] if d else row for row, d in zip(rows, directions, strict=True)]
    scans: list[list[Any]] = [[] for _ in out_axes]
    for step in range(lengths.pop()):
        results = call.run_graph(body, _bind(body, [*states, *(row[step] for row in rows)]))
        states = results[: len(states)]
        for found, value in zip(scans, results[len(states) :], strict=True):
            found.append(value)
    stacked: list[Value] = []
    for i, (found, axis, direction) in enumerate(zip(scans, out_axes, out_directions, strict=True)):
        stacked.append(_stack(body, len(states) + i, found[::-1] if direction else found, axis))
    return [*states, *stacked]


def _scan_8(call: Call, body: GraphProto, count: int) -> list[Value]:
    lengths, values = call.optional(0), [np.asarray(v) for v in call.inputs[1:]]
    batches = values[0].shape[0]
    n_states = len(values) - count
    directions = call.attr("directions") or [0] * count
    outputs = len(body.output) - n_states
    total = values[-1].shape[1]
    results: list[list[Value]] = []
    for batch in range(batches):
        length = total if lengths is None else int(lengths[batch])
        inputs = [value[batch][:length] for value in values[n_states:]]
        states: list[Value] = [value[batch] for value in values[:n_states]]
        zeros = [0] * outputs
        result = _scan(call, body, states, inputs, [0] * count, directions, zeros, zeros)
        for i in range(n_states, len(result)):
            short = total - len(result[i])
            if short:
                widths = [(0, short)] + [(0, 0)] * (result[i].ndim - 1)
                result[i] = np.pad(result[i], widths)
        results.append(result)
    return [np.stack([result[i] for result in results]) for i in range(len(body.output))]


@operator("SequenceMap")
def sequence_map(call: Call) -> list[Value]:
    """The body once per element; further inputs are sequences of that length, or tensors."""
    body: GraphProto = call.required("body")
    first = call.sequence(0)
    outputs: list[list[Any]] = [[] for _ in body.output]
    for value in call.inputs[1:]:
        if isinstance(value, list) and len(value) != len(first):  # pyright: ignore[reportUnknownArgumentType]
            raise HostError("the sequences differ in length")
    for step, element in enumerate(first):
        rest: list[Any] = [v[step] if isinstance(v, list) else v for v in call.inputs[1:]]
        for found, value in zip(
            outputs, call.run_graph(body, _bind(body, [element, *rest])), strict=True
        ):
            found.append(value)
    return list(outputs)

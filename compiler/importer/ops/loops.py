"""Loop and Scan, unrolled: the body is imported once for each iteration.

The number of iterations must follow from shapes and constants: the extent of what a Scan runs
over, or a Loop's trip count and a condition that the importer can follow (it is True throughout,
or computed from the iteration number).  What is known on entry stays known inside, so counters and
the shapes made of them are folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import GraphProto
from xdsl.ir import SSAValue

from ....dialects.types import shape_of
from ..limits import STEP_LIMIT, UNROLL_LIMIT
from ..node import Constant, Node, rule
from ..scope import UNKNOWN, Scope, Unknown

Known = SSAValue | Constant
"""A tensor inside an unrolled body."""


class _NeedsInputs(Exception):
    """The body asks for the contents of inputs of the model, as the importer has noted."""


class _Body:
    """The body of a loop, imported as often as it runs."""

    def __init__(self, node: Node, inputs: int):
        self.node, self.graph = node, node.subgraph("body")
        if len(self.graph.input) != inputs:
            raise node.error(f"its body takes {len(self.graph.input)} values, not {inputs}")
        importer = node.importer
        self.initializers = {
            t.name: Constant(importer.array(t), t.name) for t in self.graph.initializer
        }
        self.mark = len(importer.ops), len(importer.rows), len(importer.ctx.notes)

    def run(self, step: int, values: Sequence[Known]) -> list[Known]:
        """One iteration; refuses, all iterations undone, what the body cannot compute."""
        node, outer = self.node, self.node.scope
        if step >= STEP_LIMIT or len(node.importer.ops) - self.mark[0] > UNROLL_LIMIT:
            self.undo()
            raise node.unsupported(
                f"more than {step} iterations are too many to unroll",
                "run the loop on the host",
            )
        scope = Scope(
            outer.opsets,
            outer=outer,
            prefix=f"{node.name}/{step}/",
            label=outer.label,
            references=outer.references,
            depth=outer.depth + 1,
        )
        scope.values |= self.initializers
        scope.values |= zip((i.name for i in self.graph.input), values, strict=True)
        outputs = [output.name for output in self.graph.output]
        node.importer.run(self.graph.node, outputs, scope)
        found = [node.importer.result(scope, name, node) for name in outputs]
        if any(isinstance(v, Unknown) for v in found):
            if node.importer.top not in node.importer.refused:  # it asks for contents of inputs
                self.undo(rows=False)
                raise _NeedsInputs
            rows = node.importer.rows[self.mark[1] :]
            reason = f"its body: {rows[0].op}: {rows[0].reason}" if rows else "its body"
            self.undo()
            raise node.unsupported(reason, "run the loop on the host")
        return [v for v in found if not isinstance(v, Unknown)]

    def undo(self, *, rows: bool = True) -> None:
        """Forget what the iterations added; the remarks on why, too, unless not `rows`."""
        importer, (ops, row, note) = self.node.importer, self.mark
        for op in reversed(importer.ops[ops:]):
            op.erase()
        del importer.ops[ops:]
        if rows:
            del importer.rows[row:], importer.ctx.notes[note:]


def _stacked(node: Node, values: Sequence[Known], axis: int, *, reverse: bool) -> SSAValue:
    """The results of all iterations along a new axis."""
    parts: list[SSAValue] = []
    for value in reversed(values) if reverse else values:
        x = node.operand(value)
        at = node.axis(axis, len(shape_of(x)) + 1)
        parts.append(node.reshape(x, (*shape_of(x)[:at], 1, *shape_of(x)[at:])))
    return node.concat(parts, node.axis(axis, len(shape_of(parts[0]))))


@rule("Scan", "Loop")
def unrolled(node: Node) -> list[Any]:
    """The body of each iteration in turn."""
    try:
        return _scan(node) if node.op == "Scan" else _loop(node)
    except _NeedsInputs:
        return [UNKNOWN] * len(node.outputs)


def _scan(node: Node) -> list[Any]:
    """The body over slices of its inputs, states passed on; results are stacked."""
    if node.opset < 9:
        raise node.unsupported("Scan of opset 8", "export with opset 9 or newer")
    scanned = node.integer("num_scan_inputs")
    count = len(node.inputs) - scanned
    if not 1 <= scanned <= len(node.inputs):
        raise node.error(f"num_scan_inputs is {scanned} of {len(node.inputs)} inputs")
    axes = node.integers("scan_input_axes", [0] * scanned)
    directions = node.integers("scan_input_directions", [0] * scanned)
    if len(axes) != scanned or len(directions) != scanned:
        raise node.error(f"axes {axes} and directions {directions} do not fit {scanned} inputs")
    sources: list[tuple[SSAValue, int]] = []
    for i, axis in enumerate(axes):
        x = node.x(count + i)
        sources.append((x, node.axis(axis, len(shape_of(x)))))
    extents = {shape_of(x)[axis] for x, axis in sources}
    if len(extents) != 1 or 0 in extents:
        raise node.unsupported(f"scanned axes of extents {sorted(extents)}")
    steps, body = extents.pop(), _Body(node, len(node.inputs))
    states = [node.value(i) for i in range(count)]
    results: list[list[Known]] = []
    for step in range(steps):
        slices: list[SSAValue] = []
        for (x, axis), direction in zip(sources, directions, strict=True):
            at = steps - 1 - step if direction else step
            shape = shape_of(x)
            one = node.slice_axis(x, axis, at, 1)
            slices.append(node.reshape(one, (*shape[:axis], *shape[axis + 1 :])))
        out = body.run(step, [*states, *slices])
        states = out[:count]
        results.append(out[count:])
    width = len(results[0])
    out_axes = node.integers("scan_output_axes", [0] * width)
    out_directions = node.integers("scan_output_directions", [0] * width)
    if len(out_axes) != width or len(out_directions) != width:
        raise node.error(f"axes {out_axes} and directions {out_directions} do not fit {width}")
    stacked = [
        _stacked(node, [r[i] for r in results], out_axes[i], reverse=bool(out_directions[i]))
        for i in range(width)
    ]
    return [*states, *stacked]


def _loop(node: Node) -> list[Any]:
    """The body until the trip count is reached or its condition is false."""
    states = [node.value(i) for i in range(2, len(node.inputs))]
    trips = int(node.static_scalar(0, "the trip count")) if node.has(0) else STEP_LIMIT + 1
    going = bool(node.static_scalar(1, "the condition")) if node.has(1) else True
    body, count = _Body(node, len(states) + 2), len(states)
    _check_outputs(node, body.graph, count)
    results: list[list[Known]] = []
    step = 0
    while going and step < trips:
        counter, truth = Constant(np.array(step, np.int64)), Constant(np.array(True))
        condition, *out = body.run(step, [counter, truth, *states])
        if not isinstance(condition, Constant):
            body.undo()
            raise node.unsupported(
                "how often it runs depends on the data", "run the loop on the host"
            )
        going = bool(condition.array.reshape(-1)[0])
        states = out[:count]
        results.append(out[count:])
        step += 1
    width = len(body.graph.output) - 1 - count
    if width and not results:
        raise node.unsupported("a loop that never runs has results without elements")
    return [
        *states,
        *(_stacked(node, [r[i] for r in results], 0, reverse=False) for i in range(width)),
    ]


def _check_outputs(node: Node, body: GraphProto, states: int) -> None:
    if len(body.output) < states + 1:
        raise node.error(f"its body yields {len(body.output)} values for {states} states")

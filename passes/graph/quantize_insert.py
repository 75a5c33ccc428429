"""`quantize-insert`: calibrate, choose encodings, and insert quantize/dequantize pairs.

    %y = graph.conv %x, %w, %b
    %r = graph.map "relu" %y
==>
    %xq = graph.quantize %x -> i8, #graph.quant<...>
    %xd = graph.dequantize %xq
    %wd = graph.dequantize %wq                            a constant, with a scale per channel
    %y = graph.conv %xd, %wd, %b
    %r = graph.map "relu" %y
    %rq = graph.quantize %r
    %rd = graph.dequantize %rq

The result still computes in real arithmetic, on values that 8 bits can express: what an ONNX model
with QuantizeLinear/DequantizeLinear says.  What is quantised is decided in `quantization_plan.py`,
shared encodings in `encoding_classes.py`, ranges come from `calibration.py`.  A model that already
holds such pairs (quantisation-aware training) keeps its own and is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.errors import InputError
from ...dialects.graph import (
    ConcatOp,
    ConvOp,
    DequantizeOp,
    MapOp,
    MatMulOp,
    QuantAttr,
    QuantizeOp,
    constant_array,
)
from ...dialects.locations import inherit, onnx_nodes
from ..base import CompilerContext, Pass, main_function
from .bias_correction import correct_biases, observers, targets
from .calibration import calibrate, observer_factory
from .channel_affine import fuse_channel_affine
from .dynamic_products import restore_products
from .encoding_classes import Classes, build_classes
from .encodings import activation_encoding
from .geometry import mark_geometry
from .masks import add_masks, narrow, row_maxima
from .norm_noise import measure, noisy_norms
from .prelu import split_prelu
from .quantization_plan import (
    BINARY,
    Plan,
    computes_both_factors,
    has_constant_weights,
    make_plan,
    stays_inside,
)
from .quantized_constants import quantize_constant, quantize_weights, restore_weights
from .runtime_bias import split_biases
from .widen_halves import widen_halves


def _pair(
    value: SSAValue, encoding: QuantAttr, source: Operation | None
) -> tuple[QuantizeOp, DequantizeOp]:
    """A quantize/dequantize pair on `value`, with the names of `source`."""
    quantize = QuantizeOp(value, encoding)
    dequantize = DequantizeOp(quantize.result)
    for op in (quantize, dequantize):
        op.result.name_hint = value.name_hint
        if source is not None:
            inherit(op, source)
            if (name := source.attributes.get("tensor")) is not None:
                op.attributes["tensor"] = name
    return quantize, dequantize


class Inserter:
    """Carries out a plan."""

    def __init__(
        self, block: Block, plan: Plan, classes: Classes, store: ConstantStore, per_channel: bool
    ):
        self.block, self.plan, self.classes, self.store = block, plan, classes, store
        self.per_channel = per_channel

    def run(self) -> None:
        """Insert every pair and every quantised constant."""
        for op, kind in self.plan.kinds.items():
            if isinstance(op, ConvOp | MatMulOp) and has_constant_weights(op):
                x_scale = self.classes.encoding(op.operands[0]).scale
                quantize_weights(op, x_scale, self.per_channel, self.store)
            elif op in self.plan.norms:
                continue
            elif isinstance(op, ConvOp | MatMulOp) or (
                kind == "accumulate" and isinstance(op, MapOp) and op.fn.data in BINARY
            ):
                for index, operand in enumerate(op.operands[:2]):
                    if (array := constant_array(operand, self.store)) is not None:
                        low = max(float(array.min()), self.plan.floors.get(op, -math.inf))
                        encoding = activation_encoding(low, float(array.max()))
                        quantize_constant(op, index, array, encoding, self.store)
            elif kind == "move" and isinstance(op, ConcatOp):
                self._concat(op)
        for value in self.plan.values:
            self._value(value)
        for value, places in self.plan.demanded.items():
            self._demanded(value, places)

    def _concat(self, op: ConcatOp) -> None:
        """Re-encode those operands of a concatenation that kept an encoding of their own."""
        encoding, joined = self.classes.encoding(op.result), self.classes.find(op.result)
        for index, operand in enumerate(op.args):
            if (array := constant_array(operand, self.store)) is not None:
                quantize_constant(op, index, array, encoding, self.store)
            elif self.classes.find(operand) is not joined:
                pair = _pair(operand, encoding, op)
                pair[0].attributes.pop("tensor", None)
                pair[1].attributes.pop("tensor", None)
                self.block.insert_ops_before(pair, op)
                op.operands[index] = pair[1].result

    def _value(self, value: SSAValue) -> None:
        """Encode `value` for all its uses (but for tables that start from the same root)."""
        owner = value.owner
        assert isinstance(owner, Operation)
        pair = _pair(value, self.classes.encoding(value), owner)
        is_table = self.plan.kinds[owner] == "table"
        value.replace_uses_with_if(
            pair[1].result,
            lambda use: (
                use.operation is not pair[0]
                and not (is_table and stays_inside(self.plan, value, use.operation))
            ),
        )
        self.block.insert_ops_after(pair, owner)

    def _demanded(self, value: SSAValue, places: list[tuple[Operation, int]]) -> None:
        """Encode real `value` where quantised operations read it."""
        owner = value.owner
        pair = _pair(
            value, self.classes.encoding(value), owner if isinstance(owner, Operation) else None
        )
        if isinstance(owner, Operation):
            self.block.insert_ops_after(pair, owner)
        elif self.block.first_op is not None:
            self.block.insert_ops_before(pair, self.block.first_op)
        for op, index in places:
            if op.operands[index] is value:  # else a concatenation has re-encoded it
                op.operands[index] = pair[1].result


def _prepare(block: Block, ctx: CompilerContext) -> Plan:
    """Bring what can be quantised into a form that quantises well, and decide what will be."""
    store = ctx.constants
    restore_products(list(block.ops), store)
    widen_halves(block, store)
    split_prelu(list(block.ops), store)
    add_masks(block, store)
    split_biases(list(block.ops))
    mark_geometry(_names(op.results[0] for op in block.ops if computes_both_factors(op)), ctx)
    plan = make_plan(block, store)
    return make_plan(block, store) if fuse_channel_affine(plan, store) else plan


def _names(values: Iterable[SSAValue]) -> Iterator[tuple[SSAValue, str]]:
    """Values with names that do not depend on shapes: that of the ONNX tensor where there is one.

    Values that the compiler has made are counted by ONNX node.
    """
    counts: dict[str, int] = {}
    for value in values:
        owner = value.owner
        tensor = owner.attributes.get("tensor") if isinstance(owner, Operation) else None
        if isinstance(tensor, StringAttr):
            yield value, tensor.data
            continue
        near = (
            ",".join(onnx_nodes(owner)) if isinstance(owner, Operation) else f"%{value.name_hint}"
        )
        counts[near] = counts.get(near, -1) + 1
        yield value, f"{near}#{counts[near]}"


def _known_range(value: SSAValue, name: str, ctx: CompilerContext) -> tuple[float, float]:
    if (found := ctx.ranges.get(name)) is None:
        raise InputError(
            f"calibration has seen no values of {name!r}",
            hint="calibrate with inputs of these shapes as well",
        )
    return found


ROWS = "row maxima of "
"""Prefix of the ranges of the greatest elements of rows."""


def _noise(module: ModuleOp, plan: Plan, ctx: CompilerContext) -> dict[Operation, float]:
    """What rounding does to the normalisations of `plan`: measured now, or before."""
    names = [f"noise of {name}" for _, name in _names(op.results[0] for op in plan.norms)]
    if ctx.calibration is None:
        known = [ctx.ranges.get(name, (0.0, 0.0))[1] for name in names]
        return dict(zip(plan.norms, known, strict=True))
    noise = measure(module, plan, ctx.constants, ctx.calibration)
    ctx.ranges.update((name, (0.0, noise[op])) for op, name in zip(noise, names, strict=True))
    return noise


@dataclass(frozen=True)
class QuantizeInsertPass(Pass):
    """Calibrate ranges and insert 8-bit quantize/dequantize pairs around what will be integer.

    `method` is "minmax" or "percentile" (of which `percentile` percent of the values are kept);
    `per_channel` gives each output channel's weights a scale of their own; `bias_correction` takes
    the mean error of each output channel out of its bias.
    """

    name = "quantize-insert"
    method: Literal["minmax", "percentile"] = "minmax"
    percentile: float = 99.99
    per_channel: bool = True
    bias_correction: bool = True
    tolerance = float("inf")

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Calibrate and insert; InputError without usable calibration data."""
        block = main_function(module).body.block
        if any(isinstance(op, QuantizeOp | DequantizeOp) for op in block.ops):
            ctx.notes.append("the model is already quantised: its own encodings are kept")
            restore_weights(block, self.per_channel, ctx.constants)
            return
        plan = _prepare(block, ctx)
        if not plan.kinds:
            ctx.notes.append("nothing to quantise: no convolution or matrix product")
            return
        if ctx.calibration is None and not ctx.ranges:
            raise InputError(
                "quantising needs calibration data",
                hint="give sample inputs with --calibration FILE.npz",
            )
        if noisy := noisy_norms(plan, _noise(module, plan, ctx)):
            plan = make_plan(block, ctx.constants, noisy)
        wanted = dict.fromkeys([*plan.values, *plan.demanded])
        correctable = targets(plan) if self.bias_correction and ctx.calibration else {}
        rows = row_maxima(plan)
        if ctx.calibration is None:
            for value, name in _names(rows):
                rows[value].low, rows[value].high = _known_range(value, ROWS + name, ctx)
            ranges = {value: _known_range(value, name, ctx) for value, name in _names(wanted)}
        else:
            make = observer_factory(self.method, self.percentile)
            seen = {**rows, **observers(correctable)}
            ranges = calibrate(module, ctx.constants, ctx.calibration, wanted, make, seen)
            ctx.ranges.update((name, ranges[value]) for value, name in _names(wanted))
            ctx.ranges.update(
                (ROWS + name, (rows[v].low, rows[v].high)) for v, name in _names(rows)
            )
        narrow(plan, ranges, rows)
        classes = build_classes(plan, ranges, ctx.constants)
        Inserter(block, plan, classes, ctx.constants, self.per_channel).run()
        if correctable and ctx.calibration is not None:
            correct_biases(module, ctx.constants, ctx.calibration, correctable)


PASS = QuantizeInsertPass

"""Which operations of a float graph become integer, and which values get one encoding.

Decided before anything is rewritten: a forward walk finds what could be integer, a backward walk
what of that leads to an anchor through nothing but such operations, a second forward walk decides.

* *Anchors* - convolutions and matrix products - are always quantised, whether their weights are
  constant or computed at run time (attention), but for geometry (`geometry.py`).  Mean pooling is
  quantised where its input already is, or is a model input.
* *Data movement* (`movement.py`) keeps the encoding of what it moves.
* *Elementwise operations* are quantised where all their operands are: functions of one value (any
  expression of maps and scalar constants over it) become one table; add, sub and mul of two
  tensors become integer arithmetic; ReLU and clip after an accumulating operation are fused.
* *Softmax* of a quantised tensor, and *normalisations* (`norm_patterns.py`) of any that 8 bits
  express well (`norm_noise.py`), become integer operations where they lead to an anchor.
* *The float tail* stays real: elementwise arithmetic that leads to no anchor, such as the exp and
  box decoding of a detector's head, whose results the user sees, or the residual stream of a
  transformer, which only normalisations read.  ReLU-like activations and sums of two tensors that
  end a backbone are not part of it.
* Linear resizes by ratios of small numbers (`interpolation.py`) that lead to an anchor are integer;
  other interpolated values are encoded where they meet quantised ones.
* *Operators of plugins* that bring an integer form use it where all their operands are quantised.
* Everything else (other normalisations, arithmetic on real values, integers) stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from xdsl.dialects.builtin import f32
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    ConcatOp,
    ConstantOp,
    ConvOp,
    CustomOp,
    MapOp,
    MatMulOp,
    PoolOp,
    ReduceOp,
    ResizeOp,
    SoftmaxOp,
    constant_array,
    is_map,
)
from ...dialects.types import element_of, int_values, shape_of
from .geometry import REAL
from .interpolation import axis_phases
from .movement import is_movement, moved_operands
from .norm_patterns import Norm, norms

CLAMPS = ("relu", "clip")
"""Activations fused into the integer operation before them, as bounds of its result."""

HIDDEN_ACTIVATIONS = (
    *CLAMPS,
    "leaky_relu",
    "silu",
    "hard_swish",
    "gelu",
    "elu",
    "selu",
    "celu",
    "mish",
)
"""Activations of hidden layers: quantised even where they end the model, unlike sigmoid."""

BINARY = ("add", "sub", "mul")

MASKED = -1e4
"""Scores from here downwards are meant as minus infinity."""


def is_constant(value: SSAValue) -> bool:
    """Whether `value` is defined by a `graph.constant`."""
    return isinstance(value.owner, ConstantOp)


def users(value: SSAValue) -> Iterator[Operation]:
    """Operations that use `value`, once per use."""
    return (use.operation for use in value.uses)


def single_user(value: SSAValue) -> Operation | None:
    """The only operation using `value`, if it is used exactly once."""
    return value.first_use.operation if value.has_one_use() and value.first_use else None


def has_constant_weights(op: Operation) -> bool:
    """Whether `op` is a float convolution or matrix product with constant weights (and bias)."""
    found = _factors(op)
    return found is not None and is_constant(found[1]) and not is_constant(found[0])


def _factors(op: Operation) -> tuple[SSAValue, SSAValue] | None:
    """Both factors of a float convolution or matrix product, if its bias is constant."""
    match op:
        case ConvOp():
            x, weights, bias = op.x, op.w, op.b
        case MatMulOp():
            x, weights, bias = op.a, op.b, op.bias
        case _:
            return None
    plain = element_of(x) == f32 and (bias is None or is_constant(bias))
    return (x, weights) if plain else None


def computes_both_factors(op: Operation) -> bool:
    """Whether `op` is a float convolution or product of two tensors computed at run time."""
    found = _factors(op)
    return found is not None and not is_constant(found[1])


def is_anchor(op: Operation) -> bool:
    """A float convolution or matrix product that is a layer, or a product of attention."""
    found = _factors(op)
    return found is not None and not all(map(is_constant, found)) and REAL not in op.attributes


def _combined(value: SSAValue) -> bool:
    """Whether arithmetic combines `value`, perhaps moved, with others (as in x - mean(x))."""
    return any(
        _combined(user.results[0])
        if is_movement(user)
        else isinstance(user, MapOp) and len(data_operands(user)) > 1
        for user in users(value)
    )


def is_mean(op: Operation) -> bool:
    """Average pooling, or a mean over exactly the spatial axes that is not a normalisation."""
    if isinstance(op, PoolOp):
        return op.kind.data == "average" and element_of(op.x) == f32
    if isinstance(op, ReduceOp) and op.kind.data == "mean" and element_of(op.x) == f32:
        rank, axes = len(shape_of(op.x)), int_values(op.axes)
        spatial = rank > 2 and axes in (tuple(range(2, rank)), tuple(range(1, rank - 1)))
        return spatial and not _combined(op.result)
    return False


def is_any_mean(op: Operation) -> bool:
    """A mean over any axes that no arithmetic combines with other values."""
    return (
        isinstance(op, ReduceOp)
        and op.kind.data == "mean"
        and element_of(op.x) == f32
        and not _combined(op.result)
    )


def has_integer_form(op: Operation) -> bool:
    """Whether `op` is an operator of a plugin, on reals, for which this brings an integer form."""
    if not isinstance(op, CustomOp) or not all(element_of(v) == f32 for v in (*op.args, op.result)):
        return False
    operator = op.registered()
    return operator is not None and operator.quantize is not None


def data_operands(op: Operation) -> list[SSAValue]:
    """Distinct operands of `op` that are not constants, in order."""
    return list(dict.fromkeys(o for o in op.operands if not is_constant(o)))


@dataclass
class Plan:
    """The decision.

    `kinds` says how each quantised operation will be computed: "accumulate" (integer arithmetic
    then requantisation), "clamp" (fused into the operation before), "table" (a function of
    `roots[result]` alone) or "move".  `values` are encoded for all their uses; `demanded` are real
    values encoded only for the (operation, operand index) that need it.  `norms` are the operations
    among `kinds` that end a normalisation, of what; `masked` the additions of (scores, mask) that a
    softmax reads, `floors` what their constant masks are cut off at (`masks.py`).
    """

    kinds: dict[Operation, str] = field(default_factory=dict[Operation, str])
    roots: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    values: list[SSAValue] = field(default_factory=list[SSAValue])
    demanded: dict[SSAValue, list[tuple[Operation, int]]] = field(
        default_factory=dict[SSAValue, list[tuple[Operation, int]]]
    )
    norms: dict[Operation, Norm] = field(default_factory=dict[Operation, Norm])
    masked: dict[Operation, tuple[SSAValue, SSAValue]] = field(
        default_factory=dict[Operation, tuple[SSAValue, SSAValue]]
    )
    floors: dict[Operation, float] = field(default_factory=dict[Operation, float])

    def is_integer(self, value: SSAValue) -> bool:
        """Whether `value` will be computed by a quantised operation."""
        return isinstance(value.owner, Operation) and value.owner in self.kinds


class Planner:
    """Makes the plan of one block; `hopes` is what could be integer (None: find that out)."""

    def __init__(
        self,
        block: Block,
        hopes: Plan | None,
        found: dict[Operation, Norm],
        real: Collection[Operation],
        store: ConstantStore,
    ):
        self.hopes, self.norms, self.real, self.store = hopes, found, real, store
        self.normalized: dict[SSAValue, list[Operation]] = {}
        for op, norm in found.items():
            self.normalized.setdefault(norm.x, []).append(op)
        self.ops = [op for op in block.ops if not isinstance(op, ConstantOp)]
        self.plan = Plan()
        self.from_input: set[SSAValue] = {a for a in block.args if element_of(a) == f32}
        self.interpolated: set[SSAValue] = set()  # real, but in the range of a quantised value
        self.feeds: set[Operation] = set()
        self.ends_plainly: set[Operation] = set()

    def run(self) -> Plan:
        """Decide everything."""
        if self.hopes is None:
            self.feeds.update(self.ops)
        else:
            for op in reversed(self.ops):
                self._look_ahead(op, self.hopes)
        for op in self.ops:
            self._decide(op)
        for op in self.plan.kinds:
            self._encode(op)
        return self.plan

    def _look_ahead(self, op: Operation, hopes: Plan) -> None:
        """Record whether `op` leads to an anchor, and whether it ends the model plainly."""
        used_by = [u for r in op.results for u in users(r)]
        ends = [n for r in op.results for n in self.normalized.get(r, ())]
        if any(
            is_anchor(u)
            or is_mean(u)
            or (u in self.feeds and (u in hopes.kinds or isinstance(u, ResizeOp) or is_movement(u)))
            for u in (*used_by, *ends)
        ):
            self.feeds.add(op)
        plain = is_movement(op) or is_map(op, *HIDDEN_ACTIVATIONS)
        plain = plain or (is_map(op, *BINARY) and not any(map(is_constant, op.operands)))
        if plain and all(u in self.ends_plainly or u.name == "func.return" for u in used_by):
            self.ends_plainly.add(op)

    def _decide(self, op: Operation) -> None:
        kind: str | None = None
        if is_anchor(op):
            kind = "accumulate"
        elif is_mean(op):
            if self._available(op.operands[0]):
                kind = "accumulate"
        elif is_any_mean(op):
            if op in self.feeds and self.plan.is_integer(op.operands[0]):
                kind = "accumulate"
        elif is_movement(op):
            kind = self._movement(op)
        elif isinstance(op, SoftmaxOp) or op in self.norms:
            self._row(op)
            return
        elif isinstance(op, MapOp) and op not in self.real:
            kind = self._map(op)
        elif has_integer_form(op):
            data = data_operands(op)
            if data and all(self._available(v) or v in self.interpolated for v in data):
                kind = "accumulate"
        elif isinstance(op, ResizeOp) and self.plan.is_integer(op.x):
            if op in self.feeds and axis_phases(op):
                self.plan.kinds[op] = "accumulate"
                return
            self.interpolated.add(op.result)
        if kind is None:
            return
        self.plan.kinds[op] = kind
        if kind == "accumulate" or isinstance(op, PoolOp | ConcatOp):
            for index, operand in enumerate(op.operands):
                if not is_constant(operand) and not self.plan.is_integer(operand):
                    self.plan.demanded.setdefault(operand, []).append((op, index))

    def _row(self, op: Operation) -> None:
        """A softmax or normalisation on the way to an anchor."""
        norm = self.norms.get(op)
        x = op.operands[0] if norm is None else norm.x
        if op not in self.feeds or (norm is None and not self.plan.is_integer(x)):
            return
        self.plan.kinds[op] = "accumulate"
        if norm is not None:
            self.plan.norms[op] = norm
            if not self.plan.is_integer(x):
                places = [(r, i) for r in norm.readers for i, o in enumerate(r.operands) if o is x]
                self.plan.demanded.setdefault(x, []).extend(places)

    def _available(self, value: SSAValue) -> bool:
        return self.plan.is_integer(value) or value in self.from_input

    def _movement(self, op: Operation) -> str | None:
        moved = [v for v in moved_operands(op) if not is_constant(v)]
        if not moved or element_of(op.results[0]) != f32:
            return None
        if all(v in self.from_input for v in moved):
            self.from_input.add(op.results[0])
            return "move" if isinstance(op, PoolOp) else None
        tail_join = (
            isinstance(op, ConcatOp) and op not in self.feeds and op not in self.ends_plainly
        )
        return "move" if self._all_encodable(moved) and not tail_join else None

    def _mask(self, op: MapOp) -> tuple[SSAValue, SSAValue] | None:
        """(scores, mask) if `op` adds a real or very negative mask, for a softmax alone."""
        if op.fn.data != "add" or not isinstance(single_user(op.result), SoftmaxOp):
            return None
        for scores, mask in (tuple(op.args), tuple(op.args)[::-1]):
            if not self.plan.is_integer(scores) or self.plan.is_integer(mask):
                continue
            array = constant_array(mask, self.store)
            if not is_constant(mask) or (
                array is not None and array.size and array.min() <= MASKED
            ):
                return scores, mask
        return None

    def _joins(self, op: MapOp, data: list[SSAValue]) -> bool:
        """Whether binary `op` combines a quantised tensor with one that is also read quantised."""
        integer = [self.plan.is_integer(v) for v in data]
        return (
            op.fn.data in BINARY
            and any(integer)
            and all(i or v in self.plan.demanded for i, v in zip(integer, data, strict=True))
        )

    def _all_encodable(self, values: list[SSAValue]) -> bool:
        """Whether `values` are quantised, or (some) interpolated from quantised values."""
        integer = [self.plan.is_integer(v) for v in values]
        return any(integer) and all(
            i or v in self.interpolated for i, v in zip(integer, values, strict=True)
        )

    def _map(self, op: MapOp) -> str | None:
        data = data_operands(op)
        if not data or element_of(op.result) != f32:
            return None
        masked = self._mask(op)
        if not (self._all_encodable(data) or self._joins(op, data) or masked):
            return None
        plan = self.plan
        owner = data[0].owner
        before = plan.kinds.get(owner) if isinstance(owner, Operation) else None
        if (
            op.fn.data in CLAMPS
            and single_user(data[0]) is op
            and before in ("accumulate", "clamp")
        ):
            return "clamp"
        if op not in self.feeds and op not in self.ends_plainly:
            return None
        roots = list(dict.fromkeys(plan.roots.get(v, v) for v in data))
        constants = [o for o in op.operands if is_constant(o)]
        scalars = all(math.prod(shape_of(c)) == 1 for c in constants)
        if len(roots) == 1 and scalars and shape_of(op.result) == shape_of(data[0]):
            plan.roots[op.result] = roots[0]
            return "table"
        if masked:
            plan.masked[op] = masked
        return "accumulate" if op.fn.data in BINARY else None

    def _encode(self, op: Operation) -> None:
        """Note the result of `op` if its real value will be rounded to 8 bits."""
        plan, result = self.plan, op.results[0]
        match plan.kinds[op]:
            case "accumulate" | "clamp":
                user = single_user(result)
                if user is None or plan.kinds.get(user) != "clamp":
                    plan.values.append(result)
            case "table":
                if escapes(plan, result):
                    plan.values.append(result)
            case _:
                pass


def stays_inside(plan: Plan, value: SSAValue, user: Operation) -> bool:
    """Whether `user` and table expression `value` become (parts of) tables over the same root."""
    return plan.kinds.get(user) == "table" and plan.roots[user.results[0]] is plan.roots.get(value)


def escapes(plan: Plan, value: SSAValue) -> bool:
    """Whether an intermediate of a table expression is also used outside tables over its root."""
    return not all(stays_inside(plan, value, u) for u in users(value))


def make_plan(
    block: Block, store: ConstantStore, real: Collection[Operation] = frozenset()
) -> Plan:
    """Decide what becomes integer in `block`; none of `real` does."""
    found = {op: norm for op, norm in norms(block.ops, store).items() if op not in real}
    hopes = Planner(block, None, found, real, store).run()
    return Planner(block, hopes, found, real, store).run()

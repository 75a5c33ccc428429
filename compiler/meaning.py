"""`--verify semantic`: the same random inputs before and after each pass give the same results.

The meaning of a module is what the reference semantics of its level compute.  After a pass, the
outputs are compared with those before it; so are all intermediate values that carry the name of an
ONNX tensor on both sides, which is how the first operation that diverges is found.  Integers must
be equal, reals within the pass's tolerance (||y - y_ref|| / (||y_ref|| + eps)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, MemRefType, ModuleOp
from xdsl.ir import Operation, SSAValue

from ..dialects.constants import Array
from ..dialects.graph import quantization
from ..dialects.locations import describe
from ..dialects.types import numpy_dtype, shaped, strings
from ..passes.base import CompilerContext, Pass, main_function
from ..passes.properties import PROPERTIES
from ..passes.rewriting import tensor_name


def relative_error(reference: Array, value: Array) -> float:
    """||value - reference|| / (||reference|| + eps) of finite elements; inf if shapes differ."""
    if reference.shape != value.shape:
        return float("inf")
    a, b = reference.astype(np.float64).ravel(), value.astype(np.float64).ravel()
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, b - a)
    if not np.isfinite(difference).all():
        return float("inf")
    finite = np.where(np.isfinite(a), a, 0.0)
    return float(np.linalg.norm(difference) / (np.linalg.norm(finite) + 1e-12))


def random_inputs(ctx: CompilerContext, module: ModuleOp, seed: int = 0) -> list[Array]:
    """Inputs of `@main`: the first calibration sample where there is one, else seeded random."""
    func = main_function(module)
    names = strings(func.attributes.get("input_names"))
    rng = np.random.default_rng(seed)
    out: list[Array] = []
    count = func.attributes.get("num_inputs")  # in memref form the outputs follow the inputs
    types = [shaped(t) for t in func.function_type.inputs]
    if isinstance(count, IntegerAttr):
        types = types[: count.value.data]
    for index, type in enumerate(types):
        shape, dtype = type.get_shape(), numpy_dtype(type.element_type)
        given = (ctx.calibration or {}).get(names[index]) if index < len(names) else None
        if given is not None:
            sample = given if given.shape == shape else given[0]
            out.append(np.ascontiguousarray(sample.astype(dtype)))
        elif dtype.kind in "fV":
            out.append(rng.standard_normal(shape).astype(dtype))
        elif dtype.kind == "b":
            out.append(rng.integers(0, 2, shape).astype(dtype))
        else:
            out.append(rng.integers(0, 8, shape).astype(dtype))
    return out


Values = dict[str, tuple[Array, str]]
"""Real value of each named tensor and a description of the operation that computes it."""


def evaluate(
    ctx: CompilerContext, module: ModuleOp, inputs: Sequence[Array]
) -> tuple[list[Array], Values]:
    """Outputs of the module by the semantics of its level, and its named intermediate values."""
    named: Values = {}
    if PROPERTIES["graph"](module) is None and PROPERTIES["loop"](module) is not None:
        from ..dialects.semantics import graph

        def observe(op: Operation, value: SSAValue, array: Array) -> None:
            if (name := tensor_name(op)) is not None and value is op.results[0]:
                named[name] = (dequantized(value.type, array), describe(op))

        return graph.evaluate(module, list(inputs), ctx.constants, observe), named
    from .staged import evaluate_loops

    return evaluate_loops(ctx, module, inputs), named


def dequantized(type: Any, array: Array) -> Array:
    """The real values of a tensor that may carry a per-tensor quantisation encoding."""
    encoding = quantization(type) if not isinstance(type, MemRefType) else None
    if encoding is None or encoding.axis_index is not None:
        return array
    return (array.astype(np.float64) - encoding.zero_point) * encoding.scale


class MeaningCheck:
    """Holds the reference outputs and compares after each pass."""

    def __init__(self, ctx: CompilerContext, module: ModuleOp):
        self.ctx = ctx
        self.inputs = random_inputs(ctx, module)
        self.outputs, self.named = evaluate(ctx, module, self.inputs)

    def after(self, transform: Pass, module: ModuleOp) -> str | None:
        """What is wrong if `transform` moved any output further than it may, else None."""
        outputs, named = evaluate(self.ctx, module, self.inputs)
        worst = max(
            (self._error(a, b) for a, b in zip(self.outputs, outputs, strict=True)), default=0.0
        )
        if worst > transform.tolerance:
            return (
                f"pass {transform.name!r} changed the meaning of the program: "
                f"relative error {worst:.3g} exceeds {transform.tolerance:.3g}; "
                f"first diverging operation: {self._first(named, transform)}"
            )
        self.outputs, self.named = outputs, named
        return None

    def _first(self, named: Values, transform: Pass) -> str:
        for name, (value, operation) in named.items():
            if name in self.named and value.shape == self.named[name][0].shape:
                error = self._error(self.named[name][0], value)
                if error > transform.tolerance:
                    return f"{operation}, tensor {name!r} (relative error {error:.3g})"
        return "not among the named tensors"

    @staticmethod
    def _error(reference: Array, value: Array) -> float:
        if reference.dtype.kind in "iub" and value.dtype == reference.dtype:
            return (
                0.0
                if np.array_equal(reference, value)
                else max(relative_error(reference, value), 1e-3)
            )
        return relative_error(reference, value)

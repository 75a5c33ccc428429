"""Reference semantics of the graph dialect: numpy arrays in, numpy arrays out.

    outputs = evaluate(module, {"image": array}, store)

One function per operation class, in the family files beside this one; results have exactly the
element type and shape of the operation's result type, which `evaluate` checks.  Floating-point
results are f32 throughout for f32 operands (sums in whatever order BLAS chooses); integer results
are exact and are what every other level must reproduce bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...constants import Array, ConstantStore
from ...errors import InputError, IRError
from ...graph import RegionOp, YieldOp
from ...locations import describe
from ...types import element_of, numpy_dtype, shape_of
from .dispatch import HANDLERS

__all__ = ["Observer", "evaluate", "evaluate_op"]

Observer = Callable[[Operation, SSAValue, Array], None]
"""Called with each operation, each of its results, and the value computed for it."""


def evaluate_op(
    op: Operation, args: Sequence[Array], store: ConstantStore, observe: Observer | None = None
) -> list[Array]:
    """Results of one operation (a `graph.region` included) on operand values `args`.

    IRError if `op` is not an operation of the graph dialect; AssertionError if a result does not
    have the type the operation declares (a bug in tilewright).
    """
    if isinstance(op, RegionOp):
        return _run(op.block, list(args), store, observe)
    handler = HANDLERS.get(type(op))
    if handler is None:
        raise IRError(f"{describe(op)} has no graph semantics")
    outputs = [handler(op, args, store)]
    for result, value in zip(op.results, outputs, strict=True):
        expected = (shape_of(result), numpy_dtype(element_of(result)))
        if (value.shape, value.dtype) != expected:
            raise AssertionError(f"{describe(op)}: got {value.dtype}{value.shape}, not {expected}")
    return outputs


def evaluate(
    module: ModuleOp | FuncOp,
    inputs: Mapping[str, Array] | Sequence[Array],
    store: ConstantStore,
    observe: Observer | None = None,
) -> list[Array]:
    """Outputs of `@main` (or of the given function), in order.

    `inputs` are by ONNX input name (`input_names` of the function) or in order.  `observe` sees
    every value, also inside regions.  Values are freed after their last use.  InputError if an
    input is missing or has another shape or dtype.
    """
    func = module if isinstance(module, FuncOp) else _main(module)
    block = func.body.block
    if isinstance(inputs, Mapping):
        names = _names(func, len(block.args))
        if missing := [n for n in names if n not in inputs]:
            raise InputError(f"missing input {missing[0]!r}")
        inputs = [inputs[n] for n in names]
    if len(inputs) != len(block.args):
        raise InputError(f"expected {len(block.args)} inputs, got {len(inputs)}")
    for i, (arg, value) in enumerate(zip(block.args, inputs, strict=True)):
        shape, dtype = shape_of(arg), numpy_dtype(element_of(arg))
        if value.shape != shape or value.dtype != dtype:
            raise InputError(f"input {i} is {value.dtype}{value.shape}, expected {dtype}{shape}")
    return _run(block, list(inputs), store, observe)


def _main(module: ModuleOp) -> FuncOp:
    for op in module.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise IRError("the module has no func.func @main")


def _names(func: FuncOp, count: int) -> list[str]:
    attr = func.attributes.get("input_names")
    if not isinstance(attr, ArrayAttr):
        return [str(i) for i in range(count)]
    return [str(a.data) for a in attr.data if isinstance(a, StringAttr)]  # pyright: ignore[reportUnknownVariableType]


def _run(
    block: Block, args: list[Array], store: ConstantStore, observe: Observer | None
) -> list[Array]:
    """Evaluate a block; the operands of its terminator are the outputs."""
    last: dict[SSAValue, Operation] = {}
    for op in block.ops:
        for operand in op.operands:
            last[operand] = op
    values: dict[SSAValue, Array] = dict(zip(block.args, args, strict=True))
    args.clear()
    for op in block.ops:
        operands = [values[o] for o in op.operands]
        if isinstance(op, ReturnOp | YieldOp):
            return operands
        results = evaluate_op(op, operands, store, observe)
        for operand in op.operands:
            if last[operand] is op:
                values.pop(operand, None)
        for result, value in zip(op.results, results, strict=True):
            if observe is not None:
                observe(op, result, value)
            if result in last:
                values[result] = value
    raise IRError("a block of the graph dialect must end in func.return or graph.yield")

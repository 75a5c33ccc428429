"""Elementwise operations with numpy broadcasting: `graph.map` and `graph.cast`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xdsl.dialects.builtin import DictionaryAttr, StringAttr, TensorType
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..scalar import SCALAR_FUNCTIONS, check_operands
from ..types import Param, element_of, params_attr, params_dict, shape_of, string, tensor
from .base import GraphOp, broadcast_shapes, expect_shape


@irdl_op_definition
class MapOp(GraphOp):
    """Apply one scalar function (see `dialects/scalar.py`) to broadcast operands.

    `%y = graph.map "clip" %x {params = {max = 6.0 : f64, min = 0.0 : f64}} : ...`
    """

    name = "graph.map"
    args = var_operand_def(TensorType)
    fn = prop_def(StringAttr)
    params = opt_prop_def(DictionaryAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$fn $args attr-dict `:` functional-type($args, $result)"

    def __init__(
        self, fn: str, args: Sequence[SSAValue], params: dict[str, Param] | None = None,
        *, element: Attribute | None = None, encoding: Attribute | None = None,
    ):  # fmt: skip
        inferred = element or SCALAR_FUNCTIONS[fn].result_type([element_of(a) for a in args])
        assert inferred is not None, f"result element type of {fn} must be given"
        shape = broadcast_shapes(*(shape_of(a) for a in args))
        super().__init__(
            operands=[list(args)],
            properties={"fn": string(fn), "params": params_attr(params) if params else None},
            result_types=[tensor(shape, inferred, encoding)],
        )

    @property
    def param_values(self) -> dict[str, Param]:
        """Parameters by name, defaults of the scalar function included."""
        return {**SCALAR_FUNCTIONS[self.fn.data].params, **params_dict(self.params)}

    def verify_(self) -> None:
        """The function fits the element types; the result is the broadcast shape."""
        types = [element_of(a) for a in self.args]
        if why := check_operands(
            self.fn.data, types, element_of(self.result), params_dict(self.params)
        ):
            raise VerifyException(f"graph.map: {why}")
        try:
            expect_shape(self, self.result, broadcast_shapes(*(shape_of(a) for a in self.args)))
        except ValueError as error:
            raise VerifyException(f"graph.map: {error}") from None


@irdl_op_definition
class CastOp(GraphOp):
    """Convert elements: floats to integers truncate towards zero, to i1 compare with zero."""

    name = "graph.cast"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x: SSAValue, element: Attribute):
        super().__init__(operands=[x], result_types=[tensor(shape_of(x), element)])

    def verify_(self) -> None:
        """The shape is kept."""
        expect_shape(self, self.result, shape_of(self.x))


Elementwise = MapOp | CastOp


def is_map(op: Any, *fns: str) -> bool:
    """Whether `op` is a `graph.map` of one of `fns`."""
    return isinstance(op, MapOp) and op.fn.data in fns

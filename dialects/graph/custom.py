"""`graph.custom`: an operator of a plugin, opaque to every pass.

    %y = graph.custom "com.example" "Blend" %a, %b {output = 0 : i64, params = {alpha = 0.5 : f64}}

What it means is the plugin's (`dialects/plugins.py`): `evaluate` is its semantics, `lower` its loop
nest, `quantize` its integer form.  Like all operations it has one result; a node with several
outputs is an operation for each.  No pass moves anything through it or changes its types, and it
is as pure as `evaluate` must be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from xdsl.dialects.builtin import (
    ArrayAttr,
    BytesAttr,
    DictionaryAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ..locations import describe
from ..plugins import Operator, TensorSpec, find_operator
from ..types import element_of, integer, numpy_dtype, real, shape_of, string
from .base import GraphOp


def plain_attribute(value: Any) -> Attribute:
    """An int, float, str or list of them as an attribute; TypeError for anything else."""
    if isinstance(value, list):
        return ArrayAttr([plain_attribute(v) for v in cast("list[Any]", value)])
    if isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise TypeError("texts that are not UTF-8 have no form in IR")
        return string(value)
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return real(value)
    raise TypeError(f"{type(value).__name__} attributes have no form in IR")


def plain_value(attr: Attribute) -> Any:
    """The inverse of `plain_attribute`; VerifyException for other attributes."""
    if isinstance(attr, ArrayAttr):
        return [plain_value(a) for a in cast("ArrayAttr[Attribute]", attr)]
    if isinstance(attr, StringAttr):
        return attr.data
    if isinstance(attr, BytesAttr):  # what the parser makes of texts beyond ASCII
        return attr.data.decode()
    if isinstance(attr, IntegerAttr | FloatAttr):
        return attr.value.data
    raise VerifyException(f"graph.custom: parameter {attr} is no number, string or list of them")


@irdl_op_definition
class CustomOp(GraphOp):
    """Output number `output` of the operator `operator` of a plugin's `domain`."""

    name = "graph.custom"
    args = var_operand_def(TensorType)
    domain = prop_def(StringAttr)
    operator = prop_def(StringAttr)
    output = prop_def(IntegerAttr)
    params = prop_def(DictionaryAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$domain $operator $args attr-dict `:` functional-type($args, $result)"

    def __init__(
        self, operator: Operator, args: Sequence[SSAValue], attributes: Mapping[str, Any],
        type: TensorType[Any], output: int = 0,
    ):  # fmt: skip
        super().__init__(
            operands=[list(args)],
            properties={
                "domain": string(operator.domain),
                "operator": string(operator.name),
                "output": integer(output),
                "params": DictionaryAttr({k: plain_attribute(v) for k, v in attributes.items()}),
            },
            result_types=[type],
        )

    @property
    def attribute_values(self) -> dict[str, Any]:
        """The node's attributes, as every hook gets them."""
        return {name: plain_value(attr) for name, attr in self.params.data.items()}

    def registered(self) -> Operator | None:
        """The plugin's operator, if it is there."""
        return find_operator(self.domain.data, self.operator.data)

    def verify_(self) -> None:
        """Parameters are plain; the result is what the operator, if it is there, infers."""
        attributes = self.attribute_values
        index = self.output.value.data
        if (operator := self.registered()) is None:
            return
        specs = [TensorSpec(numpy_dtype(element_of(a)), shape_of(a)) for a in self.args]
        found = operator.types(specs, attributes, describe(self))
        made = TensorSpec(numpy_dtype(element_of(self.result)), shape_of(self.result))
        if not 0 <= index < len(found):
            raise VerifyException(f"graph.custom: {operator} has no output {index}")
        if made != found[index]:
            raise VerifyException(f"graph.custom: {operator} infers {found[index]}, not {made}")

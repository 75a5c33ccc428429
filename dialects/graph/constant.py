"""`graph.constant`: an array of the constant store, or a small literal.

    %w = graph.constant #graph.ref<"5f2c..."> : tensor<64x3x7x7xf32>
    %s = graph.constant dense<[1, -1]> : tensor<2xi64> : tensor<2xi64>

Integers of at most 16 elements are literals, so that shapes can be read in dumps; everything else
is in the store (text of dense floating-point literals is not lossless for infinities).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, LocationAttr, TensorType
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, prop_def, result_def, traits_def
from xdsl.traits import ConstantLike, Pure
from xdsl.utils.exceptions import VerifyException

from ..constants import Array, ConstantStore
from ..types import element_of, element_type, numpy_dtype, shape_of, string, tensor
from .attributes import ConstantRefAttr
from .base import GraphOp

LITERAL_LIMIT = 16
"""Integer constants of at most this many elements are kept as literals in the IR."""


@irdl_op_definition
class ConstantOp(GraphOp):
    """A constant tensor."""

    name = "graph.constant"
    value = prop_def(Attribute)
    result = result_def(TensorType)
    traits = traits_def(Pure(), ConstantLike())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$value attr-dict `:` type($result)"

    def __init__(self, value: Attribute, type: TensorType[Any]):
        super().__init__(properties={"value": value}, result_types=[type])

    @staticmethod
    def from_array(
        array: Array,
        store: ConstantStore,
        *,
        encoding: Attribute | None = None,
        location: LocationAttr | None = None,
    ) -> ConstantOp:
        """A constant holding `array` (stored uncopied, or literal when small and integer)."""
        array = np.asarray(array)
        type = tensor(array.shape, element_type(array.dtype), encoding)
        if array.size <= LITERAL_LIMIT and array.dtype.kind == "i" and array.size:
            value: Attribute = DenseIntOrFPElementsAttr.from_list(
                tensor(array.shape, type.element_type), array.reshape(-1).tolist()
            )
        else:
            value = ConstantRefAttr(string(store.add(array)))
        op = ConstantOp(value, type)
        if location is not None:
            op.location = location
        return op

    def array(self, store: ConstantStore) -> Array:
        """The (read-only) contents, in the shape and dtype of the result."""
        shape, dtype = shape_of(self.result), numpy_dtype(element_of(self.result))
        if isinstance(self.value, ConstantRefAttr):
            found = store[self.value.key.data]
            return found if found.shape == shape else found.reshape(shape)
        assert isinstance(self.value, DenseIntOrFPElementsAttr)
        values = np.array(self.value.get_values(), dtype)
        return (
            np.broadcast_to(values.reshape(()), shape)
            if values.size == 1
            else values.reshape(shape)
        )

    def verify_(self) -> None:
        """The value is a store reference or a dense literal of the result's shape."""
        if isinstance(self.value, ConstantRefAttr):
            return
        if not isinstance(self.value, DenseIntOrFPElementsAttr):
            raise VerifyException("graph.constant: value must be #graph.ref<...> or dense<...>")
        if self.value.get_shape() != shape_of(self.result):
            raise VerifyException("graph.constant: literal and result shapes differ")


def constant_array(value: SSAValue, store: ConstantStore) -> Array | None:
    """The contents of `value` if it is defined by a `graph.constant`, else None."""
    owner = value.owner
    return owner.array(store) if isinstance(owner, ConstantOp) else None

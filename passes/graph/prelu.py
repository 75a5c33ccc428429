"""Parametric ReLU with a slope per channel, in a form every part of which quantises.

    select(x < 0, x * s, x)   ==>   relu(x) + clip(x, max = 0) * s

The two are equal for every finite x.  The first needs a boolean tensor and real arithmetic; of the
second, ReLU and clip become tables, and product and sum integer arithmetic.  (A single slope for
all channels is a `leaky_relu` already.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import Operation

from ...dialects.constants import ConstantStore
from ...dialects.graph import MapOp, constant_array, is_map
from ...dialects.types import element_of, shape_of
from ..rewriting import erase_dead, replace


def split_prelu(ops: Iterable[Operation], store: ConstantStore) -> None:
    """Rewrite every such `select` of `ops`, as above."""
    for op in ops:
        if not isinstance(op, MapOp) or op.fn.data != "select" or element_of(op.result) != f32:
            continue
        condition, scaled, x = op.args
        below, product = condition.owner, scaled.owner
        if not (
            is_map(below, "less") and is_map(product, "mul") and shape_of(x) == shape_of(op.result)
        ):
            continue
        assert isinstance(below, MapOp) and isinstance(product, MapOp)
        zero = constant_array(below.args[1], store)
        slope = next((v for v in product.args if v is not x), x)
        if below.args[0] is not x or zero is None or np.any(zero) or x not in product.args:
            continue
        if (array := constant_array(slope, store)) is None or not np.isfinite(array).all():
            continue
        above = MapOp("relu", [x])
        under = MapOp("clip", [x], {"max": 0.0})
        part = MapOp("mul", [under.result, slope])
        replace(op, [above, under, part, MapOp("add", [above.result, part.result])])
        erase_dead([below, product])

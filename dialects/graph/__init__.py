"""The graph dialect: what is computed.

Value semantics over ranked tensors; about twenty-five core operators that ONNX is mapped onto.
The function is a `func.func @main` whose attributes `input_names` and `output_names` hold the
model's own names.  One file a family: `constant`, `elementwise`, `nn`, `shape`, `quant`, `region`,
`custom`.
"""

from __future__ import annotations

from xdsl.ir import Dialect

from .attributes import ConstantRefAttr, QuantAttr, quantization
from .base import GraphOp, broadcast_shapes, channel_axis, spatial_axes
from .constant import ConstantOp, constant_array
from .custom import CustomOp
from .elementwise import CastOp, MapOp, is_map
from .nn import ConvOp, MatMulOp, PoolOp, accumulator_type
from .quant import DequantizeOp, LookupOp, QAddOp, QMulOp, QuantizeOp, RequantizeOp
from .reduction import ArgReduceOp, BatchNormOp, ReduceOp, SoftmaxOp
from .region import RegionOp, YieldOp, device_of, place
from .rows import QNormOp, QSoftmaxOp
from .shape import BroadcastOp, ConcatOp, GatherOp, PadOp, ReshapeOp, ResizeOp, SliceOp, TransposeOp

GRAPH = Dialect(
    "graph",
    [
        ConstantOp, MapOp, CastOp, ConvOp, MatMulOp, PoolOp, ReduceOp, ArgReduceOp, BatchNormOp,
        SoftmaxOp, TransposeOp, ReshapeOp, BroadcastOp, ConcatOp, SliceOp, PadOp, GatherOp,
        ResizeOp, QuantizeOp, DequantizeOp, RequantizeOp, LookupOp, QAddOp, QMulOp, QSoftmaxOp,
        QNormOp, RegionOp, YieldOp, CustomOp,
    ],
    [ConstantRefAttr, QuantAttr],
)  # fmt: skip

__all__ = [
    "GRAPH", "ArgReduceOp", "BatchNormOp", "BroadcastOp", "CastOp", "ConcatOp", "ConstantOp",
    "ConstantRefAttr", "ConvOp", "CustomOp", "DequantizeOp", "GatherOp", "GraphOp", "LookupOp",
    "MapOp", "MatMulOp", "PadOp", "PoolOp", "QAddOp", "QMulOp", "QNormOp", "QSoftmaxOp",
    "QuantAttr", "QuantizeOp", "ReduceOp", "RegionOp", "RequantizeOp", "ReshapeOp", "ResizeOp",
    "SliceOp", "SoftmaxOp", "TransposeOp", "YieldOp", "accumulator_type", "broadcast_shapes",
    "channel_axis", "constant_array", "device_of", "is_map", "place", "quantization",
    "spatial_axes",
]  # fmt: skip

"""Attributes of the graph dialect: constant references and quantisation encodings."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    DenseArrayBase,
    Float64Type,
    IntegerAttr,
    IntegerType,
    NoneAttr,
    StringAttr,
    TensorType,
    f64,
    i64,
)
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from ..types import int_values, integer, ints


@irdl_attr_definition
class ConstantRefAttr(ParametrizedAttribute):
    """`#graph.ref<"key">`: an array in the compilation's constant store, by content key."""

    name = "graph.ref"
    key: StringAttr = param_def()


@irdl_attr_definition
class QuantAttr(ParametrizedAttribute):
    """`#graph.quant<[scale, ...], [zero_point, ...]>` or with `, axis = n`: a tensor's encoding.

    real = (stored - zero_point) * scale, per tensor (one entry) or per index of `axis`.
    """

    name = "graph.quant"
    scales: DenseArrayBase[Float64Type] = param_def()
    zero_points: DenseArrayBase[IntegerType] = param_def()
    axis: Attribute = param_def()

    @staticmethod
    def get(
        scales: Sequence[float], zero_points: Sequence[int], axis: int | None = None
    ) -> QuantAttr:
        """Build the attribute; per tensor when `axis` is None."""
        return QuantAttr(
            DenseArrayBase.from_list(f64, [float(s) for s in scales]),
            ints(zero_points),
            NoneAttr() if axis is None else integer(axis),
        )

    @property
    def scale(self) -> float:
        """The per-tensor scale."""
        return float(self.scales.get_values()[0])

    @property
    def zero_point(self) -> int:
        """The per-tensor zero point."""
        return int_values(self.zero_points)[0]

    @property
    def axis_index(self) -> int | None:
        """The quantised axis, or None for per-tensor."""
        return self.axis.value.data if isinstance(self.axis, IntegerAttr) else None

    def print_parameters(self, printer: Printer) -> None:
        """Print `<[0.1], [3], axis = 0>`."""
        with printer.in_angle_brackets():
            scales = ", ".join(repr(float(s)) for s in self.scales.get_values())
            printer.print_string(
                f"[{scales}], [{', '.join(map(str, int_values(self.zero_points)))}]"
            )
            if self.axis_index is not None:
                printer.print_string(f", axis = {self.axis_index}")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse what `print_parameters` prints."""
        with parser.in_angle_brackets():
            scales = parser.parse_comma_separated_list(
                parser.Delimiter.SQUARE, lambda: float(parser.parse_number())
            )
            parser.parse_punctuation(",")
            zps = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)
            axis: Attribute = NoneAttr()
            if parser.parse_optional_punctuation(","):
                parser.parse_keyword("axis")
                parser.parse_punctuation("=")
                axis = IntegerAttr(parser.parse_integer(), i64)
        return DenseArrayBase.from_list(f64, scales), ints(zps), axis


def quantization(type: Attribute) -> QuantAttr | None:
    """The quantisation encoding of a tensor type, if it has one."""
    if isinstance(type, TensorType) and isinstance(type.encoding, QuantAttr):
        return type.encoding
    return None

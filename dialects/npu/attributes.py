"""Strided descriptors and the token type of the npu dialect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, IntAttr, IntegerType
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from ..types import int_values, ints


@irdl_attr_definition
class TokenType(ParametrizedAttribute, TypeAttribute):
    """`!npu.token`: the completion of a command, waited for by others."""

    name = "npu.token"


def _parse_ints(parser: AttrParser) -> list[int]:
    return parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)


@irdl_attr_definition
class AccessAttr(ParametrizedAttribute):
    """`#npu.access<base [loop strides] sizes [..] strides [..]>` in bytes, relative to a buffer.

    address(t) = base + sum_l loops[l] * iteration(l) + sum_d strides[d] * t[d], t[d] < sizes[d];
    `loops[l]` belongs to the l-th enclosing npu.loop, outermost first (missing entries are 0).
    """

    name = "npu.access"
    base: IntAttr = param_def()
    loops: DenseArrayBase[IntegerType] = param_def()
    sizes: DenseArrayBase[IntegerType] = param_def()
    strides: DenseArrayBase[IntegerType] = param_def()

    @staticmethod
    def get(
        base: int, sizes: Sequence[int], strides: Sequence[int], loops: Sequence[int] = ()
    ) -> AccessAttr:
        """Build from Python integers (cached)."""
        return _access(base, tuple(sizes), tuple(strides), tuple(loops))

    @property
    def dims(self) -> tuple[tuple[int, int], ...]:
        """(size, stride) pairs, outermost first."""
        return tuple(zip(int_values(self.sizes), int_values(self.strides), strict=True))

    @property
    def loop_strides(self) -> tuple[int, ...]:
        """Address advance per iteration of each enclosing loop."""
        return int_values(self.loops)

    def print_parameters(self, printer: Printer) -> None:
        """`<128 [0, 64] sizes [8, 16] strides [16, 1]>`."""
        with printer.in_angle_brackets():
            printer.print_string(
                f"{self.base.data} {list(self.loop_strides)} sizes {list(int_values(self.sizes))}"
                f" strides {list(int_values(self.strides))}"
            )

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse what `print_parameters` prints."""
        with parser.in_angle_brackets():
            base = parser.parse_integer()
            loops = _parse_ints(parser)
            parser.parse_keyword("sizes")
            sizes = _parse_ints(parser)
            parser.parse_keyword("strides")
            return IntAttr(base), ints(loops), ints(sizes), ints(_parse_ints(parser))


@irdl_attr_definition
class TensorMapAttr(ParametrizedAttribute):
    """`#npu.tensor_map<extents [..] strides [..] start [..] steps [..] box [..] loops [[..], ..]>`.

    A box of a DRAM tensor: axis d of the box covers coordinates start[d] + t * steps[d],
    t < box[d],
    where start[d] advances by loops[d][l] per iteration of the l-th enclosing loop.  Extents and
    coordinates in elements, strides in bytes.  Coordinates outside [0, extent) are filled on load
    and dropped on store.
    """

    name = "npu.tensor_map"
    extents: DenseArrayBase[IntegerType] = param_def()
    strides: DenseArrayBase[IntegerType] = param_def()
    start: DenseArrayBase[IntegerType] = param_def()
    steps: DenseArrayBase[IntegerType] = param_def()
    box: DenseArrayBase[IntegerType] = param_def()
    loops: ArrayAttr[DenseArrayBase[IntegerType]] = param_def()

    @staticmethod
    def get(
        extents: Sequence[int], strides: Sequence[int], start: Sequence[int], steps: Sequence[int],
        box: Sequence[int], loops: Sequence[Sequence[int]] = (),
    ) -> TensorMapAttr:  # fmt: skip
        """Build from Python integers (cached); `loops` has one list per axis."""
        rows = tuple(tuple(r) for r in loops or [()] * len(extents))
        lists = (tuple(extents), tuple(strides), tuple(start), tuple(steps), tuple(box))
        return _tensor_map(lists, rows)

    @property
    def loop_steps(self) -> tuple[tuple[int, ...], ...]:
        """Per axis, the advance of the start coordinate per iteration of each enclosing loop."""
        return tuple(int_values(row) for row in self.loops.data)

    def print_parameters(self, printer: Printer) -> None:
        """Print all fields by name."""
        with printer.in_angle_brackets():
            fields = ("extents", "strides", "start", "steps", "box")
            printer.print_string(
                " ".join(f"{f} {list(int_values(getattr(self, f)))}" for f in fields)
            )
            printer.print_string(f" loops {[list(row) for row in self.loop_steps]}")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse what `print_parameters` prints."""
        with parser.in_angle_brackets():
            values: list[Attribute] = []
            for keyword in ("extents", "strides", "start", "steps", "box"):
                parser.parse_keyword(keyword)
                values.append(ints(_parse_ints(parser)))
            parser.parse_keyword("loops")
            rows = parser.parse_comma_separated_list(
                parser.Delimiter.SQUARE, lambda: ints(_parse_ints(parser))
            )
            return (*values, ArrayAttr(rows))


@lru_cache(maxsize=65536)
def _access(
    base: int, sizes: tuple[int, ...], strides: tuple[int, ...], loops: tuple[int, ...]
) -> AccessAttr:
    return AccessAttr(IntAttr(int(base)), ints(loops), ints(sizes), ints(strides))


@lru_cache(maxsize=65536)
def _tensor_map(
    lists: tuple[tuple[int, ...], ...], loops: tuple[tuple[int, ...], ...]
) -> TensorMapAttr:
    extents, strides, start, steps, box = (ints(row) for row in lists)
    rows = ArrayAttr([ints(row) for row in loops])
    return TensorMapAttr(extents, strides, start, steps, box, rows)

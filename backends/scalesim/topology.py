"""SCALE-Sim's topology files: one layer a line, a convolution or a matrix product.

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, ...
    conv1,      229,          229,         7,             7,            3,        64,         2,

    Layer, M, N, K,
    qkv, 128, 2304, 768,

Read as SCALE-Sim's `topology_utils.py` does: the first line is a header, columns count by position,
a row may end in a comma, the extent of an output is ceil((H - F + S) / S), and a layer whose name
holds `DP` is depthwise: it stands for one layer per channel, `NAMEChannel_0` and so on.  Version 2
has a ninth column, the stride along the width; version 3 a sparsity ratio `N:M` at the end, of
which only dense ones (N = M) are modelled here.  Blank lines and lines that start with `#` are
skipped.  Everything else is an InputError that names the file, the line and the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...dialects.errors import InputError
from .systolic import Array

CONVOLUTION = (
    "IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter",
    "Strides",
)  # fmt: skip
GEMM = ("M", "N", "K")
MAX_SIZE = 1 << 31
MAX_LAYERS = 100_000
"""Depthwise layers multiply: a hostile channel count must not."""


@dataclass(frozen=True)
class Convolution:
    """Extents of a convolution without padding: input, filter, channels, filters, strides."""

    height: int
    width: int
    filter_height: int
    filter_width: int
    channels: int
    filters: int
    stride_height: int
    stride_width: int

    @property
    def output(self) -> tuple[int, int]:
        """(height, width) of the output; a last partial step counts."""
        return (
            -(-(self.height - self.filter_height + self.stride_height) // self.stride_height),
            -(-(self.width - self.filter_width + self.stride_width) // self.stride_width),
        )


@dataclass(frozen=True)
class Layer:
    """One layer as the matrix product it is: M output pixels, N filters, K terms of a sum."""

    name: str
    m: int
    n: int
    k: int
    convolution: Convolution | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.m * self.n * self.k

    @property
    def words(self) -> tuple[int, int, int]:
        """Distinct words of input, filters and output."""
        conv = self.convolution
        inputs = conv.height * conv.width * conv.channels if conv else self.m * self.k
        return inputs, self.k * self.n, self.m * self.n


@dataclass(frozen=True)
class Topology:
    """The layers of a file, in order; `name` is the file's without its suffix."""

    name: str
    layers: tuple[Layer, ...]


def read_topology(path: str | Path) -> Topology:
    """The topology in a file; InputError if there is none or it is malformed."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"cannot read topology {str(path)!r}: {reason}") from None
    return Topology(Path(path).stem, parse_topology(text, str(path)))


def parse_topology(text: str, where: str = "topology") -> tuple[Layer, ...]:
    """The layers that `text` lists; `where` names it in errors. Raises InputError."""
    rows = _rows(text)
    line, header = next(rows, (1, list[str]()))
    if not header:
        raise InputError(f"{where}: the file is empty", hint=_HINT)
    columns = _columns(header, f"{where}, line {line}")
    layers: list[Layer] = []
    for line, cells in rows:
        layers += _layers(cells, columns, f"{where}, line {line}", MAX_LAYERS - len(layers))
    if not layers:
        raise InputError(f"{where}: there is no layer after the header in line {line}", hint=_HINT)
    return tuple(layers)


_HINT = f"columns are Layer name, {', '.join(CONVOLUTION)}; or Layer, {', '.join(GEMM)}"


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of lines with content; empty cells at the end are dropped."""
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        while cells and not cells[-1]:
            cells.pop()
        if cells and not cells[0].startswith("#"):
            yield number, cells


def _columns(header: list[str], at: str) -> tuple[str, ...]:
    """The columns of sizes that a header announces."""
    names = [cell.lower() for cell in header[1:]]
    if any(re.fullmatch(r"\d+", cell) for cell in names):
        raise InputError(
            f"{at}: there is no header, but SCALE-Sim takes the first line as one", hint=_HINT
        )
    if names[:3] == ["m", "n", "k"]:
        return GEMM
    if sorted(names[:3]) == ["k", "m", "n"]:
        raise InputError(f"{at}: columns must be M, N, K in this order", hint=_HINT)
    if len(names) >= len(CONVOLUTION):
        return CONVOLUTION
    raise InputError(f"{at}: the header has {len(names) + 1} columns", hint=_HINT)


def _layers(cells: list[str], columns: tuple[str, ...], at: str, room: int) -> list[Layer]:
    """The layers that one row stands for."""
    name, values = cells[0], cells[1:]
    if not name:
        raise InputError(f"{at}, column 1: the layer has no name")
    if values and ":" in values[-1]:
        _dense(values.pop(), f"{at}, column {len(cells)}")
    if len(values) < len(columns):
        missing = columns[len(values)]
        raise InputError(f"{at}, column {len(values) + 2}: {missing} is missing", hint=_HINT)
    extra = ("Stride Width",) if columns is CONVOLUTION else ()
    names = (*columns, *extra)
    if len(values) > len(names):
        column = len(names) + 2
        raise InputError(f"{at}, column {column}: {values[len(names)]!r} is one column too many")
    sizes = [
        _size(value, f"{at}, column {i} ({column})")
        for i, (column, value) in enumerate(zip(names, values, strict=False), 2)
    ]
    if columns is GEMM:
        m, n, k = sizes
        return [Layer(name, m, n, k)]
    height, width, filter_height, filter_width, channels, filters, stride, *wide = sizes
    for column, size, limit, what in (
        (4, filter_height, height, "Height"), (5, filter_width, width, "Width"),
    ):  # fmt: skip
        if size > limit:
            raise InputError(
                f"{at}, column {column} (Filter {what}): the filter ({size}) is larger than the"
                f" input ({limit})"
            )
    depthwise = channels if "DP" in name else 1
    if depthwise > room:
        raise InputError(
            f"{at}, column 6 (Channels): more than {MAX_LAYERS:,} layers",
            hint="a layer whose name holds DP stands for one layer per channel",
        )
    each = 1 if "DP" in name else channels
    conv = Convolution(
        height, width, filter_height, filter_width, each, filters, stride, (wide or [stride])[0]
    )
    names = [f"{name}Channel_{i}" for i in range(depthwise)] if "DP" in name else [name]
    m, k = conv.output[0] * conv.output[1], filter_height * filter_width * each
    return [Layer(n, m, filters, k, conv) for n in names]


def _size(text: str, at: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise InputError(f"{at}: {text!r} is not a whole number" if text else f"{at}: empty")
    value = int(text) if len(text) < 20 else MAX_SIZE + 1
    if not 0 < value <= MAX_SIZE:
        raise InputError(f"{at}: {text[:24]} is not between 1 and {MAX_SIZE:,}")
    return value


def _dense(ratio: str, at: str) -> None:
    kept, _, of = ratio.partition(":")
    if not (re.fullmatch(r"[0-9]{1,9}", kept) and re.fullmatch(r"[0-9]{1,9}", of) and int(of)):
        raise InputError(f"{at}: {ratio!r} is not a sparsity ratio N:M")
    if int(kept) != int(of):
        raise InputError(
            f"{at}: sparsity {ratio} is not modelled",
            hint="write 1:1 or leave the column out for a dense layer, as SCALE-Sim runs it"
            " unless SparsitySupport is on",
        )


def parse_array(text: str) -> Array:
    """The array that `RxC` names, such as 128x128; InputError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", text.strip())
    if not found or not int(found[1]) or not int(found[2]):
        raise InputError(
            f"cannot read --array {text!r}", hint="write rows x columns, such as 128x128"
        )
    return Array(int(found[1]), int(found[2]))

"""What ZigZag's model is about, as plain data: a machine's memories, a layer's loops, a mapping.

A machine is an array of multipliers, whose dimensions are unrolled by a layer's spatial mapping,
and memories from the innermost outwards.  A memory holds some of the operands W (weights), I
(inputs) and O (outputs) and `serves` array dimensions: along the others there is one per unit.
Data move in four ways, each through one of its ports: `fill` and `emit` from and to the level
above, `feed` and `collect` to and from the level below.

Terms and model: L. Mei et al., ZigZag (IEEE Transactions on Computers 2021), and A Uniform Latency
Model for DNN Accelerators (DATE 2022).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tilewright.dialects.errors import InputError

MOVES = ("fill", "feed", "collect", "emit")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Port:
    """`bits` a cycle, shared by the movements `(operand, move)`."""

    bits: int
    moves: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Memory:
    """One level of each of `operands`: `bits` of capacity, for each unit it is unrolled to."""

    name: str
    bits: int
    operands: tuple[str, ...]
    serves: tuple[str, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class Architecture:
    """A machine as ZigZag describes one.

    `array`: units along each dimension; results leave an array dimension in `systolic` a cycle per
    unit after they are computed.
    """

    name: str
    array: Mapping[str, int]
    systolic: tuple[str, ...]
    memories: tuple[Memory, ...]

    def levels(self, operand: str) -> list[int]:
        """Indices of the memories that hold `operand`, innermost first."""
        return [i for i, memory in enumerate(self.memories) if operand in memory.operands]


@dataclass(frozen=True)
class Window:
    """A dimension of an input: index = `stride` * `output` + `dilation` * `tap`.

    `extent`: indices that exist, without padding.
    """

    stride: int
    output: str
    dilation: int
    tap: str
    extent: int

    def size(self, outputs: int, taps: int) -> int:
        """Distinct indices under that many steps of both loops, padding left out."""
        g = math.gcd(self.stride, self.dilation)
        repeats = max(0, taps - self.stride // g) * (outputs - self.dilation // g)
        return min(self.extent, outputs * taps - repeats)


@dataclass(frozen=True)
class Layer:
    """A layer: loop extents, the dimensions of each operand (output first), its spatial mapping.

    `windows`: those dimensions of I that two loops index together.  `bits` of an element by
    operand, O being a partial sum and `final` a finished output.  `spatial`: loops unrolled along
    each dimension of the array.
    """

    name: str
    dims: Mapping[str, int]
    operands: Mapping[str, tuple[str, ...]]
    windows: Mapping[str, Window]
    bits: Mapping[str, int]
    spatial: Mapping[str, Mapping[str, int]]

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return math.prod(self.dims.values())

    @cached_property
    def unrolled(self) -> dict[str, dict[str, float]]:
        """The spatial mapping with every loop's remainder spread: 1000 over 32 units is 31.25.

        Of a loop on several array dimensions, the first with the largest factor is adjusted.
        """
        result: dict[str, dict[str, float]] = {}
        for axis, factors in self.spatial.items():
            result[axis] = {}
            for dim, factor in factors.items():
                most = max(other.get(dim, 0) for other in self.spatial.values())
                first = next(a for a, other in self.spatial.items() if other.get(dim, 0) == most)
                earlier = math.prod(result[a].get(dim, 1) for a in result if a != axis)
                steps = math.ceil(self.dims[dim] / (factor * earlier))
                result[axis][dim] = self.dims[dim] / steps / earlier if axis == first else factor
        return result

    @cached_property
    def temporal(self) -> dict[str, int]:
        """What the array leaves of each loop, loops of one step left out."""
        left = dict(self.dims)
        for factors in self.unrolled.values():
            for dim, factor in factors.items():
                left[dim] = math.ceil(left[dim] / factor)
        return {dim: steps for dim, steps in left.items() if steps > 1}


@dataclass(frozen=True)
class Nest:
    """A temporal mapping: `loops` (dimension, steps), innermost first, and who holds what.

    `cuts[operand][i]`: how many of the loops run below the top of its level i; the outermost level
    runs all.  Operands cut the same order in different places ("uneven" mapping).
    """

    loops: tuple[tuple[str, int], ...]
    cuts: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `nest_of` reads them."""
        return {
            "loops": [list(loop) for loop in self.loops],
            "cuts": {op: list(cuts) for op, cuts in self.cuts.items()},
        }


def nest_of(data: Mapping[str, Any]) -> Nest:
    """A temporal mapping from plain values."""
    return Nest(
        tuple((dim, size) for dim, size in data["loops"]),
        {op: tuple(cuts) for op, cuts in data["cuts"].items()},
    )


def architecture_of(data: Mapping[str, Any]) -> Architecture:
    """A machine from plain values; InputError for a movement that no level knows."""
    memories: list[Memory] = []
    for memory in data["memories"]:
        ports: list[Port] = []
        for port in memory["ports"]:
            moves = tuple(tuple(move.split()) for move in port["moves"])
            if bad := [m for m in moves if len(m) != 2 or m[1] not in MOVES]:
                raise InputError(f"{data['name']}: {memory['name']} has no move {bad[0]}")
            ports.append(Port(port["bits"], moves))
        memories.append(
            Memory(
                memory["name"], memory["bits"], tuple(memory["operands"]),
                tuple(memory["serves"]), tuple(ports),
            )
        )  # fmt: skip
    return Architecture(data["name"], dict(data["array"]), tuple(data["systolic"]), tuple(memories))


def layer_of(data: Mapping[str, Any]) -> Layer:
    """A layer from plain values, as `peer` describes it."""
    windows = {
        name: Window(int(stride), output, int(dilation), tap, data["extents"][name])
        for name, stride, output, dilation, tap in data["relations"]
    }
    return Layer(
        data["name"], data["dims"], {op: tuple(d) for op, d in data["operands"].items()},
        windows, data["bits"], data["spatial"],
    )  # fmt: skip


def read_architecture(path: Path) -> Architecture:
    """A machine from a TOML file; InputError if it cannot be read."""
    try:
        return architecture_of(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(f"cannot read machine {path}: {error}") from None

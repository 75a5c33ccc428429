"""Sequences and optionals.

A sequence is a Python list, never changed in place; an optional is its value, or None if empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import Call, HostError, Value, operator


def _position(call: Call, index: int, length: int) -> int:
    """An input that counts from either end of a sequence of `length` elements."""
    position = int(call.scalar(index))
    if not -length <= position < length:
        raise HostError(f"position {position} is outside a sequence of {length} elements")
    return position % length


@operator("SequenceConstruct")
def sequence_construct(call: Call) -> list[Value]:
    """A sequence of the inputs."""
    return [[call.tensor(i) for i in range(len(call.inputs))]]


@operator("SequenceEmpty")
def sequence_empty(call: Call) -> list[Value]:
    """No elements."""
    return [[]]


@operator("SequenceAt")
def sequence_at(call: Call) -> list[Value]:
    """One element."""
    sequence = call.sequence(0)
    return [sequence[_position(call, 1, len(sequence))]]


@operator("SequenceInsert")
def sequence_insert(call: Call) -> list[Value]:
    """The sequence with a tensor in front of a position, by default at the end."""
    sequence = call.sequence(0)
    where = len(sequence)
    if call.value(2) is not None:
        where = int(call.scalar(2))
        if not -len(sequence) <= where <= len(sequence):
            raise HostError(f"position {where} is outside a sequence of {len(sequence)} elements")
        where += len(sequence) if where < 0 else 0
    return [[*sequence[:where], call.tensor(1), *sequence[where:]]]


@operator("SequenceErase")
def sequence_erase(call: Call) -> list[Value]:
    """The sequence without one element, by default the last."""
    sequence = call.sequence(0)
    if not sequence:
        raise HostError("an empty sequence has no element to erase")
    last = len(sequence) - 1
    where = _position(call, 1, len(sequence)) if call.value(1) is not None else last
    return [[*sequence[:where], *sequence[where + 1 :]]]


@operator("SequenceLength")
def sequence_length(call: Call) -> list[Value]:
    """The number of elements."""
    return [np.array(len(call.sequence(0)), np.int64)]


@operator("SplitToSequence")
def split_to_sequence(call: Call) -> list[Value]:
    """Pieces of one length (a scalar `split`), of given lengths, or single slices."""
    x, split, axis = call.tensor(0), call.optional(1), int(call.attr("axis", 0))
    if not -x.ndim <= axis < x.ndim:
        raise HostError(f"axis {axis} is out of range for shape {list(x.shape)}")
    extent = x.shape[axis]
    if split is None:
        pieces: list[Any] = np.split(x, extent, axis) if extent else []
        keep = call.attr("keepdims", 1)
        return [pieces if keep else [np.squeeze(piece, axis) for piece in pieces]]
    if split.ndim == 0:
        if int(split) <= 0:
            raise HostError(f"pieces of length {int(split)}")
        bounds = list(range(int(split), extent, int(split)))
        return [np.split(x, bounds, axis) if extent else []]
    if (split < 0).any() or int(split.sum()) != extent:
        raise HostError(f"pieces of lengths {split.tolist()} do not add up to {extent}")
    return [np.split(x, np.cumsum(split)[:-1], axis) if len(split) else []]


@operator("ConcatFromSequence")
def concat_from_sequence(call: Call) -> list[Value]:
    """The elements joined along an axis, or stacked along a new one."""
    sequence, axis = call.sequence(0), int(call.required("axis"))
    if not sequence:
        raise HostError("an empty sequence cannot be joined")
    join = np.stack if call.attr("new_axis", 0) else np.concatenate
    return [join(sequence, axis)]


@operator("Optional")
def optional(call: Call) -> list[Value]:
    """The input, or an empty optional."""
    return [call.value(0)]


@operator("OptionalHasElement")
def optional_has_element(call: Call) -> list[Value]:
    """Whether there is a value."""
    return [np.array(call.value(0) is not None)]


@operator("OptionalGetElement")
def optional_get_element(call: Call) -> list[Value]:
    """The value, which must be there."""
    if call.value(0) is None:
        raise HostError("the optional is empty")
    return [call.value(0)]


@operator("Identity")
def identity(call: Call) -> list[Value]:
    """A value of any kind."""
    return [call.value(0)]

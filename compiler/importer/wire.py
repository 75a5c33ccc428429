"""Weights out of the protobuf before it is parsed, so that they are in memory once.

Parsing copies every byte of a model, and Python's protobuf copies `raw_data` again when it is
read.  A model's size is almost all in the `raw_data` of its initializers, so these spans are found
in the file's bytes by walking the wire format (fields of `ModelProto.graph`, its `initializer`s,
their `raw_data`), cut out, and kept as views of the bytes that were read:

    file     tag graph len | ... tag initializer len | dims, name, tag raw_data len BYTES | ...
    parsed   tag graph len'| ... tag initializer len'| dims, name                         | ...

Anything unexpected (a damaged or unusual file) leaves the model as it is, for protobuf to judge.
See protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_BYTES = 2
LEAST = 1024
"""Fewest bytes of a tensor that are worth it."""

Field = tuple[int, int, int, int, int]
"""Number, wire type, where the field begins, where its contents begin and end."""


def cut_weights(data: bytes) -> tuple[bytes, list[memoryview | None]] | None:
    """The model without its large raw data, and those by initializer; None if it is unusual."""
    try:
        graphs = [f for f in _fields(data, 0, len(data)) if f[0] == _GRAPH]
        if len(graphs) != 1 or graphs[0][1] != _BYTES:
            return None
        _, _, begin, inner, end = graphs[0]
        pieces, weights = _graph(data, inner, end)
    except (IndexError, ValueError):
        return None
    if not any(w is not None for w in weights):
        return None
    length = sum(map(len, pieces))
    head = _tag(_GRAPH) + _varint(length)
    return b"".join([data[:begin], head, *pieces, data[end:]]), weights


def _graph(data: bytes, begin: int, end: int) -> tuple[list[bytes], list[memoryview | None]]:
    pieces: list[bytes] = []
    weights: list[memoryview | None] = []
    kept = begin  # everything before has been copied
    for number, kind, start, inner, stop in _fields(data, begin, end):
        if number != _INITIALIZER:
            continue
        raw = [f for f in _fields(data, inner, stop) if f[0] == _RAW_DATA]
        if kind != _BYTES or len(raw) != 1 or raw[0][1] != _BYTES or raw[0][4] - raw[0][3] < LEAST:
            weights.append(None)
            continue
        _, _, cut, first, last = raw[0]
        rest = data[inner:cut] + data[last:stop]
        pieces += [data[kept:start], _tag(_INITIALIZER), _varint(len(rest)), rest]
        weights.append(memoryview(data)[first:last])
        kept = stop
    pieces.append(data[kept:end])
    return pieces, weights


def _fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """Fields of the message in data[at:end]; ValueError or IndexError if it is damaged."""
    while at < end:
        start = at
        key, at = _read(data, at)
        match key & 7:
            case 0:
                inner = at
                _, at = _read(data, at)
            case 1:
                inner, at = at, at + 8
            case 2:
                length, inner = _read(data, at)
                at = inner + length
            case 5:
                inner, at = at, at + 4
            case _:
                raise ValueError("a group or an unknown wire type")
        if at > end:
            raise ValueError("a field ends beyond its message")
        yield key >> 3, key & 7, start, inner, at


def _read(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int) -> bytes:
    return _varint(number << 3 | _BYTES)

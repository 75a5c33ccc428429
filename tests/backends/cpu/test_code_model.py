"""Loaded code works wherever the system puts its sections."""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import tilewright
from tilewright.backends.cpu.jit import compile_object, select_variant

DIGITS = Path(__file__).parents[3] / "compiler" / "examples" / "digits.onnx"
RELA = 4
ABSOLUTE_64, RELATIVE_64 = 1, 24


def relocations(elf: bytes) -> Iterator[int]:
    """The types of all relocations of a 64-bit ELF object."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    for header in range(table, table + size * count, size):
        (kind,) = struct.unpack_from("<I", elf, header + 4)
        start, length = struct.unpack_from("<QQ", elf, header + 0x18)
        if kind == RELA:
            for entry in range(start, start + length, 24):
                yield struct.unpack_from("<Q", elf, entry + 8)[0] & 0xFFFFFFFF


@pytest.mark.skipif(platform.machine() != "x86_64", reason="relocations of x86-64")
def test_no_offset_is_narrower_than_the_address_space() -> None:
    code = tilewright.compile(DIGITS).artefact.files["cpu/kernels.ll"].decode()
    assert set(relocations(compile_object(select_variant(code)))) <= {ABSOLUTE_64, RELATIVE_64}

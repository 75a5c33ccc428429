"""Machine code: round trips, one encoding per instruction, and damage that is always noticed."""

from __future__ import annotations

import struct
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.machine_code import encoded, random_program
from tilewright.backends.npu.binary import decode, pack
from tilewright.backends.npu.program import DecodedProgram, Instruction, Operand
from tilewright.backends.npu.words import DIM, PARAM, instruction_words
from tilewright.dialects.errors import ArtefactError
from tilewright.dialects.npu.descriptors import Strided

FILL = Instruction("vfill", (Operand("spm", Strided(64, ((16, 1),))),), {"value": 7}, (0,), (1,), 0)
PROGRAM = DecodedProgram((1, 0), (FILL, Instruction("halt")))


@given(st.integers(0, 2**32))
def test_round_trip(seed: int) -> None:
    program, layers = random_program(Random(seed))
    code = pack(program, layers)
    again = decode(code)
    assert again == program
    assert pack(again, layers) == code
    assert [i.offset for i in again.instructions] == sorted(i.offset for i in again.instructions)


def test_the_bytes_of_a_program() -> None:
    """Hand-assembled."""
    words = (
        1 << 0,  # semaphore 0 starts at 1, semaphore 1 at 0
        0x3D << 56 | 5 << 48 | 1 << 45 | 1 << 42,  # vfill, 5 words, one wait, one signal
        1 << 32,  # waits for 0, signals 1
        1 << 60 | 2 << 58 | 64,  # operand 0 in spm at 64
        2 << 60 | 16 << 32 | 1,  # 16 elements, stride 1
        9 << 60 | 7,  # value = 7
        1 << 48,  # halt, 1 word
    )
    assert pack(PROGRAM, 1) == b"TWNP" + struct.pack("<HHII", 1, 2, 9, 1) + struct.pack(
        "<7Q", *words
    )


@pytest.mark.parametrize("length", range(0, 72, 8))
def test_truncated(length: int) -> None:
    with pytest.raises(ArtefactError):
        decode(pack(PROGRAM, 1)[:length])


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_damage_is_an_error_or_another_program(seed: int, damage: int) -> None:
    """Flipped bits never crash or hang; what decodes re-encodes to the same bytes."""
    random = Random(damage)
    code = bytearray(encoded(seed).code)
    for _ in range(random.randint(1, 3)):
        code[random.randrange(len(code))] ^= 1 << random.randrange(8)
    if random.random() < 0.3:
        cut = random.randrange(len(code))
        del code[cut : cut + random.choice((1, 8, 16, len(code)))]
    try:
        program = decode(bytes(code))
    except ArtefactError as error:
        assert "machine code" in error.message
        return
    layers = struct.unpack_from("<I", code, 12)[0]
    assert pack(program, layers) == bytes(code)


@given(st.binary(max_size=256))
def test_noise(noise: bytes) -> None:
    with pytest.raises(ArtefactError):
        decode(noise)
    body = noise[: len(noise) // 8 * 8]
    with pytest.raises(ArtefactError):
        decode(b"TWNP" + struct.pack("<HHII", 1, 0, 2 + len(body) // 8, 1) + body)


def _with_words(words: list[int]) -> bytes:
    return (
        b"TWNP"
        + struct.pack("<HHII", 1, 4, 3 + len(words), 1)
        + bytes(8)
        + struct.pack(f"<{len(words)}Q", *words)
    )


def test_the_header_of_a_signal_to_all_cores() -> None:
    send = Instruction("sync", (), {"queue": 1}, (), (0, 2), all_cores=2)
    assert instruction_words(send)[0] == 0x04 << 56 | 3 << 48 | 2 << 42 | 2 << 38
    with pytest.raises(ValueError, match="all cores 0x4 of 2 signals"):
        instruction_words(replace(send, all_cores=4))


FILL_WORDS = instruction_words(FILL)
LONGER = FILL_WORDS[0] + (1 << 48)
HALT = instruction_words(Instruction("halt"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*FILL_WORDS], "ends without halt"),
        ([*HALT, *FILL_WORDS, *HALT], "vfill after halt"),
        ([0xFF << 56 | 1 << 48, *HALT], "unknown opcode 0xff"),
        ([FILL_WORDS[0] | 1 << 38, *FILL_WORDS[1:], *HALT], "in a program without cores"),
        ([FILL_WORDS[0] | 1 << 39, *FILL_WORDS[1:], *HALT], "all cores 0x2 of 1 signals"),
        ([FILL_WORDS[0] | 1 << 30, *FILL_WORDS[1:], *HALT], "not in canonical form"),
        ([LONGER, *FILL_WORDS[1:], PARAM.pack(0, 0, 7), *HALT], "not in canonical form"),
        ([*FILL_WORDS[:4], DIM.pack(0, 1) , *HALT], "empty dimension"),
        ([*FILL_WORDS[:4], PARAM.pack(0, 0, 300), *HALT], "value = 300 is outside"),
        ([*FILL_WORDS[:1], 9, *FILL_WORDS[2:], *HALT], "semaphore outside the table"),
        (instruction_words(Instruction("loop", (), {"count": 3})) + HALT, "not properly nested"),
        (instruction_words(Instruction("end")) + HALT, "not properly nested"),
        (instruction_words(Instruction("loop")) + HALT, "count = 0 is outside"),
        (instruction_words(Instruction("halt", layer=5)), "layer 5 of 1"),
        (instruction_words(Instruction("halt", waits=(1,))), "cannot wait or signal"),
    ],
)  # fmt: skip
def test_malformed(words: list[int], message: str) -> None:
    with pytest.raises(
        ArtefactError,
        match=rf"machine code at byte \d+: .*{message}|machine code at byte \d+: {message}",
    ):
        decode(_with_words(words))


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (
            Instruction("vfill", (Operand("spm", Strided(1 << 47, ((1, 1),))),), {"value": 0}),
            "address",
        ),
        (
            Instruction("vfill", (Operand("spm", Strided(0, ((1 << 28, 1),))),), {"value": 0}),
            "size",
        ),
        (
            Instruction("vfill", (Operand("spm", Strided(0, ((1, 1 << 31),))),), {"value": 0}),
            "stride",
        ),
        (Instruction("sync", (), {"queue": 1}, (0, 1, 2, 3, 4)), "5 waits"),
        (Instruction("sync", (), {"queue": 1}, (255,)), "semaphores"),
        (Instruction("halt", layer=1 << 24), "layer"),
    ],
)
def test_fields_that_do_not_fit(instruction: Instruction, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(DecodedProgram((), (instruction,)), 1)

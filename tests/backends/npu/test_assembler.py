"""Text and bytes of machine code turn into each other without loss."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.machine_code import encoded, random_program
from tilewright.backends.npu.assembler import assemble
from tilewright.backends.npu.binary import pack
from tilewright.backends.npu.disassembler import disassemble
from tilewright.dialects.errors import IRError

TEXT = """\
.layers 2
.semaphore 0 = 2
.semaphore 1 = 0
.layer 0 ; conv1, relu1
loop count=14
  load src=dram[4096](3 of 9:6 at 0, 6 of 6:1 at -1+2*i0 step 2) dst=spm[16+64*i0](3:6, 6:1) \
element=1 fill=3 wait s0 signal s1
  vclip a=spm[16+544*(n1%2)](17:32) dst=spm[2048](17:32) hi=127 wait s1 signal s0
end
.layer 1
sync store
halt
"""
NAMES = (("conv1", "relu1"), ())


CORES = """\
.layers 1
.semaphore 0 = 0
.semaphore 1 = 0
.semaphore 2 = 0
.layer 0
cores count=2
  load src=dram[0](8 of 64:1 at 0+8*i0) dst=spm[0+8*i0](8:1) element=1 broadcast=1 signal s0 s1*
  loop count=3
    send src=spm[0+8*i0](8:1) dst=spm[64+16*i0+8*i1](8:1) element=1 wait s1 s2 signal s1*
  end
end
halt
"""


GRID = """\
.layers 1
.layer 0
cores count=6 inner=2
  loop count=3
    vmax a=spm[0+64*i0+8*i1](1:1, 1:1, 8:1) dst=spm[512+8*i2+24*(n3%2)](1:1, 8:1) \
p_rank=1 t_rank=1 overwrite=4
  end
end
halt
"""


def test_readable_text() -> None:
    assert disassemble(assemble(TEXT), NAMES) == TEXT


def test_readable_text_of_several_cores() -> None:
    assert disassemble(assemble(CORES)) == CORES


def test_readable_text_of_a_grid_of_cores() -> None:
    code = assemble(GRID)
    assert disassemble(code) == GRID
    assert assemble(
        GRID.replace("inner=2", "inner=1")
        .replace("*i2", "*i1")
        .replace("n3", "n2")
        .replace("+8*i1](1:1, 1", "](1:1, 1")
        .replace("overwrite=4", "overwrite=2")
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("inner=2", "inner=4", "inner = 4 does not divide 6 cores"),
        ("inner=2", "inner=0", "inner = 0 is outside"),
        ("overwrite=4", "overwrite=6", "overwrite names loop level 1, the cores"),
        ("overwrite=4", "overwrite=5", "overwrite names loop level 0, the cores"),
        ("inner=2", "", "uses loop level 2 at depth 2"),
        ("  end\nend", "  end\nend\nend", "end behind the end of cores"),
    ],
)
def test_errors_of_a_grid(old: str, new: str, message: str) -> None:
    assert old in GRID
    with pytest.raises(IRError, match=message):
        assemble(GRID.replace(old, new, 1))


def test_readable_text_of_commands_along_a_level() -> None:
    text = GRID.replace(
        "  loop count=3",
        "  load src=dram[0](8 of 64:1 at 0+8*i0) dst=spm[0](8:1) element=1 broadcast=1 levels=1\n"
        "  send src=spm[0](8:1) dst=spm[64+8*i1](8:1) element=1 levels=2\n  loop count=3",
    )
    assert disassemble(assemble(text)) == text
    with pytest.raises(IRError, match="levels names more core levels than there are"):
        assemble(text.replace("levels=2", "levels=4"))


def test_one_encoding_of_a_row_of_cores() -> None:
    """`inner=1` is what is left out."""
    assert assemble(CORES) == assemble(CORES.replace("count=2", "count=2 inner=1"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cores count=2", "loop count=2", "load: reaches other cores in a program without cores"),
        ("  loop count=3", "cores count=3", "cores is not the first instruction"),
        ("end\nhalt", "end\nsync load\nhalt", "sync behind the end of cores"),
        ("end\nend\nhalt", "end\nhalt", "not properly nested"),
        ("signal s0 s1*", "signal s2*", "2 cores signal semaphores from 2 on, outside the table"),
        ("wait s1 s2", "wait s1*", r"'s1\*' is out of place"),
        ("cores count=2", "cores count=1025", "count = 1025 is outside"),
        ("cores count=2", "cores", "count = 0 is outside"),
        ("broadcast=1", "broadcast=2", "broadcast = 2 is outside"),
        ("broadcast=1", "broadcast=1 levels=2", "load: levels names more core levels than there"),
        ("element=1 wait", "element=1 levels=2 wait", "send: levels names more core levels than"),
        ("send src=spm[0+8*i0](8:1)", "send src=spm[0](9:1)", r"dst has shape \(8,\), not \(9,\)"),
        (
            "  end\nend",
            "  end\nvsum a=spm[0](1:1) acc=acc[0](1:4) overwrite=3\nend",
            "overwrite names loop level 0",
        ),
    ],
)
def test_errors_of_several_cores(old: str, new: str, message: str) -> None:
    assert CORES.count(old) >= 1
    with pytest.raises(IRError, match=message):
        assemble(CORES.replace(old, new, 1))


@given(st.integers(0, 2**32))
def test_any_program(seed: int) -> None:
    program, layers = random_program(Random(seed))
    code = pack(program, layers)
    text = disassemble(code)
    assert assemble(text) == code
    assert disassemble(assemble(text)) == text


@given(st.integers(0, 2**32))
def test_compiled_programs(seed: int) -> None:
    program = encoded(seed)
    text = disassemble(program.code, program.layers)
    assert assemble(text) == program.code
    assert disassemble(assemble(text), program.layers) == text


def test_layer_names_cannot_break_the_text() -> None:
    text = disassemble(assemble(TEXT), (("a\nhalt\n; b",), ()))
    assert assemble(text) == assemble(TEXT)


def test_free_layout() -> None:
    assert assemble(
        TEXT.replace("  ", "\t ").replace("\n", "\r\n\n").replace("halt", "halt ; the end")
    ) == assemble(TEXT)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("frob a=spm[0](1:1)", "unknown instruction 'frob'"),
        ("vfill dst=spm[0](1:1) value=7 value=8", "'value=8' is out of place"),
        ("vfill dst=spm[0](1:1) valu=7", "'valu=7' is out of place"),
        ("vfill dst=spm[0](1:1) value=700", "value = 700 is outside"),
        ("vfill dst=spm[x](1:1)", "cannot read 'x'"),
        ("vfill dst=spm[0](1)", "cannot read '1'"),
        ("vfill dst=nowhere[0](1:1)", "unknown memory 'nowhere'"),
        ("vfill dst=acc[0](1:4)", "dst is in acc"),
        ("vfill dst=spm[0+8*i0](1:1)", "uses loop level 0 at depth 0"),
        ("vfill dst=spm[0](1:1) wait s9", "semaphore outside the table"),
        ("vfill dst=spm[0](1:1) s1", "'s1' is out of place"),
        ("vfill dst=spm[0](1:1) wait s0 s0 s0 s0 s0", "5 waits"),
        ("vfill src=spm[0](1:1)", "operands are dst"),
        ("vclip a=spm[0](2:1) dst=spm[0](3:1)", r"dst has shape \(3,\), not \(2,\)"),
        ("sync", "needs its queue"),
        ("sync everything", "'everything' is out of place"),
        ("end", "not properly nested"),
        ("loop count=0", "count = 0 is outside"),
        (".layers 3", "must come before"),
        (".layer 4\n halt", "layer 4 of 2"),
        (".colour 4", "unknown directive"),
        ("vfill dst=spm[99999999999999999999](1:1)", "address .* is outside"),
    ],
)
def test_errors_name_the_line(line: str, message: str) -> None:
    text = TEXT.replace("halt\n", line + "\nhalt\n")
    with pytest.raises(IRError, match=rf"line 1[12]: .*{message}|line 1[12]: {message}"):
        assemble(text)


def test_missing_halt() -> None:
    with pytest.raises(IRError, match="ends without halt"):
        assemble(TEXT.replace("halt\n", ""))


@given(st.integers(0, 30), st.integers(0, 2**32))
def test_damaged_text(seed: int, damage: int) -> None:
    """Any edit gives an error or another program, never a crash."""
    random = Random(damage)
    text = list(disassemble(encoded(seed).code))
    for _ in range(random.randint(1, 4)):
        position = random.randrange(len(text))
        text[position] = random.choice(
            ("", " ", "9", "-", "]", "(", "s", "\n", ",", ":", "*i3", "²")
        )
    try:
        code = assemble("".join(text))
    except IRError as error:
        assert error.message.startswith("line ")
        return
    assert assemble(disassemble(code)) == code

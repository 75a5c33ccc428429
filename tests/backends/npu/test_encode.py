"""Encoding: tokens in all their forms, limits of instructions, and errors that name the node."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import UnitAttr

from support.machine_code import encoded
from support.npu_programs import machine, parse_program
from tilewright.backends.npu.encode import decode, encode, encode_module
from tilewright.backends.npu.program import Instruction
from tilewright.dialects.errors import CapacityError, IRError
from tilewright.dialects.npu import Command, Queue
from tilewright.dialects.npu.descriptors import Strided
from tilewright.dialects.npu.isa import NUM_SEMAPHORES
from tilewright.passes.npu.allocate_scratchpad import allocate

A = 'memref<64xi8, "spm">'
AT = "#npu.access<0 [] sizes [64] strides [1]>"
BOX = "#npu.tensor_map<extents [64] strides [1] start [0] steps [1] box [64] loops [[]]>"
HEAD = f'%x = npu.dram 0 : memref<64xi8, "dram">\n%a = npu.alloc {{address = 0 : i64}} : {A}\n'


def load(result: str, wait: str = "") -> str:
    waits = f"wait({wait})" if wait else ""
    operands = f'%x : memref<64xi8, "dram"> at {BOX}, %a : {A} at {AT}'
    return f'%{result} = npu.load({operands}) {waits} {{element = 1 : i64}} loc("n")\n'


def fill(result: str, wait: str = "") -> str:
    waits = f"wait({wait})" if wait else ""
    return f'%{result} = npu.vfill(%a : {A} at {AT}) {waits} loc("n")\n'


def code(body: str) -> tuple[tuple[int, ...], list[Instruction]]:
    program = decode(encode(parse_program(f"npu.program @p {{ {HEAD} {body} }}")).code)
    return program.semaphores, [i for i in program.instructions if i.mnemonic != "halt"]


def test_a_token_is_a_semaphore() -> None:
    semaphores, (first, second) = code(load("l") + fill("f", "%l"))
    assert (semaphores, first.signals, second.waits) == ((0,), (0,), (0,))


def test_tokens_of_one_queue_need_nothing() -> None:
    assert code(load("l") + load("m", "%l"))[0] == ()


def test_a_carried_token_starts_with_its_credits() -> None:
    body = "%c = npu.token 3\n npu.loop 5 iter(%t = %c) {"
    semaphores, (_, first, second, _) = code(body + load("l", "%t") + fill("f") + "npu.yield %f }")
    assert (semaphores, first.waits, second.signals) == ((3,), (0,), (0,))


def test_a_token_handed_down_to_an_inner_loop() -> None:
    inner = "%r = npu.loop 2 iter(%u = %t) {" + load("l", "%u") + fill("f") + "npu.yield %f }"
    body = "%c = npu.token 2\n npu.loop 5 iter(%t = %c) {" + inner + "npu.yield %r }"
    semaphores, instructions = code(body)
    assert semaphores == (2,)
    assert [i.mnemonic for i in instructions] == ["loop", "loop", "load", "vfill", "end", "end"]


def test_waiting_for_the_result_of_a_loop() -> None:
    loop = "%r = npu.loop 2 iter(%u = %c) {" + load("l", "%u") + fill("f") + "npu.yield %f }"
    _, instructions = code("%c = npu.token 1\n" + loop + load("m", "%r"))
    sync, last = instructions[-2:]
    assert (sync.mnemonic, sync.queue) == ("sync", Queue.VECTOR)
    assert sync.signals == last.waits != ()


def test_syncs_melt_into_their_neighbours() -> None:
    body = load("l") + '%s = npu.sync "load"\n%v = npu.sync "vector" wait(%s)\n' + fill("f")
    _, instructions = code(body)
    assert [(i.mnemonic, i.waits, i.signals) for i in instructions] == [
        ("load", (), (0,)),
        ("vfill", (0,), ()),
    ]


def test_more_waits_and_signals_than_an_instruction_holds() -> None:
    loads = "".join(load(f"l{i}") for i in range(9))
    _, instructions = code(loads + fill("f", ", ".join(f"%l{i}" for i in range(9))))
    assert [len(i.waits) for i in instructions[9:]] == [4, 4, 1]
    fills = load("l") + "".join(fill(f"f{i}", "%l") for i in range(9))
    _, instructions = code(fills)
    assert [len(i.signals) for i in instructions[:3]] == [4, 4, 1]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (load("l") + "npu.loop 2 {" + fill("f", "%l") + "npu.yield }", IRError, "another loop"),
        ("%c = npu.token 0\n" + fill("f", "%c"), IRError, "for ever"),
        (
            "%c = npu.token 1\n npu.loop 2 iter(%t = %c) {" + fill("f", "%t") + "npu.yield %t }",
            IRError,
            "no command produces",
        ),
        (
            load("l")
            + "npu.loop 2 iter(%t = %l) {"
            + load("m")
            + fill("f", "%t")
            + "npu.yield %m }",
            IRError,
            "does not start from npu.token",
        ),
        ("npu.loop 2 {" * 13 + fill("f") + "npu.yield }" * 13, CapacityError, "more than 12 deep"),
        (fill("f").replace("sizes [64]", "sizes [0]"), CapacityError, "empty dimension"),
        (fill("f").replace("access<0", "access<999999999999999"), CapacityError, "address"),
    ],
)
def test_errors_name_the_node(body: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        code(body)
    assert "npu." in str(caught.value)


def cored(body: str, cores: int | str = 4) -> tuple[tuple[int, ...], list[Instruction]]:
    dram, alloc = HEAD.splitlines()
    program = f"npu.program @p {{ {dram}\n npu.cores {cores} {{ {alloc}\n {body} }} }}"
    result = decode(encode(parse_program(program)).code)
    assert result.cores == int(str(cores).split()[0])
    return result.semaphores, list(result.instructions[1:-2])


def everywhere(command: str) -> str:
    """`command` with a token of all cores."""
    return command.replace("{element", "all_cores {element")


def test_a_token_of_all_cores_is_a_semaphore_for_each() -> None:
    body = everywhere(load("l")) + fill("f", "%l") + fill("g", "%l")
    semaphores, (first, second, third) = cored(body)
    assert semaphores == (0,) * 8
    assert (first.signals, first.all_cores) == ((0, 4), 3)
    assert (second.waits, third.waits) == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_a_token_within_each_core_beside_it() -> None:
    """The command's own token is its core's; that of a sync behind it, all cores'."""
    body = load("l") + '%s = npu.sync "load" all_cores\n' + fill("f", "%l") + fill("g", "%s")
    semaphores, (first, second, third) = cored(body, 2)
    assert semaphores == (0, 0, 0)
    assert (len(first.signals), bin(first.all_cores).count("1")) == (2, 1)
    assert (len(second.waits), len(third.waits)) == (1, 2)


def test_a_token_of_all_cores_in_the_same_queue() -> None:
    semaphores, (first, second) = cored(everywhere(load("l")) + load("m", "%l"), 3)
    assert (semaphores, first.all_cores, second.waits) == ((0,) * 3, 1, (0, 1, 2))


def test_waiting_for_many_cores() -> None:
    _, instructions = cored(everywhere(load("l")) + fill("f", "%l"), 9)
    assert [len(i.waits) for i in instructions] == [0, 4, 4, 1]


def test_carried_tokens_of_all_cores_start_with_their_credits() -> None:
    inside = everywhere(load("l", "%t")) + fill("f", "%l").replace("loc", "all_cores loc")
    body = "%c = npu.token 2\n npu.loop 5 iter(%t = %c) {" + inside + "npu.yield %f }"
    semaphores, (_, first, second, _) = cored(body, 2)
    assert sorted(semaphores) == [0, 0, 2, 2]
    assert (len(first.waits), first.all_cores, second.all_cores) == (2, 1, 1)


def test_semaphores_of_all_cores_are_reused() -> None:
    steps = "".join(
        everywhere(load(f"l{i}", f"%f{i - 1}" if i else "")) + fill(f"f{i}", f"%l{i}")
        for i in range(100)
    )
    assert len(cored(steps)[0]) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("npu.cores 0 {{ {fill} }}", "count must be in"),
        ("npu.cores 4 inner 3 {{ {fill} }}", "inner 3 does not divide 4 cores"),
        ("npu.cores 4 inner 0 {{ {fill} }}", "inner 0 does not divide 4 cores"),
        ('npu.cores 2 {{ {fill} }} %s = npu.sync "load"', "nothing else but"),
        ("npu.loop 2 {{ npu.cores 2 {{ {fill} }} npu.yield }}", "outermost level"),
        ("{everywhere}", "outside npu.cores"),
        ("{broadcast}", "outside npu.cores"),
        ('%s = npu.sync "load" all_cores', "outside npu.cores"),
    ],
)
def test_where_cores_may_stand(text: str, message: str) -> None:
    parts = {
        "fill": fill("f"),
        "everywhere": everywhere(load("l")),
        "broadcast": load("l").replace("element", "broadcast = 1 : i64, element"),
    }
    body = text.format(**parts)
    inside = body.startswith("npu.cores")
    dram, alloc = HEAD.splitlines()
    body = body.replace("{ %f", "{ " + alloc + "\n %f", 1) if inside else alloc + "\n" + body
    with pytest.raises(Exception, match=message):
        parse_program(f"npu.program @p {{ {dram}\n {body} }}")


def test_masks_do_not_name_the_cores() -> None:
    at = "#npu.access<0 [] sizes [1, 1] strides [4, 4]>"
    acc = '%q = npu.alloc {address = 0 : i64} : memref<64xi8, "acc">\n'
    body = (
        f"%v = npu.vsum(%a : {A} at #npu.access<0 [] sizes [1, 1, 1] strides [1, 1, 1]>,"
        f' %q : memref<64xi8, "acc"> at {at})'
        ' {p_rank = 1 : i64, t_rank = 1 : i64, overwrite = 1 : i64} loc("n")\n'
    )
    with pytest.raises(Exception, match="names loop level 0"):
        cored(acc + body)
    column = body.replace("overwrite = 1", "overwrite = 2")
    with pytest.raises(Exception, match="names loop level 1"):
        cored(acc + column, "4 inner 2")


@pytest.mark.parametrize("levels", [2, 3])
def test_levels_are_core_levels(levels: int) -> None:
    everywhere = f"broadcast = 1 : i64, levels = {levels} : i64, element"
    text = load("l").replace("element", everywhere)
    with pytest.raises(Exception, match="`levels` names more than 1 core levels"):
        cored(text)
    first, *_ = cored(text, "4 inner 2")[1]
    assert (first.mnemonic, first.params["levels"]) == ("load", levels)


def test_attributes_of_commands_are_text_as_well() -> None:
    """Machine code does not show them."""
    plain = parse_program(f"npu.program @p {{ {HEAD} {fill('f')} }}")
    marked = parse_program(str(plain))
    for op in marked.walk():
        if isinstance(op, Command):
            op.attributes["marked"] = UnitAttr()
    again = parse_program(str(marked))
    assert "attributes {marked}" in str(again) and str(again) == str(marked)
    assert encode(again).code == encode(plain).code


def test_a_grid_of_cores() -> None:
    """Strides and depths behind two core levels; the text comes back as it went in."""
    step = fill("f").replace("access<0 []", "access<0 [32, 16]")
    dram, alloc = HEAD.splitlines()
    text = f"npu.program @p {{ {dram}\n npu.cores 6 inner 2 {{ {alloc}\n {step} }} }}"
    program = parse_program(text)
    again = parse_program(str(program))
    assert str(again) == str(program)
    assert "npu.cores 6 inner 2 {" in str(program)
    decoded = decode(encode(again).code)
    assert (decoded.cores, decoded.grid) == (6, (3, 2))
    access = decoded.instructions[1].operands[0].access
    assert isinstance(access, Strided)
    assert access.loops == (32, 16)
    deep = "npu.loop 2 {" * 11 + fill("f") + "npu.yield }" * 11
    cored(deep)  # fits
    with pytest.raises(CapacityError, match="more than 12 deep"):
        cored(deep, "4 inner 2")


def test_missing_addresses() -> None:
    program = parse_program(
        f"npu.program @p {{ {HEAD.replace('{address = 0 : i64}', '')} {fill('f')} }}"
    )
    with pytest.raises(IRError, match=r"'n' \(npu.vfill\): a buffer has no address"):
        encode(program)
    allocate(program, machine())
    assert encode(program).stats["instructions"] == 2


def test_too_many_semaphores() -> None:
    """The first to be signalled is the last to be waited for: none can stand in for another."""
    count = NUM_SEMAPHORES + 1
    loads = "".join(load(f"l{i}") for i in range(count))
    fills = "".join(fill(f"f{i}", f"%l{i}") for i in reversed(range(count)))
    with pytest.raises(CapacityError, match=f"needs {count} semaphores"):
        code(loads + fills)


def test_semaphores_are_reused() -> None:
    steps = "".join(
        load(f"l{i}", f"%f{i - 1}" if i else "") + fill(f"f{i}", f"%l{i}") for i in range(300)
    )
    assert len(code(steps)[0]) == 2


def test_layers_and_determinism() -> None:
    first, second = encoded(7), encoded(7)
    assert first == second
    assert all(name.startswith("node") for names in first.layers for name in names)
    program = decode(first.code)
    assert {i.layer for i in program.instructions} == set(range(len(first.layers)))


def test_modules() -> None:
    program = parse_program(f"npu.program @p {{ {HEAD} {fill('f')} }}")
    module = program.parent_op()
    assert list(encode_module(module)) == ["p"]  # pyright: ignore[reportArgumentType]

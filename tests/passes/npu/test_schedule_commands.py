"""schedule-commands: programs mean the same in any order, and independent work overlaps."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from support.npu_passes import TARGETS, check_to_simulator, target
from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine, parse_program
from support.random_chains import Chain, chains
from support.random_machines import flat_machines
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.npu import AllocOp, Command, ProgramOp
from tilewright.dialects.npu.isa import Queue
from tilewright.dialects.semantics import npu as semantics
from tilewright.passes.base import CompilerContext
from tilewright.passes.npu import schedule_commands
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.dependences import tasks_of
from tilewright.passes.npu.issue_model import Issue
from tilewright.passes.npu.schedule_commands import ScheduleCommandsPass, schedule
from tilewright.passes.npu.traffic import program_block

BEFORE = ("promote-buffers", "tile-npu", "hoist-copies", "unroll-tiles", "double-buffer")
AFTER = ("schedule-commands", "prefetch-loads", "allocate-scratchpad", "insert-sync")


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reorder wherever the estimate is not worse, so that as much as possible moves."""
    monkeypatch.setattr(schedule_commands, "MARGIN", -1e-9)


@settings(max_examples=15, deadline=None)
@given(chains(3), flat_machines())
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check_to_simulator(chain, machine, (*BEFORE, "lower-to-npu", *AFTER))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=6, deadline=None)
@given(chain=chains(3))
def test_meaning_is_kept(name: str, chain: Chain) -> None:
    check_to_simulator(chain, target(name), (*BEFORE, "lower-to-npu", *AFTER))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0.9, 0.1)))
def test_random_programs_keep_their_meaning(seed: int, share: float) -> None:
    program = ProgramMaker(Random(seed), initialise=True).program()
    rng = np.random.default_rng(seed)
    arena, consts = rng.integers(0, 256, ARENA, np.uint8), rng.integers(0, 256, CONSTS, np.uint8)
    before, after = arena.copy(), arena.copy()
    semantics.run(program, before, consts)
    schedule(program, machine(spm=int(4096 / share)))
    program.verify()
    semantics.run(program, after, consts)
    assert (before == after).all()
    allocate(program, machine(spm=1 << 16, acc=1 << 16))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.randoms())
def test_any_order_that_dependences_allow_means_the_same(seed: int, random: Random) -> None:
    program = ProgramMaker(Random(seed), max_ops=12, initialise=True).program()
    rng = np.random.default_rng(seed)
    arena, consts = rng.integers(0, 256, ARENA, np.uint8), rng.integers(0, 256, CONSTS, np.uint8)
    before, after = arena.copy(), arena.copy()
    semantics.run(program, before, consts)
    tasks = tasks_of(program, machine())
    order, rest = list[int](), set(range(len(tasks)))
    while rest:
        order.append(random.choice(sorted(i for i in rest if not tasks[i].sources & rest)))
        rest.remove(order[-1])
    schedule_commands.arrange_tasks(program, tasks, order)
    program.verify()
    semantics.run(program, after, consts)
    assert (before == after).all()


SPM, ACC = 'memref<1024xi8, "spm">', 'memref<4096xi8, "acc">'
ROWS = "#npu.access<0 [] sizes [32, 16] strides [16, 1]>"
SUMS = "#npu.access<0 [] sizes [32, 16] strides [64, 4]>"


def alone(sums: str) -> str:
    """A chain of the vector unit, and products for the matrix unit that it does not depend on."""
    clip = f"npu.vclip(%b : {SPM} at {ROWS}, %b : {SPM} at {ROWS}) {{hi = 9 : i64}}\n"
    text = "".join(f"%v{i} = {clip}" for i in range(20))
    for i in range(40):
        text += f"""
          %m{i} = npu.matmul(%a : {SPM} at {ROWS}, %w : {SPM} at #npu.access<0 [] sizes [16, 16]
            strides [16, 1]>, %{sums}{i % 4 if sums == "s" else ""} : {ACC} at {SUMS}) {{m_rank = 1 : i64}}
        """  # noqa: E501
    return text


def program(text: str) -> ProgramOp:
    """A program with buffers for `text`."""
    names = ("a", "b", "w")
    allocs = "".join(f"%{n} = npu.alloc : {SPM}\n" for n in names)
    allocs += "".join(f"%s{i} = npu.alloc : {ACC}\n" for i in range(4))
    return parse_program(f"npu.program @p {{ {allocs} {text} }}")


def queues(program: ProgramOp) -> list[Queue]:
    """Queues of the commands at the top level."""
    return [op.queue for op in program_block(program).ops if isinstance(op, Command)]


def test_independent_work_is_issued_before_a_queue_is_full() -> None:
    found = program(alone("s"))
    roomy = machine(spm=1 << 16, acc=1 << 16)
    before = Issue(tasks_of(found, roomy), roomy).after(range(60)).time
    schedule(found, roomy)
    depth = roomy.control.queue_depths["vector"]
    assert Queue.MATRIX in queues(found)[: depth + 1]
    assert Issue(tasks_of(found, roomy), roomy).after(range(60)).time < before


def test_nothing_moves_where_nothing_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_commands, "MARGIN", 1.0)
    found = program(alone("s"))
    before = str(found)
    schedule(found, machine(spm=1 << 16, acc=1 << 16))
    assert str(found) == before


def test_what_does_not_fit_keeps_its_order() -> None:
    found = program(alone("s"))
    before = str(found)
    schedule(found, machine(spm=1 << 10, acc=1 << 16))
    assert str(found) == before


def test_commands_of_one_queue_wait_for_no_results() -> None:
    roomy = machine(spm=1 << 16, acc=1 << 16)
    model = Issue(tasks_of(program(alone("s0")), roomy), roomy).after(range(60))
    other = Issue(tasks_of(program(alone("s")), roomy), roomy).after(range(60))
    assert model.time == other.time


def test_banked_scratchpads_keep_their_order() -> None:
    found = program(alone("s"))
    found.detach()
    module = ModuleOp([found])
    before = str(module)
    ScheduleCommandsPass().apply(CompilerContext(machine=machine(spm=1 << 16, banks=4)), module)
    assert str(module) == before


def test_it_can_be_disabled() -> None:
    found = program(alone("s"))
    found.detach()
    module = ModuleOp([found])
    before = str(module)
    context = CompilerContext(machine=machine(spm=1 << 16, acc=1 << 16))
    ScheduleCommandsPass(enable=False).apply(context, module)
    assert str(module) == before


def test_short_work_goes_before_what_holds_up_the_control_processor() -> None:
    """A loop of many products would fill its queue before the other unit gets its command."""
    products, clip = alone("s").split("%m1 =")[0].split("%m0 ="), "%v0 ="
    loop = f"npu.loop 64 {{ %m0 = {products[1]} npu.yield }}"
    found = program(loop + clip + products[0].split(clip)[1].split("%v1 =")[0])
    schedule(found, machine(spm=1 << 16, acc=1 << 16))
    kinds = [op.name for op in program_block(found).ops if not isinstance(op, AllocOp)]
    assert kinds == ["npu.vclip", "npu.loop"]

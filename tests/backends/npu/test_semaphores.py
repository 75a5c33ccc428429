"""Semaphores: who shares one, and that the k-th wait still belongs to the k-th signal."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.npu_programs import parse_program
from tilewright.backends.npu.encode import decode, encode
from tilewright.backends.npu.program import Instruction
from tilewright.backends.npu.semaphores import Channel, assign
from tilewright.dialects.errors import CapacityError
from tilewright.dialects.npu import Queue
from tilewright.dialects.npu.isa import NUM_SEMAPHORES

A = 'memref<64xi8, "spm">'
X = 'memref<64xi8, "dram">'
AT = "#npu.access<0 [] sizes [64] strides [1]>"
BOX = "#npu.tensor_map<extents [64] strides [1] start [0] steps [1] box [64] loops [[]]>"
PROGRAM = parse_program(f"npu.program @p {{ %x = npu.dram 0 : {X} }}")
PAIR = Queue.LOAD, Queue.VECTOR


def channel(first: int, last: int, credits: int = 0, cores: int = 0) -> Channel:
    return Channel(PAIR, credits, first, last, cores)


def numbers(*channels: Channel) -> list[int]:
    """Number the semaphores; returns those of the channels in order."""
    assign(channels, PROGRAM)
    return [c.semaphore for c in channels]


def load(name: str, waits: str = "", flag: str = "") -> str:
    given = f" wait({waits})" if waits else ""
    operands = f"%x : {X} at {BOX}, %a : {A} at {AT}"
    return f"%{name} = npu.load({operands}){given}{flag} {{element = 1 : i64}}\n"


def fill(name: str, waits: Sequence[str] = (), flag: str = "") -> str:
    given = f" wait({', '.join(f'%{w}' for w in waits)})" if waits else ""
    return f"%{name} = npu.vfill(%a : {A} at {AT}){given}{flag}\n"


def code(body: str, cores: int = 0) -> tuple[tuple[int, ...], list[Instruction]]:
    """Initial counts, and the instructions that signal or wait."""
    body = f"%x = npu.dram 0 : {X}\n%a = npu.alloc {{address = 0 : i64}} : {A}\n{body}"
    if cores:
        body = f"npu.cores {cores} {{\n{body}}}\n"
    program = decode(encode(parse_program(f"npu.program @p {{ {body} }}")).code)
    return program.semaphores, [i for i in program.instructions if i.waits or i.signals]


def test_loads_ahead_of_their_use_share_one() -> None:
    """More of them than there are semaphores, all loaded before the first is used."""
    count = NUM_SEMAPHORES + 45
    loads = "".join(load(f"l{i}") for i in range(count))
    semaphores, found = code(loads + "".join(fill(f"f{i}", [f"l{i}"]) for i in range(count)))
    assert semaphores == (0,)
    assert [i.signals for i in found] == [(0,)] * count + [()] * count
    assert [i.waits for i in found] == [()] * count + [(0,)] * count


def test_crossing_orders_do_not_share() -> None:
    body = load("l0") + load("l1") + fill("f1", ["l1"]) + fill("f0", ["l0"])
    semaphores, (l0, l1, f1, f0) = code(body)
    assert len(semaphores) == 2
    assert (l0.signals, l1.signals) == (f0.waits, f1.waits)
    assert l0.signals != l1.signals


def test_waits_of_one_command_do_not_share() -> None:
    """A command that waited twice for one count could pass on two signals of the same load."""
    semaphores, _ = code(load("l0") + load("l1") + fill("f", ["l0", "l1"]))
    assert len(semaphores) == 2
    semaphores, _ = code(load("l") + fill("f0", ["l"]) + fill("f1", ["l"]))
    assert len(semaphores) == 2


def test_pairs_of_queues_are_apart() -> None:
    body = load("l0") + fill("f0", ["l0"]) + load("l1", "%f0") + fill("f1", ["l1"])
    assert len(code(body)[0]) == 2


def test_what_loops_use_is_theirs_while_they_run() -> None:
    """A token across a loop and those of its iterations: the loop waits many times in between."""
    loop = "npu.loop 4 {" + load("m") + fill("g", ["m"]) + "npu.yield }\n"
    semaphores, found = code(load("l") + loop + fill("f", ["l"]))
    assert len(semaphores) == 2
    assert found[0].signals == found[-1].waits != found[1].signals
    assert len(code(load("l") + fill("f", ["l"]) + loop + load("n") + fill("h", ["n"]))[0]) == 1


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([(0, 2), (1, 3)], [0, 0]),
        ([(0, 3), (1, 2)], [0, 1]),
        ([(0, 2), (1, 2)], [0, 1]),
        ([(0, 2), (0, 3)], [0, 1]),
        ([(0, 2), (2, 2)], [0, 1]),
        ([(0, 2), (3, 3)], [0, 0]),
        ([(1, 1), (1, 1)], [0, 1]),
        ([(1, 1), (1, 3)], [0, 1]),
        ([(1, 1), (2, 3)], [0, 0]),
        ([(0, 5), (1, 2), (3, 6), (4, 4)], [0, 1, 0, 1]),
    ],
)
def test_who_follows_whom(channels: list[tuple[int, int]], expected: list[int]) -> None:
    """By (first, last) top-level operation; equal ones are inside a loop."""
    assert numbers(*(channel(a, b) for a, b in channels)) == expected


def test_credits_and_cores_are_apart() -> None:
    assert numbers(channel(0, 0, 1), channel(1, 1, 2), channel(2, 2, 1)) == [0, 1, 0]
    assert numbers(channel(0, 1, 0, 4), channel(2, 3), channel(2, 3, 0, 4)) == [0, 4, 0]
    assert assign([channel(0, 0, 2), channel(0, 1, 0, 3)], PROGRAM) == (2, 0, 0, 0)


def test_tokens_of_all_cores_share_as_others_do() -> None:
    """Four cores send ahead of their use: four semaphores, not four for each send."""
    body = "".join(load(f"l{i}", flag=" all_cores") for i in range(99))
    body += "".join(fill(f"f{i}", [f"l{i}"]) for i in range(99))
    semaphores, found = code(body, cores=4)
    assert semaphores == (0,) * 4
    assert {i.signals for i in found[:99]} == {(0,)} and all(i.all_cores for i in found[:99])
    assert {i.waits for i in found[99:]} == {(0, 1, 2, 3)}
    crossing = load("l0", flag=" all_cores") + load("l1", flag=" all_cores")
    assert len(code(crossing + fill("f1", ["l1"]) + fill("f0", ["l0"]), cores=4)[0]) == 8


def test_too_many_for_all_cores() -> None:
    """Those of n cores count n times."""
    most = NUM_SEMAPHORES // 4
    fits = [channel(i, 2 * most - i, 0, 4) for i in range(most)]
    assert len(assign(fits, PROGRAM)) == 4 * most
    more = [channel(i, 2 * most + 2 - i, 0, 4) for i in range(most + 1)]
    with pytest.raises(CapacityError, match=f"needs {4 * most + 4} semaphores"):
        assign(more, PROGRAM)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=24))
def test_signals_and_waits_pair_up(pairs: list[tuple[int, int]]) -> None:
    """On each semaphore order of signals is order of waits; loops have it to themselves."""
    channels = [channel(min(p), max(p)) for p in pairs]
    groups: dict[int, list[Channel]] = {}
    for c, number in zip(channels, numbers(*channels), strict=True):
        groups.setdefault(number, []).append(c)
    for group in groups.values():
        group.sort(key=lambda c: c.first_top)
        for i, one in enumerate(group):
            for other in group[i + 1 :]:
                assert one.first_top < other.first_top and one.last_top < other.last_top
                if one.first_top == one.last_top or other.first_top == other.last_top:
                    assert one.last_top < other.first_top


@given(st.permutations(range(14)))
def test_no_fewer_would_do(order: list[int]) -> None:
    """Loads 0 .. 13 are waited for in `order`: as many as the longest series that is reversed."""
    place = {x: i for i, x in enumerate(order)}
    longest: list[int] = []
    for x in range(14):
        ahead = [longest[y] for y in range(x) if place[y] > place[x]]
        longest.append(1 + max(ahead, default=0))
    body = "".join(load(f"l{x}") for x in range(14))
    semaphores, found = code(body + "".join(fill(f"f{x}", [f"l{x}"]) for x in order))
    assert len(semaphores) == max(longest)
    signalled: dict[int, list[int]] = {}
    for x, i in enumerate(found[:14]):
        for s in i.signals:
            signalled.setdefault(s, []).append(x)
    taken = [signalled[s].pop(0) for i in found[14:] for s in i.waits]
    assert taken == list(order)

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.passes.loop.tiling.residents import Resident, place, room

lives = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(1, 40), lives), max_size=16))
def test_placed_tensors_never_overlap(wanted: list[tuple[int, list[int]]]) -> None:
    placed: list[Resident] = []
    for size, (first, last) in wanted:
        address = place(placed, size, first, last, 100)
        meeting = [r for r in placed if r.alive(first, last)]
        if address < 0:
            assert meeting
            continue
        assert address + size <= 100
        assert all(address + size <= r.address or r.address + r.size <= address for r in meeting)
        placed.append(Resident(address, size, first, last))
    for index in range(10):
        free = room(placed, index, 100)
        assert all(r.address >= free for r in placed if r.alive(index, index))


def test_tensors_are_packed_from_the_top() -> None:
    first = Resident(place([], 30, 0, 4, 100), 30, 0, 4)
    assert first.address == 70
    second = Resident(place([first], 20, 2, 6, 100), 20, 2, 6)
    assert second.address == 50
    assert place([first, second], 30, 5, 6, 100) == 70  # the first is dead
    assert place([first, second], 31, 5, 6, 100) == 19
    assert room([first, second], 3, 100) == 50 and room([first, second], 7, 100) == 100
    assert place([first, second], 60, 0, 9, 100) < 0


def test_tensors_that_are_not_alive_together_hide_no_other() -> None:
    wide, short = Resident(20, 80, 0, 4), Resident(70, 20, 5, 9)
    assert place([wide, short], 10, 3, 6, 100) == 10

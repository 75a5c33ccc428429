"""distribute: several cores compute what one does, in every way of dividing the work."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.core_segments import CORES, check, cored_machines, with_cores
from support.npu_passes import target
from support.random_chains import Chain, chains
from tilewright.backends.targets.machine import Machine


@settings(max_examples=40, deadline=None)
@given(chains(), cored_machines(), st.sampled_from([0, 60, 4000]))
def test_meaning_is_kept(chain: Chain, machine: Machine, max_ops: int) -> None:
    check(chain, machine, max_ops=max_ops)


@settings(max_examples=60, deadline=None)
@given(chains(), cored_machines(), st.sampled_from([0, 60, 4000]), st.data())
def test_any_split_keeps_the_meaning(
    chain: Chain, machine: Machine, max_ops: int, data: st.DataObject
) -> None:
    def pick(options: list[Any]) -> Any:
        return data.draw(st.sampled_from(options))

    check(chain, machine, pick=pick, max_ops=max_ops)


@pytest.mark.parametrize("cores", CORES)
@settings(max_examples=10, deadline=None)
@given(chain=chains())
def test_meaning_is_kept_on_targets(cores: int, chain: Chain) -> None:
    check(chain, with_cores(target("ethos-u65-512"), cores))

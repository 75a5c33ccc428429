"""Functional execution: every command's meaning on numpy memories, in the order it was accepted.

The meaning itself is `dialects/semantics/instructions.execute`; here operands become views from
the addresses that `expand` resolved.  Scratchpad and accumulators start poisoned: reading a byte
that nothing wrote is an error.  Bytes only ever turn valid, so an operand at an address is checked
once and costs nothing in later iterations.  Every core has on-chip memories of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....dialects.constants import Array
from ....dialects.errors import SimulationError
from ....dialects.semantics.instructions import ELEMENT_DTYPES, DramView, execute
from .expand import Expansion, Place
from .footprint import Access, shadow_view

POISON = 0xA5
"""What never-written bytes hold; visible in results only when checks are off."""


class Memories:
    """The four memories of a core, and which of their bytes are valid (None: all)."""

    def __init__(self, memories: dict[str, Array], valid: dict[str, Array | None]):
        self.memories, self.valid = memories, valid


def memories(
    spm: int, acc: int, arena: Array, consts: Array, arena_valid: Array | None, check: bool,
    cores: int = 1,
) -> list[Memories]:  # fmt: skip
    """Per core, poisoned on-chip memories of `spm` and `acc` bytes beside the caller's DRAM."""
    out: list[Memories] = []
    for _ in range(cores):
        data = {"spm": np.full(spm, POISON, np.uint8), "acc": np.full(acc, POISON, np.uint8)}
        valid: dict[str, Array | None] = {
            "spm": None, "acc": None, "dram": arena_valid, "const": None,
        }  # fmt: skip
        if check:
            valid |= {"spm": np.zeros(spm, bool), "acc": np.zeros(acc, bool)}
        out.append(Memories({**data, "dram": arena, "const": consts}, valid))
    return out


class _Runner:
    """Builds the views of one site's operands."""

    def __init__(self, expansion: Expansion, index: int, cores: Sequence[Memories]):
        self.site = expansion.sites[index]
        self.expansion, self.index, self.cores = expansion, index, cores
        self.accesses = [Access(p) for p in self.site.places]
        self.known: list[set[object]] = [set() for _ in self.site.places]
        self.flags = [(p.reads(), p.writes()) for p in self.site.places]
        self.dtypes = [ELEMENT_DTYPES.get(p.element) for p in self.site.places]
        if any(d is None for d in self.dtypes):
            raise SimulationError(
                f"{expansion.where(index)}: elements of"
                f" {[p.element for p in self.site.places]} bytes"
            )
        self.shapes = [tuple(n for n, _ in p.dims) for p in self.site.places]
        self.strides = [tuple(s for _, s in p.dims) for p in self.site.places]

    def core(self, i: int) -> int:
        """The core of iteration `i`."""
        return i // self.site.per_core

    def run(self, i: int) -> None:
        """Execute iteration `i`; SimulationError if it reads bytes that nothing wrote."""
        site = self.site
        core = self.core(i)
        state = self.cores[core]
        overwrite = site.overwrite[i] if site.overwrite else True
        views: list[Any] = []
        for k, place in enumerate(site.places):
            self._check(k, place, i, overwrite, core)
            memory = state.memories[place.space]
            view = self._dram if place.in_dram else self._on_chip
            views.append(view(k, place, i, memory))
        try:
            execute(site.instruction.mnemonic, views, site.instruction.params, overwrite=overwrite)
        except SimulationError as error:
            raise SimulationError(
                f"{self.expansion.where(self.index, i)}: {error.message}"
            ) from error
        except (ValueError, IndexError) as error:
            raise SimulationError(
                f"{self.expansion.where(self.index, i)}: operands do not fit: {error}"
            ) from error

        for other in site.receivers[core]:
            target = site.places[1]
            self._check(1, target, i, overwrite, other)
            memory = self.cores[other].memories[target.space]
            self._on_chip(1, target, i, memory)[...] = views[1]

    def _on_chip(self, k: int, place: Place, i: int, memory: Array) -> Array:
        address = place.addresses[i]
        return np.ndarray(self.shapes[k], self.dtypes[k], memory.data, address, self.strides[k])

    def _dram(self, k: int, place: Place, i: int, memory: Array) -> DramView:
        clips = place.clips[i]
        shape = tuple(high - low for low, high in clips)
        region = tuple(slice(low, high) for low, high in clips)
        if 0 in shape:
            return DramView(np.empty(shape, self.dtypes[k]), region, False)
        view = np.ndarray(shape, self.dtypes[k], memory.data, place.addresses[i], place.box_strides)
        return DramView(view, region, shape == place.operand.access.shape)

    def _check(self, k: int, place: Place, i: int, overwrite: bool, core: int) -> None:
        """Reads from `core` must be of valid bytes; bytes written there become valid.

        Operands are checked in order, before execution.
        """
        valid = self.cores[core].valid[place.space]
        if valid is None:
            return
        reads, writes = self.flags[k]
        reads = reads and not (place.spec.direction == "rw" and overwrite)
        key = (place.addresses[i], place.clips[i] if place.in_dram else core, reads)
        if key in self.known[k]:
            return
        self.known[k].add(key)
        span = self.accesses[k].span(i)
        if span is None:
            return
        view = shadow_view(valid, place.addresses[i], span)
        if reads and not view.all():
            raise SimulationError(
                f"{self.expansion.where(self.index, i)}: {place.spec.name} reads bytes of"
                f" {place.space} that were never written (operand at {place.addresses[i]})"
            )
        if writes:
            view[...] = True


def run(
    expansion: Expansion, order: Sequence[int], steps: Sequence[int], cores: Sequence[Memories]
) -> None:
    """Execute all in `order`; `steps[c]` is command c's execution number within its site."""
    runners = [_Runner(expansion, s, cores) for s in range(len(expansion.sites))]
    site = expansion.site
    for c in order:
        runner = runners[site[c]]
        if runner.site.places:
            runner.run(steps[c])

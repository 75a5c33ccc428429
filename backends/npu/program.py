"""Machine programs as plain data: what `encode` writes and `decode` returns.

    DecodedProgram
      semaphores   initial count of each semaphore, by id
      instructions in program order; loops are `loop` .. `end` pairs (properly nested)
        Instruction: mnemonic, queue, operands (Strided or TensorBox), params, waits, signals, layer

An instruction starts when it is at the head of its queue and the count of each semaphore in `waits`
is at least 1; it then takes 1 from each.  When it completes (in order within its queue), it adds 1
to each semaphore in `signals`.  `cores`, `loop`, `end` and `halt` belong to the control processor
and never wait or signal.  `sync` belongs to the queue named by its parameter.

Each core has its own semaphores.  A signal s whose bit is set in `all_cores` goes to every core, to
semaphore s + (number of the signalling core): who waits for s, s + 1, .. s + cores - 1 has heard
from all, and no core that runs ahead can be taken for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from ...dialects.npu.cores import core_trips
from ...dialects.npu.descriptors import Strided, TensorBox
from ...dialects.npu.isa import BY_MNEMONIC, QUEUES, Queue


@dataclass(frozen=True, slots=True)
class Operand:
    """One memory operand: "spm"/"acc" with a `Strided`, or "dram"/"const" with a `TensorBox`."""

    space: str
    access: Strided | TensorBox


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.  `params` holds every parameter of the instruction table by name.

    `all_cores` is a bit mask over `signals`; `layer` indexes the layer names returned beside the
    machine code; `words` is the encoded size in 64-bit words (what fetch costs), `offset` the byte
    offset in the binary: 0 until decoded.
    """

    mnemonic: str
    operands: tuple[Operand, ...] = ()
    params: Mapping[str, int] = field(default_factory=dict[str, int])
    waits: tuple[int, ...] = ()
    signals: tuple[int, ...] = ()
    layer: int = 0
    all_cores: int = 0
    words: int = field(default=0, compare=False)
    offset: int = field(default=0, compare=False)

    @property
    def queue(self) -> Queue:
        """The queue that runs it; CONTROL for `cores`, `loop`, `end`, `halt`."""
        return (
            QUEUES[self.params["queue"]]
            if self.mnemonic == "sync"
            else BY_MNEMONIC[self.mnemonic].queue
        )


@dataclass(frozen=True)
class DecodedProgram:
    """A whole machine program; `loop` and `end` are matched and `halt` is last."""

    semaphores: tuple[int, ...]
    instructions: tuple[Instruction, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Iterations of its core levels; none for a program without `cores`."""
        first = self.instructions[0]
        if first.mnemonic != "cores":
            return ()
        return core_trips(first.params["count"], first.params.get("inner", 1))

    @property
    def cores(self) -> int:
        """How many cores run it; 0 for a program without `cores`, which runs on core 0 alone."""
        return prod(self.grid) if self.grid else 0


@dataclass(frozen=True)
class EncodedProgram:
    """Machine code, the ONNX node names of each layer index, and how large it is."""

    code: bytes
    layers: tuple[tuple[str, ...], ...]
    stats: Mapping[str, int]

"""The instruction set as data.

From this one table dialect checks, encoder, assembler, disassembler, simulator dispatch and the
ISA reference in the docs are made (`backends/npu/isa_docs.py`).

The machine: a control processor fetches instructions in order and hands commands to four queues
(load, store, matrix, vector) that run decoupled and synchronise by counting semaphores.  Each queue
starts and completes its commands in order (a command may start before the one ahead of it has
completed only where the result is the same as if it had not).  A command waits for up to four
semaphores, each of which it decrements when it starts, and increments up to four when it completes;
their initial counts stand in the program's header.
Memories: "dram" (arena shared with the host), "const" (read-only constants in DRAM), "spm"
(scratchpad), "acc" (accumulators, i32).  All addresses and strides are in bytes.

A machine may have several equal cores, each with all of the above but DRAM, which they share.  One
program is run by all of them: between a first `cores` and its `end` stands a loop level 0 whose
iterations are the cores and run side by side, so that a stride at level 0 is a stride per core.
With `inner` the cores form a grid of two loop levels: core c is at (c / inner, c mod inner), with a
stride for each.
Cores write to each other's scratchpads by `send` and by loads that `broadcast`, and signal each
other's semaphores: a signal s marked "all cores" adds 1 to semaphore s + (number of the signalling
core) of every core.  Without `cores` a program runs on core 0 alone.

Accesses on chip are strided descriptors: a base, a stride per enclosing hardware loop, and up to
eight dimensions (size, stride), outermost first.  Accesses to DRAM are tensor maps: per axis an
extent, a stride, a (possibly negative) start coordinate with a stride per enclosing loop, a step
and a box size; elements outside the extents read as a fill value and are not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Queue(StrEnum):
    """Where an instruction runs."""

    LOAD = "load"
    STORE = "store"
    MATRIX = "matrix"
    VECTOR = "vector"
    CONTROL = "control"


QUEUES = (Queue.LOAD, Queue.STORE, Queue.MATRIX, Queue.VECTOR)
MAX_LOOP_DEPTH = 12
MAX_DIMS = 8
MAX_TENSOR_DIMS = 6
NUM_SEMAPHORES = 255
MAX_CORES = 1024
MAX_WAITS = 4
MAX_SIGNALS = 4


@dataclass(frozen=True)
class OperandSpec:
    """One memory operand: its spaces, whether it is read and written, element type, dimensions."""

    name: str
    spaces: tuple[str, ...]
    direction: str  # "r", "w" or "rw"
    element: str  # "i8", "i32", or "param:element" where an instruction parameter gives the bytes
    doc: str


@dataclass(frozen=True)
class Instruction:
    """One instruction: mnemonic, opcode number, queue, operands, integer parameters, meaning."""

    mnemonic: str
    code: int
    queue: Queue
    operands: tuple[OperandSpec, ...] = ()
    params: tuple[str, ...] = ()
    semantics: str = ""
    timing: str = ""


def _spm(name: str, direction: str, doc: str, element: str = "i8") -> OperandSpec:
    return OperandSpec(name, ("spm",), direction, element, doc)


def _acc(direction: str, doc: str) -> OperandSpec:
    return OperandSpec("acc", ("acc",), direction, "i32", doc)


_PER_CHANNEL = "broadcast over positions by stride 0"

_BOX_DIMS = "one dimension per axis of the box, in box order"
_TAP_DIMS = "p_rank position dimensions, t_rank tap dimensions, one channel dimension"
_DMA_TIME = "latency + bursts(bytes) / bandwidth, rows of the box start new bursts"
_TAP_TIME = "taps * groups of lanes over positions and channels, fewer with a tree across lanes"
_REQUANT_TIME = "elements / lanes * requantise cost"


def _map(name: str, direction: str) -> OperandSpec:
    return OperandSpec(name, ("dram", "const"), direction, "param:element", "tensor map")


def _control(mnemonic: str, code: int, params: tuple[str, ...], semantics: str) -> Instruction:
    return Instruction(mnemonic, code, Queue.CONTROL, (), params, semantics)


def _window_time(queue: Queue) -> str:
    """Windows run on the vector unit, or with an m in front on the arrays that can."""
    if queue is Queue.VECTOR:
        return _TAP_TIME
    return (
        "ceil(positions / pixels) * taps * ceil(channels / window_channels); only on machines with "
        "`window_channels`, and the array loses its stationary tile"
    )


def _mac(mnemonic: str, code: int, queue: Queue) -> Instruction:
    operands = (
        _spm("a", "r", _TAP_DIMS),
        _spm("b", "r", "the tap dimensions, then the channel dimension"),
        _acc("rw", "the position dimensions, then the channel dimension"),
    )
    return Instruction(
        mnemonic, code, queue, operands, ("p_rank", "t_rank", "a_zp", "b_zp", "overwrite"),
        "acc[p, c] (+)= sum_t (a[p, t, c] - a_zp) * (b[t, c] - b_zp), wrapping in i32: depthwise "
        "convolution. `overwrite` as for matmul.",
        _window_time(queue),
    )  # fmt: skip


def _sum(mnemonic: str, code: int, queue: Queue) -> Instruction:
    return Instruction(
        mnemonic, code, queue, (_spm("a", "r", _TAP_DIMS), _acc("rw", "positions, channel")),
        ("p_rank", "t_rank", "a_zp", "overwrite"),
        "acc[p, c] (+)= sum_t (a[p, t, c] - a_zp), wrapping in i32. `overwrite` as for matmul.",
        _window_time(queue),
    )  # fmt: skip


def _max(mnemonic: str, code: int, queue: Queue) -> Instruction:
    return Instruction(
        mnemonic, code, queue, (_spm("a", "r", _TAP_DIMS), _spm("dst", "rw", "positions, channel")),
        ("p_rank", "t_rank", "overwrite"),
        "dst[p, c] = max_t a[p, t, c]; or the greater of that and dst, where matmul would "
        "accumulate.",
        _window_time(queue),
    )  # fmt: skip


INSTRUCTIONS: tuple[Instruction, ...] = (
    _control("halt", 0x00, (), "End of the program: wait until every queue is idle."),
    _control(
        "loop", 0x01, ("count",),
        "Repeat the instructions up to the matching `end` `count` times (count >= 1).",
    ),
    _control("end", 0x02, (), "End of the innermost loop body, or of `cores`."),
    _control(
        "cores", 0x03, ("count", "inner"),
        "Only as the first instruction: `count` cores run all up to the matching `end`, behind "
        "which `halt` stands. They are loop level 0; where `inner` (a divisor of `count`) is above "
        "1, levels 0 and 1, of `count` / `inner` and `inner` iterations. Slots count the "
        "executions of each core for itself; the bits of core levels in `overwrite` masks are "
        "clear.",
    ),
    _control(
        "sync", 0x04, ("queue",),
        "No work: passes through queue number `queue` (0 load, 1 store, 2 matrix, 3 vector): what "
        "follows waits with it, and it signals when what precedes is complete.",
    ),
    Instruction(
        "load", 0x10, Queue.LOAD,
        (_map("src", "r"), _spm("dst", "w", _BOX_DIMS, "param:element")),
        ("element", "fill", "broadcast", "levels"),
        "dst[t] = src[start + t * step], or `fill` outside the extents; with `broadcast` = 1 also "
        "in the scratchpads of other cores: of all, or where the bit mask `levels` is not 0, of "
        "those whose position differs from its own on these core levels only.",
        _DMA_TIME,
    ),
    Instruction(
        "store", 0x11, Queue.STORE,
        (_map("dst", "w"), _spm("src", "r", _BOX_DIMS, "param:element")),
        ("element",),
        "dst[start + t * step] = src[t]; elements outside the extents are dropped.",
        _DMA_TIME,
    ),
    Instruction(
        "send", 0x12, Queue.STORE,
        (_spm("src", "r", "dimensions", "param:element"),
         _spm("dst", "w", "the same", "param:element")),
        ("element", "levels"),
        "dst[t] of the sender and of other cores = src[t] of its own; `levels` as in load.",
        "bytes / network bandwidth + latency",
    ),
    Instruction(
        "matmul", 0x20, Queue.MATRIX,
        (
            _spm("a", "r", "m_rank row dimensions, then the reduction dimensions"),
            _spm(
                "b", "r",
                "the same reduction dimensions, then one column dimension; the unit takes it in "
                "tiles of rows x columns, at most `max_tiles` of the machine",
            ),
            _acc("rw", "the row dimensions, then the column dimension"),
        ),
        ("m_rank", "a_zp", "b_zp", "overwrite"),
        "acc[m, n] (+)= sum_k (a[m, k] - a_zp) * (b[k, n] - b_zp), wrapping in i32. Overwrites "
        "when all loop levels in the bit mask `overwrite` (bit 0 outermost) are at their first "
        "iteration (mask 0: always overwrites; mask -1: always accumulates).",
        "weight-stationary: rows(b) preload (hidden when double-buffered) + m / pixels, fill and "
        "drain rows + columns",
    ),
    Instruction(
        "smatmul", 0x24, Queue.MATRIX,
        (
            _spm("a", "r", "m_rank row dimensions, then the reduction dimensions"),
            _spm("b", "r", "values: the reduction dimensions, the last halved, then a column one"),
            _acc("rw", "the row dimensions, then the column dimension"),
            _spm("index", "r", "places: as b, of the last reduction dimension an eighth"),
        ),
        ("m_rank", "a_zp", "overwrite"),
        "matmul with 2:4-compressed weights of zero point 0. Along the last reduction dimension (a "
        "multiple of 8 long) value i of a column is the weight at place 4 floor(i / 2) + "
        "(index[floor(i / 4)] >> 2 (i mod 4) & 3); values at one place add up, and the other "
        "weights are 0. Only on machines with `sparsity`; `overwrite` as for matmul.",
        "as matmul, on an array of `rate` times the rows for the reduction; the preload takes no "
        "less than 5/8 of the tile's bytes / `decode_bytes_per_cycle`",
    ),
    Instruction(
        "preload", 0x25, Queue.MATRIX,
        (_spm("b", "r", "reduction dimensions, then one column dimension: one tile"),),
        (),
        "Brings the weights of the next matmul into the array ahead: nothing that a program can "
        "see. A matmul whose first tile is the same finds it there.",
        "rows(b), hidden behind the matmul before; the matmul that follows needs no preload",
    ),
    _mac("mmac", 0x21, Queue.MATRIX),
    _sum("msum", 0x22, Queue.MATRIX),
    _max("mmax", 0x23, Queue.MATRIX),
    _mac("vmac", 0x30, Queue.VECTOR),
    _sum("vsum", 0x31, Queue.VECTOR),
    _max("vmax", 0x32, Queue.VECTOR),
    Instruction(
        "vsquare", 0x33, Queue.VECTOR,
        (_spm("a", "r", _TAP_DIMS), _acc("rw", "positions, channel")),
        ("p_rank", "t_rank", "a_zp", "overwrite"),
        "acc[p, c] (+)= sum_t (a[p, t, c] - a_zp)^2, wrapping in i32. `overwrite` as for matmul.",
        _TAP_TIME,
    ),
    Instruction(
        "vsumexp", 0x34, Queue.VECTOR,
        (
            _spm("a", "r", _TAP_DIMS),
            _spm("top", "r", "positions, channel"),
            _spm("table", "r", "256 entries", "i32"),
            _acc("rw", "positions, channel"),
        ),
        ("p_rank", "t_rank", "overwrite"),
        "acc[p, c] (+)= sum_t table[(top[p, c] - a[p, t, c]) mod 256], wrapping in i32: the sum of "
        "a softmax. `overwrite` as for matmul.",
        f"(look-up + multiply cost) * {_TAP_TIME}",
    ),
    Instruction(
        "vrequant", 0x38, Queue.VECTOR,
        (
            _acc("r", "element dimensions, channel innermost"),
            _spm("bias", "r", f"the same dimensions, {_PER_CHANNEL}", "i32"),
            _spm("multiplier", "r", f"the same dimensions, {_PER_CHANNEL}", "i32"),
            _spm("shift", "r", f"the same dimensions, {_PER_CHANNEL}", "i32"),
            _spm("dst", "w", "the same dimensions"),
        ),
        ("zp", "lo", "hi"),
        "dst = clamp(((i64(acc + bias) * multiplier + 2^(shift-1)) >> shift) + zp, lo, hi); "
        "acc + bias wraps in i32; shift is in 1..62.",
        _REQUANT_TIME,
    ),
    Instruction(
        "vadd", 0x39, Queue.VECTOR,
        (_spm("a", "r", "dimensions"), _spm("b", "r", "the same"), _spm("dst", "w", "the same")),
        ("za", "ma", "zb", "mb", "multiplier", "shift", "zp", "lo", "hi"),
        "dst = clamp(((((a - za) * ma + (b - zb) * mb) * multiplier + 2^(shift-1)) >> shift) + zp, "
        "lo, hi).",
        _REQUANT_TIME,
    ),
    Instruction(
        "vmul", 0x3A, Queue.VECTOR,
        (_spm("a", "r", "dimensions"), _spm("b", "r", "the same"), _spm("dst", "w", "the same")),
        ("za", "zb", "multiplier", "shift", "zp", "lo", "hi"),
        "dst = clamp((((a - za) * (b - zb) * multiplier + 2^(shift-1)) >> shift) + zp, lo, hi).",
        _REQUANT_TIME,
    ),
    Instruction(
        "vlut", 0x3B, Queue.VECTOR,
        (
            _spm("a", "r", "dimensions"),
            _spm("table", "r", "256 entries"),
            _spm("dst", "w", "the same dimensions as a"),
        ),
        (),
        "dst = table[a + 128].",
        "elements / lanes * look-up cost",
    ),
    Instruction(
        "vclip", 0x3C, Queue.VECTOR,
        (_spm("a", "r", "dimensions"), _spm("dst", "w", "the same")),
        ("lo", "hi"),
        "dst = min(max(a, lo), hi); a plain copy when lo = -128 and hi = 127.",
        "elements / lanes",
    ),
    Instruction(
        "vfill", 0x3D, Queue.VECTOR,
        (_spm("dst", "w", "dimensions"),),
        ("value",),
        "dst = value.",
        "elements / lanes",
    ),
    Instruction(
        "vwide", 0x40, Queue.VECTOR,
        (_acc("r", "dimensions"), _spm("dst", "w", "the same", "i32")),
        (),
        "dst = acc.",
        "elements / lanes",
    ),
    Instruction(
        "vrecip", 0x41, Queue.VECTOR,
        (_acc("r", "dimensions"), _spm("dst", "w", "the same", "i32")),
        ("bits",),
        "dst = low 32 bits of floor((2^bits + floor(x / 2)) / x) with x = max(acc, 1), in 64 bits.",
        "elements / lanes * division cost",
    ),
    Instruction(
        "vrsqrt", 0x42, Queue.VECTOR,
        (_acc("r", "dimensions"), _spm("total", "r", "the same", "i32"),
         _spm("dst", "w", "the same", "i32")),
        ("count", "epsilon", "bits", "extra"),
        "v = max(count * acc - total^2, max(count - 1, 1)) + epsilon, at most 2^(62 - 2 extra) - 1;"
        " x = floor(sqrt(v * 4^extra)); dst = low 32 bits of floor((2^(bits + extra) + "
        "floor(x / 2)) / x), in 64 bits.",
        "elements / lanes * 2 * division cost",
    ),
    Instruction(
        "vexp", 0x43, Queue.VECTOR,
        (
            _spm("a", "r", "dimensions"),
            _spm("top", "r", "the same"),
            _spm("multiplier", "r", "the same", "i32"),
            _spm("table", "r", "256 entries", "i32"),
            _spm("dst", "w", "the same dimensions as a"),
        ),
        ("shift", "zp", "lo", "hi"),
        "dst = clamp(((table[(top - a) mod 256] * multiplier + 2^(shift-1)) >> shift) + zp, lo, "
        "hi), in 64 bits.",
        "elements / lanes * (look-up + requantise cost)",
    ),
    Instruction(
        "vnorm", 0x44, Queue.VECTOR,
        (
            _spm("a", "r", "dimensions"),
            _spm("total", "r", "the same", "i32"),
            _spm("inverse", "r", "the same", "i32"),
            _spm("gain", "r", "the same", "i32"),
            _spm("offset", "r", "the same", "i32"),
            _spm("dst", "w", "the same"),
        ),
        ("x_zp", "count", "bits", "shift", "zp", "lo", "hi"),
        "u = ((count * (a - x_zp) - total) * inverse + 2^(bits-21)) >> (bits - 20); dst = "
        "clamp(((u * gain + offset * 2^20 + 2^(shift-1)) >> shift) + zp, lo, hi), in 64 bits.",
        "elements / lanes * 2 * requantise cost",
    ),
)  # fmt: skip

_I8 = (-128, 127)
PARAM_RANGES: dict[str, tuple[int, int]] = {
    "count": (1, 2**31 - 1), "queue": (0, 3), "element": (1, 8), "fill": (-(2**31), 2**31 - 1),
    "value": _I8, "m_rank": (0, MAX_DIMS), "p_rank": (0, MAX_DIMS), "t_rank": (0, MAX_DIMS),
    "overwrite": (-1, 2**MAX_LOOP_DEPTH - 1), "a_zp": _I8, "b_zp": _I8, "za": _I8, "zb": _I8,
    "zp": _I8, "lo": _I8, "hi": _I8, "ma": (-(2**20), 2**20), "mb": (-(2**20), 2**20),
    "multiplier": (0, 2**31 - 1), "shift": (1, 62), "bits": (21, 60), "extra": (0, 31),
    "epsilon": (0, 2**46 - 1), "x_zp": _I8, "broadcast": (0, 1), "inner": (1, MAX_CORES),
    "levels": (0, 3),
}  # fmt: skip
"""Least and greatest value of each parameter."""

PARAM_DEFAULTS = {"inner": 1}
"""Values of parameters that are not given, where they are not 0."""

ON_ARRAY = {"vmac": "mmac", "vsum": "msum", "vmax": "mmax"}
"""Windows that some arrays can run, and what they are called there."""
PRODUCTS = ("matmul", "smatmul")
"""Products of matrices, on the array; acc is their operand 2."""
WINDOWS = ("vmac", "vsum", "vmax", "vsquare", "vsumexp", *ON_ARRAY.values())
"""Instructions that reduce over taps; the other vector instructions are elementwise."""

BY_MNEMONIC = {i.mnemonic: i for i in INSTRUCTIONS}
BY_CODE = {i.code: i for i in INSTRUCTIONS}

"""The npu dialect: what the machine does.

`isa` is the instruction table; `attributes` the strided descriptors; `structure` programs, loops,
buffers and tokens; `commands` one operation per instruction.
"""

from __future__ import annotations

from xdsl.ir import Dialect

from .attributes import AccessAttr, TensorMapAttr, TokenType
from .commands import COMMANDS, Command, SyncOp
from .isa import BY_CODE, BY_MNEMONIC, INSTRUCTIONS, QUEUES, Instruction, OperandSpec, Queue
from .structure import TOKEN, AllocOp, CoresOp, DramOp, LoopOp, ProgramOp, TokenOp, YieldOp

NPU = Dialect(
    "npu",
    [
        ProgramOp,
        CoresOp,
        TokenOp,
        DramOp,
        AllocOp,
        LoopOp,
        YieldOp,
        SyncOp,
        *COMMANDS.values(),
    ],
    [TokenType, AccessAttr, TensorMapAttr],
)

__all__ = [
    "BY_CODE", "BY_MNEMONIC", "COMMANDS", "INSTRUCTIONS", "NPU", "QUEUES", "TOKEN", "AccessAttr",
    "AllocOp", "Command", "CoresOp", "DramOp", "Instruction", "LoopOp", "OperandSpec", "ProgramOp",
    "Queue", "SyncOp", "TensorMapAttr", "TokenOp", "TokenType", "YieldOp",
]  # fmt: skip

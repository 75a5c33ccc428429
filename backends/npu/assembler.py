"""From the disassembler's text to machine code; the syntax is described in `disassembler.py`.

    loop count=2
      vfill dst=spm[0+16*i0](16:1) value=7
    end
    halt

Blank lines, indentation and comments are free.  Every error is an IRError with its line.
"""

from __future__ import annotations

import re

from ...dialects.errors import ArtefactError, IRError
from ...dialects.npu.descriptors import Strided, TensorBox
from ...dialects.npu.isa import BY_MNEMONIC, NUM_SEMAPHORES, PARAM_DEFAULTS, QUEUES, Queue
from .binary import Checker, pack_words
from .program import Instruction, Operand
from .words import SPACES, instruction_words

_INT = r"-?\d{1,20}"
_LOOPS = r"((?:[+-]\d{1,20}\*i\d{1,2})*)"
_DIRECTIVE = re.compile(r"\.(layers|layer|semaphore) +(\d{1,9})(?: *= *(\d{1,5}))?")
_TOKEN = re.compile(
    r" *(?:"
    r"(?P<operand>[a-z]+)=(?P<space>[a-z]+)\[(?P<base>[^\]]*)\]\((?P<dims>[^\])]*)\)"
    rf"|(?P<param>[a-z_]+)=(?P<value>{_INT})"
    r"|(?P<word>[a-z]+)"
    r"|s(?P<semaphore>\d{1,9})(?P<all>\*)?"
    r")(?= |$)"
)
_BASE = re.compile(rf"({_INT}){_LOOPS}(?:\+(\d{{1,20}})\*\(n(\d{{1,2}})%(\d{{1,9}})\))?")
_LOOP = re.compile(r"([+-]\d+)\*i(\d+)")
_DIM = re.compile(rf"({_INT}):({_INT})")
_AXIS = re.compile(rf"({_INT}) of ({_INT}):({_INT}) at ({_INT}){_LOOPS}(?: step ({_INT}))?")


def assemble(text: str) -> bytes:
    """Machine code of assembler text; IRError names the line that is wrong."""
    assembler = _Assembler()
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition(";")[0].strip()
        try:
            if code.startswith("."):
                assembler.directive(code)
            elif code:
                assembler.instruction(code)
        except (ArtefactError, ValueError) as error:
            raise IRError(f"line {number}: {getattr(error, 'message', error)}") from None
    if not assembler.checker.halted:
        raise IRError(f"line {number}: ends without halt")
    return pack_words(assembler.semaphores, assembler.words, assembler.checker.layers)


class _Assembler:
    def __init__(self) -> None:
        self.semaphores: list[int] = []
        self.words: list[int] = []
        self.layer = 0
        self.checker = Checker(0, 1)

    def directive(self, line: str) -> None:
        match = _DIRECTIVE.fullmatch(line)
        if not match:
            raise ValueError(f"unknown directive {line!r}")
        kind, number, count = match[1], int(match[2]), match[3]
        if (count is not None) is not (kind == "semaphore"):
            raise ValueError(f"malformed directive {line!r}")
        if kind == "layer":
            self.layer = number
        elif self.words:
            raise ValueError(f".{kind} must come before the first instruction")
        elif kind == "layers":
            if number > 1 << 24:
                raise ValueError(f"{number} layers")
            self.checker.layers = number
        else:
            if number != len(self.semaphores) or number >= NUM_SEMAPHORES or int(count) >= 1 << 16:
                raise ValueError(
                    f"semaphores are 0, 1, ... below {NUM_SEMAPHORES}, their counts below 65536"
                )
            self.semaphores.append(int(count))
            self.checker.semaphores += 1

    def instruction(self, line: str) -> None:
        mnemonic, _, rest = line.partition(" ")
        spec = BY_MNEMONIC.get(mnemonic)
        if spec is None:
            raise ValueError(f"unknown instruction {mnemonic!r}")
        operands: dict[str, Operand] = {}
        params: dict[str, int] = {}
        lists: dict[str, list[int]] = {}
        all_cores = 0
        current: list[int] | None = None
        position = 0
        while position < len(rest):
            match = _TOKEN.match(rest, position)
            if not match:
                raise ValueError(f"cannot read {rest[position:].strip()!r}")
            position = match.end()
            if match["operand"] and match["operand"] not in operands:
                operands[match["operand"]] = _operand(match)
            elif match["param"] in spec.params and match["param"] not in params:
                params[match["param"]] = int(match["value"])
            elif match["word"] in ("wait", "signal") and match["word"] not in lists:
                current = lists.setdefault(match["word"], [])
            elif mnemonic == "sync" and match["word"] in QUEUES and not params and not lists:
                params["queue"] = QUEUES.index(Queue(match["word"]))
            elif match["semaphore"] and current is not None:
                if match["all"]:
                    if current is not lists.get("signal"):
                        raise ValueError(f"{mnemonic}: {match[0].strip()!r} is out of place")
                    all_cores |= 1 << len(current)
                current.append(int(match["semaphore"]))
            else:
                raise ValueError(f"{mnemonic}: {match[0].strip()!r} is out of place")
        if mnemonic == "sync" and not params:
            raise ValueError("sync: needs its queue")
        if list(operands) != [row.name for row in spec.operands]:
            raise ValueError(
                f"{mnemonic}: operands are {', '.join(row.name for row in spec.operands) or 'none'}"
            )
        instruction = Instruction(
            mnemonic, tuple(operands.values()),
            {p: params.get(p, PARAM_DEFAULTS.get(p, 0)) for p in spec.params},
            tuple(lists.get("wait", ())), tuple(lists.get("signal", ())), self.layer, all_cores,
        )  # fmt: skip
        self.checker.check(instruction)
        self.words += instruction_words(instruction)


def _operand(match: re.Match[str]) -> Operand:
    space = match["space"]
    if space not in SPACES:
        raise ValueError(f"unknown memory {space!r}")
    base = _full(_BASE, match["base"])
    items = [item.strip() for item in match["dims"].split(",")]
    if space in ("dram", "const"):
        if base[2] or base[3]:
            raise ValueError(f"{match['operand']}: loops belong to the axes of a tensor")
        axes = [_full(_AXIS, item) for item in items]
        numbers = [tuple(int(a[i]) for a in axes) for i in range(1, 5)]
        steps = tuple(1 if a[6] is None else int(a[6]) for a in axes)
        box, extents, strides, start = numbers
        return Operand(
            space,
            TensorBox(
                int(base[1]), extents, strides, start, steps, box, tuple(_loops(a[5]) for a in axes)
            ),
        )
    dims = tuple((int(d[1]), int(d[2])) for d in (_full(_DIM, item) for item in items))
    slots = (int(base[5]), int(base[3]), int(base[4])) if base[3] else (1, 0, 0)
    return Operand(space, Strided(int(base[1]), dims, _loops(base[2]), *slots))


def _full(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if not match:
        raise ValueError(f"cannot read {text!r}")
    return match


def _loops(text: str) -> tuple[int, ...]:
    """`+64*i0-8*i2` as strides per level."""
    strides: dict[int, int] = {}
    for stride, level in _LOOP.findall(text):
        if int(level) in strides or int(stride) == 0:
            raise ValueError(f"cannot read {text!r}")
        strides[int(level)] = int(stride)
    return tuple(strides.get(level, 0) for level in range(max(strides, default=-1) + 1))

"""Errors a user can cause, told in the user's own terms.

Every failure that bad input can provoke is a `TilewrightError`: one message that names the ONNX
node and operator where there is one, and says what to do.  The command line prints it and exits
with code 2.  Anything else that escapes is a bug in tilewright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class TilewrightError(Exception):
    """Base of all errors caused by the input rather than by tilewright.

    `hint` says what the user can do about it; `node` and `op` name the ONNX node and operator.
    """

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        op: str | None = None,
        hint: str | None = None,
    ):
        self.message, self.node, self.op, self.hint = message, node, op, hint
        super().__init__(self.render())

    def render(self) -> str:
        """The one message printed to the user."""
        where = ""
        if self.node or self.op:
            where = f"node {self.node!r}" if self.node else "node"
            where += f" ({self.op}): " if self.op else ": "
        return f"{where}{self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class ModelError(TilewrightError):
    """The ONNX model is malformed, truncated, hostile or inconsistent."""


class EmptyTensorError(ModelError):
    """A tensor without elements, which no loop nest computes; the host may."""


class InputError(TilewrightError):
    """Run-time inputs do not fit the model: missing, unknown, wrong shape or dtype."""


class TargetError(TilewrightError):
    """The target does not exist, or its description is inconsistent or impossible."""


class ArtefactError(TilewrightError):
    """A `.tw` file is damaged, of another version, or made for something else."""


class CapacityError(TilewrightError):
    """An operation cannot be made to fit the machine (scratchpad, accumulator, loop depth)."""


class SimulationError(TilewrightError):
    """A machine program does what the machine cannot: bad address, race, deadlock, bad operand."""


class PluginError(TilewrightError):
    """An operator of a plugin is registered wrongly, or fails; names the operator and the node."""


class IRError(TilewrightError):
    """IR text or a pipeline given by the user cannot be parsed or run."""


@dataclass(frozen=True)
class Unsupported:
    """One construct that cannot be compiled: what `tilewright check` lists a row for."""

    node: str
    op: str
    opset: int
    reason: str
    hint: str = ""


class UnsupportedError(TilewrightError):
    """The model uses constructs that cannot be compiled; lists all of them at once."""

    def __init__(self, rows: Sequence[Unsupported]):
        self.rows = tuple(rows)
        lines = [f"{len(rows)} unsupported node{'s' if len(rows) != 1 else ''}:"]
        for row in rows:
            lines.append(f"  node {row.node!r} ({row.op}, opset {row.opset}): {row.reason}")
            if row.hint:
                lines.append(f"    hint: {row.hint}")
        super().__init__("\n".join(lines))

"""IR text: parsing with clear errors, printing with locations, constants in a file beside it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import ParseError, VerifyException

from ..dialects.constants import ConstantStore
from ..dialects.errors import IRError
from ..passes.base import CompilerContext


def _unterminated_string(text: str) -> int | None:
    """Line of the first string literal that does not end on its line, else None.

    xDSL 0.74's lexer backtracks exponentially on such strings, so they are refused beforehand.
    """
    for number, line in enumerate(text.splitlines(), 1):
        inside, escaped = False, False
        for i, char in enumerate(line):
            if not inside and line.startswith("//", i):
                break
            if inside and escaped:
                escaped = False
            elif inside and char == "\\":
                escaped = True
            elif char == '"':
                inside = not inside
        if inside:
            return number
    return None


def parse_module(text: str, ctx: CompilerContext, name: str = "<input>") -> ModuleOp:
    """Parse and verify a module; IRError with the position on any failure."""
    if (line := _unterminated_string(text)) is not None:
        raise IRError(f"{name}:{line}: string literal is not closed")
    try:
        module = Parser(ctx, text, name).parse_module()
        module.verify()
        _refuse_control_flow(module)
    except (ParseError, VerifyException) as error:
        text = str(error).strip()  # a ParseError begins with its position
        raise IRError(text if text.startswith(name) else f"{name}: {text}") from None
    except RecursionError:
        raise IRError(f"{name}: the IR is nested too deeply") from None
    except (ValueError, KeyError, AssertionError, TypeError) as error:
        raise IRError(f"{name}: malformed IR: {error}") from None
    return module


def _refuse_control_flow(module: ModuleOp) -> None:
    """VerifyException where a region holds several blocks: no dialect here has branches."""
    for op in module.walk():
        if any(region.first_block is not region.last_block for region in op.regions):
            raise VerifyException(f"{op.name} holds a region of several blocks")


def print_module(module: ModuleOp, *, locations: bool = False) -> str:
    """The module as text; with `locations`, every operation names its ONNX nodes."""
    out = io.StringIO()
    Printer(out, print_debuginfo=locations).print_op(module)
    return out.getvalue() + "\n"


def load_constants(path: Path, store: ConstantStore) -> None:
    """Add all arrays of an .npz (as written by `save_constants`) to the store."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                store.add(arrays[key])
    except (OSError, ValueError, EOFError) as error:
        raise IRError(f"cannot read constants from {path}: {error}") from None
    except Exception as error:  # zipfile, zlib and numpy raise their own kinds for damaged archives
        raise IRError(f"{path} is damaged: {error}") from None


def save_constants(path: Path, store: ConstantStore) -> None:
    """Write every constant of the store to an .npz, named by key."""
    with path.open("wb") as file:
        np.savez(file, **dict(store.items()))  # pyright: ignore[reportArgumentType]

"""The table of loop-level cases: graph operations by name, registered by what makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.ir import SSAValue

from .loop_programs import Program

Case = Callable[[Program], list[SSAValue]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case under its function's name."""
    CASES[function.__name__] = function
    return function


def family(name: str, *options: Any) -> Callable[[Callable[..., list[SSAValue]]], None]:
    """Register one case for each of `options`, passed after the program."""

    def register(function: Callable[..., list[SSAValue]]) -> None:
        for option in options:
            CASES[f"{name}-{option}".replace(" ", "")] = lambda p, option=option: function(
                p, option
            )

    return register

"""Several cores that run one program: loop levels that are cores, writes that reach other cores."""

from __future__ import annotations

from collections.abc import Mapping


def spreads(mnemonic: str, params: Mapping[str, int]) -> bool:
    """Whether operand 1, which the instruction writes, is written in other cores too."""
    return mnemonic == "send" or bool(params.get("broadcast"))


def core_trips(count: int, inner: int) -> tuple[int, ...]:
    """Iterations of the core levels of `count` cores: one level, or two where `inner` > 1.

    >>> core_trips(4, 1), core_trips(6, 2)
    ((4,), (3, 2))
    """
    return (count,) if inner <= 1 else (count // inner, inner)

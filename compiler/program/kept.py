"""The specialisations of a region that are kept: those used last, bounded in number and bytes.

An inference of a new shape adds one, so without bounds a program whose shapes keep changing would
grow for ever.  What is dropped is compiled again when it is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..executable import Executable
    from .region import Step

Signature = tuple[Any, ...]
"""Types of the inputs of a region, contents of the bound ones."""

MOST_KEPT = 32
"""Most specialisations of a region."""

MOST_BYTES = 1 << 30
"""Most bytes of constants they hold together, unless it is one specialisation."""


class Kept:
    """Specialisations by signature; safe to use from several threads.

    `forget` is called with the key of each one that is dropped.
    """

    def __init__(self, forget: Callable[[str], None]):
        self._forget = forget
        self._made: dict[Signature, tuple[str, Executable | list[Step]]] = {}  # least recent first
        self._lock = threading.Lock()

    def get(self, signature: Signature) -> Executable | list[Step] | None:
        """What was made for `signature`, now the most recently used."""
        with self._lock:
            found = self._made.pop(signature, None)
            if found is None:
                return None
            self._made[signature] = found
        return found[1]

    def add(self, signature: Signature, key: str, made: Executable | list[Step]) -> None:
        """Keep `made`, and drop what has not been used for long."""
        dropped: list[tuple[str, Executable | list[Step]]] = []
        with self._lock:
            self._made[signature] = key, made
            sizes = {s: _constant_bytes(m) for s, (_, m) in self._made.items()}
            total = sum(sizes.values())
            while len(sizes) > 1 and (len(sizes) > MOST_KEPT or total > MOST_BYTES):
                oldest = next(iter(sizes))
                total -= sizes.pop(oldest)
                dropped.append(self._made.pop(oldest))
        self._drop(dropped)

    def values(self) -> list[Executable | list[Step]]:
        """All that is kept."""
        with self._lock:
            return [made for _, made in self._made.values()]

    def constant_bytes(self) -> int:
        """Bytes of constants that all of it holds."""
        return sum(map(_constant_bytes, self.values()))

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            dropped = list(self._made.values())
            self._made.clear()
        self._drop(dropped)

    def _drop(self, dropped: list[tuple[str, Executable | list[Step]]]) -> None:
        for key, made in dropped:
            self._forget(key)
            for part in _parts(made):
                part.clear()


def _parts(made: Executable | list[Step]) -> list[Kept]:
    """What is kept by the regions among steps."""
    from .region import Region

    return (
        [step.kept for step in made if isinstance(step, Region)] if isinstance(made, list) else []
    )


def _constant_bytes(made: Executable | list[Step]) -> int:
    """Bytes of constants; about as many again are packed when they are used."""
    if isinstance(made, list):
        return sum(part.constant_bytes() for part in _parts(made))
    return len(made.artefact.files.get("constants.bin", b""))

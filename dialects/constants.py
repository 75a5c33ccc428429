"""Content-addressed store of constant arrays.

Weights never enter the IR: operations hold the key of an array in the store of their compilation.
Equal contents have equal keys, so CSE of constants is free and artefacts are reproducible.
Arrays are kept uncopied and made read-only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .errors import IRError

Array = np.ndarray[Any, np.dtype[Any]]
"""A numpy array of any dtype; shapes are documented where they matter."""


def content_key(array: Array) -> str:
    """Hex blake2b (16 bytes) over dtype, shape and C-order bytes of `array`."""
    contiguous = np.ascontiguousarray(array)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{contiguous.dtype.name}:{array.shape}:".encode())
    digest.update(contiguous.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class ConstantStore:
    """Read-only arrays by content key, owned by one compilation."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def add(self, array: Array) -> str:
        """Store `array` (uncopied where contiguous, made read-only) and return its key."""
        key = content_key(array)
        if key not in self._arrays:
            kept = np.ascontiguousarray(array).reshape(array.shape)
            kept.flags.writeable = False
            self._arrays[key] = kept
        return key

    def __getitem__(self, key: str) -> Array:
        try:
            return self._arrays[key]
        except KeyError:
            raise IRError(
                f"constant {key!r} is not in the constant store",
                hint="give the constants saved beside the IR with --constants FILE.npz",
            ) from None

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def items(self) -> Iterator[tuple[str, Array]]:
        """Key and array pairs, sorted by key."""
        return iter(sorted(self._arrays.items()))

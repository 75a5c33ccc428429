"""Writing output files so that nothing is ever lost or left half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..dialects.errors import TilewrightError


def write_atomically(path: Path, data: bytes | Callable[[IO[bytes]], None]) -> None:
    """Write `data`, or what it writes, to a temporary file beside `path`; rename it over `path`."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TilewrightError(
            f"cannot write {path}: {error.strerror}",
            hint="does the folder exist, and may you write to it?",
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TilewrightError(f"cannot write {path}: {error.strerror}") from None
        raise

"""Progress on a terminal, silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from .driver import ReportProgress
from .pipeline import ALL_PHASES


@contextmanager
def phase_progress(total: int) -> Generator[ReportProgress | None]:
    """A line `[2/8] graph: constant-fold` on standard error; None when that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("") as status:

        def report(phase: str, name: str) -> None:
            position = ALL_PHASES.index(phase) + 1 if phase in ALL_PHASES else 0
            status.update(f"[{position}/{total}] {phase}: {name}".replace("[", "\\[", 1))

        yield report

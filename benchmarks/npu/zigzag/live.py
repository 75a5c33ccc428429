"""A ZigZag that runs beside us, in the Python it is installed in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tilewright.dialects.errors import InputError

from .machine import FOLDER


class Peer:
    """A process that answers `peer`'s requests; InputError when it cannot be started or dies."""

    def __init__(self, python: str):
        self.python = python
        try:
            self.process = subprocess.Popen(
                [python, str(FOLDER / "peer.py")], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"cannot run {python}: {error}") from None

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer to one request."""
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            last = (process.communicate()[1].strip().splitlines() or ["no message"])[-1]
            raise InputError(
                f"ZigZag in {self.python} gave up: {last}",
                hint="it needs zigzag-dse 3.9.1, and six, which that release does not declare",
            )
        return json.loads(line)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait()

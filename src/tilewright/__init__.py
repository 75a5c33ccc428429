"""Tilewright compiles ONNX models for a simulated NPU and for the CPU.

    >>> import tilewright
    >>> executable = tilewright.compile("model.onnx")  # doctest: +SKIP

Importing the package costs nothing: a public name loads what it needs when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compiler.api import Executable, TilewrightError, compile, load
    from .compiler.torch_frontend import from_torch
    from .dialects.plugins import Operator, register_operator

__all__ = [
    "Executable", "Operator", "TilewrightError", "__version__", "compile", "from_torch", "load",
    "register_operator",
]  # fmt: skip

__version__ = "0.1.0"

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load the public name `name` from the module of `tilewright.compiler` that has it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "from_torch":
            from .compiler import torch_frontend as module
        elif name in ("Operator", "register_operator"):
            from .dialects import plugins as module
        else:
            from .compiler import api as module
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        """List the public names too, loaded or not."""
        return sorted({*globals(), *__all__})

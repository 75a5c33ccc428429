"""Meaning of the loop dialect, in numpy.

`evaluate` runs a function in tensor form, or in memref form before allocation; `run` runs an
allocated function on an arena and a block of constants, tile loops included, `run_ops` some of
its operations.  `nest` says what one
`loop.nest` means; `contraction` is a fast path of it for sums of products; `views` turns access
maps into strided views; `interpret` walks the operations.
"""

from .interpret import Observe, evaluate, run, run_ops

__all__ = ["Observe", "evaluate", "run", "run_ops"]

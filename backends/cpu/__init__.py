"""The CPU end: LLVM IR for loop nests, compiled in process and cached on disk.

Read in this order: `llvm_text` (typed values and structured loops over LLVM IR text), `scalars`,
`scalars_math`, `scalars_quant`, `scalar_emit` (an emitter a function of `dialects/scalar.py`),
`nest` (a nest as plain data: what kernels are shared by), `schedule` (vector dimension, register
block, loop order), `copies`, `pairs`, `packing` (operands rearranged first), `points` and `kernel`
(the code of one nest), `emit` (the module), `support` (what differs between machines), `jit`
(machine code), `runtime` (one call).
"""

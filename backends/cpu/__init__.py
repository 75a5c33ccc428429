"""The CPU end: LLVM IR for loop nests, compiled in process and cached on disk.

Read in this order: `llvm_text` (typed values and structured loops over LLVM IR text), `scalars`,
`scalars_math`, `scalars_quant` (one emitter for each function of `dialects/scalar.py`), `nest` (a
nest as plain data: what kernels are shared by), `schedule` (vector dimension, register block, loop
order), `kernel` (the loops), `emit` (the module), `jit` (machine code), `runtime` (one call).
"""

"""What the compiler compiles for.

`targets/`: machines as data; `npu/`: encoding and simulation; `cpu/`: LLVM.
"""

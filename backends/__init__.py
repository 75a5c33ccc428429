"""What the compiler compiles for: `targets/` (machines as data), `npu/` (encode, simulate), `cpu/` (LLVM)."""

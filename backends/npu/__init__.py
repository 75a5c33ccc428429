"""The NPU end: machine code (encode, decode, assemble, disassemble) and the simulator."""

"""Reference semantics of the dialects in numpy: the oracle of tests and of `--verify semantic`.

`graph`: tensors in, tensors out.  `loop`: tensor form, and memref form over an arena.
`instructions`: the meaning of each machine instruction on numpy views, shared by the `npu`
interpreter and the simulator.  `npu`: programs before encoding.
"""

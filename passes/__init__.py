"""Rewrite passes: `graph/`, `loop/` and `npu/`, one pass a file, named as in the pipeline text.

`base` is what a pass is, `registry` the table of all passes, `rewriting` how one operation replaces
another without losing its ONNX name.
"""

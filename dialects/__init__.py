"""The three dialects (`graph`, `loop`, `npu`), what they share, and their reference semantics.

Read in this order: `errors`, `locations`, `constants`, `types`, `fixed_point`, `scalar`, then the
dialect folders from the tensors down to the instructions: `graph/`, `loop/`, `npu/`, and
`semantics/`, which says in numpy what every operation of each dialect means.
"""

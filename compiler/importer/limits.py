"""Bounds that hold against hostile models."""

FOLD_LIMIT = 1 << 20
"""Most elements of a tensor that the importer evaluates itself."""

ELEMENT_LIMIT = 1 << 34
"""Most elements of any tensor."""

MAX_DEPTH = 100
"""Deepest nesting of functions and subgraphs."""

NODE_LIMIT = 200_000
"""Most nodes of a model with its functions expanded."""

HOST_LIMIT = 1 << 26
"""Most elements of a constant that the importer makes up (positions, masks, spread weights)."""

PAIR_LIMIT = 1 << 24
"""Most comparisons of all elements with all others (TopK, scatter by computed indices)."""

STEP_LIMIT = 512
"""Most steps of a recurrent operator, which is unrolled."""

UNROLL_LIMIT = 1 << 13
"""Most operations that a Loop or Scan becomes, which is unrolled."""

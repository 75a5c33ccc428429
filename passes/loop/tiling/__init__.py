"""Tiling of loop nests as plain data: no IR is made here.

`footprint` is the algebra of tile boxes under linear maps; `classify` and `chain` read what a nest
computes, `work` sums it up; `selection` chooses tile sizes and loop order for a machine, from
`candidates`, by a `model` of their cycles (`tiles`, `units`); `bounds` states the work a nest
cannot avoid.
"""

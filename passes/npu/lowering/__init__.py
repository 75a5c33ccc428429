"""From leaves of the tiled loop level to commands, one file per family.

`emitter` holds hardware loops and strided dimensions; `copies` loads, stores and fills; `matrix`
matmul; `vector` everything of the vector unit.
"""

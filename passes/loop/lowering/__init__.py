"""From graph operations to loop nests, one file per family of operators.

`builder` builds one nest, `maps` composes access maps, `tree` decides which operations share a
nest, `elementwise` turns operations into scalar code, the other files give each operator its
domain: `contraction` (conv, matmul), `window` (pooling), `reduction`, `movement`, `resample`.
"""

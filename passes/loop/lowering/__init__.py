"""From graph operations to loop nests, one file per family of operators.

`builder` builds one nest, `maps` composes access maps, `tree` decides which operations share a
nest, `kernel` builds the nest of a tree, `elementwise` turns operations into scalar code.  The
other files give each operator its domain: `contraction` (convolution, matrix product), `window`
(pooling), `reduction` (reductions, softmax, arg-reductions), `movement` (padding, gathering) and
`resample` (resizing).
"""
